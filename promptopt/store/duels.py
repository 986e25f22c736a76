"""Duels: the pairs that a study has compared, and every verdict on them as an event."""

import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, select, update

from promptopt.duel import Preference
from promptopt.errors import DataError
from promptopt.ids import content_hash
from promptopt.store import dialect, schema
from promptopt.store import duel_queries as queries
from promptopt.store.database import Database, from_json, from_text, now, to_json, to_text
from promptopt.store.rows import DuelRow, Vote

insert_duel = dialect.insert_new(schema.duels)
insert_event = dialect.insert_new(schema.preferences)


class Duels(Database):
    """Duels, verdicts, and who is looking at what."""

    def open_duels(self, study_id: int, rows: Sequence[DuelRow]) -> None:
        """Keep duels that a study asks for; those that were closed wait again, others that are known are left alone.

        Commits:
            All of them at once.
        """
        if not rows:
            return
        table = schema.duels
        with self._writing() as connection:
            connection.execute(insert_duel, [_duel_values(study_id, row) for row in rows])
            closed = update(table).where(table.c.id == bindparam("duel"), table.c.quorum == 0)
            wanted = [{"duel": row.id, "people": row.quorum} for row in rows if row.quorum]
            for duel in wanted:
                if connection.execute(closed.values(quorum=bindparam("people")), duel).rowcount:
                    _settle(connection, str(duel["duel"]))

    def show_outputs(self, duel_id: str, left_key: str | None, right_key: str | None) -> None:
        """Say which outcomes a duel shows; from now on it waits for people, if it wants any.

        Commits:
            At once.
        """
        table = schema.duels
        with self._writing() as connection:
            here = update(table).where(table.c.id == duel_id)
            connection.execute(here, {"left_outcome": left_key, "right_outcome": right_key})
            _settle(connection, duel_id)

    def duels(self, study_id: int) -> list[DuelRow]:
        """Return the duels of a study in the order in which they were asked."""
        with self._reading() as connection:
            return duels_of(connection, study_id)

    def count_open(self, study_id: int, number: int) -> int:
        """Return how many duels of the steps up to this one wait for people."""
        table = schema.duels
        here = (table.c.study == study_id) & (table.c.state == "open") & (table.c.number <= number)
        with self._reading() as connection:
            return connection.scalar(select(func.count()).where(here)) or 0

    def count_at_work(self, study_id: int) -> int:
        """Return how many people have a duel of a study on their screens."""
        with self._reading() as connection:
            return connection.scalar(queries.AT_WORK, {"study": study_id, "now": time.time()}) or 0

    def record_votes(self, votes: Sequence[Vote]) -> None:
        """Keep verdicts that come with the duel's own sides: of judges and metrics, or given elsewhere.

        Of one labeller and duel the first stays, until it is taken back.

        Commits:
            All of them at once.
        """
        if votes:
            with self._writing() as connection:
                for vote in votes:
                    if not given_by(connection, vote.duel_id, vote.labeller):
                        add_vote(connection, vote)

    def close_duels(self, study_id: int) -> None:
        """Wait for nobody any more: the study has ended. What is said of an open duel is kept all the same.

        Commits:
            At once.
        """
        table = schema.duels
        with self._writing() as connection:
            here = update(table).where(table.c.study == study_id, table.c.state == "open")
            connection.execute(here, {"state": "settled", "quorum": 0})

    def newest_event(self) -> int:
        """Return the number of the newest verdict or taking back in the store."""
        newest = select(schema.preferences.c.number).order_by(schema.preferences.c.number.desc()).limit(1)
        with self._reading() as connection:
            return connection.scalar(newest) or 0

    def preferences(self, study_id: int, upto: int | None = None) -> list[Preference]:
        """Return the preferences of a study that are valid, now or as of an event, in the order of their duels."""
        with self._reading() as connection:
            limit = 2**62 if upto is None else upto
            rows = connection.execute(queries.VALID, {"study": study_id, "upto": limit}).all()
        return [_preference(row) for row in rows]


def duels_of(connection: Connection, study_id: int) -> list[DuelRow]:
    """Return the duels of a study in the order in which they were asked."""
    table = schema.duels
    wanted = select(table).where(table.c.study == study_id).order_by(table.c.number, table.c.place)
    return [_duel_row(row) for row in connection.execute(wanted).all()]


def preference_id(duel_id: str, labeller: str, nth: int = 0) -> str:
    """Return the id of somebody's nth event on a duel, from 0: the same however often a study is killed."""
    return content_hash("preference", duel_id, labeller, nth)


def given_by(connection: Connection, duel_id: str, labeller: str) -> list[str]:
    """Return the ids of somebody's valid verdicts on a duel, catch trials among them, the oldest first."""
    table = schema.preferences.c
    valid = table.takes_back.is_(None) & table.taken_back.is_(None)
    mine = select(table.id).where(table.duel == duel_id, table.labeller == labeller, valid).order_by(table.number)
    return list(connection.scalars(mine))


def add_vote(connection: Connection, vote: Vote) -> str:
    """Keep a verdict inside the caller's transaction, and return its id."""
    table = schema.preferences
    before = select(table.c.id).where(table.c.duel == vote.duel_id, table.c.labeller == vote.labeller)
    nth = len(connection.execute(before).all())
    name = preference_id(vote.duel_id, vote.labeller, nth)
    values = {
        "id": name,
        "duel": vote.duel_id,
        "labeller": vote.labeller,
        "source": vote.source,
        "verdict": vote.verdict,
        "remark": to_text(vote.remark),
        "catch": int(vote.catch),
        "shown_first": vote.shown_first,
        "millis": vote.millis,
        "at": now(),
        "detail": to_json(vote.detail),
    }
    connection.execute(insert_event, values)
    _settle(connection, vote.duel_id)
    return name


def take_back(connection: Connection, name: str) -> str:
    """Undo the valid verdict of this id inside the caller's transaction, and return its duel's id."""
    table = schema.preferences
    row = connection.execute(select(table).where(table.c.id == name)).one()
    event = {
        "id": content_hash("take back", name),
        "duel": row.duel,
        "labeller": row.labeller,
        "source": row.source,
        "verdict": row.verdict,
        "at": now(),
        "takes_back": name,
    }
    connection.execute(insert_event, event)
    number = connection.scalar(select(table.c.number).where(table.c.id == event["id"]))
    connection.execute(update(table).where(table.c.id == name), {"taken_back": number})
    _settle(connection, row.duel)
    return str(row.duel)


def _settle(connection: Connection, duel_id: str) -> None:
    """Bring the state of a duel up to date with its verdicts."""
    table = schema.duels
    duel = connection.execute(select(table).where(table.c.id == duel_id)).one_or_none()
    if duel is None:
        raise DataError(f"There is no duel {duel_id[:8]}.")
    n, by_people, by_outputs = connection.execute(queries.VOTES, {"duel": duel_id}).one()
    done = by_outputs or (by_people >= duel.quorum if duel.quorum else n or duel.state == "settled")
    state = "settled" if done else "open" if duel.quorum and duel.left_outcome is not None else "asked"
    connection.execute(update(table).where(table.c.id == duel_id), {"state": state})


def _duel_values(study_id: int, row: DuelRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "study": study_id,
        "path": row.path,
        "number": row.number,
        "place": row.place,
        "left": row.left_id,
        "right": row.right_id,
        "example": row.example_id,
        "left_outcome": row.left_key,
        "right_outcome": row.right_key,
        "quorum": row.quorum,
        "state": row.state,
    }


def _duel_row(row: Row[Any]) -> DuelRow:
    return DuelRow(
        id=row.id,
        path=row.path,
        number=row.number,
        place=row.place,
        left_id=row.left,
        right_id=row.right,
        example_id=row.example,
        quorum=row.quorum,
        state=row.state,
        left_key=row.left_outcome,
        right_key=row.right_outcome,
    )


def _preference(row: Row[Any]) -> Preference:
    return Preference(
        id=row.id,
        left_id=row.left,
        right_id=row.right,
        example_id=row.example,
        verdict=row.verdict,
        labeller=row.labeller,
        source=row.source,
        remark=from_text(row.remark),
        catch=bool(row.catch),
        shown_first=row.shown_first,
        detail=from_json(row.detail),
    )

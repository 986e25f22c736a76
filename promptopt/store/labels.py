"""Labels: which pair somebody gets to see next, and what they say of it.

For a page or a terminal that labels a study:

- ``next_duel(study, labeller)`` gives the next pair for somebody and keeps it for them until the lease expires; the
  same person gets the same pair until they have said something. None: nothing is open for them now.
- ``record_verdict(duel, labeller, verdict)`` keeps what they said, in sides of the screen. Sent twice it counts once.
- ``take_back(study, labeller)`` undoes their last verdict, as an event of its own, and opens the duel again.
- ``labelling(study)`` is the progress; ``preferences(study)`` is what ``promptopt.agreement`` measures agreement by.
- ``outlook(study)`` is the last recommendation: ranking, chances of being the best, and whether one may stop.

Which prompt stands on which side, and which pair is a catch trial, is decided here by hashes and never told.
"""

import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row, select

from promptopt.duel import VERDICTS, Verdict, swapped
from promptopt.errors import DataError
from promptopt.ids import content_hash
from promptopt.store import dialect, schema
from promptopt.store import duel_queries as queries
from promptopt.store.database import from_json, from_text
from promptopt.store.duels import Duels, add_vote, duels_of, given_by, take_back
from promptopt.store.rows import FileRow, Labelling, Shown, Vote

LEASE_S = 300.0
CATCH_EVERY = 10
FILE = " file"  # no labeller's name begins with a space, so the sides are nobody's own

upsert_lease = dialect.upsert(schema.duel_leases)


class Labels(Duels):
    """Who is looking at what, and people's verdicts."""

    def next_duel(
        self, study_id: int, labeller: str, *, lease_s: float = LEASE_S, catch: bool = True, audit: bool = False
    ) -> Shown | None:
        """Return the next pair for a person, kept for them for a while; None if there is none now.

        Args:
            study_id: The study.
            labeller: Who asks.
            lease_s: How long the pair is kept for them, in seconds.
            catch: Whether one of ten may be a pair that they know, on the other sides, to measure consistency.
            audit: Whether pairs that a judge has decided may come where no pair is open.

        Commits:
            The lease.
        """
        at = time.time()
        who = {"study": study_id, "labeller": labeller, "now": at}
        with self._writing() as connection:
            duel_id = connection.scalar(queries.ON_SCREEN, who)
            if duel_id is None and catch:
                duel_id = _to_catch(connection, who)
            if duel_id is None:
                duel_id = connection.scalar(queries.NEXT_OPEN, who)
            if duel_id is None and audit:
                duel_id = connection.scalar(queries.TO_AUDIT, who)
            if duel_id is None:
                return None
            lease = {"duel": duel_id, "labeller": labeller, "expires": at + lease_s}
            connection.execute(upsert_lease, lease)
            return _shown(connection, duel_id, labeller, at + lease_s)

    def record_verdict(
        self, duel_id: str, labeller: str, verdict: Verdict, *, remark: str = "", millis: int | None = None
    ) -> str:
        """Keep what a person said of the pair on their screen, and return the preference's id.

        The same form sent again changes nothing. A lease that has expired does not matter: no label is lost.

        Args:
            duel_id: The pair, as ``next_duel`` named it.
            labeller: Who.
            verdict: With the sides of the screen.
            remark: Free words.
            millis: How long they took, in milliseconds.

        Commits:
            At once.

        Raises:
            DataError: There is no such verdict, or the pair was never shown to them.
        """
        if verdict not in VERDICTS:
            raise DataError(f"verdict {verdict!r} must be one of {', '.join(VERDICTS)}.")
        leases = schema.duel_leases
        mine = (leases.c.duel == duel_id) & (leases.c.labeller == labeller)
        with self._writing() as connection:
            given = given_by(connection, duel_id, labeller)
            if connection.scalar(select(leases.c.duel).where(mine)) is None:
                if given:
                    return given[-1]
                raise DataError(f"The pair {duel_id[:8]} was not shown to {labeller}; ask for the next one.")
            row = connection.execute(queries.SHOWN, {"duel": duel_id}).one()
            first = _first_side(row, labeller, len(given))
            own = verdict if first == row.left else swapped(verdict)
            vote = Vote(
                duel_id,
                labeller,
                own,
                remark=remark,
                catch=bool(given),
                shown_first=first,
                millis=millis,
            )
            connection.execute(leases.delete().where(mine))
            return add_vote(connection, vote)

    def duels_for_files(self, study_id: int) -> list[FileRow]:
        """Return every duel that has outputs, once for each valid verdict of a person, or once without any."""
        with self._reading() as connection:
            valid = connection.execute(queries.VALID, {"study": study_id, "upto": 2**62}).all()
            wanted = [row for row in duels_of(connection, study_id) if row.left_key and row.right_key]
            shown = {duel.id: connection.execute(queries.SHOWN, {"duel": duel.id}).one() for duel in wanted}
        given: dict[str, list[Row[Any] | None]] = {}
        for row in valid:
            if row.source == "human" and not row.catch:
                given.setdefault(row.duel, []).append(row)
        none: list[Row[Any] | None] = [None]
        plain = {row.duel for row in valid if row.source == "outputs"}
        return [
            _file_row(shown[duel.id], verdict)
            for duel in wanted
            if duel.id not in plain
            for verdict in (given.get(duel.id) or none)
        ]

    def record_from_file(self, duel_id: str, labeller: str, verdict: Verdict, remark: str = "") -> None:
        """Keep a verdict that was given elsewhere, with the sides of ``duels_for_files``; the first one stays.

        Commits:
            At once.
        """
        with self._writing() as connection:
            if not given_by(connection, duel_id, labeller):
                row = connection.execute(queries.SHOWN, {"duel": duel_id}).one()
                first = _first_side(row, FILE, 0)
                own = verdict if first == row.left else swapped(verdict)
                add_vote(connection, Vote(duel_id, labeller, own, remark=remark, shown_first=first))

    def take_back(self, study_id: int, labeller: str) -> str | None:
        """Undo the last valid verdict of a person, as an event; its duel is theirs again.

        Returns:
            The duel's id; None if there is nothing to undo.

        Commits:
            At once.
        """
        with self._writing() as connection:
            last = connection.scalar(queries.LAST_GIVEN, {"study": study_id, "labeller": labeller})
            if last is None:
                return None
            duel_id = take_back(connection, last)
            lease = {"duel": duel_id, "labeller": labeller, "expires": time.time() + LEASE_S}
            connection.execute(upsert_lease, lease)
            return duel_id

    def labelling(self, study_id: int) -> Labelling:
        """Return where the labelling of a study stands."""
        with self._reading() as connection:
            states, people = (
                {str(name): int(n) for name, n in connection.execute(query, {"study": study_id}).all()}
                for query in (queries.BY_STATE, queries.BY_LABELLER)
            )
        return Labelling(states.get("open", 0), states.get("settled", 0), sum(people.values()), people)

    def outlook(self, study_id: int) -> Mapping[str, Any] | None:
        """Return the search's last recommendation as ``Recommend.to_json`` wrote it; None before the first."""
        with self._reading() as connection:
            said = connection.scalar(queries.LAST_RECOMMENDATION, {"study": study_id})
        payload: Mapping[str, Any] | None = from_json(said)
        return payload


def _to_catch(connection: Connection, who: Mapping[str, Any]) -> str | None:
    """Return a duel to ask somebody again, if it is time for one."""
    if not connection.scalar(queries.CATCH_IS_DUE, {**who, "every": CATCH_EVERY}):
        return None
    duel_id: str | None = connection.scalar(queries.TO_CATCH, who)
    return duel_id


def _first_side(row: Row[Any], labeller: str, n_given: int) -> str:
    """Return the prompt on the left of somebody's screen; a second look at the same duel has the other sides."""
    turn = int(content_hash("side", row.id, labeller)[0], 16) + n_given
    return str(row.left if turn % 2 == 0 else row.right)


def _shown(connection: Connection, duel_id: str, labeller: str, expires: float) -> Shown:
    row = connection.execute(queries.SHOWN, {"duel": duel_id}).one()
    left, right = from_text(row.left_output or ""), from_text(row.right_output or "")
    if _first_side(row, labeller, len(given_by(connection, duel_id, labeller))) != row.left:
        left, right = right, left
    return Shown(duel_id, from_json(row.body)["inputs"], left, right, expires)


def _file_row(row: Row[Any], given: Row[Any] | None) -> FileRow:
    left, right = from_text(row.left_output or ""), from_text(row.right_output or "")
    is_straight = _first_side(row, FILE, 0) == row.left
    if not is_straight:
        left, right = right, left
    inputs = from_json(row.body)["inputs"]
    if given is None:
        return FileRow(row.id, inputs, left, right)
    verdict = given.verdict if is_straight else swapped(given.verdict)
    return FileRow(row.id, inputs, left, right, verdict, given.labeller, from_text(given.remark))

"""Studies: the table of studies, what each has paid, and its trials."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, select, text

from promptopt.budget import Spend
from promptopt.errors import StoreError
from promptopt.store import dialect, schema
from promptopt.store.database import from_json, now, to_json, to_json_or_null
from promptopt.store.leases import Leases, is_held, refuse_busy
from promptopt.store.rows import OutcomeRow, ReadingRow, StudyRow, StudyState, TextRow, TrialRow, TrialScoreRow

trial_scores = text(schema.TRIAL_SCORES.format(which="consumed.study = :study"))
upsert_trial = dialect.upsert(schema.trials)
# In SQL's own words: every study needs these, and SQLAlchemy takes a few milliseconds to arrive at the same ones.
INSERT_STUDY = dialect.insert_new_sql(
    schema.studies,
    *("name", "config", "config_hash", "seed", "versions", "state", "summary", "dataset", "budget"),
    *("created", "updated"),
)
STUDY = "SELECT * FROM studies WHERE name = ?"
UPDATE_STUDY = (
    "UPDATE studies SET updated = ?, state = coalesce(?, state), summary = coalesce(?, summary), "
    "budget = coalesce(?, budget) WHERE id = ?"
)
PAY = "UPDATE studies SET calls = calls + ?, tokens = tokens + ?, usd = usd + ?, seconds = seconds + ? WHERE id = ?"
PAID = "SELECT calls, tokens, usd, seconds FROM studies WHERE id = ?"


class Studies(Leases):
    """Studies, spend and trials."""

    def create_study(self, row: StudyRow) -> int:
        """Make a study and return its id.

        Commits:
            At once.

        Raises:
            StoreError: There is one of this name.
        """
        with self._writing() as connection:
            study_id: int | None = connection.exec_driver_sql(
                f"{INSERT_STUDY} RETURNING id", _study_values(row)
            ).scalar()
            if study_id is None:
                raise StoreError(
                    f"The store {self.path} already holds a study named '{row.name}'; "
                    "resume it, delete it, or choose another name."
                )
            return study_id

    def study(self, name: str) -> StudyRow | None:
        """Return the study of this name, if there is one."""
        with self._reading() as connection:
            row = connection.exec_driver_sql(STUDY, (name,)).one_or_none()
        return _study_row(row) if row else None

    def studies(self) -> list[StudyRow]:
        """Return all studies in the order in which they were made."""
        with self._reading() as connection:
            rows = connection.execute(select(schema.studies).order_by(schema.studies.c.id)).all()
        return [_study_row(row) for row in rows]

    def update_study(
        self,
        study_id: int,
        *,
        state: StudyState | None = None,
        summary: Mapping[str, Any] | None = None,
        budget: Mapping[str, Any] | None = None,
    ) -> None:
        """Change what is given and leave the rest.

        Commits:
            At once.
        """
        values = now(), state, to_json_or_null(summary), to_json_or_null(budget), study_id
        with self._writing() as connection:
            connection.exec_driver_sql(UPDATE_STUDY, values)

    def delete_study(self, name: str) -> None:
        """Remove a study with its journal, texts and trials; outcomes stay, since all studies share them.

        Commits:
            At once.

        Raises:
            StoreError: There is no study of this name, or people have labelled for it.
            StudyBusyError: A process works on it.
        """
        studies = schema.studies
        with self._writing() as connection:
            row = connection.execute(select(studies).where(studies.c.name == name)).one_or_none()
            if row is None:
                raise StoreError(f"The store {self.path} holds no study named '{name}'; check the name.")
            refuse_busy(row)
            if connection.scalar(select(schema.duels.c.id).where(schema.duels.c.study == row.id).limit(1)):
                raise StoreError(f"The study '{name}' in {self.path} holds people's labels and is not deleted.")
            connection.execute(delete(studies).where(studies.c.id == row.id))

    def spend(self, study_id: int) -> Spend:
        """Return what the study has paid; ``evaluations`` and ``labels`` are not counted here and are 0."""
        with self._reading() as connection:
            paid = connection.exec_driver_sql(PAID, (study_id,)).one_or_none()
        calls, tokens, usd, seconds = paid or (0, 0, 0.0, 0.0)
        return Spend(calls=calls, tokens=tokens, usd=usd, seconds=seconds)

    def charge(self, study_id: int, spend: Spend) -> None:
        """Add to what the study has paid, for what no row stands for: calls lost in flight, wall time.

        Commits:
            At once.
        """
        with self._writing() as connection:
            pay(connection, study_id, spend)

    def put_trials(self, study_id: int, rows: Sequence[TrialRow]) -> None:
        """Keep trials; one of the same number is replaced.

        Commits:
            All of them at once.
        """
        if rows:
            with self._writing() as connection:
                connection.execute(upsert_trial, [_trial_values(study_id, row) for row in rows])

    def trials(self, study_id: int) -> list[TrialRow]:
        """Return the study's trials in the order of their numbers."""
        table = schema.trials
        with self._reading() as connection:
            rows = connection.execute(select(table).where(table.c.study == study_id).order_by(table.c.number)).all()
        return [
            TrialRow(
                number=row.number,
                prompt_id=row.prompt,
                parents=tuple(from_json(row.parents)),
                operator=row.operator,
                note=from_json(row.note),
                state=row.state,
            )
            for row in rows
        ]

    def trial_scores(self, study_id: int) -> list[TrialScoreRow]:
        """Return how each trial did on search examples, of the trials that were scored at all, by number."""
        with self._reading() as connection:
            rows = connection.execute(trial_scores, {"study": study_id}).all()
        return [
            TrialScoreRow(
                number=row.number,
                prompt_id=row.prompt,
                mean=row.mean or 0.0,
                standard_error=math.inf if row.standard_error is None else row.standard_error,
                n_valid=row.n_valid,
                n=row.n,
                calls=row.calls,
                tokens=row.tokens,
                usd=row.usd,
            )
            for row in rows
        ]


def paid(rows: Sequence[OutcomeRow] | Sequence[TextRow] | Sequence[ReadingRow]) -> Spend:
    """Return what these calls took together."""
    return Spend(
        calls=len(rows),
        tokens=sum(row.usage.tokens for row in rows),
        usd=sum(row.usage.cost_usd for row in rows),
    )


def pay(connection: Connection, study_id: int, spend: Spend) -> None:
    """Add to what a study has paid, inside the caller's transaction."""
    connection.exec_driver_sql(PAY, (spend.calls, spend.tokens, spend.usd, spend.seconds, study_id))


def _study_values(row: StudyRow) -> tuple[Any, ...]:
    at = now()
    return (
        row.name,
        to_json(row.config),
        row.config_hash,
        row.seed,
        to_json(row.versions),
        row.state,
        to_json(row.summary),
        row.dataset_hash,
        to_json(row.budget),
        at,
        at,
    )


def _study_row(row: Row[Any]) -> StudyRow:
    return StudyRow(
        id=row.id,
        name=row.name,
        config=from_json(row.config),
        config_hash=row.config_hash,
        seed=row.seed,
        versions=from_json(row.versions),
        state=row.state,
        summary=from_json(row.summary),
        dataset_hash=row.dataset,
        created=row.created,
        updated=row.updated,
        budget=from_json(row.budget),
        is_held=is_held(row),
    )


def _trial_values(study_id: int, row: TrialRow) -> dict[str, Any]:
    return {
        "study": study_id,
        "number": row.number,
        "prompt": row.prompt_id,
        "parents": to_json(row.parents),
        "operator": row.operator,
        "note": to_json(row.note),
        "state": row.state,
    }

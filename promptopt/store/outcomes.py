"""Outcomes: what models said and what metrics made of it; the cache that all studies of a store share."""

import sys
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, func, select, text

from promptopt.budget import Usage
from promptopt.evaluation import Outcome
from promptopt.store import dialect, schema
from promptopt.store.database import Database, from_text, to_text
from promptopt.store.rows import ConsumedRow, OutcomeRow, ReadingRow, ScoreRow
from promptopt.store.studies import paid, pay

_o, _s, _c = schema.outcomes.c, schema.scores.c, schema.consumed.c

OUTCOME = (
    _o.request_key,
    _o.prompt,
    _o.example,
    _o.model_key,
    _o.repeat,
    _o.status,
    _o.output,
    _o.prompt_tokens,
    _o.completion_tokens,
    _o.cached_tokens,
    _o.cost_usd,
    _o.seconds,
    _o.attempts,
    _o.study,
    _o.error,
)

INSERT_OUTCOME = dialect.insert_new_sql(schema.outcomes, *(column.name for column in OUTCOME))
INSERT_SCORE = dialect.insert_new_sql(schema.scores, "request_key", "metric_key", "value", "feedback")
INSERT_CONSUMED = dialect.insert_new_sql(schema.consumed, "study", "path", "request_key", "prompt")
# In SQL's own words, since compiling a statement and naming its columns takes longer than SQLite itself does.
_KNOWN = (
    "SELECT o.request_key, o.prompt, o.example, o.status, o.output, s.value, coalesce(s.feedback, o.error), "
    "o.prompt_tokens, o.completion_tokens, o.cached_tokens, o.cost_usd, o.seconds FROM outcomes o "
    "LEFT JOIN scores s ON s.request_key = o.request_key AND s.metric_key = ? WHERE o.request_key IN "
)
RECALL = _KNOWN + dialect.IN_LIST
RECALL_CONSUMED = _KNOWN + "(SELECT request_key FROM consumed WHERE study = ? AND path = ?)"  # noqa: S608
READING_PAIRS = text("""
SELECT up.value, down.value, length(outcomes.output)
FROM (SELECT DISTINCT request_key FROM consumed WHERE study = :study) AS used
JOIN outcomes ON outcomes.request_key = used.request_key
JOIN scores AS up ON up.request_key = used.request_key AND up.metric_key = :up
JOIN scores AS down ON down.request_key = used.request_key AND down.metric_key = :down
ORDER BY used.request_key
""")
TOKENS_READ = text("""
SELECT consumed.prompt, AVG(outcomes.prompt_tokens) FROM consumed
JOIN asks ON asks.study = consumed.study AND asks.path = consumed.path AND asks.path GLOB '[0-9]*'
JOIN outcomes ON outcomes.request_key = consumed.request_key
WHERE consumed.study = :study AND outcomes.status IN ('ok', 'truncated') GROUP BY consumed.prompt
""")
UNSCORED = text("""
SELECT COUNT(DISTINCT consumed.request_key) FROM consumed
JOIN outcomes ON outcomes.request_key = consumed.request_key
WHERE consumed.study = :study AND outcomes.status = 'failed' AND outcomes.error = :why
""")
insert_reading = dialect.insert_new(schema.scores)


class Outcomes(Database):
    """Outcomes, their scores, and which ask used which."""

    def add_outcomes(
        self, rows: Sequence[OutcomeRow], scores: Sequence[ScoreRow], consumed: Sequence[ConsumedRow]
    ) -> set[str]:
        """Keep new outcomes with their scores and uses, and charge the studies for them.

        What has a key that is known is left alone: the first outcome stays. Give each outcome once, when its call
        has come back, and none that was found here: a row given is a row paid.

        Returns:
            The keys whose known outcome has another status or output than the row given; what was given is dropped.

        Commits:
            All of it at once.

        Raises:
            StoreError: A row names a prompt, example, study or ask that the store does not hold.
        """
        dropped: set[str] = set()
        if not (rows or scores or consumed):
            return dropped
        with self._writing() as connection:
            if rows:
                new = connection.exec_driver_sql(INSERT_OUTCOME, [_outcome_values(row) for row in rows])
                if new.rowcount < len(rows):
                    dropped = _known_otherwise(connection, rows)
                    scores = [score for score in scores if score.request_key not in dropped]
                for study_id in {row.study_id for row in rows if row.study_id is not None}:
                    pay(connection, study_id, paid([row for row in rows if row.study_id == study_id]))
            if scores:
                connection.exec_driver_sql(INSERT_SCORE, [_score_values(score) for score in scores])
            if consumed:
                connection.exec_driver_sql(INSERT_CONSUMED, list(consumed))
        return dropped

    def find_outcomes(self, request_keys: Sequence[str]) -> dict[str, OutcomeRow]:
        """Return the outcomes that are known, by request key; failed ones answer nobody and are left out."""
        with self._reading() as connection:
            rows = [
                row
                for batch in dialect.in_batches(request_keys)
                for row in connection.execute(select(*OUTCOME).where(_o.request_key.in_(batch))).all()
            ]
        return {row[0]: _outcome_row(row) for row in rows if row[5] != "failed"}

    def scores(self, request_keys: Sequence[str], metric_key: str) -> dict[str, ScoreRow]:
        """Return the scores that are known under a metric, by request key."""
        with self._reading() as connection:
            rows = [
                row
                for batch in dialect.in_batches(request_keys)
                for row in connection.execute(
                    select(_s.request_key, _s.value, _s.feedback).where(
                        _s.request_key.in_(batch), _s.metric_key == metric_key
                    )
                ).all()
            ]
        return {key: ScoreRow(key, metric_key, value, from_text(feedback)) for key, value, feedback in rows}

    def add_readings(self, study_id: int, rows: Sequence[ReadingRow]) -> None:
        """Keep what a judge model said of outcomes that are known, and charge the study for every reply.

        Commits:
            All of it at once.
        """
        kept = [_reading_values(row) for row in rows if row.value is not None]
        with self._writing() as connection:
            if kept:
                connection.execute(insert_reading, kept)
            pay(connection, study_id, paid(rows))

    def readings(self, request_keys: Sequence[str], key: str) -> list[ReadingRow]:
        """Return what was read under this key of these outcomes."""
        found = self.scores(request_keys, key).values()
        return [ReadingRow(score.request_key, key, score.value, score.feedback) for score in found]

    def reading_pairs(self, study_id: int, up: str, down: str) -> list[tuple[float, float, int]]:
        """Return both readings of each outcome that a study used, with the output's length in characters."""
        with self._reading() as connection:
            rows = connection.execute(READING_PAIRS, {"study": study_id, "up": up, "down": down}).all()
        return [(row[0], row[1], row[2]) for row in rows]

    def count_unscored(self, study_id: int, why: str) -> int:
        """Return how many outcomes that a study used have failed for this reason."""
        with self._reading() as connection:
            return connection.scalar(UNSCORED, {"study": study_id, "why": to_text(why)}) or 0

    def tokens_read(self, study_id: int) -> dict[str, float]:
        """Return how many tokens a call of each prompt of a search read on average, by prompt id."""
        with self._reading() as connection:
            return {row[0]: row[1] for row in connection.execute(TOKENS_READ, {"study": study_id}).all()}

    def consumed(self, study_id: int, path: str) -> list[str]:
        """Return the request keys of the outcomes that an ask used, sorted."""
        with self._reading() as connection:
            wanted = select(_c.request_key).where(_c.study == study_id, _c.path == path).distinct()
            return sorted(connection.scalars(wanted))

    def failures(self, study_id: int) -> dict[str, int]:
        """Return how many of the outcomes that each ask used had failed, by path, of the asks that have some."""
        table = schema.consumed
        failed = select(table.c.path, func.count()).join(schema.outcomes).where(_o.status == "failed")
        with self._reading() as connection:
            rows = connection.execute(failed.where(table.c.study == study_id).group_by(table.c.path)).all()
        return {path: int(n) for path, n in rows}

    def recall(self, request_keys: Sequence[str], metric_key: str, *, failed: bool = False) -> dict[str, Outcome]:
        """Return the outcomes that are known, by request key, each with its score under a metric if it has one.

        Args:
            request_keys: Of the outcomes wanted.
            metric_key: Of the score wanted.
            failed: Whether failed ones are wanted too, which answer nobody but the study that saw them.
        """
        with self._reading() as connection:
            rows = connection.exec_driver_sql(RECALL, (metric_key, dialect.as_list(request_keys))).all()
        return {row[0]: _scored_outcome(row) for row in rows if failed or row[3] != "failed"}

    def consumed_outcomes(self, study_id: int, path: str, metric_key: str) -> dict[str, Outcome]:
        """Return the outcomes that an ask used, by request key, each with its score under a metric if it has one."""
        with self._reading() as connection:
            rows = connection.exec_driver_sql(RECALL_CONSUMED, (metric_key, study_id, path)).all()
        return {row[0]: _scored_outcome(row) for row in rows}


def _known_otherwise(connection: Connection, rows: Sequence[OutcomeRow]) -> set[str]:
    """Return the keys whose known outcome ended otherwise or says something else: the rows' scores are not of that."""
    given = {row.request_key: (row.status, to_text(row.output)) for row in rows}
    return {
        key
        for batch in dialect.in_batches(list(given))
        for key, *known in connection.execute(
            select(_o.request_key, _o.status, _o.output).where(_o.request_key.in_(batch))
        )
        if tuple(known) != given[key]
    }


def _outcome_values(row: OutcomeRow) -> tuple[Any, ...]:
    usage = row.usage
    return (
        row.request_key,
        row.prompt_id,
        row.example_id,
        row.model_key,
        row.repeat,
        row.status,
        to_text(row.output),
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.cached_tokens,
        usage.cost_usd,
        usage.seconds,
        row.attempts,
        row.study_id,
        to_text(row.error),
    )


def _outcome_row(row: Sequence[Any]) -> OutcomeRow:
    return OutcomeRow(
        row[0],
        row[1],
        row[2],
        row[3],
        row[4],
        row[5],
        from_text(row[6]),
        Usage(row[7], row[8], row[9], row[10], row[11]),
        row[12],
        row[13],
        from_text(row[14]),
    )


def _scored_outcome(row: Sequence[Any]) -> Outcome:
    usage = Usage(row[7], row[8], row[9], row[10], row[11])
    return Outcome(row[1], row[2], row[3], sys.intern(from_text(row[4])), row[5], from_text(row[6]), usage)


def _reading_values(row: ReadingRow) -> dict[str, Any]:
    usage = row.usage
    return {
        "request_key": row.request_key,
        "metric_key": row.key,
        "value": row.value,
        "feedback": to_text(row.text),
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "cached_tokens": usage.cached_tokens,
        "cost_usd": usage.cost_usd,
        "seconds": usage.seconds,
    }


def _score_values(score: ScoreRow) -> tuple[Any, ...]:
    return score.request_key, score.metric_key, score.value, to_text(score.feedback)

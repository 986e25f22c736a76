"""Journal: the asks of a study with their answers, in order, and the texts that were written for them."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, select

from promptopt.budget import Usage
from promptopt.errors import StoreError
from promptopt.store import dialect, schema
from promptopt.store.database import Database, from_json, from_text, now, to_json_or_null, to_text
from promptopt.store.dump import dump
from promptopt.store.rows import AskRow, TextRow
from promptopt.store.studies import paid, pay

INSERT_ASK = dialect.insert_new_sql(
    schema.asks, "study", "path", "number", "kind", "fingerprint", "state", "metric_key", "payload", "opened"
)
ANSWER_ASK = (
    "UPDATE asks SET state = 'answered', digest = ?, metric_key = coalesce(?, metric_key), answer = ?, answered = ? "
    "WHERE study = ? AND path = ? AND state = 'open'"
)
ASKS = "SELECT * FROM asks WHERE study = ?"
ANSWERED = "SELECT path FROM asks WHERE study = ? AND state = 'answered' AND path IN " + dialect.IN_LIST  # noqa: S608
upsert_text = dialect.upsert(schema.texts)


class Journal(Database):
    """Asks, answers and texts."""

    def open_asks(self, study_id: int, rows: Sequence[AskRow]) -> None:
        """Write asks into the journal as open; those whose path stands there already are left alone.

        Commits:
            All of them at once.
        """
        if rows:
            at = now()
            with self._writing() as connection:
                connection.exec_driver_sql(INSERT_ASK, [_ask_values(study_id, row, at) for row in rows])

    def answer_ask(
        self, study_id: int, path: str, digest: str, metric_key: str | None = None, answer: Any | None = None
    ) -> None:
        """Write the answer of an open ask; the same answer may be given again.

        Args:
            study_id: The study.
            path: The ask.
            digest: The hash of the whole answer.
            metric_key: The metric that scored it, if any.
            answer: What of the answer is kept here; small plain data.

        Commits:
            At once.

        Raises:
            StoreError: The ask was never opened, or was answered otherwise: the journal does not change.
        """
        asks = schema.asks.c
        values = digest, metric_key, to_json_or_null(answer), now(), study_id, path
        with self._writing() as connection:
            done = connection.exec_driver_sql(ANSWER_ASK, values)
            this = select(asks.digest).where(asks.study == study_id, asks.path == path)
            if done.rowcount == 0 and connection.scalar(this) != digest:
                raise StoreError(
                    f"Ask {path} of study {study_id} in {self.path} is not open or was answered otherwise before; "
                    "start a new study to go another way."
                )

    def answered(self, study_id: int, paths: Sequence[str]) -> set[str]:
        """Return those of these paths whose asks are answered."""
        with self._reading() as connection:
            rows = connection.exec_driver_sql(ANSWERED, (study_id, dialect.as_list(paths))).all()
        return {row[0] for row in rows}

    def journal(self, study_id: int) -> list[AskRow]:
        """Return the study's asks in order: by number, then by the parts of the path."""
        with self._reading() as connection:
            rows = connection.exec_driver_sql(ASKS, (study_id,)).all()
        return sorted((_ask_row(row) for row in rows), key=lambda ask: (ask.number, _path_order(ask.path)))

    def add_texts(self, study_id: int, path: str, texts: Sequence[TextRow]) -> None:
        """Keep texts that were written for an ask, and charge the study for them.

        A text of the same index is replaced (the one before has failed) but stays paid.

        Commits:
            All of them at once.
        """
        if not texts:
            return
        with self._writing() as connection:
            connection.execute(upsert_text, [_text_values(study_id, path, row) for row in texts])
            pay(connection, study_id, paid(texts))

    def texts(self, study_id: int, path: str) -> list[TextRow]:
        """Return the texts of one ask by index."""
        table = schema.texts
        with self._reading() as connection:
            wanted = select(table).where(table.c.study == study_id, table.c.path == path).order_by(table.c.index)
            rows = connection.execute(wanted).mappings().all()
        return [
            TextRow(
                index=row["index"],  # on a plain row this name is a method
                text=from_text(row["text"]),
                status=row["status"],
                usage=Usage(*(row[name] for name in Usage.__slots__)),
                attempts=row["attempts"],
            )
            for row in rows
        ]

    def dump(self, study_id: int) -> str:
        """Return the journal in one canonical form: equal for two studies that went the same way."""
        table = schema.consumed
        with self._reading() as connection:
            used = connection.execute(select(table.c.path, table.c.request_key).where(table.c.study == study_id)).all()
        return dump(self.journal(study_id), [(path, key) for path, key in used])


def _path_order(path: str) -> list[tuple[int, int, str]]:
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in path.split("/")]


def _ask_values(study_id: int, row: AskRow, at: str) -> tuple[Any, ...]:
    payload = to_json_or_null(row.payload)
    return study_id, row.path, row.number, row.kind, row.fingerprint, "open", row.metric_key, payload, at


def _ask_row(row: Row[Any]) -> AskRow:
    return AskRow(
        number=row.number,
        path=row.path,
        kind=row.kind,
        fingerprint=row.fingerprint,
        state=row.state,
        digest=row.digest,
        metric_key=row.metric_key,
        payload=from_json(row.payload),
        answer=from_json(row.answer),
        opened=row.opened,
        answered=row.answered,
    )


def _text_values(study_id: int, path: str, row: TextRow) -> dict[str, Any]:
    usage = row.usage
    return {
        "study": study_id,
        "path": path,
        "index": row.index,
        "text": to_text(row.text),
        "status": row.status,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "cached_tokens": usage.cached_tokens,
        "cost_usd": usage.cost_usd,
        "seconds": usage.seconds,
        "attempts": row.attempts,
    }

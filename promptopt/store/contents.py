"""Contents: the prompts, examples and datasets of a store, each kept once under the hash of what it is."""

import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Table, select

from promptopt.errors import StoreError
from promptopt.example import SPLITS, Dataset, Example
from promptopt.ids import content_hash
from promptopt.prompt import Prompt
from promptopt.store import dialect, schema
from promptopt.store.database import Database, from_json, now, to_json

INSERT_PROMPT = dialect.insert_new_sql(schema.prompts, "id", "parts")
INSERT_EXAMPLE = dialect.insert_new_sql(schema.examples, "id", "body")
INSERT_MEMBER = dialect.insert_new_sql(schema.memberships, "dataset", "split", "example")
INSERT_VECTOR = dialect.insert_new_sql(schema.vectors, "text", "encoder_key", "vector")
COUNT_MEMBERS = "SELECT count(*) FROM memberships WHERE dataset = ?"
insert_use = dialect.insert_new(schema.test_uses)


class Contents(Database):
    """Prompts, examples, datasets, and who opened which test split."""

    def put_prompts(self, prompts: Iterable[Prompt]) -> None:
        """Keep prompts; those that are known already are left alone.

        Commits:
            All of them at once.
        """
        self._put(INSERT_PROMPT, [(prompt.id, to_json(prompt.to_json())) for prompt in prompts])

    def prompt(self, prompt_id: str) -> Prompt:
        """Return one prompt.

        Raises:
            StoreError: There is none with this id.
        """
        try:
            return self.prompts([prompt_id])[prompt_id]
        except KeyError:
            raise StoreError(f"The store {self.path} holds no prompt {prompt_id}; check the id.") from None

    def prompts(self, ids: Iterable[str]) -> dict[str, Prompt]:
        """Return prompts by id; ids that are not known are missing from it."""
        return {key: Prompt.from_json(data) for key, data in self._get(schema.prompts, list(ids)).items()}

    def put_dataset(self, dataset: Dataset) -> None:
        """Keep a dataset's examples and which split each is in.

        Commits:
            All of it at once.
        """
        n = sum(len(dataset.split(split)) for split in SPLITS)
        with self._reading() as connection:
            if connection.exec_driver_sql(COUNT_MEMBERS, (dataset.hash,)).scalar() == n:
                return
        rows = [(split, example) for split in SPLITS for example in dataset.split(split)]
        with self._writing() as connection:
            for batch in dialect.in_batches(rows):
                connection.exec_driver_sql(INSERT_EXAMPLE, [(e.id, to_json(_body(e))) for _, e in batch])
                connection.exec_driver_sql(INSERT_MEMBER, [(dataset.hash, split, e.id) for split, e in batch])

    def examples(self, ids: Iterable[str]) -> dict[str, Example]:
        """Return examples by id; ids that are not known are missing from it."""
        return {key: _example(data) for key, data in self._get(schema.examples, list(ids)).items()}

    def add_vectors(self, vectors: Mapping[str, Sequence[float]], encoder_key: str) -> None:
        """Keep the vectors of texts; those that are known already are left alone.

        Commits:
            All of them at once.
        """
        rows = [(_name(text), encoder_key, array.array("d", vector).tobytes()) for text, vector in vectors.items()]
        self._put(INSERT_VECTOR, rows)

    def vectors(self, texts: Iterable[str], encoder_key: str) -> dict[str, tuple[float, ...]]:
        """Return the vectors of texts by text; texts without one are missing from it."""
        by_name = {_name(text): text for text in texts}
        table = schema.vectors.c
        with self._reading() as connection:
            rows = [
                row
                for batch in dialect.in_batches(list(by_name))
                for row in connection.execute(
                    select(table.text, table.vector).where(table.text.in_(batch), table.encoder_key == encoder_key)
                )
            ]
        return {by_name[name]: tuple(array.array("d", vector)) for name, vector in rows}

    def record_test_use(self, dataset_hash: str, study_id: int) -> int:
        """Record that a study opens a test split, and return which use of it that is, counted from 1.

        The same study counts once, however often it looks; deleted studies still count.

        Commits:
            At once.
        """
        uses = schema.test_uses
        with self._writing() as connection:
            connection.execute(insert_use, {"dataset": dataset_hash, "study": study_id, "at": now()})
            in_order = select(uses.c.study).where(uses.c.dataset == dataset_hash).order_by(uses.c.at, uses.c.study)
            return list(connection.scalars(in_order)).index(study_id) + 1

    def _put(self, insert: str, rows: list[tuple[Any, ...]]) -> None:
        if rows:
            with self._writing() as connection:
                connection.exec_driver_sql(insert, rows)

    def _get(self, table: Table, ids: Sequence[str]) -> dict[str, Any]:
        key, body = table.c
        with self._reading() as connection:
            rows = [
                row
                for batch in dialect.in_batches(ids)
                for row in connection.execute(select(key, body).where(key.in_(batch)))
            ]
        return {name: from_json(text) for name, text in rows}


def _name(text: str) -> str:
    """Return the key of a text: a hash, since it may be long and hold half a character."""
    return content_hash(text)


def _body(example: Example) -> dict[str, Any]:
    return {
        "inputs": example.inputs,
        "target": example.target,
        "choices": example.choices,
        "meta": example.meta,
        "task": example.task,
    }


def _example(body: Mapping[str, Any]) -> Example:
    return Example(**{**body, "choices": tuple(body["choices"])})

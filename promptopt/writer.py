"""Writer: answers Write asks; lets the optimizer model write texts.

Each text is stored as it comes, so that no paid proposal is ever asked for twice.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing

from promptopt.ask import Write, Written
from promptopt.backends.base import Backend, Request
from promptopt.evaluation import ANSWERED
from promptopt.ids import content_hash
from promptopt.ledger import Ledger
from promptopt.store.rows import TextRow
from promptopt.store.store import Store

Place = tuple[str, int]


class Writer:
    """Writes texts with the optimizer model, under the ledger.

    Args:
        backend: The optimizer model.
        store: Where texts are kept.
        ledger: The caps.
        study_id: Who pays.
        seed: The study's seed; each text has a sampling seed of its own.
    """

    def __init__(self, backend: Backend, store: Store, ledger: Ledger, *, study_id: int, seed: int) -> None:
        self._backend = backend
        self._store = store
        self._ledger = ledger
        self._study_id = study_id
        self._seed = seed

    def answer(self, asks: Mapping[str, Write]) -> dict[str, Written]:
        """Answer asks that are open side by side, by their journal paths.

        Raises:
            BudgetSpentError: A cap was reached first; what came in is stored.
            TooManyFailuresError: Too few calls succeeded; likewise.
            FatalBackendError: The model cannot be used at all.
        """
        texts = {path: self._stored(path) for path in asks}
        with closing(self._ledger.run(self._backend, self._requests(asks, texts))) as arrivals:
            for (path, index), reply in filter(None, arrivals):
                texts[path][index] = TextRow(index, reply.text, reply.status, reply.usage, reply.attempts)
                self._store.add_texts(self._study_id, path, [texts[path][index]])
        return {path: _written(rows) for path, rows in texts.items()}

    def recorded(self, path: str) -> Written:
        """Return the answer that the journal holds for this ask, without any call."""
        return _written({row.index: row for row in self._store.texts(self._study_id, path)})

    def _stored(self, path: str) -> dict[int, TextRow]:
        return {row.index: row for row in self._store.texts(self._study_id, path) if row.status != "failed"}

    def _requests(
        self, asks: Mapping[str, Write], texts: Mapping[str, Mapping[int, TextRow]]
    ) -> Iterator[tuple[Place, Request]]:
        for path, ask in asks.items():
            for index in range(ask.n):
                if index not in texts[path]:
                    yield (path, index), self._request(ask, path, index)

    def _request(self, ask: Write, path: str, index: int) -> Request:
        return Request(
            mode="chat",
            messages=ask.messages,
            max_tokens=ask.max_tokens,
            temperature=ask.temperature,
            seed=int(content_hash(self._seed, path, index)[:7], 16),
            group=path,
        )


def _written(rows: Mapping[int, TextRow]) -> Written:
    usable = [row for _, row in sorted(rows.items()) if row.status in ANSWERED]
    return Written(tuple(row.text for row in usable), failed=len(rows) - len(usable))

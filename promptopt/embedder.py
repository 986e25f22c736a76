"""Embedder: answers Embed asks; turns texts into vectors, each text once.

The default needs no model: it counts what a text is made of. The pieces of a prompt that was put together from
components are its lines and sentences, so for those the counts are its genome.
"""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import pairwise
from typing import Protocol

from promptopt.ask import Embed, Embedded
from promptopt.backends.base import Backend, Request
from promptopt.errors import ConfigError, StudyError
from promptopt.ids import content_hash
from promptopt.layout import Message
from promptopt.ledger import Ledger
from promptopt.store.store import Store

DIMENSIONS = 512
GRAM = 3  # letters
WEIGHTS = {"piece": 1.0, "word": 0.7, "gram": 0.5}

Vector = tuple[float, ...]

_PIECE_END = re.compile(r"(?<=[.!?;:])\s+|\n+")
_WORD = re.compile(r"\w+")


class Encoder(Protocol):
    """Turns texts into vectors."""

    @property
    def key(self) -> str:
        """The hash of all that decides the vectors."""

    def encode(self, texts: Sequence[str], ledger: Ledger) -> Iterator[tuple[int, Vector]]:
        """Yield the place and the vector of each text, as they come."""


class HashEncoder:
    """Counts of pieces, words and letter triples, hashed into a fixed number of signed places; no model, no call.

    Each kind of count has length 1 before they are weighed, so that a long text is no other kind of text.
    """

    key = content_hash("hash", DIMENSIONS, GRAM, WEIGHTS)

    def encode(self, texts: Sequence[str], ledger: Ledger) -> Iterator[tuple[int, Vector]]:  # noqa: ARG002  # costs nothing
        """Yield the vectors, shape (DIMENSIONS,)."""
        return enumerate(map(hashed_counts, texts))


class EndpointEncoder:
    """Vectors by a model behind ``/embeddings``.

    Args:
        backend: The model.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    @property
    def key(self) -> str:
        """The hash of the model."""
        return content_hash("endpoint", self._backend.model_key)

    def encode(self, texts: Sequence[str], ledger: Ledger) -> Iterator[tuple[int, Vector]]:
        """Yield the vectors as they come, under the ledger.

        Raises:
            StudyError: A text has no vector after all retries.
            BudgetSpentError: A cap was reached first.
        """
        requests = ((place, _request(text)) for place, text in enumerate(texts))
        with closing(ledger.run(self._backend, requests)) as arrivals:
            for place, reply in filter(None, arrivals):
                ledger.write_off(reply.usage)
                if reply.status != "ok":
                    raise StudyError(f"A text has no embedding: {reply.error or reply.status}; resume to try again.")
                yield place, tuple(json.loads(reply.text))


class SentenceEncoder:
    """Vectors by a local model of the package sentence-transformers.

    Args:
        model: Its name or folder.

    Raises:
        ConfigError: The package is not installed.
    """

    def __init__(self, model: str) -> None:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError:
            raise ConfigError(
                'sentence embeddings need the package sentence-transformers; install it with: pip install -e ".[embed]"'
            ) from None
        self._name = model
        self._model = SentenceTransformer(model, device="cpu")

    @property
    def key(self) -> str:
        """The hash of the model's name."""
        return content_hash("sentence-transformers", self._name)

    def encode(self, texts: Sequence[str], ledger: Ledger) -> Iterator[tuple[int, Vector]]:  # noqa: ARG002  # costs nothing
        """Yield the vectors."""
        for place, vector in enumerate(self._model.encode(list(texts), normalize_embeddings=True)):
            yield place, tuple(float(number) for number in vector)


class Embedder:
    """Answers Embed asks; a text that the store has a vector of is not encoded again.

    Args:
        encoder: What turns texts into vectors.
        store: Where they are kept.
        ledger: The caps.
    """

    def __init__(self, encoder: Encoder, store: Store, ledger: Ledger) -> None:
        self.encoder = encoder
        self._store = store
        self._ledger = ledger

    def answer(self, ask: Embed) -> Embedded:
        """Return the vectors of an ask's texts.

        Commits:
            Each vector as it comes.
        """
        key = self.encoder.key
        known = self._store.vectors(ask.texts, key)
        missing = [text for text in dict.fromkeys(ask.texts) if text not in known]
        for place, vector in self.encoder.encode(missing, self._ledger):
            known[missing[place]] = vector
            self._store.add_vectors({missing[place]: vector}, key)
        return Embedded(tuple(known[text] for text in ask.texts))


def hashed_counts(text: str) -> Vector:
    """Return the counts of what a text is made of, shape (DIMENSIONS,)."""
    folded = " ".join(text.lower().split())
    words = _WORD.findall(folded)
    counts = {
        "piece": [piece.strip().lower() for piece in _PIECE_END.split(text) if piece.strip()],
        "word": [*words, *(f"{one} {two}" for one, two in pairwise(words))],
        "gram": [folded[at : at + GRAM] for at in range(len(folded) - GRAM + 1)],
    }
    vector = [0.0] * DIMENSIONS
    for kind, units in counts.items():
        part = [0.0] * DIMENSIONS
        for unit in units:
            digits = int(content_hash(kind, unit)[:8], 16)
            part[digits // 2 % DIMENSIONS] += 1.0 if digits % 2 else -1.0
        length = sum(count * count for count in part) ** 0.5 or 1.0
        vector = [total + WEIGHTS[kind] * count / length for total, count in zip(vector, part, strict=True)]
    return tuple(round(number, 9) for number in vector)


def _request(text: str) -> Request:
    return Request(mode="chat", messages=(Message("user", text),), max_tokens=0, group="embed")

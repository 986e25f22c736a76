"""Vectors: by counting pieces, words and letters, by an endpoint, each text once."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from promptopt.ask import Embed
from promptopt.backends.base import Reply, Request
from promptopt.backends.embeddings import read_vector
from promptopt.backends.wire import MalformedError
from promptopt.budget import Budget, Spend, Usage
from promptopt.embedder import DIMENSIONS, Embedder, EndpointEncoder, HashEncoder, SentenceEncoder, hashed_counts
from promptopt.errors import ConfigError, StudyError
from promptopt.ledger import BudgetSpentError, Ledger
from promptopt.store.store import Store
from tests.fakes import FakeBackend, Say


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "s.db") as opened:
        yield opened


def alike(one: str, other: str) -> float:
    a, b = hashed_counts(one), hashed_counts(other)
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(sum(x * x for x in a) * sum(x * x for x in b))


def test_prompts_that_share_pieces_are_alike() -> None:
    base = "Name the kind of the note. Answer with one word."
    edited = "Name the kind of the note. Be brief and exact."
    other = "Translate the sentence to French, keep the tone."
    assert len(hashed_counts(base)) == DIMENSIONS
    assert alike(base, base) == pytest.approx(1.0)
    assert alike(base, edited) > alike(base, other) + 0.2
    assert hashed_counts("") == (0.0,) * DIMENSIONS


def test_each_text_is_encoded_once_and_repeats_are_answered_in_order(store: Store) -> None:
    backend = FakeBackend(lambda request: Reply("ok", json.dumps([len(request.messages[0].content), 0.5]), Usage(3, 0)))
    ledger = Ledger(Budget(), Spend())
    embedder = Embedder(EndpointEncoder(backend), store, ledger)
    answer = embedder.answer(Embed(("a", "bbb", "a")))
    assert answer.vectors == ((1.0, 0.5), (3.0, 0.5), (1.0, 0.5))
    assert len(backend.asked) == 2
    assert embedder.answer(Embed(("bbb", "\ud800"))).vectors == ((3.0, 0.5), (1.0, 0.5))
    assert len(backend.asked) == 3
    assert ledger.spend.calls == ledger.lost.calls == 3, "no row stands for them, so the study charges them itself"
    assert Embedder(HashEncoder(), store, ledger).answer(Embed(("a",))).vectors == (hashed_counts("a"),)


def fails(_request: Request) -> Reply:
    return Reply("failed", error="no such model")


def answers(_request: Request) -> Reply:
    return Reply("ok", "[1]")


@pytest.mark.parametrize(
    ("say", "budget", "error"), [(fails, Budget(), StudyError), (answers, Budget(calls=1), BudgetSpentError)]
)
def test_what_brings_no_vector_stops(store: Store, say: Say, budget: Budget, error: type[Exception]) -> None:
    embedder = Embedder(EndpointEncoder(FakeBackend(say, concurrency=1)), store, Ledger(budget, Spend()))
    with pytest.raises(error):
        embedder.answer(Embed(("a", "b", "c")))


def test_the_answer_of_an_endpoint_is_read_or_refused() -> None:
    reply = read_vector(b'{"data": [{"embedding": [1, 2.5]}], "usage": {"prompt_tokens": 7}}')
    assert (json.loads(reply.text), reply.usage.prompt_tokens) == ([1.0, 2.5], 7)
    for payload in (b"{", b"{}", b'{"data": [{"embedding": []}]}', b'{"data": [{"embedding": ["x"]}]}', b"[]"):
        with pytest.raises(MalformedError):
            read_vector(payload)


def test_a_missing_package_is_one_sentence() -> None:
    with pytest.raises(ConfigError, match=r'pip install -e "\.\[embed\]"'):
        SentenceEncoder("all-MiniLM-L6-v2")

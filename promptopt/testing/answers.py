"""Answers out of a table: drive a search without a study, a store or a model."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from promptopt.ask import Ask, Batch, Evaluate, Evaluated, Recommend, Search
from promptopt.evaluation import Evaluation, Outcome
from promptopt.example import Example
from promptopt.prompt import Candidate

T = TypeVar("T")

Table = Mapping[tuple[str, str], float | None] | Callable[[Candidate, Example], float | None]
Answer = Callable[[Ask[Any]], Any]


def answer_from(table: Table, remaining: int = 1_000_000) -> Answer:
    """Return a function that answers Evaluate out of a table of scores; Recommend gets None.

    Args:
        table: The score by (prompt id, example id), or a function of candidate and example; None is a failed call.
        remaining: Evaluations left in the pretended plan; each pair asked for takes one.
    """
    left = remaining
    look_up = table if callable(table) else lambda candidate, example: table[candidate.id, example.id]

    def outcome(candidate: Candidate, example: Example) -> Outcome:
        score = look_up(candidate, example)
        return Outcome(candidate.id, example.id, "failed" if score is None else "ok", score=score, task=example.task)

    def answer(ask: Ask[Any]) -> Any:
        nonlocal left
        if isinstance(ask, Batch):
            return tuple(answer(inner) for inner in ask.asks.values())
        if isinstance(ask, Recommend):
            return None
        if not isinstance(ask, Evaluate):
            raise TypeError(f"a table of scores cannot answer {ask.kind}")
        left = max(0, left - len(ask.candidates) * len(ask.examples))
        evaluations = tuple(Evaluation(c.id, tuple(outcome(c, e) for e in ask.examples)) for c in ask.candidates)
        return Evaluated(evaluations, left)

    return answer


def drive(search: Search[T], answer: Answer) -> tuple[T, list[Ask[Any]]]:
    """Run a search to its end; return what it returned and everything it asked, in order."""
    asks: list[Ask[Any]] = []
    reply: Any = None
    while True:
        try:
            ask = search.send(reply)
        except StopIteration as stop:
            return stop.value, asks
        asks.append(ask)
        reply = answer(ask)

"""Form, Pair and Sheet: what an answer to Evaluate asks consists of, and where its outcomes are written as they come.

A sheet holds one outcome a pair and nothing else, so that its size is that of the answer.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from promptopt.ask import Evaluate
from promptopt.evaluation import Evaluation, Outcome
from promptopt.example import Example
from promptopt.layout import Template
from promptopt.prompt import Prompt
from promptopt.task import Task


@dataclass(frozen=True, slots=True)
class Form:
    """How one prompt asks the examples of one task.

    Args:
        task: The task: a member, where the study is about a suite.
        template: The prompt, compiled for it.
        max_tokens: The room for an answer.
        prefix: The hash of all that decides an answer besides the example.
    """

    task: Task
    template: Template
    max_tokens: int
    prefix: str


class Pair(NamedTuple):  # made for every evaluation, and a dataclass takes three times as long
    """One prompt on one example.

    Args:
        path: The ask that it belongs to.
        place: Which of the ask's pairs it is.
        prompt: The prompt.
        form: How the prompt asks the example's task.
        example: The example.
        key: The key under which its outcome is stored.
        repeat: Which draw of it is wanted.
    """

    path: str
    place: int
    prompt: Prompt
    form: Form
    example: Example
    key: str
    repeat: int


class Sheet:
    """Outcomes by ask and place; of ``n`` pairs ``n_done`` are there, ``n_failed`` of them failed.

    Args:
        asks: What is to be answered, by journal path.
    """

    def __init__(self, asks: Mapping[str, Evaluate]) -> None:
        self.n = sum(len(ask.candidates) * len(ask.examples) for ask in asks.values())
        self.n_done = 0
        self.n_failed = 0
        self._asks = asks
        self._outcomes: dict[str, list[Outcome | None]] = {
            path: [None] * (len(ask.candidates) * len(ask.examples)) for path, ask in asks.items()
        }

    def put(self, pair: Pair, outcome: Outcome) -> None:
        """Write an outcome down under the ids of its pair: two prompts may render to the same request."""
        ids = pair.prompt.id, pair.example.id, pair.example.task
        if (outcome.prompt_id, outcome.example_id, outcome.task) != ids:
            outcome = outcome._replace(prompt_id=ids[0], example_id=ids[1], task=ids[2])
        places = self._outcomes[pair.path]
        self.n_done += places[pair.place] is None
        self.n_failed += outcome.status == "failed"
        places[pair.place] = outcome

    def __contains__(self, pair: Pair) -> bool:
        return self._outcomes[pair.path][pair.place] is not None

    def __getitem__(self, pair: Pair) -> Outcome:
        return _there(self._outcomes[pair.path][pair.place])

    def evaluations(self, path: str) -> tuple[Evaluation, ...]:
        """Return the answer to an ask, all of whose outcomes are there."""
        ask = self._asks[path]
        outcomes = map(_there, self._outcomes[path])
        return tuple(
            Evaluation(candidate.id, tuple(itertools.islice(outcomes, len(ask.examples))))
            for candidate in ask.candidates
        )


def _there(outcome: Outcome | None) -> Outcome:
    if outcome is None:
        raise KeyError("this outcome is not there yet")
    return outcome

"""Outcome and Evaluation: what came of a candidate on examples.

A failure is missing data and never a score; means are over the outcomes that carry one.
"""

import math
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

from promptopt.budget import Usage
from promptopt.example import Example

Status = Literal["ok", "truncated", "refused", "malformed", "failed"]
ANSWERED: frozenset[Status] = frozenset({"ok", "truncated"})  # the model wrote something, if not all of it


class Outcome(NamedTuple):  # made for every evaluation, and a frozen dataclass takes five times as long
    """One candidate on one example.

    Args:
        prompt_id: The candidate's prompt.
        example_id: The example.
        status: ``ok``; ``truncated`` at the token limit; ``refused`` by the model, its filter, its window (too
            long a prompt) or a guard; ``malformed`` reply; ``failed`` call after all retries.
        output: What the model wrote.
        score: In [0, 1]; None unless the status allows one.
        feedback: The metric's words.
        usage: What the call took; of a cached outcome, what it took when it was made.
        task: The example's task inside a suite, else empty.
        cost: What the study's objective takes off the score for the prompt's length; 0 unless a penalty is asked for.
    """

    prompt_id: str
    example_id: str
    status: Status
    output: str = ""
    score: float | None = None
    feedback: str = ""
    usage: Usage = Usage()
    task: str = ""
    cost: float = 0.0

    @property
    def value(self) -> float | None:
        """What a search maximises: the score less its cost; None without a score."""
        return None if self.score is None else self.score - self.cost


@dataclass(frozen=True)
class Evaluation:
    """The outcomes of one candidate, in the order of the examples asked.

    Over a suite, the mean is the macro mean: each task counts the same, however many of its examples were asked.
    Where a study's objective has a length penalty, a search is told outcomes with their cost, and scores and means are
    of the objective: what is left when the cost is taken off.

    Args:
        prompt_id: The candidate's prompt.
        outcomes: One an example.
        refusal: Why a guard let no call be made for this prompt; its outcomes are ``refused`` and cost nothing.
    """

    prompt_id: str
    outcomes: tuple[Outcome, ...]
    refusal: str = ""

    @cached_property
    def scores(self) -> dict[str, float]:
        """The scores by example id, of the outcomes that carry one."""
        return {o.example_id: o.score - o.cost for o in self.outcomes if o.score is not None}

    @property
    def n(self) -> int:
        """How many examples were asked for."""
        return len(self.outcomes)

    @property
    def n_valid(self) -> int:
        """How many outcomes carry a score."""
        return len(self.scores)

    @cached_property
    def scores_by_task(self) -> dict[str, list[float]]:
        """The scores of each task of a suite, by its name; those of a single task stand under no name."""
        groups: dict[str, list[float]] = {}
        for outcome in self.outcomes:
            if outcome.score is not None:
                groups.setdefault(outcome.task, []).append(outcome.score - outcome.cost)
        return groups

    @cached_property
    def mean(self) -> float:
        """The mean score, of a suite the mean of its tasks' means; 0 if there is none: look at ``n_valid`` first."""
        means = [sum(scores) / len(scores) for scores in self.scores_by_task.values()]
        return sum(means) / len(means) if means else 0.0

    @cached_property
    def standard_error(self) -> float:
        """The standard error of the mean; infinite below two scores (of each task)."""
        errors = [_squared_error(scores) for scores in self.scores_by_task.values()]
        return math.sqrt(sum(errors)) / len(errors) if errors else math.inf

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of the tasks of a suite, in the order in which their examples were asked; else none."""
        return tuple(filter(None, dict.fromkeys(outcome.task for outcome in self.outcomes)))

    def of_task(self, name: str) -> "Evaluation":
        """Return the outcomes on the examples of one task of a suite."""
        return Evaluation(self.prompt_id, tuple(o for o in self.outcomes if o.task == name))

    def on(self, example_ids: Container[str]) -> "Evaluation":
        """Return the outcomes on these examples."""
        return Evaluation(self.prompt_id, tuple(o for o in self.outcomes if o.example_id in example_ids))

    def __add__(self, other: "Evaluation") -> "Evaluation":
        """Return both evaluations as one; an example in both counts once, as last seen."""
        merged = {o.example_id: o for o in (*self.outcomes, *other.outcomes)}
        return Evaluation(self.prompt_id, tuple(merged.values()), self.refusal or other.refusal)


def gather(seen: dict[str, Evaluation], evaluations: Iterable[Evaluation]) -> None:
    """Add evaluations to those seen before, by prompt id; a pair that was seen before counts once."""
    for evaluation in evaluations:
        before = seen.get(evaluation.prompt_id)
        seen[evaluation.prompt_id] = before + evaluation if before else evaluation


def refused(prompt_id: str, examples: Iterable[Example], why: str) -> Evaluation:
    """Return the evaluation of a prompt for which a guard let no call be made."""
    outcomes = (Outcome(prompt_id, example.id, "refused", feedback=why, task=example.task) for example in examples)
    return Evaluation(prompt_id, tuple(outcomes), why)


def _squared_error(scores: Sequence[float]) -> float:
    n = len(scores)
    if n < 2:
        return math.inf
    mean = sum(scores) / n
    return sum((score - mean) ** 2 for score in scores) / (n - 1) / n


def paired(left: Evaluation, right: Evaluation) -> list[tuple[float, float]]:
    """Return the scores of both on the examples that both answered, in the order of the left one."""
    return [(score, right.scores[key]) for key, score in left.scores.items() if key in right.scores]


def paired_by_task(left: Evaluation, right: Evaluation) -> dict[str, list[tuple[float, float]]]:
    """Return the pairs of ``paired`` for each task of a suite by name; those of a single task stand under no name."""
    return {name: paired(left.of_task(name), right) for name in dict.fromkeys(o.task for o in left.outcomes)}

"""Outcome and Evaluation: what came of a candidate on examples.

A failure is missing data and never a score; means are over the outcomes that carry one.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from promptopt.budget import Usage
from promptopt.example import Example

Status = Literal["ok", "truncated", "refused", "malformed", "failed"]


@dataclass(frozen=True, slots=True)
class Outcome:
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
    """

    prompt_id: str
    example_id: str
    status: Status
    output: str = ""
    score: float | None = None
    feedback: str = ""
    usage: Usage = Usage()


@dataclass(frozen=True)
class Evaluation:
    """The outcomes of one candidate, in the order of the examples asked.

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
        return {o.example_id: o.score for o in self.outcomes if o.score is not None}

    @property
    def n(self) -> int:
        """How many examples were asked for."""
        return len(self.outcomes)

    @property
    def n_valid(self) -> int:
        """How many outcomes carry a score."""
        return len(self.scores)

    @cached_property
    def mean(self) -> float:
        """The mean score; 0 if there is none, so look at ``n_valid`` first."""
        return sum(self.scores.values()) / self.n_valid if self.n_valid else 0.0

    @cached_property
    def standard_error(self) -> float:
        """The standard error of the mean; infinite below two scores."""
        if self.n_valid < 2:
            return math.inf
        variance = sum((score - self.mean) ** 2 for score in self.scores.values()) / (self.n_valid - 1)
        return math.sqrt(variance / self.n_valid)

    def __add__(self, other: "Evaluation") -> "Evaluation":
        """Return both evaluations as one; an example in both counts once, as last seen."""
        merged = {o.example_id: o for o in (*self.outcomes, *other.outcomes)}
        return Evaluation(self.prompt_id, tuple(merged.values()), self.refusal or other.refusal)


def refused(prompt_id: str, examples: Iterable[Example], why: str) -> Evaluation:
    """Return the evaluation of a prompt for which a guard let no call be made."""
    outcomes = (Outcome(prompt_id, example.id, "refused", feedback=why) for example in examples)
    return Evaluation(prompt_id, tuple(outcomes), why)


def paired(left: Evaluation, right: Evaluation) -> list[tuple[float, float]]:
    """Return the scores of both on the examples that both answered, in the order of the left one."""
    return [(score, right.scores[key]) for key, score in left.scores.items() if key in right.scores]

"""Objective: what a study looks for, the score less what a prompt's length takes off; and which of equals is shorter.

A verdict is told in plain score always. A prompt's cost is one known number, so the difference in the objective is that
of the scores shifted by the difference of the costs, interval and all.
"""

import itertools
import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

from promptopt.errors import ConfigError
from promptopt.evaluation import Evaluation
from promptopt.prompt import Candidate, Prompt
from promptopt.statistics import Interval
from promptopt.verdict import KEEP, Gain, Verdict, points, span

PER_TOKENS = 100


@dataclass(frozen=True, slots=True)
class Objective:
    """The score less a penalty for length.

    Args:
        length_penalty: In points of score (hundredths) for every 100 tokens of the prompt; 0 leaves the score alone.

    Raises:
        ConfigError: The penalty is below 0, or no finite number.
    """

    length_penalty: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.length_penalty < math.inf:
            raise ConfigError(
                f"length_penalty = {self.length_penalty:g} must be 0 or more: points of score for every "
                f"{PER_TOKENS} prompt tokens, such as 2."
            )

    @property
    def name(self) -> str:
        """What it is, in words."""
        if not self.length_penalty:
            return "score"
        return f"score less {self.length_penalty:g} points per {PER_TOKENS} prompt tokens"

    def cost(self, tokens: float) -> float:
        """Return what a prompt so long loses, on the scale of scores."""
        return self.length_penalty / 100 * tokens / PER_TOKENS

    def priced(self, evaluations: Sequence[Evaluation], tokens: Sequence[float]) -> tuple[Evaluation, ...]:
        """Return evaluations whose outcomes bear the cost of their prompts, which are so long."""
        if not self.length_penalty:
            return tuple(evaluations)
        return tuple(_with_cost(e, self.cost(n)) for e, n in zip(evaluations, tokens, strict=True))

    def weigh(self, verdict: Verdict, before: float, after: float) -> Verdict:
        """Return the verdict on a winner with what it gains by this objective, which decides what is returned.

        Args:
            verdict: In plain score.
            before: The tokens of the seed.
            after: Those of the winner.
        """
        if not self.length_penalty:
            return verdict
        if verdict.difference is None:
            return replace(verdict, sentence=f"{verdict.sentence} The objective was {self.name}.")
        shift, plain = self.cost(before) - self.cost(after), verdict.difference
        low, high = plain.interval.low + shift, plain.interval.high + shift
        gain = Gain(self.name, plain.mean + shift, Interval(low, high, plain.interval.level), before, after)
        return replace(verdict, objective=gain, sentence=f"{verdict.sentence.replace(KEEP, '')} {_told(gain, verdict)}")


AS_SCORED = Objective()


def shorter_first(
    ranking: Sequence[Candidate], grounds: Sequence[Hashable], length: Callable[[Prompt], float]
) -> list[Candidate]:
    """Return a ranking in which neighbours that rest on equal grounds, such as equal estimates, stand shorter first."""
    tied = itertools.groupby(zip(ranking, grounds, strict=True), key=lambda ranked: ranked[1])
    groups = ([candidate for candidate, _ in group] for _, group in tied)
    return [candidate for group in groups for candidate in sorted(group, key=lambda c: length(c.prompt))]


def _with_cost(evaluation: Evaluation, cost: float) -> Evaluation:
    return replace(evaluation, outcomes=tuple(outcome._replace(cost=cost) for outcome in evaluation.outcomes))


def _told(gain: Gain, verdict: Verdict) -> str:
    """Say what the objective makes of it, and which prompt follows from that."""
    low, high = gain.interval.low, gain.interval.high
    told = f"By the objective ({gain.objective}; {gain.before:.0f} tokens before, {gain.after:.0f} after)"
    if verdict.word == "not measured":
        return f"{told} the difference is {100 * gain.mean + 0:+.1f} points."
    if low > 0:
        return f"{told} it is better by {points(gain.mean)} points ({span(gain.interval)}), so it is returned."
    if high < 0:
        worse = Interval(-high, -low, gain.interval.level)
        return f"{told} it is worse by {points(-gain.mean)} points ({span(worse)}), so the seed is returned."
    return (
        f"{told} it is not reliably better ({100 * gain.mean + 0:+.1f} points, {span(gain.interval)}), so the seed is "
        "returned."
    )

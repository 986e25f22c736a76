"""ExactMatch, ContainsAny and SetMatch: metrics that compare short texts."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from promptopt.example import Example
from promptopt.metric import Score
from promptopt.metrics.answer import AnswerMetric, Take, head, quoted, right_answers, wanted, whole_word


@dataclass(frozen=True)
class ExactMatch(AnswerMetric):
    """Right when the answer, or the whole output, agrees with the target or an alias."""

    name: ClassVar[str] = "exact-match"

    take: Take = "after-cue"

    def score(self, output: str, example: Example) -> Score:
        """Score one output: 1 or 0."""
        return _compare(self, output, right_answers(example))


@dataclass(frozen=True)
class ContainsAny(AnswerMetric):
    """Right when the target or an alias stands in the output as a whole word."""

    name: ClassVar[str] = "contains-any"

    def score(self, output: str, example: Example) -> Score:
        """Score one output: 1 or 0."""
        text = self.normal(self.read(output))
        right = tuple(self.normal(answer) for answer in right_answers(example))
        if _any_word(tuple(answer for answer in right if answer)).search(text):
            return Score(1.0, "right")
        return Score(0.0, f"{wanted(right_answers(example))}, found none of it in '{head(output)}'")


@dataclass(frozen=True)
class SetMatch(AnswerMetric):
    """Right when the comma-separated items of the answer are those of the target, in any order."""

    name: ClassVar[str] = "set-match"

    take: Take = "after-cue"

    def score(self, output: str, example: Example) -> Score:
        """Score one output: 1 or 0."""
        right = [self.items(answer) for answer in right_answers(example)]
        found = self.items(self.read(output))
        if found in right or self.items(output) in right:
            return Score(1.0, "right")
        parts = [wanted(right_answers(example))]
        if missing := sorted(right[0] - found):
            parts.append(f"missing {quoted(missing)}")
        if extra := sorted(found - right[0]):
            parts.append(f"too many {quoted(extra)}")
        return Score(0.0, ", ".join(parts))

    def items(self, text: str) -> frozenset[str]:
        """Return the items of a comma-separated text as they are compared."""
        return frozenset(item for part in self.normal(text).split(",") if (item := self.normal(part)))

    def misfit(self, example: Example) -> str:
        """Return why this example cannot be scored, or nothing."""
        return "" if self.items(example.target) else "set-match needs at least one item"


@lru_cache(maxsize=1024)  # one label in another's place is what a classifier says again and again
def _compare(metric: ExactMatch, output: str, answers: tuple[str, ...]) -> Score:
    right = {metric.normal(answer) for answer in answers}
    if metric.normal(output) in right or metric.normal(found := metric.read(output)) in right:
        return Score(1.0, "right")
    return Score(0.0, f"{wanted(answers)}, found '{head(found)}'")


@lru_cache(maxsize=1024)
def _any_word(words: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(whole_word(word) for word in words) or r"(?!)")

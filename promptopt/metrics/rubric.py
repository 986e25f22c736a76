"""Rubric: a metric in words, by which a judge model grades outputs.

It is pure and calls nobody: it says what counts and which levels there are; the Grader asks the judge.
"""

from dataclasses import dataclass
from typing import ClassVar

from promptopt.errors import ConfigError, MetricError
from promptopt.example import Dataset, Example
from promptopt.ids import content_hash
from promptopt.metric import Score

RUBRIC = "rubric"
LEVELS = ("not at all", "hardly", "in part", "mostly", "fully")
MOST_LEVELS = 10


@dataclass(frozen=True)
class Rubric:
    """What makes an output good: a text, levels, or both.

    Args:
        text: What counts, in the user's own words.
        levels: What each level means, the worst first; how far the text is met if left out. The worst is worth 0, the
            best 1, those between are at equal distances.

    Raises:
        ConfigError: Neither says anything, or the levels are fewer than 2, more than 10, empty or equal.
    """

    text: str = ""
    levels: tuple[str, ...] = ()

    name: ClassVar[str] = RUBRIC

    def __post_init__(self) -> None:
        if not self.text.strip() and not self.levels:
            raise ConfigError(
                "The rubric is empty; say what makes an answer good with --rubric TEXT, or name levels from worst to "
                "best with --level."
            )
        names = [level.strip() for level in self.levels]
        if names and not 2 <= len(names) <= MOST_LEVELS:
            raise ConfigError(f"rubric: {len(names)} levels are given; name 2 to {MOST_LEVELS}, the worst first.")
        if not all(names):
            raise ConfigError("rubric: a level is empty; say what each one means.")
        if len(set(names)) < len(names):
            raise ConfigError("rubric: two levels are the same; each must say something else.")

    @property
    def key(self) -> str:
        """The hash of text and levels; scores are stored under it and the judge's key."""
        return content_hash(RUBRIC, self.text, self.levels)

    @property
    def scale(self) -> tuple[str, ...]:
        """What each level means, the worst first."""
        return self.levels or LEVELS

    def worth(self, place: float) -> float:
        """Return what a place on the scale is worth, from 0 to 1."""
        return place / (len(self.scale) - 1)

    def nearest(self, value: float) -> int:
        """Return the place on the scale that is nearest to a value."""
        return round(value * (len(self.scale) - 1))

    def score(self, output: str, example: Example) -> Score:
        """Refuse: only a judge can say.

        Raises:
            MetricError: Always.
        """
        raise MetricError(f"A judge model has to grade '{output[:40]}' of example {example.id[:8]}; name one.")

    def check(self, dataset: Dataset) -> None:
        """Take any data; a target, where there is one, is shown to the judge as the reference answer."""

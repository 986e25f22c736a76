"""Unscored: the metric of tasks that have none, whose outputs can only be compared."""

from dataclasses import dataclass
from typing import ClassVar

from promptopt.errors import MetricError
from promptopt.example import Dataset, Example
from promptopt.ids import content_hash
from promptopt.metric import NO_METRIC, Score


@dataclass(frozen=True)
class Unscored:
    """Scores nothing; people or a judge model say which of two outputs is better."""

    name: ClassVar[str] = NO_METRIC

    @property
    def key(self) -> str:
        """The hash of its name."""
        return content_hash(NO_METRIC)

    def score(self, output: str, example: Example) -> Score:
        """Refuse.

        Raises:
            MetricError: Always.
        """
        raise MetricError(f"This task has no metric to score '{output[:40]}' of example {example.id[:8]} with.")

    def check(self, dataset: Dataset) -> None:
        """Take any data, with targets or without."""

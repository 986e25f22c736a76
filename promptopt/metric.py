"""Metric and Score: how good one output is for one example.

Higher is better, between 0 and 1, always.
"""

from dataclasses import dataclass
from typing import Protocol

from promptopt.errors import MetricError
from promptopt.example import Dataset, Example

SHOWN = 80  # characters of an output in an error
NO_METRIC = "none"  # the name of the metric of tasks whose outputs can only be compared


@dataclass(frozen=True, slots=True)
class Score:
    """A number in [0, 1] with text feedback.

    Args:
        value: How good the output is; 1 is right.
        feedback: Why, in words that a critique can use.
    """

    value: float
    feedback: str = ""


class Metric(Protocol):
    """Scores an output; pure, and named by a key that changes whenever its scores might."""

    @property
    def name(self) -> str:
        """The name people use."""

    @property
    def key(self) -> str:
        """The hash of the name and every setting, under which scores are stored."""

    def score(self, output: str, example: Example) -> Score:
        """Score one output.

        Raises:
            MetricError: The output or the example cannot be scored at all.
        """

    def check(self, dataset: Dataset) -> None:
        """Refuse targets that this metric cannot score.

        Raises:
            DataError: A target does not fit; names split, row and reason.
        """


def score_by(metric: Metric, output: str, example: Example) -> Score:
    """Score one output by a metric that anybody may have written.

    Raises:
        MetricError: The metric raised, whatever it was, or gave no number from 0 to 1; names the example.
    """
    try:
        score = metric.score(output, example)
        value = float(score.value)
    except MetricError:
        raise
    except Exception as error:
        what = f"the metric {metric.name} raised {type(error).__name__}: {error}"
        raise MetricError(f"{what} {where(output, example)}.") from error
    if not 0 <= value <= 1:  # also true of NaN
        what = f"the metric {metric.name} gave {value}, which is not from 0 to 1; scale it"
        raise MetricError(f"{what} {where(output, example)}.")
    # As the store gives it back, since a 1 or a minus zero would be another answer when it is replayed.
    return Score(value + 0.0, score.feedback)


def where(output: str, example: Example) -> str:
    """Return the words that say which output of which example an error is about."""
    return f"(example {example.id[:8]}, output '{' '.join(output.split())[:SHOWN]}')"

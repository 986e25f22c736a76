"""CallableMetric: a user's function as a metric."""

import functools
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from promptopt.errors import MetricError
from promptopt.example import Dataset, Example
from promptopt.ids import content_hash
from promptopt.metric import Score
from promptopt.metrics.answer import head


@dataclass(frozen=True)
class CallableMetric:
    """A function ``(output, example) -> float | bool | Score`` under a name.

    Args:
        function: Pure and safe to call from several threads; higher is better, from 0 to 1.
        name: The name people use.
    """

    function: Callable[[str, Example], float | bool | Score]
    name: str

    @cached_property
    def key(self) -> str:
        """The hash of name, module, qualified name and source text; without source, as in a shell, of the rest.

        What the function closes over or imports is not part of it: rename the metric when that changes.
        """
        bare = inspect.unwrap(_inner(self.function))
        named = bare if hasattr(bare, "__qualname__") else type(bare)
        try:
            source = inspect.getsource(named)
        except (OSError, TypeError):
            source = ""
        return content_hash("callable", self.name, named.__module__, named.__qualname__, source)

    def score(self, output: str, example: Example) -> Score:
        """Score one output.

        Raises:
            MetricError: The function raised, or returned no number from 0 to 1; names example and output.
        """
        try:
            value = self.function(output, example)
        except Exception as error:  # a user's function may raise anything; it is named and re-raised
            raise MetricError(
                f"the metric {self.name} raised {type(error).__name__}: {error}{self._where(output, example)}"
            ) from error
        score = value if isinstance(value, Score) else Score(self._number(value, output, example))
        if math.isnan(score.value) or not 0.0 <= score.value <= 1.0:
            raise MetricError(
                f"the metric {self.name} returned {score.value}, which is not from 0 to 1; "
                f"scale it{self._where(output, example)}"
            )
        return score

    def check(self, dataset: Dataset) -> None:
        """Refuse nothing: only the function knows what fits it."""

    def _number(self, value: Any, output: str, example: Example) -> float:
        try:
            return float(value)
        except (TypeError, ValueError):
            raise MetricError(
                f"the metric {self.name} returned {type(value).__name__} and not a number, True, False or a Score"
                f"{self._where(output, example)}"
            ) from None

    @staticmethod
    def _where(output: str, example: Example) -> str:
        return f" (example {example.id[:8]}, output '{head(output, 80)}')."


def _inner(function: Callable[..., Any]) -> Callable[..., Any]:
    while isinstance(function, functools.partial):
        function = function.func
    return function

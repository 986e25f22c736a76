"""CallableMetric: a user's function as a metric."""

import functools
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from types import CellType, CodeType
from typing import Any

from promptopt.errors import MetricError
from promptopt.example import Dataset, Example
from promptopt.ids import content_hash
from promptopt.metric import Score, where


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
        """The hash of name, module, qualified name, source text (in a shell the code), and plain values it is bound to.

        What it imports or holds in other objects is not part of it: rename the metric when that changes.
        """
        bare = inspect.unwrap(_inner(self.function))
        named = bare if hasattr(bare, "__qualname__") else type(bare)
        try:
            source: Any = inspect.getsource(named)
        except (OSError, TypeError):
            source = _told(getattr(named, "__code__", None))
        bound = _bound(self.function, getattr(bare, "__closure__", None) or ())
        return content_hash("callable", self.name, named.__module__, named.__qualname__, source, *bound)

    def score(self, output: str, example: Example) -> Score:
        """Score one output; what the function raises, and a number out of range, are ``score_by``'s business.

        Raises:
            MetricError: The function returned no number; names example and output.
        """
        value: Any = self.function(output, example)
        try:
            return value if isinstance(value, Score) else Score(float(value))
        except (TypeError, ValueError):
            raise MetricError(
                f"the metric {self.name} returned {type(value).__name__} and not a number, True, False or a Score "
                f"{where(output, example)}."
            ) from None

    def check(self, dataset: Dataset) -> None:
        """Refuse nothing: only the function knows what fits it."""


def _inner(function: Callable[..., Any]) -> Callable[..., Any]:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _bound(function: Callable[..., Any], cells: Iterable[CellType]) -> list[str]:
    """Return the plain values among the arguments of partials and the variables of a closure."""
    values: list[tuple[str, Any]] = []
    while isinstance(function, functools.partial):
        values += [("", value) for value in function.args] + sorted(function.keywords.items())
        function = function.func
    values += [("", cell.cell_contents) for cell in cells]
    return [f"{name}={value!r}" for name, value in values if isinstance(value, str | int | float | None)]


def _told(value: Any) -> Any:
    """Return code as plain data that is the same in every process."""
    if isinstance(value, frozenset):  # whose order is another one in each process
        return sorted(map(repr, value))
    if not isinstance(value, CodeType):
        return repr(value)
    return [value.co_code.hex(), list(value.co_names), [_told(constant) for constant in value.co_consts]]

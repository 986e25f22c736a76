"""JsonFields: the share of a JSON object's fields that are right."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from promptopt.errors import MetricError
from promptopt.example import Example
from promptopt.metric import Score
from promptopt.metrics.answer import AnswerMetric, head
from promptopt.metrics.suggest import json_object


@dataclass(frozen=True)
class JsonFields(AnswerMetric):
    """The share of the target's fields that the first JSON object in the output has right.

    Text is compared trimmed, numbers by value, lists and objects part by part; text around the object and fields
    that the target does not have do not matter.
    """

    name: ClassVar[str] = "json-fields"

    def score(self, output: str, example: Example) -> Score:
        """Score one output with the share of right fields.

        Raises:
            MetricError: The target is no JSON object.
        """
        right = json_object(example.target)
        if not right:
            raise MetricError(f"example {example.id[:8]}: the target is no JSON object; use another metric.")
        found = json_object(self.read(output))
        if found is None:
            return Score(0.0, f"expected a JSON object with {_names(right)}, found none in '{head(output)}'")
        wrong = [name for name in right if name not in found or not self._agree(found[name], right[name])]
        if not wrong:
            return Score(1.0, "right")
        return Score(1.0 - len(wrong) / len(right), "; ".join(_wrong(name, right, found) for name in wrong))

    def misfit(self, example: Example) -> str:
        """Return why this example cannot be scored, or nothing."""
        return "" if json_object(example.target) else "json-fields needs a JSON object with at least one field"

    def _agree(self, found: Any, right: Any) -> bool:
        if isinstance(right, dict) and isinstance(found, dict):
            return right.keys() == found.keys() and all(self._agree(found[name], right[name]) for name in right)
        if isinstance(right, list) and isinstance(found, list):
            return len(right) == len(found) and all(map(self._agree, found, right))
        if isinstance(right, dict | list) or isinstance(found, dict | list):
            return False
        if found == right and isinstance(found, bool) == isinstance(right, bool):
            return True
        return self.normal(_text(found)) == self.normal(_text(right))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _names(fields: Mapping[str, Any]) -> str:
    return ", ".join(f"'{name}'" for name in fields)


def _wrong(name: str, right: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    if name not in found:
        return f"the field '{name}' is missing, expected '{head(_text(right[name]))}'"
    return f"'{name}': expected '{head(_text(right[name]))}', found '{head(_text(found[name]))}'"

"""Constraints: the share of a request's checkable rules that an output follows, as in IFEval.

The rules are written here anew from their descriptions; the target is a JSON list of ``{id, kwargs}``.
"""

import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from promptopt.errors import MetricError
from promptopt.example import Example
from promptopt.metric import Score
from promptopt.metrics.answer import AnswerMetric
from promptopt.metrics.rules import RULES


@dataclass(frozen=True)
class Constraints(AnswerMetric):
    """The share of the rules that the output follows; an empty output follows none.

    Args:
        strict: Score 1 only if all rules are followed, else 0.
    """

    name: ClassVar[str] = "constraints"

    strict: bool = False

    def score(self, output: str, example: Example) -> Score:
        """Score one output by its rules.

        Raises:
            MetricError: The target is no list of known rules.
        """
        try:
            rules = read_rules(example.target)
        except ValueError as error:
            raise MetricError(f"example {example.id[:8]}: the target {error}.") from None
        broken = [rule for rule in rules if not (output.strip() and rule.follows(output))]
        if not broken:
            return Score(1.0, "right")
        value = 0.0 if self.strict else 1.0 - len(broken) / len(rules)
        return Score(value, "not followed: " + "; ".join(rule.words for rule in broken))

    def misfit(self, example: Example) -> str:
        """Return why this example cannot be scored, or nothing."""
        try:
            read_rules(example.target)
        except ValueError as error:
            return f"it {error}"
        return ""


@dataclass(frozen=True)
class Rule:
    """One checkable rule of a request, with its settings."""

    id: str
    kwargs: Mapping[str, Any]

    @property
    def words(self) -> str:
        """The rule as a critique can read it."""
        settings = ", ".join(f"{name} = {value}" for name, value in self.kwargs.items())
        return f"{self.id} ({settings})" if settings else self.id

    def follows(self, text: str) -> bool:
        """Return whether a text follows the rule."""
        return RULES[self.id](text, **self.kwargs)


@lru_cache(maxsize=4096)
def read_rules(target: str) -> Sequence[Rule]:
    """Read a target; settings that are null count as not given.

    Raises:
        ValueError: It is no JSON list of ``{id, kwargs}``, or a rule or setting is not known; says which.
    """
    try:
        items = json.loads(target)
    except (ValueError, RecursionError):
        items = None
    if not isinstance(items, list) or not items:
        raise ValueError("is no JSON list of rules such as [{'id': 'punctuation:no_comma', 'kwargs': {}}]")
    rules = []
    for item in items:
        if not isinstance(item, dict) or not isinstance(item.get("kwargs", {}), dict) or item.get("id") not in RULES:
            raise ValueError(f"holds {json.dumps(item)[:80]}, which is no rule; known: {', '.join(sorted(RULES))}")
        settings = {name: value for name, value in item.get("kwargs", {}).items() if value is not None}
        try:
            inspect.signature(RULES[item["id"]]).bind("", **settings)
        except TypeError as error:
            raise ValueError(f"holds the rule {item['id']} with other settings than it has: {error}") from None
        rules.append(Rule(item["id"], settings))
    return tuple(rules)

"""Metrics by name: how outputs are scored, each pure and from 0 to 1.

``open_metric`` gives one by the names of ``datasets/README.md``; a function of the user's own becomes one as
``CallableMetric``.
"""

from dataclasses import fields
from typing import Any

from promptopt.errors import ConfigError, UnknownNameError
from promptopt.metric import NO_METRIC, Metric
from promptopt.metrics.answer import TAKES
from promptopt.metrics.choice import MultipleChoice
from promptopt.metrics.constraints import Constraints
from promptopt.metrics.function import CallableMetric
from promptopt.metrics.json_fields import JsonFields
from promptopt.metrics.maths import Math, Numeric
from promptopt.metrics.overlap import F1, RougeL
from promptopt.metrics.rubric import RUBRIC, Rubric
from promptopt.metrics.suggest import few_labels, suggest_metric
from promptopt.metrics.text import ContainsAny, ExactMatch, SetMatch
from promptopt.metrics.unscored import Unscored

__all__ = ["CallableMetric", "Rubric", "few_labels", "metric_names", "open_metric", "suggest_metric"]

_METRICS = {
    kind.name: kind
    for kind in (MultipleChoice, ExactMatch, Numeric, Math, ContainsAny, SetMatch, F1, RougeL, Constraints, JsonFields)
}
NEEDS_SANDBOX = "code-exec"


def metric_names() -> tuple[str, ...]:
    """Return the names of all metrics, sorted."""
    return tuple(sorted(_METRICS))


def open_metric(name: str, **settings: Any) -> Metric:
    """Return the metric of this name.

    Args:
        name: One of ``metric_names()``, ``rubric`` where a judge model grades outputs, or ``none`` where outputs can
            only be compared.
        **settings: The fields of the metric, such as ``fold_case`` or ``take``.

    Raises:
        UnknownNameError: No such metric or setting; offers the nearest names.
        ConfigError: The metric needs a sandbox, a rubric is empty, or a setting is of the wrong type.
    """
    if name == NEEDS_SANDBOX:
        raise ConfigError(
            "the metric code-exec would run code that a model wrote, and there is no sandbox for it; "
            "score the code yourself and give a Python function as the metric."
        )
    if name == NO_METRIC:
        return Unscored()
    if name != RUBRIC and name not in _METRICS:
        raise UnknownNameError("metric", name, (*_METRICS, RUBRIC))
    kind: Any = Rubric if name == RUBRIC else _METRICS[name]
    known = {field.name: field.default for field in fields(kind)}
    for setting, value in settings.items():
        if setting not in known:
            raise UnknownNameError(f"setting of {name}", setting, known)
        expected = type(known[setting])
        if not isinstance(value, expected):
            raise ConfigError(f"{name}: {setting} = {value!r} must be a {expected.__name__}.")
    if settings.get("take", TAKES[0]) not in TAKES:
        raise ConfigError(f"{name}: take = {settings['take']!r} must be one of {', '.join(TAKES)}.")
    metric: Metric = kind(**settings)
    return metric

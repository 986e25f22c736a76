"""Options: what ``promptopt.optimize`` takes by name, and the settings of the study that they mean."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypedDict

from promptopt.budget import Budget
from promptopt.config import (
    DEFAULT_EVALUATIONS,
    JudgeSpec,
    ModelSpec,
    StrategySpec,
    StudySpec,
    TaskSpec,
    read_guards,
    usual_strategy,
)
from promptopt.errors import ConfigError, UnknownNameError
from promptopt.example import Example
from promptopt.task import Task

Rows = Sequence[Mapping[str, Any] | Example]
Data = str | Path | Rows | Mapping[str, Rows]

TEXTS = ("model", "optimizer", "strategy", "profile", "then", "rubric", "name", "criteria", "embed")
KINDS: Mapping[str, tuple[Any, str]] = {
    **dict.fromkeys(TEXTS, (str, "text")),
    "prompt": (str | Path | Sequence, "text, a file's path, or a list of messages"),
    "levels": (Sequence, "several texts, the worst first"),
    **dict.fromkeys(("columns", "settings", "guards"), (Mapping, "names with their values")),
    "share": (int | float, "a number between 0 and 1"),
    "budget": (int | Budget, "a whole number of evaluations, or a Budget"),
    "seed": (int, "a whole number"),
    "store": (str | Path, "the path of a file"),
    "judge": (str | Sequence, "text or several texts"),
    "length_penalty": (int | float, "a number: points for every 100 prompt tokens"),
}
LEFT_OUT = ("prompt", "optimizer", "then", "rubric", "name")  # None means the same
OF_A_TASK = ("prompt", "metric", "rubric", "levels", "columns")


class Options(TypedDict, total=False):
    """What ``optimize`` takes by name; the same words as in a study file."""

    prompt: str | Path | Sequence[Mapping[str, Any]] | None
    metric: Any
    rubric: str | None
    levels: Sequence[str]
    columns: Mapping[str, str]
    model: str
    optimizer: str | None
    strategy: str
    profile: str
    settings: Mapping[str, Any]
    then: str | None
    share: float
    budget: Budget | int
    name: str | None
    seed: int
    store: str | Path
    cache: Literal["on", "off"]
    guards: Mapping[str, Any]
    judge: str | Sequence[str]
    criteria: str
    embed: str
    length_penalty: float


def spec_of(data: Data | Task, options: Options) -> StudySpec:
    """Return the settings of a study of this data; without data where they cannot be had again by its name.

    Raises:
        ConfigError: An option is strange; says which and what was expected.
    """
    _refuse_strange(data, options)
    prompt, metric, judge = options.get("prompt"), options.get("metric"), options.get("judge", ())
    named = data.metric if isinstance(data, Task) else metric
    is_plain = isinstance(data, str | Path) and isinstance(metric, str | None)
    task = TaskSpec(
        data=str(data) if is_plain else "",
        prompt=str(prompt) if isinstance(prompt, Path) else prompt,
        metric=named if isinstance(named, str) else getattr(named, "name", None),
        rubric=options.get("rubric"),
        levels=tuple(options.get("levels", ())),
        columns=options.get("columns", {}),
    )
    judges = JudgeSpec((judge,) if isinstance(judge, str) else tuple(judge), options.get("criteria", ""))
    return StudySpec(
        task=task,
        model=ModelSpec(
            options.get("model", ModelSpec.task), options.get("optimizer"), embed=options.get("embed", ModelSpec.embed)
        ),
        strategy=StrategySpec(
            options.get("strategy", usual_strategy(task, judges)),
            options.get("profile", StrategySpec.profile),
            options.get("settings", {}),
            options.get("then"),
            options.get("share", StrategySpec.share),
        ),
        budget=_budget_of(options.get("budget", DEFAULT_EVALUATIONS)),
        name=options.get("name"),
        seed=options.get("seed", 0),
        store=str(options.get("store", StudySpec.store)),
        cache=options.get("cache", StudySpec.cache),
        guards=read_guards(options.get("guards", {})),
        length_penalty=options.get("length_penalty", StudySpec.length_penalty),
        judge=judges,
    )


def _refuse_strange(data: Data | Task, options: Options) -> None:
    """Refuse what would be ignored: a misspelt option would cost a whole study with other settings."""
    for name, value in options.items():
        if name not in Options.__annotations__:
            raise UnknownNameError("option of optimize", name, Options.__annotations__)
        if isinstance(data, Task) and name in OF_A_TASK:
            raise ConfigError(f"{name}: a Task brings its own; change the Task, or give the data instead of it.")
        kind, expected = KINDS.get(name, (object, ""))
        if value is None and name in LEFT_OUT:
            continue
        if not isinstance(value, kind) or (name in KINDS and isinstance(value, bool)):
            raise ConfigError(f"{name} = {value!r:.80} must be {expected}.")
    if isinstance(options.get("levels"), str):
        raise ConfigError(f"levels = {options['levels']!r} must be {KINDS['levels'][1]}.")


def _budget_of(given: Budget | int) -> Budget:
    """Return a budget with a plan: caps alone do not say how long to search."""
    if isinstance(given, int):
        return Budget(evaluations=given)
    return given if given.evaluations is not None else replace(given, evaluations=DEFAULT_EVALUATIONS)

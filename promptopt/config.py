"""Config: a study file (TOML) as a StudySpec, the plain settings of one study.

Every door builds a StudySpec, so a file, the command line and Python say the same things in the same words.
"""

import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from promptopt.budget import Budget
from promptopt.errors import ConfigError, UnknownNameError
from promptopt.guards import Rules
from promptopt.metrics.rubric import RUBRIC
from promptopt.objective import Objective
from promptopt.settings import read_settings

DEFAULT_MODEL = "embedded:"
DEFAULT_STRATEGY = "irace"
COMPARING = "pes"  # the default where somebody compares answers
DEFAULT_STORE = "promptopt.db"
DEFAULT_EVALUATIONS = 300
DEFAULT_SHARE = 0.5


@dataclass(frozen=True)
class TaskSpec:
    """Where the task comes from.

    Args:
        data: A ready task's name, a folder, or a JSONL or CSV file.
        prompt: The seed prompt as text, the path of a text or JSON messages file, or chat messages; the task's own if
            left out.
        metric: A metric's name; the task's own, or one that fits the targets, if left out.
        rubric: What makes an answer good, for the metric ``rubric``: text, or the path of a text file.
        levels: The levels of that rubric, the worst first; how far it is met, in five levels, if left out.
        columns: Which column is which, such as ``{"target": "label", "input": "text"}``.
        max_tokens: The most tokens of an answer.
        temperature: Of the task model; 0, greedy, if left out.
        scoring: ``generate``, ``choice`` or ``likelihood``.
        mode: ``chat`` or ``completion``; completion for the embedded model and chat for others if left out.
        editable: The parts that may change.
        name: What to call it.
        description: What is to be done, in a sentence, for optimizer models.
        tasks: In place of data, the tasks of a suite: ready tasks' names, folders, files, or study files (.toml).
    """

    data: str = ""
    prompt: str | Sequence[Mapping[str, Any]] | None = None
    metric: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    max_tokens: int | None = None
    temperature: float | None = None
    scoring: str | None = None
    mode: str | None = None
    editable: tuple[str, ...] | None = None
    name: str | None = None
    description: str | None = None
    tasks: tuple[str, ...] = ()
    rubric: str | None = None
    levels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.data and self.tasks:
            raise ConfigError(f"task: both data = {self.data!r} and tasks are given; give one of them.")

    @property
    def is_named(self) -> bool:
        """Whether this says where the data is; else a script brought it, and it alone can bring it again."""
        return bool(self.data or self.tasks)


@dataclass(frozen=True)
class ModelSpec:
    """Which models play which role, by address such as ``embedded:`` or ``http://localhost:8000/v1``.

    Args:
        task: The model whose prompt is sought.
        optimizer: The model that writes prompts; the task model if left out.
        options: Options of the backend, such as ``concurrency`` or ``threads``.
        price: US dollars a million tokens of the task model, read and written.
        optimizer_price: The same of the optimizer model, where it is another one.
        embed: What turns prompts into vectors: ``hash`` (no model), the address of an endpoint with ``/embeddings``, or
            ``st:NAME`` for a model of sentence-transformers.
    """

    task: str = DEFAULT_MODEL
    optimizer: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    price: tuple[float, float] | None = None
    optimizer_price: tuple[float, float] | None = None
    embed: str = "hash"


@dataclass(frozen=True)
class JudgeSpec:
    """Who says which of two answers is better, for strategies that compare; and who grades answers by a rubric.

    Args:
        by: Any of ``human``, ``metric`` and the address of a judge model; the metric if left out.
        criteria: What makes an answer good, in a sentence or two; the task's description if left out.
        options: Options of the judge model's backend.
        price: US dollars a million tokens of the judge model, read and written, where it is none of the other models.
    """

    by: tuple[str, ...] = ()
    criteria: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    price: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        models = [name for name in self.by if name not in ("human", "metric")]
        if len(models) > 1:
            raise ConfigError(f"judge: {models[0]} and {models[1]} are two models; one judge model is enough.")

    @property
    def model(self) -> str | None:
        """The address of the judge model, if there is one."""
        return next((name for name in self.by if name not in ("human", "metric")), None)


@dataclass(frozen=True)
class StrategySpec:
    """Which strategy, in which profile, with which settings exchanged.

    Args:
        name: The strategy.
        profile: One of its named sets of settings.
        settings: Those to exchange; the second strategy's begin with ``then.``.
        then: A strategy that goes on from the best that the first has found; none if left out.
        share: The first one's share of the plan, where there is a second.
    """

    name: str = DEFAULT_STRATEGY
    profile: str = "recommended"
    settings: Mapping[str, Any] = field(default_factory=dict)
    then: str | None = None
    share: float = DEFAULT_SHARE

    def __post_init__(self) -> None:
        if self.then is None and self.share != DEFAULT_SHARE:
            raise ConfigError(
                f"share = {self.share} is of a first strategy; name a second one with then, or leave it out."
            )


@dataclass(frozen=True)
class StudySpec:
    """All settings of one study; each field is a section of the study file.

    Args:
        task: Section ``[task]``.
        model: Section ``[model]``.
        strategy: Section ``[strategy]``.
        budget: Section ``[budget]``.
        judge: Section ``[judge]``.
        name: ``name`` in ``[study]``; made from task and strategy if left out.
        seed: ``seed`` in ``[study]``.
        store: ``store`` in ``[study]``.
        cache: ``cache`` in ``[study]``: ``on`` or ``off``.
        min_valid: ``min_valid`` in ``[study]``: pause when less than this share of calls brings an answer, in [0, 1).
        guards: Section ``[guards]``: which guards stand, such as ``urls = false``.
        length_penalty: ``length_penalty`` in ``[study]``: points of score that 100 tokens of a prompt take off in what
            is maximised; 0 for none.
    """

    task: TaskSpec = field(default_factory=TaskSpec)
    model: ModelSpec = field(default_factory=ModelSpec)
    strategy: StrategySpec = field(default_factory=StrategySpec)
    budget: Budget = field(default_factory=lambda: Budget(evaluations=DEFAULT_EVALUATIONS))
    name: str | None = None
    seed: int = 0
    store: str = DEFAULT_STORE
    cache: Literal["on", "off"] = "on"
    min_valid: float = 0.9
    guards: Rules = field(default_factory=Rules)
    judge: JudgeSpec = field(default_factory=JudgeSpec)
    length_penalty: float = 0.0

    def __post_init__(self) -> None:
        Objective(self.length_penalty)
        if self.cache not in ("on", "off"):
            raise ConfigError(f"cache = {self.cache!r} must be on or off.")
        if not 0 <= self.min_valid < 1:
            raise ConfigError(f"min_valid = {self.min_valid} must be from 0 to below 1; 0.9 pauses at 10 % failures.")


def usual_strategy(task: TaskSpec, judge: JudgeSpec) -> str:
    """Return the strategy where none is named: one that compares, where there are judges and no rubric to grade by."""
    grades = task.metric == RUBRIC or task.rubric or task.levels
    return COMPARING if judge.by and not grades else DEFAULT_STRATEGY


def read_spec(path: Path) -> StudySpec:
    """Read a study file.

    Raises:
        ConfigError: It is missing, is no TOML, or a key is unknown or of the wrong type; names file and key.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such study file; correct the path, or use --data.") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: this is not a readable TOML file: {error}.") from None
    for name, value in data.items():
        if name not in _KEYS:
            raise UnknownNameError(f"section in {path}", name, _KEYS)
        if not isinstance(value, dict):
            raise ConfigError(f"{path}: {name} must be a section, written [{name}].")
        _check_keys(path, name, value)
    try:
        return _spec(data)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def spec_from_json(data: Mapping[str, Any]) -> StudySpec:
    """Return the spec of which the store keeps the plain form."""
    made = {name: kind(**_tuples(data.get(name, {}))) for name, kind in _SECTIONS.items()}
    return StudySpec(**{**data, **made})


def read_guards(settings: Mapping[str, Any], rules: Rules | None = None) -> Rules:
    """Return the rules (the default ones if left out) with some exchanged; texts such as ``"off"`` are read.

    Raises:
        UnknownNameError: There is no such guard.
        ConfigError: A value cannot be read.
    """
    return replace(rules or Rules(), **read_settings(Rules, settings))


def _tuples(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}


def _spec(data: Mapping[str, Any]) -> StudySpec:
    """Return the spec of a study file whose keys and types are right."""
    budget = {"evaluations": DEFAULT_EVALUATIONS, **data.get("budget", {})}
    opened = {name: dict(data.get(name, {})) for name in ("model", "judge")}
    for section in opened.values():
        if "options" in section:
            section["options"] = {
                name: json.dumps(value) if isinstance(value, dict) else str(value)
                for name, value in section["options"].items()
            }
    strategy = dict(data.get("strategy", {}))
    strategy["settings"] = _flat(strategy.get("settings", {}))
    given = {**data, "budget": budget, **opened, "strategy": strategy}
    made = {name: kind(**_tuples(given.get(name, {}))) for name, kind in _SECTIONS.items()}
    if "name" not in strategy:
        made["strategy"] = replace(made["strategy"], name=usual_strategy(made["task"], made["judge"]))
    return StudySpec(**made, **data.get("study", {}))


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings in which ``then.width = 4``, a table in TOML, is one name again."""
    tables = {name: value for name, value in settings.items() if isinstance(value, dict)}
    inner = {f"{table}.{name}": value for table, values in tables.items() for name, value in values.items()}
    return {name: value for name, value in settings.items() if name not in tables} | inner


_SECTIONS: Mapping[str, Callable[..., Any]] = {
    "task": TaskSpec, "model": ModelSpec, "strategy": StrategySpec, "budget": Budget, "guards": Rules,
    "judge": JudgeSpec,
}  # fmt: skip

_WORDS: Mapping[Any, str] = {bool: "true or false", int: "a whole number", float: "a number"}

_KEYS: Mapping[str, Mapping[str, str]] = {
    "task": {
        "data": "text", "prompt": "text", "metric": "text", "columns": "a table of texts",
        "max_tokens": "a whole number", "temperature": "a number", "scoring": "text",
        "mode": "text", "editable": "a list of texts",
        "name": "text", "description": "text", "tasks": "a list of texts", "rubric": "text",
        "levels": "a list of texts",
    },
    "model": {"task": "text", "optimizer": "text", "options": "a table", "price": "two numbers such as [0.15, 0.6]",
              "optimizer_price": "two numbers such as [0.15, 0.6]", "embed": "text"},
    "judge": {"by": "a list of texts", "criteria": "text", "options": "a table",
              "price": "two numbers such as [0.15, 0.6]"},
    "strategy": {"name": "text", "profile": "text", "settings": "a table", "then": "text", "share": "a number"},
    "budget": {
        "evaluations": "a whole number", "calls": "a whole number", "tokens": "a whole number", "usd": "a number",
        "seconds": "a number", "labels": "a whole number",
    },
    "guards": {f.name: _WORDS[f.type] for f in fields(Rules)},
    "study": {"name": "text", "seed": "a whole number", "store": "text", "cache": "text", "min_valid": "a number",
              "length_penalty": "a number"},
}  # fmt: skip


def _check_keys(path: Path, section: str, data: Mapping[str, Any]) -> None:
    expected = _KEYS[section]
    for key, value in data.items():
        if key not in expected:
            raise UnknownNameError(f"key in [{section}] of {path}", key, expected)
        if not _fits(value, expected[key]):
            raise ConfigError(f"{path}: [{section}] {key} = {value!r} must be {expected[key]}.")


def _fits(value: Any, expected: str) -> bool:
    if expected == "a table of texts":
        return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())
    if expected == "a list of texts":
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    if expected.startswith("two numbers"):
        return isinstance(value, list) and len(value) == 2 and all(_fits(item, "a number") for item in value)
    if expected == "true or false":
        return isinstance(value, bool)
    kind = {"text": str, "a table": dict, "a whole number": int, "a number": int | float}[expected]
    return isinstance(value, kind) and not isinstance(value, bool)

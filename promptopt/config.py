"""Config: a study file (TOML) as a StudySpec, the plain settings of one study.

Every door builds a StudySpec, so a file, the command line and Python say the same things in the same words.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from promptopt.budget import Budget
from promptopt.errors import ConfigError, UnknownNameError

DEFAULT_MODEL = "embedded:"
DEFAULT_STRATEGY = "irace"
DEFAULT_STORE = "promptopt.db"
DEFAULT_EVALUATIONS = 400


@dataclass(frozen=True)
class TaskSpec:
    """Where the task comes from.

    Args:
        data: A ready task's name, a folder, or a JSONL or CSV file.
        prompt: The seed prompt as text, or the path of a text or JSON messages file; the task's own if left out.
        metric: A metric's name; the task's own, or one that fits the targets, if left out.
        columns: Which column is which, such as ``{"target": "label", "input": "text"}``.
        max_tokens: The most tokens of an answer.
        scoring: ``generate`` or ``likelihood``.
        mode: ``chat`` or ``completion``; completion for the embedded model and chat for others if left out.
        editable: The parts that may change.
        name: What to call it.
        description: What is to be done, in a sentence, for optimizer models.
    """

    data: str = ""
    prompt: str | None = None
    metric: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    max_tokens: int | None = None
    scoring: str | None = None
    mode: str | None = None
    editable: tuple[str, ...] | None = None
    name: str | None = None
    description: str | None = None


@dataclass(frozen=True)
class ModelSpec:
    """Which models play which role, by address such as ``embedded:`` or ``http://localhost:8000/v1``.

    Args:
        task: The model whose prompt is sought.
        optimizer: The model that writes prompts; the task model if left out.
        options: Options of the backend, such as ``concurrency`` or ``threads``.
        price: US dollars a million tokens, read and written.
    """

    task: str = DEFAULT_MODEL
    optimizer: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    price: tuple[float, float] | None = None


@dataclass(frozen=True)
class StrategySpec:
    """Which strategy, in which profile, with which settings exchanged."""

    name: str = DEFAULT_STRATEGY
    profile: str = "recommended"
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StudySpec:
    """All settings of one study; each field is a section of the study file.

    Args:
        task: Section ``[task]``.
        model: Section ``[model]``.
        strategy: Section ``[strategy]``.
        budget: Section ``[budget]``.
        name: ``name`` in ``[study]``; made from task and strategy if left out.
        seed: ``seed`` in ``[study]``.
        store: ``store`` in ``[study]``.
        cache: ``cache`` in ``[study]``: ``on`` or ``off``.
    """

    task: TaskSpec = field(default_factory=TaskSpec)
    model: ModelSpec = field(default_factory=ModelSpec)
    strategy: StrategySpec = field(default_factory=StrategySpec)
    budget: Budget = field(default_factory=lambda: Budget(evaluations=DEFAULT_EVALUATIONS))
    name: str | None = None
    seed: int = 0
    store: str = DEFAULT_STORE
    cache: Literal["on", "off"] = "on"

    def __post_init__(self) -> None:
        if self.cache not in ("on", "off"):
            raise ConfigError(f"cache = {self.cache!r} must be on or off.")


def read_spec(path: Path) -> StudySpec:
    """Read a study file.

    Raises:
        ConfigError: It is missing, is no TOML, or a key is unknown or of the wrong type; names file and key.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such study file; correct the path, or use --data.") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: this is not a readable TOML file: {error}.") from None
    sections = {"task": TaskSpec, "model": ModelSpec, "strategy": StrategySpec, "budget": Budget}
    known = {*sections, "study"}
    for name, value in data.items():
        if name not in known:
            raise UnknownNameError(f"section in {path}", name, known)
        if not isinstance(value, dict):
            raise ConfigError(f"{path}: {name} must be a section, written [{name}].")
    made = {name: _section(path, name, kind, data.get(name, {})) for name, kind in sections.items()}
    if "budget" not in data:
        made.pop("budget")
    elif made["budget"].evaluations is None:
        made["budget"] = Budget(**{**data["budget"], "evaluations": DEFAULT_EVALUATIONS})
    study = data.get("study", {})
    own = {f.name: _EXPECTED[f.name] for f in fields(StudySpec) if f.name not in sections}
    _check_keys(path, "study", study, own)
    return StudySpec(**made, **study)


def spec_from_json(data: Mapping[str, Any]) -> StudySpec:
    """Return the spec of which the store keeps the plain form."""
    parts = {"task": TaskSpec, "model": ModelSpec, "strategy": StrategySpec, "budget": Budget}
    made = {name: kind(**_tuples(data[name])) for name, kind in parts.items()}
    return StudySpec(**{**data, **made})


def _tuples(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}


_EXPECTED: Mapping[str, tuple[type, ...]] = {
    "data": (str,), "prompt": (str,), "metric": (str,), "columns": (dict,), "max_tokens": (int,), "scoring": (str,),
    "mode": (str,),
    "editable": (list,), "name": (str,), "description": (str,), "task": (str,), "optimizer": (str,),
    "options": (dict,), "price": (list,), "profile": (str,), "settings": (dict,), "seed": (int,), "store": (str,),
    "cache": (str,), "evaluations": (int,), "calls": (int,), "tokens": (int,), "labels": (int,),
    "usd": (int, float), "seconds": (int, float),
}  # fmt: skip


def _section(path: Path, name: str, kind: type[Any], data: Mapping[str, Any]) -> Any:
    _check_keys(path, name, data, {f.name: _EXPECTED[f.name] for f in fields(kind)})
    return kind(**_tuples(data))


def _check_keys(path: Path, section: str, data: Mapping[str, Any], expected: Mapping[str, tuple[type, ...]]) -> None:
    for key, value in data.items():
        if key not in expected:
            raise UnknownNameError(f"key in [{section}] of {path}", key, expected)
        if not isinstance(value, expected[key]) or isinstance(value, bool):
            kinds = " or ".join(
                {"str": "text", "dict": "a table", "list": "a list"}.get(k.__name__, "a number") for k in expected[key]
            )
            raise ConfigError(f"{path}: [{section}] {key} = {value!r} must be {kinds}.")

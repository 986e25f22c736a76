"""The options that several commands share, and how they become a StudySpec.

An option that is left out leaves the study file's value, or the default, alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from promptopt.budget import Budget
from promptopt.config import (
    DEFAULT_STORE,
    StrategySpec,
    StudySpec,
    TaskSpec,
    read_guards,
    read_spec,
    usual_strategy,
)
from promptopt.errors import ConfigError

Source = Annotated[
    str | None, typer.Argument(help="A ready task's name, a study file (.toml), a folder, or a JSONL or CSV file.")
]
Data = Annotated[str | None, typer.Option("--data", help="JSONL or CSV file, or folder; the same as the argument.")]
Tasks = Annotated[
    list[str] | None, typer.Option("--task", help="A task of a suite, as the argument or a .toml; may be repeated.")
]
PromptText = Annotated[
    str | None, typer.Option("--prompt", help="The seed prompt: text with {fields} or none, or a .txt or .json file.")
]
MetricName = Annotated[str | None, typer.Option("--metric", help="How outputs are scored; guessed from the targets.")]
RubricText = Annotated[
    str | None, typer.Option("--rubric", help="What makes an answer good, graded by the --judge model: text or a file.")
]
Levels = Annotated[
    list[str] | None, typer.Option("--level", help="A level of the rubric, the worst first; may be repeated.")
]
Columns = Annotated[
    list[str] | None, typer.Option("--column", help="Which column is which, e.g. target=label; may be repeated.")
]
Model = Annotated[
    str | None, typer.Option("--model", help="The task model, such as http://HOST/v1#NAME; see: promptopt models.")
]
Optimizer = Annotated[str | None, typer.Option("--optimizer", help="The model that writes prompts [the task model].")]
StrategyName = Annotated[str | None, typer.Option("--strategy", help="How to search; see: promptopt strategies.")]
Profile = Annotated[str | None, typer.Option("--profile", help="A named set of the strategy's settings.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="One setting of the strategy, e.g. width=4; may be repeated.")
]
Then = Annotated[
    str | None, typer.Option("--then", help="A second strategy, which goes on from the best; --set then.NAME=VALUE.")
]
Share = Annotated[float | None, typer.Option("--share", help="The first strategy's share of the plan [0.5].")]
Evaluations = Annotated[
    int | None, typer.Option("--evaluations", "-n", help="The plan: how many prompt-example pairs the search scores.")
]
MaxCalls = Annotated[int | None, typer.Option("--max-calls", help="Hard cap on model calls, the proof included.")]
MaxTokens = Annotated[int | None, typer.Option("--max-tokens", help="Hard cap on tokens, the proof included.")]
MaxSeconds = Annotated[float | None, typer.Option("--max-seconds", help="Hard cap on wall time, the proof included.")]
MaxUsd = Annotated[float | None, typer.Option("--max-usd", help="Hard cap on US dollars, the proof included.")]
Price = Annotated[str | None, typer.Option("--price", help="US dollars a million tokens, read and written: 0.15,0.6.")]
OptimizerPrice = Annotated[str | None, typer.Option("--optimizer-price", help="The same of the optimizer model.")]
ModelOptions = Annotated[
    list[str] | None, typer.Option("--model-option", help="An option of the task model, e.g. concurrency=16.")
]
AnswerTokens = Annotated[int | None, typer.Option("--answer-tokens", help="The most tokens of one answer.")]
Temperature = Annotated[float | None, typer.Option("--temperature", help="Of the task model, 0 to 2 [0, greedy].")]
Scoring = Annotated[
    str | None, typer.Option("--scoring", help="generate, choice (nothing but a choice) or likelihood.")
]
Mode = Annotated[str | None, typer.Option("--mode", help="chat or completion layouts for the seed prompt.")]
Judge = Annotated[
    list[str] | None,
    typer.Option("--judge", help="Who compares or grades answers: human, metric or a model's address; repeatable."),
]
Criteria = Annotated[
    str | None, typer.Option("--criteria", help="What makes an answer good, for judges [the task's description].")
]
JudgePrice = Annotated[str | None, typer.Option("--judge-price", help="As --price, of the judge model.")]
Embed = Annotated[
    str | None, typer.Option("--embed", help="Vectors of prompts: hash, http://HOST/v1#NAME, or st:NAME [hash].")
]
MinValid = Annotated[
    float | None, typer.Option("--min-valid", help="Pause when less than this share of calls brings an answer [0.9].")
]
LengthPenalty = Annotated[
    float | None, typer.Option("--length-penalty", help="Points of score that 100 tokens of a prompt take off [0].")
]
Parts = Annotated[list[str] | None, typer.Option("--part", help="A part of the prompt that may change [all].")]
Name = Annotated[str | None, typer.Option("--study", help="The study's name in the store [made from the task].")]
Seed = Annotated[int | None, typer.Option("--seed", help="The seed of every random choice [0].")]
StorePath = Annotated[str, typer.Option("--store", help="The SQLite file that keeps every study.")]
StoreOption = Annotated[str | None, typer.Option("--store", help=f"The SQLite file of studies [{DEFAULT_STORE}].")]
Cache = Annotated[str | None, typer.Option("--cache", help="on, or off to use no other study's outcomes.")]
Guard = Annotated[
    list[str] | None, typer.Option("--guard", help="Switch a guard of prompts, e.g. urls=off; may be repeated.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print plain JSON for machines, and nothing else.")]


def read_source(source: str | None, data: str | None, tasks: Sequence[str] | None = None) -> StudySpec:
    """Return the settings that the argument names: a study file's, or those of data or of a suite's tasks.

    Raises:
        ConfigError: Several or none are given.
    """
    if source and data:
        raise ConfigError(f"there are two sources, {source} and --data {data}; give one of them.")
    if tasks and (source or data):
        raise ConfigError(f"there are two sources, {source or data} and --task {tasks[0]}; give one of them.")
    if tasks:
        return StudySpec(task=TaskSpec(tasks=tuple(tasks)))
    if source and source.endswith(".toml"):
        return read_spec(Path(source))
    if not (source or data):
        raise ConfigError("there is no data: name a ready task (promptopt tasks), a study file, or --data FILE.")
    return StudySpec(task=TaskSpec(data=source or data or ""))


def with_task(spec: StudySpec, **changes: Any) -> StudySpec:
    """Return the spec with some fields of its task exchanged; None changes nothing."""
    if changes.get("columns"):
        changes["columns"] = read_pairs("--column", changes["columns"])
    return replace(spec, task=replace(spec.task, **_given(changes)))


def with_model(spec: StudySpec, **changes: Any) -> StudySpec:
    """Return the spec with other models; None changes nothing.

    Raises:
        ConfigError: A price is not two numbers, or an option not ``name=value``.
    """
    for key in ("price", "optimizer_price"):
        if changes.get(key) is not None:
            changes[key] = _read_price(changes[key])
    if changes.get("options"):
        changes["options"] = {**spec.model.options, **read_pairs("--model-option", changes["options"])}
    return replace(spec, model=replace(spec.model, **_given(changes)))


def _read_price(text: str) -> tuple[float, float]:
    try:
        read, written = (float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"price {text}: expected two numbers such as 0.15,0.6.") from None
    return read, written


def with_strategy(spec: StudySpec, settings: Sequence[str] | None, **changes: Any) -> StudySpec:
    """Return the spec with another strategy; settings given one by one are added to the file's."""
    if settings:
        changes["settings"] = {**spec.strategy.settings, **read_pairs("--set", settings)}
    return replace(spec, strategy=replace(spec.strategy, **_given(changes)))


def with_judge(
    spec: StudySpec, by: Sequence[str] | None, criteria: str | None = None, price: str | None = None
) -> StudySpec:
    """Return the spec with other judges, and with the strategy that is usual with them; None changes nothing."""
    read = _read_price(price) if price else None
    given = _given({"by": tuple(by) if by else None, "criteria": criteria, "price": read})
    judge = replace(spec.judge, **given)
    if by and spec.strategy == StrategySpec():
        spec = replace(spec, strategy=StrategySpec(usual_strategy(spec.task, judge)))
    return replace(spec, judge=judge)


def with_budget(spec: StudySpec, **limits: Any) -> StudySpec:
    """Return the spec with other limits; None changes nothing."""
    return replace(spec, budget=replace(spec.budget, **_given(limits)))


def with_study(spec: StudySpec, **changes: Any) -> StudySpec:
    """Return the spec with another name, seed, store or cache mode; None changes nothing."""
    return replace(spec, **_given(changes))


def with_guards(spec: StudySpec, settings: Sequence[str] | None) -> StudySpec:
    """Return the spec with some guards switched; those given one by one are added to the file's."""
    return replace(spec, guards=read_guards(read_pairs("--guard", settings or ()), spec.guards))


_PAIRS = {
    "--add": "calls=500",
    "--set": "width=4",
    "--column": "target=label",
    "--guard": "urls=off",
    "--model-option": "concurrency=16",
}


def read_pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    """Read ``name=value`` texts.

    Raises:
        ConfigError: One has no equals sign.
    """
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ConfigError(f"{option} {text}: expected name=value, such as {_PAIRS[option]}.")
        pairs[name.strip()] = value.strip()
    return pairs


def budget_of(texts: Sequence[str]) -> Budget:
    """Read limits such as ``calls=500`` for ``resume --add``.

    Raises:
        ConfigError: A unit is unknown or a value is no number.
    """
    units = {"calls": int, "tokens": int, "usd": float, "seconds": float, "labels": int}
    limits: dict[str, Any] = {}
    for unit, value in read_pairs("--add", texts).items():
        if unit not in units:
            raise ConfigError(f"--add {unit}={value}: the plan is fixed, caps can grow: {', '.join(units)}.")
        try:
            limits[unit] = units[unit](value)
        except ValueError:
            raise ConfigError(f"--add {unit}={value}: {value} is not a number.") from None
    return Budget(**limits)


def _given(changes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in changes.items() if value is not None}

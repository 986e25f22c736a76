"""load_task: data, metric, seed prompt and decoding put together as a Task."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack, cast

from promptopt.errors import ConfigError, UnknownNameError
from promptopt.example import SPLITS, Dataset, Example
from promptopt.layout import Mode
from promptopt.metric import NO_METRIC, Metric, Score
from promptopt.metrics import CallableMetric, Rubric, open_metric, suggest_metric
from promptopt.metrics.rubric import RUBRIC
from promptopt.prompt import PARTS
from promptopt.task import Decoding, Task
from promptopt_datasets.columns import NO_TARGET, TARGET_IF_ANY
from promptopt_datasets.files import read_prose
from promptopt_datasets.load import HUB, Rows, dataset_from_rows, load_card, load_dataset
from promptopt_datasets.ready import ready_names, ready_path
from promptopt_datasets.seeds import lay_out, read_wording

MODES = ("chat", "completion")
SCORINGS = ("generate", "choice", "likelihood")
MAX_LABELS = 200
OUTPUT_LABEL = "Output"

# In this suite the instruction is what has to be found, so neither a seed nor an optimizer model may see it.
HIDDEN_SUITE = "ii"
NEUTRAL_PROMPT = "Give the right output for the input."

# Answers that are reasoned out: long, on several lines, and missing rather than wrong where they are cut.
REASONED = ("numeric", "math", "constraints")
REASONED_TOKENS: Mapping[str, int] = {"chat": 512, "completion": 256}
FEWEST_TOKENS: Mapping[str, int] = {"multiple-choice": 8, "json-fields": 48, "rouge-l": 32}
SHORT_TOKENS = 12
FUNCTION_TOKENS = 64
MOST_TOKENS = 512
LETTERS_A_TOKEN = 3

UserMetric = Callable[[str, Example], float | bool | Score]


class TaskOptions(TypedDict, total=False):
    """What ``load_task`` takes by name; each has a default that is made from the data."""

    prompt: str | Sequence[Mapping[str, Any]]
    metric: str | Metric | UserMetric
    rubric: str
    levels: Sequence[str]
    mode: Mode
    columns: Mapping[str, str]
    name: str
    description: str
    max_tokens: int
    temperature: float
    scoring: Literal["generate", "choice", "likelihood"]
    editable: Sequence[str]


def load_task(source: str | Path | Rows | Mapping[str, Rows], **options: Unpack[TaskOptions]) -> Task:
    """Make a task.

    Args:
        source: A ready task's name, a folder, a JSONL or CSV file, ``hf:NAME``, or rows as mappings or Examples,
            such a list for each split too.
        **options: ``prompt``: text with {fields} or none, a .txt or .json file, or chat messages; the card's if left
            out. ``metric``: a name, a Metric or a function; the card's, or one that suits the targets.
            ``rubric`` (text, or the path of a .txt or .md file) and ``levels``: of the metric ``rubric``.
            ``mode``: ``chat`` or ``completion``. ``columns``: which column is which. ``name``, ``description``,
            ``max_tokens``, ``temperature``, ``scoring`` and ``editable``: as in Task and Decoding.

    Raises:
        DataError: The data is wrong, or its targets do not fit the metric; names file, line and field.
        ConfigError: A setting is wrong.
    """
    mode = options.get("mode", "chat")
    scoring = options.get("scoring", "generate")
    for kind, value, known in (("mode", mode, MODES), ("scoring", scoring, SCORINGS)):
        if value not in known:
            raise UnknownNameError(kind, value, known)
    dataset, card = _data(source, options)
    metric = _metric(options, card, dataset)
    if metric.name == "multiple-choice" or scoring != "generate":
        dataset = _with_choices(dataset)
    metric.check(dataset)
    decoding = _decoding(metric, dataset, mode)
    max_tokens = options.get("max_tokens", decoding.max_tokens)
    if max_tokens < 1:
        raise ConfigError(f"max_tokens = {max_tokens} must be at least 1.")
    temperature = options.get("temperature", decoding.temperature)
    if not 0 <= temperature <= 2:
        raise ConfigError(f"temperature = {temperature} must be from 0 (greedy) to 2.")
    seen = {} if card.get("suite") == HIDDEN_SUITE else card
    description = options.get("description", _text(seen, "description"))
    prompt = options.get("prompt") or _text(card, "prompt") or description
    if not prompt and card:
        prompt = NEUTRAL_PROMPT
    if not prompt:
        raise ConfigError(f"task {dataset.name}: there is no seed prompt; give one with --prompt.")
    cue = _text(card, "output_label", OUTPUT_LABEL) + ":"
    seed = lay_out(read_wording(prompt), mode, _labels(dataset, card), cue, _stop(metric, dataset))
    return Task(
        name=dataset.name,
        description=description,
        dataset=dataset,
        metric=metric,
        seeds=(seed,),
        decoding=replace(decoding, max_tokens=max_tokens, temperature=temperature, scoring=scoring),
        editable=tuple(options.get("editable", PARTS)),
    )


def _data(source: str | Path | Rows | Mapping[str, Rows], options: TaskOptions) -> tuple[Dataset, Mapping[str, Any]]:
    columns, name = _columns(options), options.get("name")
    if not isinstance(source, str | Path):
        return dataset_from_rows(source, columns=columns, name=name), {}
    text = str(source)
    path = Path(source)
    if text in ready_names():
        path = ready_path(text)
    elif text.startswith(HUB):
        return load_dataset(text, columns=columns, name=name), {}
    elif not path.exists() and not path.suffix and len(path.parts) == 1:
        raise UnknownNameError("ready task, file or folder", text, ready_names())
    card = load_card(path) if path.is_dir() else None
    return load_dataset(path, columns=columns, name=name), card or {}


def _columns(options: TaskOptions) -> Mapping[str, str] | None:
    """Return which column is which; a task that has no metric needs no target."""
    columns = options.get("columns")
    if options.get("metric") == NO_METRIC:
        return {"target": NO_TARGET, **(columns or {})}
    if _is_rubric(options):
        return {"target": TARGET_IF_ANY, **(columns or {})}
    return columns


def _is_rubric(options: TaskOptions) -> bool:
    given = options.get("metric")
    named = given == RUBRIC or isinstance(given, Rubric)
    return named or (given is None and bool(options.get("rubric") or options.get("levels")))


def _metric(options: TaskOptions, card: Mapping[str, Any], dataset: Dataset) -> Metric:
    given = options.get("metric")
    if _is_rubric(options) and not isinstance(given, Rubric):
        return Rubric(_read_rubric(options.get("rubric", "")), tuple(options.get("levels", ())))
    if "rubric" in options or "levels" in options:
        raise ConfigError(f"metric = {given!r} takes no rubric; leave one of them out.")
    if given is None:
        given = _text(card, "metric") or suggest_metric(dataset)
    if isinstance(given, str):
        return open_metric(given)
    if hasattr(given, "score"):
        return cast("Metric", given)
    if not callable(given):
        raise ConfigError(f"metric = {given!r} must be a name, a Metric or a function (output, example) -> float.")
    return CallableMetric(given, getattr(given, "__name__", type(given).__name__))


def _read_rubric(given: str) -> str:
    """Return the text of a rubric, which may stand in a file."""
    if "\n" in given or not given.casefold().endswith((".txt", ".md")):
        return given
    if Path(given).is_file():
        return read_prose(Path(given))
    if " " in given:
        return given
    raise ConfigError(f"rubric {given}: there is no such file; correct the path, or give the rubric as text.")


def _with_choices(dataset: Dataset) -> Dataset:
    """Return the dataset whose examples all know their choices: where none are given, all targets seen."""
    splits = {split: dataset.split(split) for split in SPLITS}
    labels = sorted({example.target for examples in splits.values() for example in examples})
    if len(labels) > MAX_LABELS or all(example.choices for examples in splits.values() for example in examples):
        return dataset
    known = {
        split: tuple(e if e.choices else replace(e, choices=tuple(labels)) for e in examples)
        for split, examples in splits.items()
    }
    return Dataset(dataset.name, known["train"], known["dev"], known["test"])


def _decoding(metric: Metric, dataset: Dataset, mode: Mode) -> Decoding:
    """Return how many tokens an answer gets: room for reasoning, or for the longest target."""
    if metric.name in (*REASONED, NO_METRIC, RUBRIC):
        return Decoding(max_tokens=REASONED_TOKENS[mode], score_truncated=metric.name == RUBRIC)
    fewest = FUNCTION_TOKENS if isinstance(metric, CallableMetric) else FEWEST_TOKENS.get(metric.name, SHORT_TOKENS)
    longest = max(map(len, _targets(dataset)), default=0)
    return Decoding(max_tokens=min(MOST_TOKENS, max(fewest, longest // LETTERS_A_TOKEN + 2)))


def _stop(metric: Metric, dataset: Dataset) -> tuple[str, ...]:
    """Return what ends a completion: the end of the line, unless answers have several."""
    if metric.name == "constraints":
        return ()
    if metric.name in (NO_METRIC, RUBRIC):
        return ("\n\n\n",)
    targets = [target.strip() for target in _targets(dataset)]
    if metric.name not in REASONED and not any("\n" in target for target in targets):
        return ("\n",)
    return ("\n\n",) if not any("\n\n" in target for target in targets) else ("\n\n\n",)


def _targets(dataset: Dataset) -> list[str]:
    return [example.target for split in SPLITS for example in dataset.split(split)]


def _labels(dataset: Dataset, card: Mapping[str, Any]) -> dict[str, str]:
    fields = dataset.fields
    if len(fields) == 1 and (label := _text(card, "input_label")):
        return {fields[0]: label}
    return {field: field.replace("_", " ").strip().capitalize() for field in fields}


def _text(card: Mapping[str, Any], key: str, default: str = "") -> str:
    value = card.get(key)
    return value if isinstance(value, str) and value else default

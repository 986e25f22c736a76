"""ReadyTask: one task's description and rows, and how both become a folder of three splits and a card.

A task module fills in a ReadyTask; nothing here knows what a row is about.
"""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptopt.example import SPLITS, Split

SIZES: Mapping[Split, int] = {"train": 140, "dev": 80, "test": 320}
SEED = 20261123

ANSWER_EXTRACTION = {
    "exact-match": "Compare the stripped last line, case folded, without a final dot, with the target and its aliases.",
    "multiple-choice": "Take the last choice named in the output, compared without case.",
    "json-fields": "Read the first JSON object in the output; the score is the share of the target's fields "
    "whose values agree, trimmed and case folded.",
}


@dataclass(frozen=True, slots=True)
class Row:
    """An input and its right answer; ``aliases`` are other right answers."""

    input: str
    target: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReadyTask:
    """Everything that is said about a task once, and the function that makes its rows.

    Args:
        name: The folder's name.
        description: What the task asks, in one sentence.
        prompt: The fair seed prompt: what a reasonable person would type first.
        labels: The words shown before the input and before the answer.
        metric: The metric's name.
        make: Makes the rows of each split from a seeded generator.
        choices: The answers allowed, where the set is closed.
        notes: How the rows came about.
    """

    name: str
    description: str
    prompt: str
    labels: tuple[str, str]
    metric: str
    make: Callable[[random.Random], Mapping[Split, Sequence[Row]]]
    choices: tuple[str, ...] = ()
    notes: str = ""


def write(task: ReadyTask, root: Path) -> None:
    """Write one task's folder below ``root``.

    Raises:
        ValueError: Two rows have the same input.
    """
    splits = task.make(random.Random(f"{SEED}/{task.name}"))
    _refuse_repeats(task.name, [row for split in SPLITS for row in splits[split]])
    folder = root / task.name
    folder.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        lines = [json.dumps(_record(task, split, number, row)) for number, row in enumerate(splits[split], 1)]
        _write_text(folder / f"{split}.jsonl", "\n".join(lines))
    _write_text(folder / "card.json", json.dumps(_card(task, splits), indent=2))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text + "\n", encoding="utf-8", newline="\n")


def _refuse_repeats(name: str, rows: Iterable[Row]) -> None:
    counts = Counter(" ".join(row.input.casefold().split()) for row in rows)
    repeated = [text for text, count in counts.items() if count > 1]
    if repeated:
        raise ValueError(f"{name}: these inputs stand twice: {repeated}")


def _record(task: ReadyTask, split: Split, number: int, row: Row) -> dict[str, Any]:
    record: dict[str, Any] = {
        "id": f"promptopt-{task.name}-{split}-{number:03d}",
        "input": row.input,
        "target": row.target,
    }
    if task.choices:
        record["choices"] = list(task.choices)
    record["meta"] = {"aliases": list(row.aliases)} if row.aliases else {}
    return record


def _card(task: ReadyTask, splits: Mapping[Split, Sequence[Row]]) -> dict[str, Any]:
    rows = [row for split in SPLITS for row in splits[split]]
    commonest = Counter(row.target for row in splits["test"]).most_common(1)[0][1]
    sources = (f"{task.name.replace('-', '_')}.py", f"text/{task.name}.txt")
    return {
        "suite": "promptopt",
        "task": task.name,
        "description": task.description,
        "prompt": task.prompt,
        "input_label": task.labels[0],
        "output_label": task.labels[1],
        "metric": task.metric,
        "answer_extraction": ANSWER_EXTRACTION[task.metric],
        "choices": list(task.choices) or None,
        "source": {
            "repository": "promptopt",
            "commit": None,
            "paths": [f"datasets/promptopt_datasets/generate/{path}" for path in sources],
        },
        "licence": {
            "name": "Apache-2.0",
            "file": "LICENSE",
            "stated_in": "promptopt",
            "upstream": None,
            "redistribution": "permitted",
        },
        "sensitive": False,
        "notes": task.notes or None,
        "positive_label": None,
        "sampling": "equal shares of the labels" if task.choices else "a random cut",
        "seed": SEED,
        "used_by": [],
        "sizes": {split: len(splits[split]) for split in SPLITS},
        "tiny": False,
        "mean_input_words": round(sum(len(row.input.split()) for row in rows) / len(rows), 1),
        "random_guess_accuracy": 1 / len(task.choices) if task.choices else 0.0,
        "majority_accuracy": round(commonest / len(splits["test"]), 4),
        "labels": {split: _labels(task, splits[split]) for split in SPLITS},
    }


def _labels(task: ReadyTask, rows: Sequence[Row]) -> dict[str, int]:
    counts = Counter(row.target for row in rows)
    return {label: counts[label] for label in task.choices} if task.choices else {"distinct": len(counts)}

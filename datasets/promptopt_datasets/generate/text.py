"""Reading the text files beside the generators, dealing their lines to the splits, filling their slots.

Whole fragments belong to one split, so that no sentence of test shares its wording with train.
"""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from itertools import cycle

from promptopt.example import SPLITS, Split
from promptopt_datasets.generate.task import SIZES, Row

_DEAL: tuple[Split, ...] = ("test", "train", "test", "dev", "test", "train", "test", "dev")
_SLOT = re.compile(r"\{(\w+)\}")
_SENTENCE_START = re.compile(r"(?:^|[.!] )[a-z]")


def read_lines(task: str) -> list[str]:
    """Return the lines of a task's text file, without comments and empty lines."""
    text = files("promptopt_datasets.generate").joinpath("text", f"{task}.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def read_sections(task: str) -> dict[str, list[str]]:
    """Return the lines of a task's text file by the ``[section]`` that they stand under."""
    sections: dict[str, list[str]] = {}
    for line in read_lines(task):
        if line.startswith("["):
            lines = sections.setdefault(line.strip("[]"), [])
        else:
            lines.append(line)
    return sections


def deal(lines: Sequence[str], split: Split) -> list[str]:
    """Return the lines that belong to a split: of every eight, two for train, two for dev, four for test."""
    return [line for line, owner in zip(lines, cycle(_DEAL), strict=False) if owner == split]


def rotate(rng: random.Random, items: Sequence[str]) -> Iterator[str]:
    """Yield the items for ever in shuffled rounds, so that all are used equally often."""
    while True:
        yield from rng.sample(items, len(items))


def pick_slots(rng: random.Random, frame: str, slots: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Choose a value for each slot of a frame; ``{team2}`` is another team than ``{team}``."""
    values: dict[str, str] = {}
    for name in _SLOT.findall(frame):
        values[name] = rng.choice([value for value in slots[name.rstrip("2")] if value not in values.values()])
    return values


def fill(frame: str, values: Mapping[str, str]) -> str:
    """Put the values into a frame's slots in one pass and start each sentence with a capital letter."""
    text = _SLOT.sub(lambda match: values[match[1]], frame)
    return _SENTENCE_START.sub(lambda match: match[0].upper(), text)


def cut(rng: random.Random, groups: Sequence[Sequence[Row]]) -> dict[Split, list[Row]]:
    """Cut shuffled groups of rows into the splits; a group stays together, what is left over is dropped.

    Args:
        rng: Decides the order.
        groups: Rows that belong together, the same number in each group.
    """
    rows = (row for group in rng.sample(groups, len(groups)) for row in group)
    splits = {split: [next(rows) for _ in range(SIZES[split])] for split in SPLITS}
    for split in SPLITS:
        rng.shuffle(splits[split])
    return splits

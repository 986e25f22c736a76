"""The task ``topic``: a headline to its section of the newspaper.

Frames belong to one split; the names that fill them are invented or common.
"""

import random

from promptopt.example import SPLITS, Split
from promptopt_datasets.generate.task import SIZES, ReadyTask, Row
from promptopt_datasets.generate.text import deal, fill, pick_slots, read_sections, rotate

TOPICS = ("sports", "business", "science", "politics")


def make(rng: random.Random) -> dict[Split, list[Row]]:
    """Make the rows of each split, equally many for each topic."""
    sections = read_sections("topic")
    return {split: _split(rng, sections, split) for split in SPLITS}


def _split(rng: random.Random, sections: dict[str, list[str]], split: Split) -> list[Row]:
    rows = []
    for topic in TOPICS:
        sentences = _sentences(rng, sections, deal(sections[topic], split), SIZES[split] // len(TOPICS))
        rows += [Row(sentence, topic) for sentence in sentences]
    rng.shuffle(rows)
    return rows


def _sentences(rng: random.Random, slots: dict[str, list[str]], frames: list[str], n: int) -> list[str]:
    """Return ``n`` different sentences; a frame without a slot gives only one."""
    endless = rotate(rng, frames)
    sentences: dict[str, None] = {}
    while len(sentences) < n:
        frame = next(endless)
        sentences[fill(frame, pick_slots(rng, frame, slots))] = None
    return list(sentences)


TASK = ReadyTask(
    name="topic",
    description="Name the section of a newspaper that a headline belongs to.",
    prompt="Classify the headline as sports, business, science or politics.",
    labels=("Headline", "Category"),
    metric="multiple-choice",
    make=make,
    choices=TOPICS,
    notes="Headlines from frames written by hand; no frame is used in two splits.",
)

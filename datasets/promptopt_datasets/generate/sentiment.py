"""The task ``sentiment``: a short review to positive or negative.

Plain, mixed and understated reviews; where good and bad points meet, the last word decides.
"""

import random

from promptopt.example import SPLITS, Split
from promptopt_datasets.generate.task import SIZES, ReadyTask, Row
from promptopt_datasets.generate.text import deal, fill, pick_slots, read_sections, rotate

MARKS = {"positive": "+", "negative": "-"}
GROUPS = ("product", "place", "media")
WORDS = range(8, 23)


def make(rng: random.Random) -> dict[Split, list[Row]]:
    """Make the rows of each split, half of them positive."""
    sections = read_sections("sentiment")
    return {split: _split(rng, sections, split) for split in SPLITS}


def _split(rng: random.Random, sections: dict[str, list[str]], split: Split) -> list[Row]:
    things = [name for name in sections if name.endswith(GROUPS) and not name.startswith(("verdict", "understated"))]
    rows: dict[str, Row] = {}
    for done, label in enumerate(MARKS, 1):
        next_thing, next_shape = rotate(rng, things), rotate(rng, sections["shape"])
        while len(rows) < done * SIZES[split] // len(MARKS):
            shape = next(next_shape)
            review = fill(shape, pick_slots(rng, shape, _slots(sections, next(next_thing), label, split)))
            if len(review.split()) in WORDS:
                rows[review] = Row(review, label)
    return rng.sample(list(rows.values()), len(rows))


def _slots(sections: dict[str, list[str]], name: str, label: str, split: Split) -> dict[str, list[str]]:
    """Return what can be said of one thing with one verdict in one split."""
    thing, group = name.rsplit(" ", 1)
    mark = MARKS[label]
    other = MARKS["negative" if label == "positive" else "positive"]
    return {
        "opening": _marked(sections[name], "?"),
        "point": deal(_marked(sections[name], mark), split),
        "opposed": deal(_marked(sections[name], other), split),
        "summary": [f"{adjective} {thing}" for adjective in deal(_marked(sections["adjective"], mark), split)],
        "verdict": deal(_marked(sections[f"verdict {group}"], mark), split),
        "understated": deal(_marked(sections[f"understated {group}"], mark), split),
    }


def _marked(lines: list[str], mark: str) -> list[str]:
    return [line[2:] for line in lines if line.startswith(mark)]


TASK = ReadyTask(
    name="sentiment",
    description="Say whether a review is positive or negative.",
    prompt="Classify the review as positive or negative.",
    labels=("Review", "Sentiment"),
    metric="multiple-choice",
    make=make,
    choices=tuple(MARKS),
    notes="Reviews put together from points written by hand; no point and no verdict is used in two splits. "
    "Some are mixed (the last word decides), some understated.",
)

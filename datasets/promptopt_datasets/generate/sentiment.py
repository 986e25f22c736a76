"""The task ``sentiment``: a short review to positive or negative.

Plain, mixed and understated reviews; where good and bad points meet, the last word decides.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from promptopt_datasets.generate.task import SIZES, SPLITS, ReadyTask, Row, Split
from promptopt_datasets.generate.text import capitalize, deal, read_sections, rotate

SIGNS = {"positive": "+", "negative": "-"}
WORDS = range(8, 23)


@dataclass(frozen=True, slots=True)
class Remarks:
    """What can be said of one thing with one verdict, in one split.

    Args:
        openings: Neutral beginnings.
        points: Points for the verdict.
        opposed: Points against it.
        verdicts: The verdict itself.
        understated: Quiet remarks that tell the verdict without a point.
    """

    openings: list[str]
    points: list[str]
    opposed: list[str]
    verdicts: list[str]
    understated: list[str]


Shape = Callable[[random.Random, Remarks], str]


def _two_points(rng: random.Random, remarks: Remarks) -> str:
    return "{}, and {}.".format(*rng.sample(remarks.points, 2))


def _opened_point(rng: random.Random, remarks: Remarks) -> str:
    return f"{rng.choice(remarks.openings)}: {rng.choice(remarks.points)}."


def _point_and_verdict(rng: random.Random, remarks: Remarks) -> str:
    return f"{rng.choice(remarks.points)}. {capitalize(rng.choice(remarks.verdicts))}."


def _conceded(rng: random.Random, remarks: Remarks) -> str:
    return f"{rng.choice(remarks.opposed)}, but {_point_and_verdict(rng, remarks)}"


def _although(rng: random.Random, remarks: Remarks) -> str:
    return f"although {rng.choice(remarks.opposed)}, {_point_and_verdict(rng, remarks)}"


def _understated(rng: random.Random, remarks: Remarks) -> str:
    return f"{rng.choice(remarks.openings)}. {capitalize(rng.choice(remarks.understated))}."


SHAPES: dict[str, Shape] = {
    "two points": _two_points,
    "opened point": _opened_point,
    "point and verdict": _point_and_verdict,
    "conceded": _conceded,
    "although": _although,
    "understated": _understated,
}


def make(rng: random.Random) -> dict[Split, list[Row]]:
    """Make the rows of each split, half of them positive."""
    sections = read_sections("sentiment")
    return {split: _split(rng, sections, split) for split in SPLITS}


def _split(rng: random.Random, sections: dict[str, list[str]], split: Split) -> list[Row]:
    rows: dict[str, Row] = {}
    for label in SIGNS:
        things = rotate(rng, [name for name in sections if not name.startswith(("verdict", "understated"))])
        shapes = rotate(rng, list(SHAPES))
        wanted = len(rows) + SIZES[split] // len(SIGNS)
        while len(rows) < wanted:
            review = capitalize(SHAPES[next(shapes)](rng, _remarks(sections, next(things), label, split)))
            if len(review.split()) in WORDS:
                rows[review] = Row(review, label)
    shuffled = list(rows.values())
    rng.shuffle(shuffled)
    return shuffled


def _remarks(sections: dict[str, list[str]], thing: str, label: str, split: Split) -> Remarks:
    sign = SIGNS[label]
    group = thing.split()[-1]
    other = "-" if sign == "+" else "+"
    return Remarks(
        openings=_marked(sections[thing], "?"),
        points=deal(_marked(sections[thing], sign), split),
        opposed=deal(_marked(sections[thing], other), split),
        verdicts=deal(_marked(sections[f"verdict {group}"], sign), split),
        understated=deal(_marked(sections[f"understated {group}"], sign), split),
    )


def _marked(lines: list[str], mark: str) -> list[str]:
    return [line[2:] for line in lines if line.startswith(mark)]


TASK = ReadyTask(
    name="sentiment",
    description="Say whether a review is positive or negative.",
    prompt="Classify the review as positive or negative.",
    labels=("Review", "Sentiment"),
    metric="multiple-choice",
    make=make,
    choices=tuple(SIGNS),
    notes="Reviews put together from points written by hand; no point is used in two splits. "
    "A third are mixed (the last word decides), a sixth understated.",
)

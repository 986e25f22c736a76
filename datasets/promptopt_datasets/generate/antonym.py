"""The task ``antonym``: a word to its opposite.

Both words of a pair are asked, always in the same split.
"""

import random

from promptopt.example import Split
from promptopt_datasets.generate.task import ReadyTask, Row
from promptopt_datasets.generate.text import cut, read_lines


def make(rng: random.Random) -> dict[Split, list[Row]]:
    """Make the rows of each split."""
    pairs = [[side.split() for side in line.split(" | ")] for line in read_lines("antonym")]
    return cut(rng, [[_row(one, other), _row(other, one)] for one, other in pairs])


def _row(asked: list[str], answers: list[str]) -> Row:
    return Row(asked[0], answers[0], tuple(answers[1:]))


TASK = ReadyTask(
    name="antonym",
    description="Give the antonym of a word.",
    prompt="Give the antonym of the word.",
    labels=("Word", "Antonym"),
    metric="exact-match",
    make=make,
    notes="Pairs chosen by hand; aliases are other words that are right.",
)

"""The task ``plural``: a singular noun to its plural.

A fast smoke test: short inputs, short answers, and a large gain from demonstrations.
"""

import random
import re

from promptopt.example import Split
from promptopt_datasets.generate.task import ReadyTask, Row
from promptopt_datasets.generate.words import word_rows


def pluralize(noun: str) -> str:
    """Return the plural that the spelling rules give."""
    if re.search(r"(s|x|z|ch|sh)$", noun):
        return noun + "es"
    if re.search(r"[^aeiou]y$", noun):
        return noun[:-1] + "ies"
    return noun + "s"


def make(rng: random.Random) -> dict[Split, list[Row]]:
    """Make the rows of each split."""
    return word_rows("plural", pluralize, rng)


TASK = ReadyTask(
    name="plural",
    description="Give the plural of a word.",
    prompt="Give the plural of the word.",
    labels=("Word", "Plural"),
    metric="exact-match",
    make=make,
    notes="Regular and irregular nouns, chosen by hand.",
)

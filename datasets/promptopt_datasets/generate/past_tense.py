"""The task ``past-tense``: a verb to its simple past.

Irregular verbs make it harder than ``plural``.
"""

import random
import re

from promptopt.example import Split
from promptopt_datasets.generate.task import ReadyTask, Row
from promptopt_datasets.generate.words import word_rows


def put_in_past(verb: str) -> str:
    """Return the simple past that the spelling rules give."""
    if verb.endswith("e"):
        return verb + "d"
    if re.search(r"[^aeiou]y$", verb):
        return verb[:-1] + "ied"
    if re.search(r"^[^aeiou]*[aeiou][bdgklmnprtvz]$", verb):
        return verb + verb[-1] + "ed"
    return verb + "ed"


def make(rng: random.Random) -> dict[Split, list[Row]]:
    """Make the rows of each split."""
    return word_rows("past-tense", put_in_past, rng)


TASK = ReadyTask(
    name="past-tense",
    description="Give the past tense of a verb.",
    prompt="Give the past tense of the verb.",
    labels=("Verb", "Past tense"),
    metric="exact-match",
    make=make,
    notes="Regular and irregular verbs, chosen by hand; British and American forms are both right.",
)

"""The task ``extract``: a sentence about an order, a meeting and the like to a JSON object of two fields.

Frames and names belong to one split; the score is the share of right fields.
"""

import json
import random

from promptopt.example import SPLITS, Split
from promptopt_datasets.generate.task import SIZES, ReadyTask, Row
from promptopt_datasets.generate.text import deal, fill, pick_slots, read_sections, rotate


def make(rng: random.Random) -> dict[Split, list[Row]]:
    """Make the rows of each split."""
    sections = read_sections("extract")
    return {split: _split(rng, sections, split) for split in SPLITS}


def _split(rng: random.Random, sections: dict[str, list[str]], split: Split) -> list[Row]:
    slots = sections | {"name": deal(sections["name"], split)}
    frames = rotate(rng, deal(sections["frame"], split))
    rows: dict[str, Row] = {}
    while len(rows) < SIZES[split]:
        row = _row(rng, next(frames), slots)
        rows.setdefault(row.input, row)
    return list(rows.values())


def _row(rng: random.Random, frame: str, slots: dict[str, list[str]]) -> Row:
    values = pick_slots(rng, frame, slots)
    return Row(fill(frame, values), json.dumps({"name": values["name"], "day": values["day"]}))


TASK = ReadyTask(
    name="extract",
    description="Find the person and the day in a sentence and return them as a JSON object.",
    prompt='Extract the person and the day from the sentence as a JSON object with the keys "name" and "day".',
    labels=("Sentence", "JSON"),
    metric="json-fields",
    make=make,
    notes="Sentences from frames written by hand; no frame and no name is used in two splits.",
)

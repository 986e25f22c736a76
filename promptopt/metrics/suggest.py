"""What the targets of a dataset look like, and the metric that suits them when the user names none."""

import json
import re
from collections.abc import Sequence
from typing import Any

from promptopt.example import SPLITS, Dataset

MAX_LABELS = 100
MAX_NUMBER_LABELS = 5
ROWS_A_LABEL = 5
LABEL_WORDS = 6
SHORT_WORDS = 6

# Thousands commas inside, a minus only where it cannot be a dash between words or a subtraction.
_NUMBER = re.compile(
    r"(?:(?<![\w)\]])(?P<minus>[-−])\\?[$€£¥]?)?(?P<digits>\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
    r"(?P<power>[eE][+-]?\d+)?"
)
_AROUND = re.compile(r"[\s$€£¥%.\\]*")


def suggest_metric(dataset: Dataset) -> str:
    """Return the name of the metric that suits the targets.

    Closed sets of labels are compared by ``multiple-choice``, numbers by ``numeric``, JSON objects by
    ``json-fields``, short texts by ``exact-match`` and long ones by ``f1``.
    """
    examples = [example for split in SPLITS for example in dataset.split(split)]
    targets = [example.target for example in examples]
    if not targets or all(example.choices for example in examples):
        return "multiple-choice" if targets else "exact-match"
    if all(json_object(target) is not None for target in targets):
        return "json-fields"
    numbers = all(is_number(target) for target in targets)
    if few_labels(targets, MAX_NUMBER_LABELS if numbers else MAX_LABELS):
        return "multiple-choice"
    if numbers:
        return "numeric"
    lengths = sorted(len(target.split()) for target in targets)
    return "exact-match" if lengths[len(lengths) // 2] <= SHORT_WORDS else "f1"


def few_labels(targets: Sequence[str], limit: int = MAX_LABELS) -> bool:
    """Return whether the targets look like a closed set: few, short and each seen several times."""
    labels = set(targets)
    if len(labels) < 2 or len(labels) > limit or len(targets) < ROWS_A_LABEL * len(labels):
        return False
    return all(len(label.split()) <= LABEL_WORDS for label in labels)


def numbers_in(text: str) -> list[float]:
    """Return the numbers of a text in order, without thousands commas, currency and percent signs."""
    return [_value(match) for match in _NUMBER.finditer(text)]


def is_number(text: str) -> bool:
    """Return whether a text is one number and nothing else but signs."""
    match = _NUMBER.search(text)
    return bool(match and _AROUND.fullmatch(text[: match.start()]) and _AROUND.fullmatch(text[match.end() :]))


def json_object(text: str) -> dict[str, Any] | None:
    """Return the first JSON object that stands anywhere in a text, or None."""
    decoder = json.JSONDecoder()
    at = text.find("{")
    while at >= 0:
        try:
            value, _ = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            return value
        at = text.find("{", at + 1)
    return None


def _value(match: re.Match[str]) -> float:
    text = match["digits"].replace(",", "") + (match["power"] or "")
    return -float(text) if match["minus"] else float(text)

"""Cutting one table into train, dev and test by the hash of the content, alike in every part.

The cut does not depend on the order of the rows or on a seed, so the same table is cut the same way everywhere.
"""

from collections.abc import Sequence

from promptopt.example import Example, by_hash
from promptopt.metrics import few_labels
from promptopt.verdict import LEAST_EXAMPLES

MIN_ROWS = 4
SMALL = 50
DEV_SHARE = 0.2
MIN_DEV = 20
MIN_TRAIN = 30
# Below this a test split would be too small for a verdict, so every row goes to the search and the choice.
MIN_FOR_VERDICT = MIN_TRAIN + MIN_DEV + LEAST_EXAMPLES


def cut_in_three(examples: Sequence[Example]) -> tuple[list[Example], list[Example], list[Example]]:
    """Return train, dev and test: 40, 20 and 40 in a hundred, but 20 for dev and 50 for test at least.

    Below 100 rows there is no test, since so few would decide nothing.
    """
    n = len(examples)
    if n < MIN_FOR_VERDICT:
        train, dev = cut_in_two(examples)
        return train, dev, []
    n_dev = max(MIN_DEV, round(DEV_SHARE * n))
    n_train = n - n_dev - max(LEAST_EXAMPLES, n - n_dev - (n - n_dev) // 2)
    mixed = _evenly(examples)
    train, dev, test = mixed[:n_train], mixed[n_train : n_train + n_dev], mixed[n_train + n_dev :]
    return _in_order(examples, train), _in_order(examples, dev), _in_order(examples, test)


def cut_in_two(examples: Sequence[Example]) -> tuple[list[Example], list[Example]]:
    """Return train and dev: halves of up to 50 rows, else two to one."""
    n_dev = len(examples) // (2 if len(examples) <= SMALL else 3)
    mixed = _evenly(examples)
    return _in_order(examples, mixed[n_dev:]), _in_order(examples, mixed[:n_dev])


def _evenly(examples: Sequence[Example]) -> list[Example]:
    """Order examples so that every run of them has about the same share of each target."""
    if not few_labels([example.target for example in examples]):
        return by_hash(examples, "cut")
    classes: dict[str, list[Example]] = {}
    for example in by_hash(examples, "cut"):
        classes.setdefault(example.target, []).append(example)
    placed = [
        ((rank + 0.5) / len(members), target, example)
        for target, members in sorted(classes.items())
        for rank, example in enumerate(members)
    ]
    return [example for _, _, example in sorted(placed, key=lambda place: place[:2])]


def _in_order(examples: Sequence[Example], part: Sequence[Example]) -> list[Example]:
    chosen = {example.id for example in part}
    return [example for example in examples if example.id in chosen]

"""Example, Dataset and their splits: the rows a prompt is judged on.

Splits are disjoint by content; train is cut by hash into ``pool`` (demonstrations) and ``search`` (scoring).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

from promptopt.errors import DataError
from promptopt.ids import content_hash

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

POOL_SHARE = 1 / 3
POOL_LIMIT = 48


@dataclass(frozen=True)
class Example:
    """Inputs (a mapping of fields) with a target.

    Args:
        inputs: What the model is given, by field name.
        target: The right answer; empty only where the task's metric needs none.
        choices: The answers allowed, where the set is closed.
        meta: Extras for the metric (``aliases``, ``options``, ...); the model never sees them.
        task: The task's name inside a suite, else empty.
    """

    inputs: Mapping[str, str]
    target: str = ""
    choices: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)
    task: str = ""

    @cached_property
    def id(self) -> str:
        """The hash of all the content."""
        return content_hash(self.inputs, self.target, self.choices, self.meta, self.task)

    def __hash__(self) -> int:
        return hash(self.id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Example) and self.id == other.id


@dataclass(frozen=True)
class Dataset:
    """An ordered set of examples in three disjoint splits, with a hash.

    Raises:
        DataError: An example stands twice, in one split or across two.
    """

    name: str
    train: tuple[Example, ...] = ()
    dev: tuple[Example, ...] = ()
    test: tuple[Example, ...] = ()

    def __post_init__(self) -> None:
        seen: dict[str, str] = {}
        for split in SPLITS:
            for row, example in enumerate(self.split(split), 1):
                place = f"{split} row {row}"
                question = question_id(example)
                if question in seen:
                    raise DataError(
                        f"{self.name}: {place} repeats the input of {seen[question]}; "
                        "remove one of them, since a repeated row makes scores look better than they are."
                    )
                seen[question] = place

    def split(self, name: Split) -> tuple[Example, ...]:
        """Return the examples of one split, in file order."""
        return {"train": self.train, "dev": self.dev, "test": self.test}[name]

    @cached_property
    def hash(self) -> str:
        """The hash of every example of every split, whatever their order in the file."""
        return content_hash(*[sorted(example.id for example in self.split(name)) for name in SPLITS])

    @cached_property
    def test_hash(self) -> str:
        """The hash of the test examples, whatever their order, by which looks at them are counted."""
        return content_hash(sorted(example.id for example in self.test))

    @cached_property
    def pool(self) -> tuple[Example, ...]:
        """The part of train that demonstrations are drawn from."""
        return _cut(self.train)[0]

    @cached_property
    def search(self) -> tuple[Example, ...]:
        """The part of train that a strategy scores candidates on."""
        return _cut(self.train)[1]

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The names of the input fields, in the order of the first example."""
        for name in SPLITS:
            for example in self.split(name):
                return tuple(example.inputs)
        return ()


def question_id(example: Example) -> str:
    """Return the hash of the inputs up to white space: examples that share it are one question."""
    return content_hash({name: " ".join(text.split()) for name, text in example.inputs.items()}, example.task)


def by_hash(examples: Iterable[Example], salt: str = "") -> list[Example]:
    """Order examples by the hash of their content: shuffled, yet the same on every machine."""
    return sorted(examples, key=lambda example: content_hash(salt, example.id))


def by_task(examples: Iterable[Example]) -> dict[str, tuple[Example, ...]]:
    """Return the examples of each task of a suite, by its name and in the order given; a single task has no name."""
    groups: dict[str, list[Example]] = {}
    for example in examples:
        groups.setdefault(example.task, []).append(example)
    return {name: tuple(groups[name]) for name in sorted(groups)}


def in_turn(groups: Iterable[Sequence[Example]]) -> tuple[Example, ...]:
    """Return the examples of the tasks in turn, so that any first few are of as many tasks as can be."""
    every = list(groups)
    longest = max(map(len, every), default=0)
    return tuple(group[at] for at in range(longest) for group in every if at < len(group))


def _cut(train: Sequence[Example]) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Return pool and search, of each task its share, so that a small one is in both."""
    halves = [_cut_one(group) for group in by_task(train).values()]
    return tuple(e for pool, _ in halves for e in pool), tuple(e for _, search in halves for e in search)


def _cut_one(train: Sequence[Example]) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Return pool and search, both ordered by hash, so that a file sorted otherwise makes the same study."""
    if len(train) < 2:
        return (), tuple(train)
    n_pool = min(POOL_LIMIT, max(1, round(len(train) * POOL_SHARE)))
    ordered = by_hash(train, "pool")
    return tuple(ordered[:n_pool]), tuple(ordered[n_pool:])

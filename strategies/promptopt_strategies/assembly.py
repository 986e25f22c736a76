"""Assembly: a prompt as an ordered list of components in a fixed frame, and the single edits of such a list.

Only the text of one part is put together; all else of the prompt belongs to the frame and stays as it is.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, combinations
from typing import Literal

from promptopt.errors import ConfigError
from promptopt.layout import has_slots
from promptopt.prompt import Candidate, Prompt
from promptopt.strategy import Context
from promptopt_strategies.corpus import Component

Operator = Literal["seed", "add", "delete", "swap", "rephrase"]

SEPARATOR = " "
PARTS = ("system", "instruction")
_SENTENCE_END = re.compile(r"(?<=[.!?]) ")


@dataclass(frozen=True, slots=True)
class Frame:
    """Where components stand.

    Args:
        prompt: The prompt without them.
        part: The part that holds them.
        kept: What follows them in that part and stays.
    """

    prompt: Prompt
    part: str
    kept: str = ""


@dataclass(frozen=True)
class Assembly:
    """An ordered list of components in its frame; the order is free, and each order is a prompt of its own."""

    frame: Frame
    components: tuple[Component, ...] = ()

    @cached_property
    def prompt(self) -> Prompt:
        """The complete prompt."""
        kept = self.frame.kept
        text = SEPARATOR.join(component.text for component in self.components)
        gap = "\n" if "\n" in kept else SEPARATOR
        return self.frame.prompt.replace(**{self.frame.part: gap.join(filter(None, [text, kept]))})

    @property
    def id(self) -> str:
        """The id of the prompt."""
        return self.prompt.id

    def with_components(self, components: Iterable[Component]) -> "Assembly":
        """Return another list in the same frame."""
        return replace(self, components=tuple(components))


@dataclass(frozen=True)
class Child:
    """An assembly one edit away from its parent.

    Args:
        assembly: The child.
        operator: The edit.
        parent: The parent's id.
        component: What was added, removed or reworded; None of a swap or a seed.
    """

    assembly: Assembly
    operator: Operator
    parent: str = ""
    component: Component | None = None

    @property
    def id(self) -> str:
        """The id of the prompt."""
        return self.assembly.id

    @cached_property
    def candidate(self) -> Candidate:
        """The child as a candidate."""
        note = {"component": self.component.text} if self.component else {}
        return Candidate(self.assembly.prompt, (self.parent,) if self.parent else (), self.operator, note)


def seed_assemblies(context: Context) -> tuple[Assembly, ...]:
    """Return the seeds as assemblies: their own text of the part in question is their first components.

    Components go into the system text where it may change, else before the instruction. Text that shows the model an
    input, and an instruction, stays as it is.

    Raises:
        ConfigError: Neither may change.
    """
    part = next((part for part in PARTS if part in context.editable), None)
    if part is None:
        raise ConfigError(
            "this strategy puts the system text together, which this task keeps fixed (and its instruction too); "
            "allow it with --part system."
        )
    return tuple(_cut(seed, part, context.fields) for seed in context.seeds)


def _cut(seed: Prompt, part: str, fields: Sequence[str]) -> Assembly:
    text = str(seed.parts.get(part, ""))
    bare = seed.replace(**{part: ""})
    if part == "instruction" or has_slots(text, fields):
        return Assembly(Frame(bare, part, kept=text))
    pieces = _SENTENCE_END.split(text)
    return Assembly(Frame(bare, part), tuple(Component(piece, "seed") for piece in pieces if text))


def additions(parent: Assembly, arms: Sequence[Component]) -> Iterator[Child]:
    """Yield every component at every position, 0 to L."""
    for at in range(len(parent.components) + 1):
        for component in arms:
            grown = (*parent.components[:at], component, *parent.components[at:])
            yield Child(parent.with_components(grown), "add", parent.id, component)


def deletions(parent: Assembly) -> Iterator[Child]:
    """Yield the list without each of its components."""
    for at, component in enumerate(parent.components):
        rest = (*parent.components[:at], *parent.components[at + 1 :])
        yield Child(parent.with_components(rest), "delete", parent.id, component)


def swaps(parent: Assembly) -> Iterator[Child]:
    """Yield the list with each pair of components exchanged."""
    for first, second in combinations(range(len(parent.components)), 2):
        moved = list(parent.components)
        moved[first], moved[second] = moved[second], moved[first]
        yield Child(parent.with_components(moved), "swap", parent.id)


def rephrasings(parent: Assembly, wordings: Mapping[str, Sequence[Component]]) -> Iterator[Child]:
    """Yield the list with each component in each of its other wordings, which are given by its text."""
    for at, component in enumerate(parent.components):
        for other in wordings.get(component.text, ()):
            changed = (*parent.components[:at], other, *parent.components[at + 1 :])
            yield Child(parent.with_components(changed), "rephrase", parent.id, component)


def single_edits(
    parent: Assembly, arms: Sequence[Component], wordings: Mapping[str, Sequence[Component]]
) -> Iterator[Child]:
    """Yield every single edit of a list: k(L + 1) + L + L(L - 1)/2 + rL, for L components, k arms and r wordings."""
    return chain(additions(parent, arms), deletions(parent), swaps(parent), rephrasings(parent, wordings))

"""Corpus: the components that SPRIG puts system texts together from, in nine classes and in our own words.

A component is one self-contained sentence. The data stands in ``templates/components``: a file a class, a component a
line; a line that begins with ``!`` is risky (claims of credentials, threats, bribes, calls to break rules).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Literal, get_args

Kind = Literal[
    "good-property",
    "role",
    "style",
    "chain-of-thought",
    "emotion",
    "safety",
    "behaviour",
    "scenario",
    "jailbreak",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
RISKY = "!"


@dataclass(frozen=True, slots=True)
class Component:
    """One piece of a system text.

    Args:
        text: The sentence.
        kind: Its class in the corpus; ``seed`` of the user's own text, ``written`` of an optimizer model's.
        source: The component that this one is another wording of; empty if of none.
    """

    text: str
    kind: str
    source: str = ""

    @property
    def origin(self) -> str:
        """The text under which credit is kept: its source's, as a paraphrase stands for the same idea."""
        return self.source or self.text


def load_corpus(kinds: Sequence[Kind] = KINDS, *, risky: bool = False) -> tuple[Component, ...]:
    """Return the components of these classes, in the order of their files.

    Args:
        kinds: The classes.
        risky: Whether the risky ones are among them.
    """
    return tuple(
        Component(line.removeprefix(RISKY).strip(), kind)
        for kind in kinds
        for line in _lines(kind)
        if risky or not line.startswith(RISKY)
    )


@lru_cache(maxsize=len(KINDS))
def _lines(kind: str) -> tuple[str, ...]:
    path = files("promptopt_strategies") / "templates" / "components" / f"{kind}.txt"
    return tuple(line for line in path.read_text(encoding="utf-8").split("\n") if line.strip())

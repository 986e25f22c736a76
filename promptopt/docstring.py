"""Docstring: what code says of itself in Google style, taken apart so that help texts and pages can show it."""

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from textwrap import dedent
from types import ModuleType
from typing import Self

_TITLES = "Args|Asks|Attributes|Commits|Differences|Profiles|Raises|Reference|Returns"
_SECTION = re.compile(rf"\*?({_TITLES})\b[^:\n]*:(.*)", re.DOTALL)
_WRAPPED = re.compile(r"\n\s*(?!\s|\d+\. |[-*] )")
_ARGUMENT = re.compile(r"^([\w-]+): ", re.MULTILINE)


@dataclass(frozen=True)
class Docstring:
    """A docstring's parts.

    Args:
        summary: The first line.
        body: The paragraphs after it that belong to no section, as Markdown with a line a paragraph or point.
        sections: Each section's text by the first word of its title, such as ``Reference``.
    """

    summary: str
    body: str
    sections: Mapping[str, str]

    @classmethod
    def of(cls, thing: type | ModuleType) -> Self:
        """Return the docstring of a class or module; all parts are empty where it has none."""
        summary, *paragraphs = (inspect.getdoc(thing) or "").replace("``", "`").split("\n\n")
        found = {match[1]: _section(match[2]) for p in paragraphs if (match := _SECTION.fullmatch(p))}
        body = "\n\n".join(_WRAPPED.sub(" ", p) for p in paragraphs if not _SECTION.fullmatch(p))
        return cls(" ".join(summary.split()), body.strip(), found)

    def entries(self, title: str) -> dict[str, str]:
        """Return what a section such as ``Args`` says of each name."""
        _, *parts = _ARGUMENT.split(self.sections.get(title, ""))
        return {name: " ".join(text.split()) for name, text in zip(parts[::2], parts[1::2], strict=True)}


def _section(text: str) -> str:
    first, _, rest = text.partition("\n")
    return f"{first.strip()}\n{dedent(rest)}".strip()

"""Markup: what a model wrote, as a tree of plain data that a page builds with elements and text nodes only.

Nothing of it is ever parsed as HTML: a node is a text, or a tag of ``TAGS`` with its children. Markdown and JSON are
shown as such, code is kept as it stands, and characters that steer without being seen are named.
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.tree import SyntaxTreeNode

Node = str | list["Node"]  # a list begins with its tag
Kind = Literal["text", "markdown", "json", "code"]

TAGS = frozenset(
    ("p", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "pre", "code", "em", "strong", "s", "hr", "br",
     "table", "thead", "tbody", "tr", "th", "td", "mark", "ins")
)  # fmt: skip
MOST_SHOWN = 100_000  # characters
MOST_MARKDOWN = 20_000
HEADINGS = {"h1": "h3", "h2": "h4", "h3": "h5", "h4": "h6", "h5": "h6", "h6": "h6"}
# Joiners make letters and emoji, and the two marks only help their own direction; all else of its kind is a trick.
SUSPECT = re.compile("[^ -~\n\t\u200c\u200d\u200e\u200f]")
UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
CODE_LINE = re.compile(
    r"\s*(?:(?:def|class|import|from|for|while|if|elif|else|return|try|except|with|func|fn|let|const|var|public|private"
    r"|static|void|int|SELECT|FROM|WHERE|INSERT|CREATE|#include|package|using|echo|export)\b.*"
    r"|.*[;{}]\s*|.*\)\s*:\s*|\s*[\w.\[\]]+\s*=[^=].*|\s{4,}\S.*|\t+\S.*|[#/]{1,2} .*)"
)
JSON_PARTS = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


@dataclass(frozen=True, slots=True)
class Rendered:
    """A text for a page.

    Args:
        kind: What it was taken for.
        formatted: The nodes to show.
        plain: The nodes of the same text as it was written.
        cut: Characters that are not shown, since there are too many.
    """

    kind: Kind
    formatted: Sequence[Node]
    plain: Sequence[Node]
    cut: int


@lru_cache(maxsize=1024)
def render(text: str) -> Rendered:
    """Return a text for a page."""
    shown = text[:MOST_SHOWN]
    plain = spelled(shown)
    kind, formatted = _formatted(shown)
    return Rendered(kind, formatted or plain, plain, len(text) - len(shown))


def spelled(text: str) -> list[Node]:
    """Return a text with characters that are not seen named, such as U+202E, which turns the direction of reading."""
    nodes: list[Node] = []
    start = 0
    for found in SUSPECT.finditer(text):
        at, character = found.start(), found.group()
        if unicodedata.category(character) in UNSEEN:
            if at > start:
                nodes.append(text[start:at])
            nodes.append(["mark", f"U+{ord(character):04X}"])
            start = at + 1
    if start < len(text):
        nodes.append(text[start:])
    return nodes


def _formatted(text: str) -> tuple[Kind, list[Node]]:
    if len(text) <= MOST_MARKDOWN:
        if (indented := indent_json(text)) is not None:
            return "json", [["pre", ["code", *spelled(indented)]]]
        if _looks_like_code(text):
            return "code", [["pre", ["code", *spelled(text)]]]
        nodes = list(_of_markdown(text))
        if any(node[0] != "p" or len(node) > 2 or not isinstance(node[1], str) for node in nodes):
            return "markdown", nodes
    return "text", []


def _looks_like_code(text: str) -> bool:
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) < 2 or "```" in text:
        return False
    return sum(CODE_LINE.fullmatch(line) is not None for line in lines) > 0.6 * len(lines)


def indent_json(text: str) -> str | None:
    """Return a JSON object or list with a line for each item; every literal stays as it was written."""
    if text.strip()[:1] not in ("{", "["):
        return None
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return None
    pieces, depth, after_open = [], 0, False
    for part in JSON_PARTS.findall(text):
        if part in ("}", "]"):
            depth -= 1
            pieces.append(part if after_open else "\n" + "  " * depth + part)
        else:
            pieces.append("\n" + "  " * depth if after_open else "")
            pieces.append({":": ": ", ",": ",\n" + "  " * depth}.get(part, part))
        after_open = part in ("{", "[")
        depth += after_open
    return "".join(pieces)


def _of_markdown(text: str) -> Iterable[Node]:
    from markdown_it.tree import SyntaxTreeNode

    yield from _children(SyntaxTreeNode(_parser().parse(text)))


@lru_cache(maxsize=1)
def _parser() -> "MarkdownIt":
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])


def _children(node: "SyntaxTreeNode") -> list[Node]:
    return [made for child in node.children for made in _nodes(child)]


def _nodes(node: "SyntaxTreeNode") -> list[Node]:
    """Return what an element of the syntax tree becomes; what is not known becomes its text."""
    kind = node.type
    if kind in ("fence", "code_block"):
        return [["pre", ["code", *spelled(node.content.rstrip("\n"))]]]
    if kind == "code_inline":
        return [["code", *spelled(node.content)]]
    if kind in ("softbreak", "hardbreak"):
        return [["br"]]
    if kind == "image":  # is not fetched, since that would tell somebody that it was looked at
        return [*spelled(f"[image: {node.content}] ("), ["code", *spelled(str(node.attrs.get("src", "")))], ")"]
    if kind == "link":  # is not followed, since a model may have made it up
        return [*_children(node), " (", ["code", *spelled(str(node.attrs.get("href", "")))], ")"]
    tag = HEADINGS.get(node.tag, node.tag)
    if tag in TAGS:
        return [[tag, *_children(node)]]
    return _children(node) if node.children else spelled(node.content)

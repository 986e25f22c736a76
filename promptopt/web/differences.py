"""Differences: which words of two answers are only in one of them, of JSON with a line for each item."""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

from promptopt.web.markup import MOST_MARKDOWN, MOST_SHOWN, Node, indent_json, spelled

WORD = re.compile(r"\s*\S+|\s+")
LINE = re.compile(r"[^\n]*\n|[^\n]+")
MOST_PAIRS = 4_000_000  # of pieces to hold against each other; beyond, lines are, and then nothing


def differences(left: str, right: str) -> tuple[list[Node], list[Node]] | None:
    """Return both texts with what only one of them has in ``ins`` nodes; None where they are too long for that."""
    left, right = left[:MOST_SHOWN], right[:MOST_SHOWN]
    if max(len(left), len(right)) <= MOST_MARKDOWN and (one := indent_json(left)) and (other := indent_json(right)):
        return _marked(WORD.findall(one), WORD.findall(other))
    for piece in (WORD, LINE):
        ones, others = piece.findall(left), piece.findall(right)
        if len(ones) * len(others) <= MOST_PAIRS:
            return _marked(ones, others)
    return None


def _marked(ones: Sequence[str], others: Sequence[str]) -> tuple[list[Node], list[Node]]:
    left: list[Node] = []
    right: list[Node] = []
    for kind, i, j, k, m in SequenceMatcher(None, ones, others, autojunk=False).get_opcodes():
        for nodes, text in ((left, "".join(ones[i:j])), (right, "".join(others[k:m]))):
            if kind == "equal":
                nodes += spelled(text)
            elif text:  # the space before a word tells nothing, unless it is all there is
                word = text.lstrip() or text
                nodes += [*spelled(text[: len(text) - len(word)]), ["ins", *spelled(word)]]
    return left, right

"""Phrases: a text cut into pieces that joined give it back, for searches that edit a prompt piece by piece.

Every piece keeps the white space after it, so that nothing is lost; where pieces that were moved would touch, ``join``
puts a space between them.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Literal

Level = Literal["phrase", "word", "sentence", "span"]
Segmenter = Callable[[str], Iterable[str]]

SPAN_WORDS = 4  # a sentence falls into two to four spans of about so many words

_WORD = re.compile(r"\s*\S+\s*")
_SENTENCE_END = re.compile(r"""[.!?…]+["'”’)\]]*\s+|[。！？]+[”’」』）]*\s*|(?<=\S)\s*\n\s*""")
_CLAUSE_END = re.compile(r"""[.!?…;:,]+["'”’)\]]*\s+|[。！？；：，、]+[”’」』）]*\s*|(?<=\S)\s*\n\s*|(?<=\s)[-–—]\s+""")

# A phrase begins with one of these: conjunctions, relatives and prepositions of English.
_OPENER = re.compile(
    "and|or|but|nor|so|yet|if|when|while|because|since|unless|until|although|though|whether|that|which|who|whose|where"
    "|about|after|among|as|at|before|between|by|for|from|in|into|of|on|per|than|through|to|via|with|within|without",
    re.IGNORECASE,
)


def cut(text: str, level: Level = "phrase") -> tuple[str, ...]:
    """Cut a text into pieces; ``"".join`` of them is the text.

    Args:
        text: Any text.
        level: ``phrase``: clauses, and within them what a conjunction or preposition opens. ``sentence``: sentences and
            lines. ``span``: two to four equal parts of each sentence. ``word``: words.
    """
    if level == "word":
        return tuple(_WORD.findall(text)) or ((text,) if text else ())
    if level == "phrase":
        return tuple(phrase for clause in _split(text, _CLAUSE_END) for phrase in _phrases(clause))
    sentences = _split(text, _SENTENCE_END)
    return sentences if level == "sentence" else tuple(span for sentence in sentences for span in _spans(sentence))


def join(pieces: Iterable[str]) -> str:
    """Return the text of pieces in any order, a space put where two would touch."""
    text = ""
    for piece in pieces:
        text += (" " if _touch(text, piece) else "") + piece
    return text


def _split(text: str, end: re.Pattern[str]) -> tuple[str, ...]:
    places = [0, *(match.end() for match in end.finditer(text)), len(text)]
    return tuple(text[start:stop] for start, stop in pairwise(places) if start < stop)


def _phrases(clause: str) -> Iterator[str]:
    """Cut a clause before the words that open a phrase, leaving none of a single word in front of them."""
    phrase: list[str] = []
    for word in cut(clause, "word"):
        if len(phrase) > 1 and _OPENER.fullmatch(word.strip().strip("\"'“‘(")):
            yield "".join(phrase)
            phrase = []
        phrase.append(word)
    yield "".join(phrase)


def _spans(sentence: str) -> Iterator[str]:
    words = cut(sentence, "word")
    parts = min(len(words), max(2, min(4, round(len(words) / SPAN_WORDS))))
    places = [round(part * len(words) / parts) for part in range(parts + 1)]
    return ("".join(words[start:stop]) for start, stop in pairwise(places))


def _touch(left: str, right: str) -> bool:
    """Say whether a space is missing between two pieces; wide scripts write none."""
    ends = left[-1:] + right[:1]
    return len(ends) == 2 and not any(end.isspace() or unicodedata.east_asian_width(end) in "WF" for end in ends)

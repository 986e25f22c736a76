"""Guards: what no prompt under search may do, checked before any call is made for it; the nouns are Rules and Guards.

A guard is a pure function of the prompt and of what the user gave, without a model, the network or a clock: the study
refuses a prompt again when it is replayed, and a strategy may ask beforehand. What the user's own texts do is allowed.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

from promptopt.errors import ConfigError
from promptopt.example import Example, question_id
from promptopt.layout import tokens_of
from promptopt.prompt import Demo, Prompt

Run = tuple[str, ...]

MOST_IN_A_ROW = 1_000  # refused prompts without one that is not, after which a search is ended

LEAST_COPIED = 5  # words of a row that is shorter than ``copied_words`` and copied whole
COMMON_ROWS = 2  # words that more rows than this share are a form and not a copy
LEAST_SHARE = 0.25  # of the letters that are in a script of the seeds
INPUT = "\ufffc"  # stands for an input, so that no words meet where it was
QUOTED = 60

_SPACELESS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"  # Thai to Han
_WORD = re.compile(rf"[{_SPACELESS}]|(?:(?![{_SPACELESS}])[^\W_])+")
_URL = re.compile(r"(?:https?|ftp)://[^\s<>\"')\]]+|\bwww\.[^\s<>\"')\]]+|\b[\w-]+\.(?:com|org|net|gov|edu)\b", re.I)
# Not after a word, a backslash or a brace, where a formula has its arguments.
_VARIABLE = re.compile(
    r"(?<![\w\\}^])\{\{?\s*[A-Za-z]\w*\s*\}?\}|%\(\w+\)s|<<\w+>>|\[(?:insert|enter|paste|your)\b[^\]\n]{0,40}\]", re.I
)
_TAG = re.compile(r"<(/?)([A-Za-z][\w-]*)>")
_META_TAGS = frozenset(
    (
        "critique",
        "edit",
        "instruction",
        "instructions",
        "new_prompt",
        "prompt",
        "reason",
        "rewrite",
        "slot",
        "task",
        "text",
    )
)
_CHANGED = "(?:improved|modified|optimi[sz]ed|paraphrased|refined|rephrased|revised|rewritten|updated)"
_PROMPT = "(?:instruction|prompt|task description)s?"
_META = tuple(
    re.compile(pattern, re.I | re.M)
    for pattern in (
        r"^\W*(?:sure|certainly|of course|absolutely)\s*[,!.:]",
        rf"^\W*here(?:'s|’s| is| are)\b[^\n:]{{0,60}}\b(?:{_CHANGED}|{_PROMPT}|versions?|variants?)\b[^\n:]{{0,60}}:",
        rf"^\W*(?:(?:my|the|your)\s+)?(?:{_CHANGED}\s+version|(?:{_CHANGED}|final|new)\s+{_PROMPT})\W{{0,3}}:",
        rf"\b(?:my|the|this)\s+{_CHANGED}\s+{_PROMPT}\b",
        r"\bas an? (?:AI|(?:large |AI )?language model)\b[^.\n]{0,20}\bI\b",
        r"<\|[^|>\n]{1,30}\|>|\[/?INST\]|<</?SYS>>|</?s>",  # what chat templates are made of
    )
)
_JOINERS = "\u200c\u200d"
_BLANK_LETTERS = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"


@dataclass(frozen=True)
class Rules:
    """Which guards stand, each with its switch, and what they measure by.

    Args:
        placeholders: Every input field that a seed shows is shown.
        length: The written text is no longer than ``max_tokens``, or ``growth`` times the longest seed's.
        copies: No ``copied_words`` words in a row of an example that prompts are scored on, no such example whole, and
            none as a demonstration; what the pool has too may be quoted.
        meta: Nothing that an optimizer model said about its text: openings such as "Sure!", headings such as "Revised
            prompt:", single tags, marks of chat templates.
        variables: No placeholder such as {name}, [insert text] or <<text>> that is none of the task's.
        urls: No link or domain.
        invisible: No control, zero-width, bidirectional or private character.
        language: At least a quarter of the letters are in a script of the seeds.
        max_tokens: In tokens of four bytes, since each model counts its own.
        growth: How many times as long as the seed a longer text may be.
        copied_words: Words, or half as many as characters where a script has no spaces.

    Raises:
        ConfigError: A number is too small.
    """

    placeholders: bool = True
    length: bool = True
    copies: bool = True
    meta: bool = True
    variables: bool = True
    urls: bool = True
    invisible: bool = True
    language: bool = True
    max_tokens: int = 1_000
    growth: float = 4.0
    copied_words: int = 8

    name: ClassVar[str] = "guards"

    def __post_init__(self) -> None:
        for name, low in (("max_tokens", 1), ("growth", 1), ("copied_words", LEAST_COPIED)):
            if not getattr(self, name) >= low:  # also true of NaN
                raise ConfigError(f"guards: {name} = {getattr(self, name)} must be at least {low}.")


@dataclass(frozen=True)
class Guards:
    """What prompts are held against; without seeds everything is allowed.

    Args:
        rules: Which guards stand.
        seeds: The user's prompts, which are never refused.
        fields: The names of the input fields.
        rows: The examples that prompts are scored on.
        pool: The examples that may be shown as demonstrations, and quoted.
        description: The task in the user's words.
        free: Ids of further prompts that are never refused.
    """

    rules: Rules = Rules()
    seeds: tuple[Prompt, ...] = ()
    fields: tuple[str, ...] = ()
    rows: tuple[Example, ...] = ()
    pool: tuple[Example, ...] = ()
    description: str = ""
    free: frozenset[str] = frozenset()
    _known: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    def refusal(self, prompt: Prompt) -> str:
        """Return why this prompt may not be used, beginning with the guard's name; empty if it may."""
        if prompt.id not in self._known:
            free = not self.seeds or prompt.id in self.free or prompt in self.seeds
            self._known[prompt.id] = "" if free else next(self._refusals(prompt), "")
        return self._known[prompt.id]

    def _refusals(self, prompt: Prompt) -> Iterator[str]:
        written = _written(prompt, self.fields)
        checks: dict[str, Callable[[], str]] = {
            "placeholders": lambda: self._placeholders(prompt),
            "length": lambda: self._length(written),
            "copies": lambda: self._copied_demo(prompt.demos) or self._copies(written),
            "meta": lambda: self._meta(prompt, written),
            "variables": lambda: self._new(_VARIABLE, written, "the placeholder", "none of the task's"),
            "urls": lambda: self._new(_URL, written, "the address", "which no seed has"),
            "invisible": lambda: self._invisible(written),
            "language": lambda: self._language(prompt),
        }
        for name, check in checks.items():
            if getattr(self.rules, name) and (why := check()):
                yield f"{name}: {why}"

    @cached_property
    def _given(self) -> str:
        """All that the user wrote."""
        choices = {choice for row in self.rows for choice in row.choices}
        return "\n".join([*(_written(seed, self.fields) for seed in self.seeds), self.description, *sorted(choices)])

    def _placeholders(self, prompt: Prompt) -> str:
        shown = _slots(prompt, self.fields)
        wanted = [_slots(seed, self.fields) for seed in self.seeds]
        if any(slots <= shown for slots in wanted):
            return ""
        return "the input {" + min(wanted[0] - shown) + "} is not shown"

    def _length(self, written: str) -> str:
        tokens, own = tokens_of(written), max(tokens_of(_written(seed, self.fields)) for seed in self.seeds)
        most = max(self.rules.max_tokens, math.ceil(self.rules.growth * own))
        return f"some {tokens} tokens, where {most} are allowed" if tokens > most else ""

    def _copied_demo(self, demos: Iterable[Demo]) -> str:
        shown = (question_id(Example(demo.inputs, task=row_task)) for demo in demos for row_task in self._tasks)
        return "a demonstration is an example that prompts are scored on" if self._questions & {*shown} else ""

    @cached_property
    def _tasks(self) -> frozenset[str]:
        return frozenset(row.task for row in self.rows)

    @cached_property
    def _questions(self) -> frozenset[str]:
        return frozenset(map(question_id, self.rows))

    def _copies(self, written: str) -> str:
        words = _words(written)
        shown = {
            place
            for size in (LEAST_COPIED, 2 * LEAST_COPIED)
            for start, run in enumerate(_runs(words, size))
            if run in self._shown
            for place in range(start, start + size)
        }
        words = ["" if place in shown else word for place, word in enumerate(words)]
        for size in sorted({len(run) for run in self._scored}):
            if run := next(filter(self._scored.__contains__, _runs(words, size)), ()):
                return f"it copies an example: {_quote(' '.join(run))}"
        return ""

    @cached_property
    def _shown(self) -> frozenset[Run]:
        """The short runs of words of what the user wrote and of the pool, which anything may repeat."""
        texts = [*self._given.split("\n"), *(text for row in self.pool for text in _texts(row))]
        return frozenset(run for words in map(_words, texts) for run in _runs(words, _scale(words) * LEAST_COPIED))

    @cached_property
    def _scored(self) -> frozenset[Run]:
        """The runs of words by which the rows are known, but for those that many have."""
        counts: Counter[Run] = Counter()
        for row in self.rows:
            counts.update({run for text in _texts(row) for run in self._known_by(_words(text))})
        return frozenset(run for run, count in counts.items() if count <= COMMON_ROWS)

    def _known_by(self, words: list[str]) -> Iterator[Run]:
        scale = _scale(words)
        size = min(scale * self.rules.copied_words, len(words))
        return _runs(words, size) if size >= scale * LEAST_COPIED else iter(())

    def _meta(self, prompt: Prompt, written: str) -> str:
        if len(fenced := prompt.instruction.strip()) > 6 and fenced.startswith("```") and fenced.endswith("```"):
            return "all of it stands in a fence, as in a reply"
        for pattern in _META:
            if (match := pattern.search(written)) and not pattern.search(self._given):
                return f"it talks about itself: {_quote(match[0])}"
        own = {name.lower() for _, name in _TAG.findall(self._given)}
        opened, closed = Counter[str](), Counter[str]()
        for slash, name in _TAG.findall(written):
            (closed if slash else opened)[name.lower()] += 1
        for name in sorted(opened.keys() | closed.keys()):
            missing = opened[name] - closed[name]
            if (missing < 0 or (missing and name in _META_TAGS)) and name not in own:
                return f"a tag is left over: {name}"
        return ""

    def _new(self, pattern: re.Pattern[str], written: str, what: str, why: str) -> str:
        found = (match[0] for match in pattern.finditer(written))
        new = next((text for text in found if text.lower() not in self._given.lower()), "")
        return f"it has {what} {_quote(new)}, {why}" if new else ""

    def _invisible(self, written: str) -> str:
        for before, char in zip(" " + written, written, strict=False):
            if _is_invisible(char, before) and char not in self._given:
                return f"it has the character U+{ord(char):04X}"
        return ""

    def _language(self, prompt: Prompt) -> str:
        scripts = {script for seed in self.seeds for script in _scripts(_said(seed))} or set(_scripts(self.description))
        seen = _scripts(_said(prompt))
        if not scripts or sum(seen[script] for script in scripts) >= LEAST_SHARE * seen.total():
            return ""
        return f"it is written in {seen.most_common(1)[0][0]} and the seed in {', '.join(sorted(scripts))}"


def _written(prompt: Prompt, fields: tuple[str, ...]) -> str:
    """Return all text of a prompt that is neither an input nor a demonstration, as the model sees it."""
    turns = (turn for one in prompt.whole for turn in one.replace(demos=()).template(fields).turns)
    return "\n".join("".join(s if isinstance(s, str) else INPUT for s in segments) for _, segments in turns)


def _slots(prompt: Prompt, fields: tuple[str, ...]) -> frozenset[str]:
    """Return the fields that a prompt shows."""
    return frozenset(name for one in prompt.whole for name in one.template(fields).slots)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _scale(words: Sequence[str]) -> int:
    """Return how many entries stand for a word: two where a script has no spaces and each entry is a character."""
    return 2 if 2 * sum(len(word) == 1 for word in words) > len(words) else 1


def _runs(words: Sequence[str], size: int) -> Iterator[Run]:
    return (tuple(words[start : start + size]) for start in range(len(words) - size + 1))


def _texts(row: Example) -> list[str]:
    return [*row.inputs.values(), row.target]


def _said(prompt: Prompt) -> str:
    return "\n".join(text for one in prompt.whole for text in (one.system, one.instruction))


def _quote(text: str) -> str:
    flat = " ".join(text.split())
    return repr(flat if len(flat) <= QUOTED else flat[:QUOTED] + "…")


def _is_invisible(char: str, before: str) -> bool:
    category = unicodedata.category(char)
    if char in _JOINERS:  # part of the spelling in many scripts and of some emoji
        return unicodedata.category(before) not in ("Lo", "Mn", "Mc", "So", "Sk")
    if "\ufe00" <= char <= "\ufe0f":
        return unicodedata.category(before) not in ("So", "Sk", "Po", "Nd")
    return char in _BLANK_LETTERS or (category in ("Cc", "Cf", "Co", "Cs", "Zl", "Zp") and char not in "\n\t\r")


def _scripts(text: str) -> Counter[str]:
    """Return how many letters of each script a text has; Chinese and Japanese are one."""
    names = (unicodedata.name(char, "") for char in text if char.isalpha())
    return Counter("CJK" if name.startswith(_CJK) else name.partition(" ")[0] for name in names)


_CJK = ("CJK", "HIRAGANA", "KATAKANA", "IDEOGRAPHIC", "FULLWIDTH", "BOPOMOFO")

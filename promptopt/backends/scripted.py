"""Rewriter: the scripted optimizer model of the simulated backend.

It edits the prompt it is shown with sentences from a pool, without knowing which of them are good.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from promptopt.backends.base import Request

ADVICE = (
    "Read the whole input before you answer.",
    "Answer with the label only.",
    "Think about what the writer means, not only about the words.",
    "If two answers seem possible, take the more common one.",
    "Pay attention to negations.",
    "Do not explain your answer.",
    "Look at the last sentence with special care.",
    "Ignore names and numbers.",
    "Treat irony as the opposite of what it says.",
    "Use lower case.",
    "Check your answer once before you give it.",
    "Be precise.",
    "Consider every possible answer in turn.",
    "Judge the input as a whole.",
    "The tone matters more than the topic.",
    "Give exactly one answer.",
    "Do not repeat the input.",
    "Imagine that an expert will check the result.",
    "Follow the examples closely.",
    "When in doubt, prefer the plain reading.",
    "Take unusual spelling as it is.",
    "Write nothing after the answer.",
    "Weigh the strongest words most.",
    "Small details can change the answer.",
)

_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight")
_NUMBER = re.compile(r"\b(\d{1,2}|" + "|".join(_NUMBERS) + r")\b", re.I)
_WANTED_TAG = re.compile(r"<(\w+)>[^<\n]{0,12}</\1>")
_CURRENT = re.compile(r"<(\w+)>\s*([^<]{13,}?)\s*</\1>")
_HISTORY = re.compile(r"^text:\n(.*?)\nscore:", re.DOTALL | re.MULTILINE)
_RECENT = 5
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_REMARK_TAGS = ("reason", "critique", "problem", "remark")


def wanted_tag(text: str) -> str:
    """Return the tag, or ``[``, in which a meta-prompt wants its answer; empty if in none."""
    tags = _WANTED_TAG.findall(text)
    return str(tags[-1]) if tags else "[" if "square bracket" in text.lower() else ""


@dataclass(frozen=True)
class Rewriter:
    """Writes what a meta-prompt asks for: rewrites of the text shown in tags, sentences for it, or remarks on it.

    Args:
        pool: The sentences that it knows; a rewrite puts one in, exchanges one for another, or drops one.
    """

    pool: Sequence[str] = ADVICE

    def __call__(self, request: Request, rng: random.Random) -> str:
        """Return the answer to a meta-prompt, in the tags or brackets that its last message asks for."""
        text = request.messages[-1].content
        tag = wanted_tag(text)
        current = _current(text, rng)
        if tag == "[":
            return f"[{self._rewrite(current, rng)}]"
        if not tag:
            return self._rewrite(current, rng)
        write = self._sentence if tag == "sentence" else self._remark if tag in _REMARK_TAGS else self._rewrite
        return "\n".join(f"<{tag}>{write(current, rng)}</{tag}>" for _ in range(_wanted_count(text)))

    def _rewrite(self, current: str, rng: random.Random) -> str:
        # The first sentence stays, since it says what the task is.
        first, *others = _SENTENCE_END.split(current)
        fresh = [sentence for sentence in self.pool if sentence not in others] or [""]
        move = rng.random()
        if move < 0.45 and others:
            del others[rng.randrange(len(others))]
        if move > 0.2 or not others:
            others.insert(rng.randint(0, len(others)), rng.choice(fresh))
        return " ".join(filter(None, [first, *others]))

    def _sentence(self, current: str, rng: random.Random) -> str:
        return rng.choice([sentence for sentence in self.pool if sentence not in current] or list(self.pool))

    def _remark(self, current: str, rng: random.Random) -> str:
        del current
        return f"The prompt does not say this: {rng.choice(list(self.pool))}"


ADVISER = Rewriter()


def _current(text: str, rng: random.Random) -> str:
    """Return the text that a meta-prompt is about: the one shown in tags, or one of the last of a history."""
    shown = [str(found[1]) for found in _CURRENT.findall(text)] or _HISTORY.findall(text)
    return str(rng.choice(shown[-_RECENT:])) if shown else ""


def _wanted_count(text: str) -> int:
    """Return how many answers the paragraph that names the tag asks for, from its first number."""
    paragraph = next((p for p in reversed(text.split("\n\n")) if _WANTED_TAG.search(p)), "")
    number = _NUMBER.search(paragraph)
    if not number:
        return 1
    word = number[1].lower()
    count = int(word) if word.isdigit() else _NUMBERS.index(word)
    return min(max(count, 1), 8)

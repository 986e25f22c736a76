"""ScriptedWriter: an optimizer model for tests that knows nothing about what makes a prompt good.

It changes a sentence of the text that it is shown at random, so what a search gains with it is the search's own.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from promptopt.ask import Write, Written
from promptopt.ids import content_hash

EDITS = (
    "Read all of it before you answer.",
    "Answer with one word.",
    "You know this subject well.",
    "Think of what the words mean here.",
    "If two answers fit, give the more usual one.",
    "Do not explain your answer.",
    "Look at the nouns first.",
    "Answer in lower case.",
    "Every input has exactly one answer.",
    "Be brief and exact.",
    "Ignore numbers in the input.",
    "Say what a careful reader would say.",
)

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_CURRENT = re.compile(r"<current>\n?(.*?)\n?</current>", re.DOTALL)
_SHOWN = (
    re.compile(r"^text:\n(.*?)\nscore:", re.DOTALL | re.MULTILINE),
    re.compile(r"<text>(.*?)</text>\n", re.DOTALL),
)
_WANTED = re.compile(r"(\d+) different")
_RECENT = 5
_MOST_EDITS = 3
_KEPT = 0.7


@dataclass(frozen=True)
class ScriptedWriter:
    """Answers the meta-prompts of the built-in strategies.

    Args:
        edits: Sentences that it adds, or puts in place of others.
        seed: Of its choices; equal asks get equal texts.
    """

    edits: tuple[str, ...] = EDITS
    seed: int = 0

    def __call__(self, ask: Write) -> Written:
        """Return the texts that were asked for."""
        rng = random.Random(int(content_hash(self.seed, ask.fingerprint()), 16))
        return Written(tuple(self._reply(ask, rng) for _ in range(ask.n)))

    def _reply(self, ask: Write, rng: random.Random) -> str:
        text = ask.messages[-1].content
        wanted = int(found[1]) if (found := _WANTED.search(text)) else 1
        if ask.purpose == "critique":
            return "".join(f"<reason>The prompt lacks: {rng.choice(self.edits)}</reason>\n" for _ in range(wanted))
        if ask.purpose == "edit":
            return "\n".join(f"<task>{self._edit(_current(text), rng)}</task>" for _ in range(wanted))
        if ask.purpose == "sentence":
            return "\n".join(f"<sentence>{rng.choice(self.edits)}</sentence>" for _ in range(wanted))
        if ask.purpose == "propose":
            edited = self._edit(_mixed(_history(text) or [text], rng), rng)
            return f"[{edited}]" if "square brackets" in text else f"<text>{edited}</text>"
        return self._edit(_current(text), rng)

    def _edit(self, text: str, rng: random.Random) -> str:
        """Add, drop or replace one to three sentences; the first stays, since it says what the task is."""
        first, *others = _SENTENCE_END.split(text)
        for _ in range(rng.randint(1, _MOST_EDITS)):
            unused = [edit for edit in self.edits if edit not in others]
            move = rng.choice(("add", "replace", "drop") if others else ("add",))
            if move != "add":
                others.pop(rng.randrange(len(others)))
            if move != "drop" and unused:
                others.insert(rng.randint(0, len(others)), rng.choice(unused))
        return " ".join([first, *others])


def scripted_writer(edits: Sequence[str] = EDITS, seed: int = 0) -> ScriptedWriter:
    """Return a writer that draws its edits from these sentences."""
    return ScriptedWriter(tuple(edits), seed)


def _current(text: str) -> str:
    """Return the text that a meta-prompt is about."""
    found = _CURRENT.search(text)
    return found[1] if found else text


def _history(text: str) -> list[str]:
    """Return the last texts of the history in a meta-prompt, which are its best."""
    return [match for pattern in _SHOWN for match in pattern.findall(text)][-_RECENT:]


def _mixed(texts: Sequence[str], rng: random.Random) -> str:
    """Return a text with sentences of two, as somebody would write who has read both."""
    first, *others = _SENTENCE_END.split(rng.choice(texts))
    more = [sentence for sentence in _SENTENCE_END.split(rng.choice(texts))[1:] if sentence not in others]
    return " ".join([first, *(sentence for sentence in (*others, *more) if rng.random() < _KEPT)])

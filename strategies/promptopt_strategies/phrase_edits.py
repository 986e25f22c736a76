"""Phrasing and Editor: a prompt's instruction as a list of phrases, and the edits that make another of it.

Edits work on the list and never on the text, so a phrase that stands twice is changed once.
"""

import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from promptopt.ask import Search
from promptopt.layout import has_slots, slots_of
from promptopt.phrase import Level, join
from promptopt.prompt import Candidate, Prompt
from promptopt.strategy import Context
from promptopt_strategies.components import describe_answers, literal, sentences
from promptopt_strategies.wording import rewordings
from promptopt_strategies.writing import ask_writer, render_template

PART = "instruction"
TRIES = 20  # draws for each candidate wanted, before there is one fewer
MAX_TOKENS = 60  # of a paraphrase, as in the released code

_SENTENCE_END = re.compile(r"""(?:[.!?…。！？]["'”’)\]]*|\n)\s*$""")


@dataclass(frozen=True, slots=True)
class Draft:
    """Phrases on their way to a candidate.

    Args:
        phrases: In order.
        pool: What was deleted on the way here and may be added again; one may stand there twice.
        edits: The operators applied so far.
    """

    phrases: tuple[str, ...]
    pool: tuple[str, ...] = ()
    edits: tuple[str, ...] = ()

    def deleted(self, at: int) -> "Draft":
        """Return it without one phrase, which goes into the pool."""
        return self._edited("delete", _without(self.phrases, at), (*self.pool, self.phrases[at]))

    def swapped(self, one: int, other: int) -> "Draft":
        """Return it with two phrases in each other's place."""
        phrases = list(self.phrases)
        phrases[one], phrases[other] = phrases[other], phrases[one]
        return self._edited("swap", phrases, self.pool)

    def reworded(self, at: int, text: str) -> "Draft":
        """Return it with another text for one phrase; the white space after the phrase stays."""
        old = self.phrases[at]
        gap = old[len(old.rstrip()) :]
        return self._edited("paraphrase", (*self.phrases[:at], text + gap, *self.phrases[at + 1 :]), self.pool)

    def added(self, at: int, phrase: str) -> "Draft":
        """Return it with one more phrase, which leaves the pool if it stands there."""
        pool = _without(self.pool, self.pool.index(phrase)) if phrase in self.pool else self.pool
        return self._edited("add", (*self.phrases[:at], phrase, *self.phrases[at:]), pool)

    def _edited(self, operator: str, phrases: Sequence[str], pool: Sequence[str]) -> "Draft":
        return Draft(tuple(phrases), tuple(pool), (*self.edits, operator))


@dataclass(frozen=True)
class Phrasing:
    """A candidate with the phrases of its instruction and its delete pool."""

    candidate: Candidate
    phrases: tuple[str, ...]
    pool: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The id of the prompt."""
        return self.candidate.id


@dataclass
class Editor:
    """Makes phrasings of other phrasings, at random.

    Args:
        context: The task.
        level: What counts as a phrase.
        library: Sentences that may be added besides what was deleted.
        library_share: The share of edits that add one of them.
        rewording_limit: How many phrases the optimizer model may be asked to reword; at 0 words are exchanged offline.
        paraphrases: How many other wordings of a phrase there are to choose from, at most.
        wordings: The other wordings known so far, by phrase.
    """

    context: Context
    level: Level
    library: tuple[str, ...] = ()
    library_share: float = 0.0
    rewording_limit: int = 0
    paraphrases: int = 10
    wordings: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def open(self, seed: Prompt) -> Phrasing:
        """Return a seed prompt as a phrasing."""
        return Phrasing(Candidate(seed), self.context.phrases(seed.instruction, self.level))

    def make(self, draft: Draft, *parents: Phrasing) -> Phrasing | None:
        """Return the draft as a phrasing, all other parts those of the first parent.

        None if it has no letter left, if it lost or doubled a place for an input, or if it is one of its parents.
        """
        seed, text, fields = parents[0].candidate.prompt, join(draft.phrases).strip(), self.context.fields
        prompt = seed.replace(**{PART: text})
        kept = sorted(slots_of(text, fields)) == sorted(slots_of(seed.instruction, fields))
        if not kept or not _has_letter(text) or prompt.id in {parent.id for parent in parents}:
            return None
        ids = tuple(dict.fromkeys(parent.id for parent in parents))
        return Phrasing(Candidate(prompt, ids, "+".join(draft.edits)), draft.phrases, draft.pool)

    def neighbours(self, base: Phrasing, wanted: int, edits: int, rng: random.Random) -> Search[list[Phrasing]]:
        """Return so many different phrasings, each exactly so many edits from the base; fewer if there are no more."""
        found: dict[str, Phrasing] = {}
        for _ in range(TRIES * wanted):
            if len(found) == wanted:
                break
            draft = Draft(base.phrases, base.pool)
            for _ in range(edits):
                draft = yield from self.edit(draft, rng)
            child = self.make(draft, base) if len(draft.edits) == edits else None
            if child is not None:
                found.setdefault(child.id, child)
        return list(found.values())

    def edit(self, draft: Draft, rng: random.Random) -> Search[Draft]:
        """Return the draft with one random edit of those that are possible; as it is if none is."""
        free = self._free(draft.phrases)
        new = [text for text in self.library if text not in draft.phrases]
        if new and rng.random() < self.library_share:
            return draft.added(rng.choice(self._places(draft.phrases, whole=True)), rng.choice(new))
        possible = ["delete"] * bool(free) + ["swap"] * (len(free) > 1) + ["add"] * bool(draft.pool)
        if any(self._rewordable(draft.phrases[at]) for at in free):
            possible.append("paraphrase")
        if not possible:
            return draft
        operator = rng.choice(possible)
        if operator == "delete":
            return draft.deleted(rng.choice(free))
        if operator == "swap":
            return draft.swapped(*rng.sample(free, 2))
        if operator == "paraphrase":
            return (yield from self.paraphrase(draft, rng))
        return draft.added(rng.choice(self._places(draft.phrases, whole=False)), rng.choice(draft.pool))

    def paraphrase(self, draft: Draft, rng: random.Random) -> Search[Draft]:
        """Return the draft with other words for one phrase, all known ones as likely; as it is if there are none."""
        free = [at for at in self._free(draft.phrases) if self._rewordable(draft.phrases[at])]
        if not free:
            return draft
        at = rng.choice(free)
        wordings = yield from self._wordings(draft.phrases[at].rstrip())
        return draft.reworded(at, rng.choice(wordings)) if wordings else draft

    def _free(self, phrases: Sequence[str]) -> list[int]:
        """Return the phrases that may be edited: not bare punctuation, and no place for an input."""
        return [at for at, phrase in enumerate(phrases) if _has_letter(phrase) and not self._holds_input(phrase)]

    def _places(self, phrases: Sequence[str], *, whole: bool) -> list[int]:
        """Return where a phrase may be added: in front or after any; a whole sentence not inside another."""
        if not whole:
            return list(range(len(phrases) + 1))
        return [0, *(at for at, phrase in enumerate(phrases, 1) if _SENTENCE_END.search(phrase))]

    def _holds_input(self, phrase: str) -> bool:
        return has_slots(phrase, self.context.fields)

    def _rewordable(self, phrase: str) -> bool:
        known = self.wordings.get(phrase.rstrip())
        return bool(known) if known is not None else self.rewording_limit > 0 or bool(rewordings(phrase))

    def _wordings(self, phrase: str) -> Search[tuple[str, ...]]:
        """Return other wordings of a phrase: the optimizer model's while it may be asked, else by exchange of words."""
        if phrase not in self.wordings:
            found = rewordings(phrase)
            if self.rewording_limit > 0:
                self.rewording_limit -= 1
                text = render_template("plum-paraphrase", phrase=phrase)
                written = yield from ask_writer(text, "paraphrase", n=self.paraphrases, max_tokens=MAX_TOKENS)
                told = [literal(" ".join(reply.split()), self.context.fields) for reply in written.texts]
                found = tuple(text for text in told if _has_letter(text)) or found
            self.wordings[phrase] = tuple(dict.fromkeys(text for text in found if text != phrase))
        return self.wordings[phrase][: self.paraphrases]


def splice(one: Phrasing, other: Phrasing, rng: random.Random) -> Draft | None:
    """Return the head of one and the tail of the other, cut at a phrase index of both; None if one is too short."""
    shorter = min(len(one.phrases), len(other.phrases))
    if shorter < 2:
        return None
    at = rng.randrange(1, shorter)
    return Draft((*one.phrases[:at], *other.phrases[at:]), united(one.pool, other.pool), ("cross",))


def united(*pools: Sequence[str]) -> tuple[str, ...]:
    """Return each phrase as often as in that of the pools which has it most often."""
    union: Counter[str] = Counter()
    for pool in pools:
        union |= Counter(pool)
    return tuple(union.elements())


def library_of(context: Context) -> tuple[str, ...]:
    """Return the sentences of the component library that fit a task, each ready to stand before the next phrase."""
    task = context.seeds[0].instruction
    inline = has_slots(task, context.fields)
    gap = "\n" if inline or "\n" in task else " "
    classes = sentences(context, "" if inline else task, describe_answers(context))
    return tuple(text + gap for name, texts in classes.items() if name != "task" for text in texts)


def _has_letter(text: str) -> bool:
    return any(map(str.isalpha, text))


def _without(items: Sequence[str], at: int) -> tuple[str, ...]:
    return (*items[:at], *items[at + 1 :])

"""PlumHarmony: harmony search over phrases.

Profiles: as in ``plum.py``. In the released code two slips are known: each segment loses its last phrase, and only the
last segment's deletions are remembered. ``reference-code`` has both; a prompt that this leaves empty is drawn again.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from types import MappingProxyType
from typing import Any, ClassVar

from promptopt.ask import Search
from promptopt.prompt import distinct
from promptopt.settings import require_at_least, require_at_most
from promptopt.strategy import Context
from promptopt_strategies.phrase_edits import TRIES, Draft, Phrasing, united
from promptopt_strategies.plum import PAPER, REFERENCE_CODE, Plum, Walk, open_walk


@dataclass(frozen=True)
class PlumHarmony(Plum):
    """Plum's harmony search: new prompts are put together segment by segment from remembered ones.

    Args:
        edits: Edits of each segment that is edited.
        memory: How many prompts are remembered.
        segments: Contiguous parts that a prompt is put together from.
        keep: The chance that a remembered segment stays as it is (HMCR); else it is edited. In the textbook this is
            the chance of using the memory at all; here it is always used.
        adjust: The chance that a phrase of a kept segment is paraphrased (PAR).
        whole_segments: Whether segments keep their last phrase and all deletions are remembered.

    Reference: Pan et al., Plum, ACL 2024 (Findings), arXiv 2311.08364.
    """

    edits: int = 1
    memory: int = 10
    segments: int = 5
    keep: float = 0.4
    adjust: float = 0.5
    whole_segments: bool = True

    name: ClassVar[str] = "plum-harmony"
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "paper": PAPER,
            "reference-code": {**REFERENCE_CODE, "whole_segments": False},
            "recommended": {},
        }
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 1, "memory", "segments")
        require_at_least(self, 0, "keep", "adjust")
        require_at_most(self, 1, "keep", "adjust")

    def search(self, context: Context) -> Search[None]:
        """Improvise until nothing improves or the plan is spent."""
        walk = yield from open_walk(self, context)
        memory = [walk.incumbent]
        while walk.goes_on():
            harmonies = yield from self._improvise(walk, memory)
            scored = yield from walk.score(harmonies)
            memory = walk.order(distinct([*memory, *scored]))[: self.memory]
            improved = walk.gain(memory[0], walk.incumbent) > 0
            yield from walk.settle(memory[0] if improved else None, improved=improved)
        yield from walk.close()

    def _improvise(self, walk: Walk, memory: Sequence[Phrasing]) -> Search[list[Phrasing]]:
        """Return new prompts made of segments of the memory, m of them."""
        rng = walk.rng("improvise")
        harmonies: dict[str, Phrasing] = {}
        for _ in range(TRIES * self.neighbours):
            if len(harmonies) == self.neighbours:
                break
            members = [rng.choice(memory) for _ in range(self.segments)]
            parts = []
            for number, member in enumerate(members):
                parts.append((yield from self._play(walk, segment(member.phrases, number, self.segments), member, rng)))
            harmony = walk.editor.make(self._compose(parts, members), *members)
            if harmony:
                harmonies.setdefault(harmony.id, harmony)
        return list(harmonies.values())

    def _play(self, walk: Walk, phrases: tuple[str, ...], member: Phrasing, rng: Random) -> Search[Draft]:
        """Return a segment as it is, with one phrase paraphrased, or edited."""
        part = Draft(phrases if self.whole_segments else phrases[:-1], member.pool)
        if rng.random() < self.keep:
            return (yield from walk.editor.paraphrase(part, rng)) if rng.random() < self.adjust else part
        for _ in range(self.edits):
            part = yield from walk.editor.edit(part, rng)
        return part

    def _compose(self, parts: Sequence[Draft], members: Sequence[Phrasing]) -> Draft:
        """Return the segments as one draft, its pool that of all members as the segments' edits changed it."""
        pool = Counter(united(*(member.pool for member in members)))
        for part, member in list(zip(parts, members, strict=True))[0 if self.whole_segments else -1 :]:
            pool.update(part.pool)
            pool.subtract(member.pool)
        return Draft(
            tuple(phrase for part in parts for phrase in part.phrases),
            tuple(pool.elements()),
            tuple(edit for part in parts for edit in part.edits) or ("compose",),
        )


def segment(phrases: Sequence[str], number: int, segments: int) -> tuple[str, ...]:
    """Return one of the contiguous segments that hold every phrase exactly once, number from 0."""
    first, after = (round(place * len(phrases) / segments) for place in (number, number + 1))
    return tuple(phrases[first:after])

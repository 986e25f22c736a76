"""PlumTabu: tabu search over phrase edits.

Profiles: as in ``plum.py``. As published the search never leaves the best prompt seen, so its tabu list hardly matters;
``recommended`` moves to the best admitted neighbour even if it is worse.
"""

from collections import deque
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from types import MappingProxyType
from typing import Any, ClassVar

from promptopt.ask import Search
from promptopt.settings import require_at_least, require_at_most
from promptopt.strategy import Context
from promptopt_strategies.phrase_edits import Phrasing
from promptopt_strategies.plum import PAPER, REFERENCE_CODE, Plum, open_walk


@dataclass(frozen=True)
class PlumTabu(Plum):
    """Plum's tabu search: the best neighbours of the last iterations are let in again by chance only.

    Args:
        tenure: How many iterations' best neighbours are tabu.
        aspiration: The chance with which a tabu neighbour is let in all the same.
        move_on: Move to the best neighbour even if it is worse.

    Reference: Pan et al., Plum, ACL 2024 (Findings), arXiv 2311.08364.
    """

    tenure: int = 5
    aspiration: float = 0.5
    move_on: bool = True

    name: ClassVar[str] = "plum-tabu"
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "paper": {**PAPER, "move_on": False},
            "reference-code": {**REFERENCE_CODE, "move_on": False},
            "recommended": {},
        }
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 0, "tenure", "aspiration")
        require_at_most(self, 1, "aspiration")

    def search(self, context: Context) -> Search[None]:
        """Walk until nothing improves or the plan is spent; an iteration without an admitted neighbour is skipped."""
        walk = yield from open_walk(self, context)
        tabu: deque[str] = deque(maxlen=self.tenure)
        while walk.goes_on():
            neighbours = yield from walk.neighbours(walk.incumbent)
            scored = yield from walk.score(self.admit(neighbours, tabu, walk.rng("aspire")))
            if not scored:
                continue
            best = scored[0]
            tabu.append(best.id)
            improved = walk.gain(best, walk.incumbent) > 0
            yield from walk.settle(best if improved or self.move_on else None, improved=improved)
        yield from walk.close()

    def admit(self, neighbours: Sequence[Phrasing], tabu: Container[str], rng: Random) -> list[Phrasing]:
        """Return the neighbours that are not tabu, and of those that are, whom chance lets in."""
        return [one for one in neighbours if one.id not in tabu or rng.random() < self.aspiration]

"""PlumGA: a genetic algorithm over phrase edits that mutates and does not cross.

Profiles: as in ``plum.py``, with tournaments of 5 in ``paper`` and 3 in ``reference-code``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from promptopt.ask import Search
from promptopt.settings import require_at_least
from promptopt.strategy import Context
from promptopt_strategies.plum import PAPER, REFERENCE_CODE, Plum, open_walk


@dataclass(frozen=True)
class PlumGA(Plum):
    """Plum's genetic algorithm by mutation: a tournament over all that was kept finds the parent of each iteration.

    Only the best of the parent's mutants joins the archive, which grows by one an iteration.

    Args:
        tournament: Draws with replacement, of which the best is the parent (k).

    Reference: Pan et al., Plum, ACL 2024 (Findings), arXiv 2311.08364.
    """

    tournament: int = 5

    name: ClassVar[str] = "plum-ga"
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "paper": PAPER,
            "reference-code": {**REFERENCE_CODE, "tournament": 3},
            "recommended": {},
        }
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 1, "tournament")

    def search(self, context: Context) -> Search[None]:
        """Breed until nothing improves or the plan is spent."""
        walk = yield from open_walk(self, context)
        archive = [walk.incumbent]
        while walk.goes_on():
            parent = walk.tournament(archive, self.tournament, walk.rng("tournament"))
            mutants = yield from walk.neighbours(parent)
            best, *_ = (yield from walk.score(mutants)) or [parent]
            archive.append(best)
            improved = walk.gain(best, walk.incumbent) > 0
            yield from walk.settle(best if improved else None, improved=improved)
        yield from walk.close()

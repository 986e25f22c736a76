"""PlumHC: hill climbing over phrase edits.

Profiles: as in ``plum.py``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from promptopt.ask import Search
from promptopt.strategy import Context
from promptopt_strategies.plum import PAPER, REFERENCE_CODE, Plum, open_walk


@dataclass(frozen=True)
class PlumHC(Plum):
    """Plum's hill climbing: the best edited neighbour replaces the incumbent if it is strictly better.

    Reference: Pan et al., Plum, ACL 2024 (Findings), arXiv 2311.08364; Prasad et al., GrIPS, EACL 2023.
    """

    name: ClassVar[str] = "plum-hc"
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {"paper": PAPER, "reference-code": REFERENCE_CODE, "recommended": {}}
    )

    def search(self, context: Context) -> Search[None]:
        """Climb until nothing improves or the plan is spent."""
        walk = yield from open_walk(self, context)
        while walk.goes_on():
            neighbours = yield from walk.neighbours(walk.incumbent)
            best, *_ = (yield from walk.score(neighbours)) or [walk.incumbent]
            improved = walk.gain(best, walk.incumbent) > 0
            yield from walk.settle(best if improved else None, improved=improved)
        yield from walk.close()

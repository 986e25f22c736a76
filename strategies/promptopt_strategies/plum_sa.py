"""PlumSA: simulated annealing over phrase edits.

Profiles: as in ``plum.py``. The published ones report the incumbent, which may be worse than the best seen.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from promptopt.ask import Search
from promptopt.settings import require_at_least
from promptopt.strategy import Context
from promptopt_strategies.plum import PAPER, REFERENCE_CODE, Plum, open_walk


@dataclass(frozen=True)
class PlumSA(Plum):
    """Plum's simulated annealing: as hill climbing, but a worse neighbour is accepted at times, early more often.

    Args:
        temperature: The temperature T0 at the start, in points of 100.
        cooling: After so many iterations (K) the temperature is 1/e of what it was.

    Reference: Pan et al., Plum, ACL 2024 (Findings), arXiv 2311.08364.
    """

    temperature: float = 10.0
    cooling: float = 5.0

    name: ClassVar[str] = "plum-sa"
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {"paper": PAPER, "reference-code": REFERENCE_CODE, "recommended": {}}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 1e-9, "temperature", "cooling")

    def search(self, context: Context) -> Search[None]:
        """Walk until nothing improves or the plan is spent."""
        walk = yield from open_walk(self, context)
        while walk.goes_on():
            neighbours = yield from walk.neighbours(walk.incumbent)
            best, *_ = (yield from walk.score(neighbours)) or [walk.incumbent]
            gain = walk.gain(best, walk.incumbent)
            accepted = walk.rng("accept").random() < self.chance(gain, walk.iteration)
            yield from walk.settle(best if accepted else None, improved=gain > 0)
        yield from walk.close()

    def chance(self, gain: float, iteration: int) -> float:
        """Return with what probability a gain, in points, is accepted in an iteration, counted from 1."""
        temperature = self.temperature * math.exp(-iteration / self.cooling)
        return 1.0 if gain >= 0 else math.exp(gain / temperature) if temperature else 0.0

"""RandomPairs: the control that every strategy on duels must beat at equal duels.

It believes what the others believe, from the same preferences, and leaves the choice of pairs to chance.

Profiles:
    paper: 200 prompts, 150 duels one at a time.
    recommended: As many as the others have; it ends when it is sure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from promptopt.ask import Search
from promptopt.strategy import Context, Need
from promptopt_strategies.arena import ArenaSettings, as_profile, open_arena


@dataclass(frozen=True)
class RandomPairs(ArenaSettings):
    """Compares pairs of prompts that are drawn at random, and recommends the strongest.

    Asks: one Embed, then one Compare after the other.
    """

    pool: int = 20
    grow_every: int = 0

    name: ClassVar[str] = "random-pairs"
    version: ClassVar[str] = "2"
    needs: ClassVar[frozenset[Need]] = frozenset({"compare", "embed"})
    uses: ClassVar[frozenset[Need]] = frozenset({"write"})
    control: ClassVar[bool] = True
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "recommended": {},
        "paper": as_profile(pool=200, duels=150),
    }

    def search(self, context: Context) -> Search[None]:
        """Draw pairs, have them judged, recommend; until it is sure or the duels are used."""
        arena = yield from open_arena(context, self, features=True)
        while arena.goes_on:
            rng = arena.rng("pairs")
            pairs = [rng.sample(arena.live, 2) for _ in range(arena.wanted)]
            yield from arena.compare([(first, second) for first, second in pairs])
            strengths = arena.believe()
            outlook = arena.look_out(strengths)
            yield arena.recommend(outlook, strengths.utilities)
            yield from arena.grow(outlook, strengths)

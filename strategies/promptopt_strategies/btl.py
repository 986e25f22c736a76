"""BTL: logistic duelling on features, the default for more than 30 prompts.

What is learned of one prompt tells of those that are like it, so few duels go a long way in a large pool.

Profiles:
    paper: 200 prompts, 150 duels one at a time, none added.
    recommended: New prompts come as it goes, and it ends when it is sure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from promptopt.ask import Search
from promptopt.ranking import Strengths
from promptopt.settings import require_at_least
from promptopt.strategy import Context, Need
from promptopt_strategies.arena import Arena, ArenaSettings, Pair, as_profile, highest, open_arena, rival
from promptopt_strategies.threads import on_one_thread


@dataclass(frozen=True)
class BTL(ArenaSettings):
    """Bradley-Terry-Luce strengths that are linear in features, with Laplace uncertainty.

    The utility of a prompt is linear in its features (Embed), plus a part of its own. The first prompt of a pair is the
    one that is the best by the mean; the second is the likeliest rival:

    - ``ucb``: the highest mean plus ``width`` standard deviations of its difference to the first;
    - ``thompson``: the best of a draw from the posterior.

    Asks: one Embed, then one Compare after the other.

    Args:
        rule: How the second prompt is chosen.
        width: Of ``ucb``; at 1 one search in five never looks beyond a good prompt.
        spread: The standard deviation of utilities before any preference, in log-odds of preference.

    Reference:
        Saha 2021, Optimal algorithms for stochastic contextual preference bandits (greedy first, optimistic second).
    """

    pool: int = 60
    rule: Literal["ucb", "thompson"] = "ucb"
    width: float = 3.0
    spread: float = 1.5

    name: ClassVar[str] = "btl"
    version: ClassVar[str] = "2"
    needs: ClassVar[frozenset[Need]] = frozenset({"compare", "embed"})
    uses: ClassVar[frozenset[Need]] = frozenset({"write"})
    control: ClassVar[bool] = False
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "recommended": {},
        "paper": as_profile(pool=200),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 0, "width")
        require_at_least(self, 0.01, "spread")

    def search(self, context: Context) -> Search[None]:
        """Believe, choose, compare, recommend; until it is sure or the duels are used."""
        arena = yield from open_arena(context, self, features=True)
        yield from arena.duel(self._choose, self.spread)

    @on_one_thread
    def _choose(self, arena: Arena, strengths: Strengths) -> list[Pair]:
        """Return as many pairs as are wanted, none of them twice at a time."""
        taken = {frozenset(pair) for pair in arena.pending()}
        pairs: list[Pair] = []
        for turn in range(arena.wanted):
            first = highest(strengths.utilities, arena.live, strengths.ids)
            if self.rule == "thompson":
                values = strengths.draw(arena.rng("rival", turn))[0]
            else:
                values = strengths.utilities + self.width * strengths.spreads(first)
            second = rival(values, first, arena.live, taken, strengths.ids)
            taken.add(frozenset((first, second)))
            pairs.append((first, second))
        return pairs

"""DTS: double Thompson sampling, for up to 30 prompts.

Profiles:
    paper: Algorithm 1 on counts of wins, 1,000 duels one at a time, no prompts added.
    recommended: From the posterior of all preferences, in which prompts that are alike share what is learned; new
        prompts come as it goes, and it ends when it is sure.

Differences from the paper, in every profile:
    - A prompt is never its own challenger, since that duel would tell nothing.
    - A tie goes to either side by the hash of the preference, where counts are used.
    - What is recommended is the strongest by the posterior, not the Copeland winner of the counts.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from promptopt.ask import Search
from promptopt.ids import content_hash
from promptopt.ranking import Strengths, copeland
from promptopt.settings import require_at_least
from promptopt.strategy import Context, Need
from promptopt_strategies.arena import Arena, ArenaSettings, Pair, as_profile, draw_beta, highest, open_arena, rival
from promptopt_strategies.threads import on_one_thread

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


@dataclass(frozen=True)
class DTS(ArenaSettings):
    """Double Thompson sampling: two draws of who beats whom choose the two prompts of a duel.

    The first prompt beats the most others in one draw. The second is the challenger that is likeliest to beat the
    first in a fresh draw, among those that are not surely worse. ``belief`` says what is drawn from:

    - ``strengths``: the posterior of all preferences, in which every duel tells of both prompts' strength and every
      labeller is weighed by reliability. Its draws are transitive, so the prompt that beats the most others is the one
      with the highest utility;
    - ``counts``: as published, a Beta distribution for each pair from its own wins and losses alone. Needs no model of
      strengths and many more duels.

    Asks: one Embed, where features are used, then one Compare after the other.

    Args:
        belief: What is drawn from.
        features: Let prompts share what is learned through their features, where strengths are drawn from.
        alpha: The width of the confidence bounds of ``counts``.

    Reference:
        Wu and Liu 2016, Double Thompson sampling for dueling bandits, algorithm 1.
    """

    pool: int = 20
    belief: Literal["strengths", "counts"] = "strengths"
    features: bool = True
    alpha: float = 0.51

    name: ClassVar[str] = "dts"
    version: ClassVar[str] = "2"
    needs: ClassVar[frozenset[Need]] = frozenset({"compare", "embed"})
    uses: ClassVar[frozenset[Need]] = frozenset({"write"})
    control: ClassVar[bool] = False
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "recommended": {},
        "paper": as_profile(belief="counts", features=False, duels=1000),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 0, "alpha")

    def search(self, context: Context) -> Search[None]:
        """Draw twice, compare, recommend; until it is sure or the duels are used."""
        arena = yield from open_arena(context, self, features=self.features)
        yield from arena.duel(self._choose)

    @on_one_thread
    def _choose(self, arena: Arena, strengths: Strengths) -> list[Pair]:
        """Return as many pairs as are wanted, none of them twice at a time."""
        taken = {frozenset(pair) for pair in arena.pending()}
        pairs: list[Pair] = []
        for turn in range(arena.wanted):
            rng = arena.rng("pair", turn)
            if self.belief == "counts":
                pair = choose_by_counts(rng, win_counts(arena), arena.live, self.alpha)
            else:
                pair = choose_by_strengths(rng, strengths, arena.live, taken)
            taken.add(frozenset(pair))
            pairs.append(pair)
        return pairs


def choose_by_strengths(
    rng: random.Random, strengths: Strengths, live: Sequence[int], taken: set[frozenset[int]]
) -> Pair:
    """Return the best of one draw of the utilities, and of a second draw the best of the others."""
    one, two = strengths.draw(rng, 2)
    first = highest(one, live, strengths.ids)
    return first, rival(two, first, live, taken, strengths.ids)


def choose_by_counts(rng: random.Random, wins: "Array", live: Sequence[int], alpha: float) -> Pair:
    """Return the pair of algorithm 1, for wins[i, j] of i over j."""
    import numpy as np

    upper, lower = bounds(wins, alpha)
    arms = np.asarray(live)
    optimistic = copeland_upper(upper, arms)
    sampled = np.full(wins.shape, 0.5)
    for a, i in enumerate(live):
        for j in live[a + 1 :]:
            sampled[i, j] = draw_beta(rng, int(wins[i, j]), int(wins[j, i]))
            sampled[j, i] = 1.0 - sampled[i, j]
    scores = copeland(sampled[np.ix_(arms, arms)])
    first = max(
        (k for k in live if k in optimistic), key=lambda k: (round(float(scores[live.index(k)]), 9), rng.random())
    )
    # The fresh draw is of the challenger's chance to beat the first arm: row k, column first.
    challengers = [k for k in live if k != first and lower[k, first] <= 0.5]
    fresh = {k: draw_beta(rng, int(wins[k, first]), int(wins[first, k])) for k in challengers or live if k != first}
    return first, max(fresh, key=lambda k: fresh[k])


def bounds(wins: "Array", alpha: float) -> tuple["Array", "Array"]:
    """Return the upper and lower confidence bounds of the chance that the row's arm beats the column's."""
    import numpy as np

    met = wins + wins.T
    known = np.maximum(met, 1.0)
    width = np.sqrt(alpha * np.log(max(2.0, met.sum() / 2 + 1)) / known)
    share = np.where(met > 0, wins / known, 1.0)
    upper, lower = np.where(met > 0, share + width, 1.0), np.where(met > 0, share - width, 0.0)
    np.fill_diagonal(upper, 0.5)
    np.fill_diagonal(lower, 0.5)
    return upper, lower


def copeland_upper(upper: "Array", arms: "NDArray[np.int64]") -> set[int]:
    """Return the arms that may beat the most others: those with the most upper bounds above one half."""
    reach = (upper[arms[:, None], arms[None, :]] > 0.5).sum(axis=1)
    return {int(arm) for arm, count in zip(arms, reach, strict=True) if count == reach.max()}


def win_counts(arena: Arena) -> "Array":
    """Return how often the row's prompt beat the column's; a tie goes to either by the hash of its id."""
    import numpy as np

    at = {key: place for place, key in enumerate(arena.ids)}
    wins = np.zeros((len(at), len(at)))
    for preference in arena.preferences:
        if not preference.is_evidence:
            continue
        left, right = at[preference.left_id], at[preference.right_id]
        winner = preference.winner_id
        if winner is None:
            winner = preference.left_id if int(content_hash(preference.id)[0], 16) % 2 else preference.right_id
        pair = (left, right) if winner == preference.left_id else (right, left)
        wins[pair] += 1
    return wins

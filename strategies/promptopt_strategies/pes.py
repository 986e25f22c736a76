"""PES: predictive entropy search, the default for up to 30 prompts.

Profiles:
    paper: One duel at a time, 20 prompts, none added.
    recommended: Several pairs ahead of the people who label; new prompts come as it goes, and it ends when it is sure.

Differences from the paper, in every profile:
    - A finite pool of prompts in place of a continuous space, so that the entropies are sums over draws from the
      posterior and nothing has to be approximated by expectation propagation.
    - An observation is the verdict on a pair, by whichever labeller comes next, and no noisy value of one point.
"""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, ClassVar

from promptopt.ask import Search
from promptopt.ranking import Reading, Strengths
from promptopt.settings import require_at_least
from promptopt.strategy import Context, Need
from promptopt.votes import RELIABILITY
from promptopt_strategies.arena import Arena, ArenaSettings, Pair, as_profile, open_arena
from promptopt_strategies.threads import on_one_thread

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

DIGITS = 9  # of what pairs are compared by, so that the last bits of a sum do not matter


@dataclass(frozen=True)
class PES(ArenaSettings):
    """Predictive entropy search: each duel is the one whose verdict is expected to tell most about the best prompt.

    What a verdict y tells about which prompt x is the best is their mutual information,
    I(y; x) = H(y) - sum over x of P(x) H(y | x): how uncertain the verdict is, less how uncertain it would still be for
    somebody who knew the best prompt. It is taken over draws from the posterior, in which every labeller has a
    reliability and a liking for a side, and one of several may prefer the worse: a pair is chosen for what it tells of
    the prompts, whoever judges it, and so also for what it tells of those who judge where that stands in the way.

    Asks: one Embed, then one Compare after the other.

    Args:
        draws: How many draws from the posterior the entropies are taken over.
        contenders: Pairs are made of so many prompts, those that are the best in most draws.

    Reference:
        Hernandez-Lobato, Hoffman and Ghahramani 2014, Predictive entropy search, equation 3.
    """

    draws: int = 400
    contenders: int = 20

    name: ClassVar[str] = "pes"
    version: ClassVar[str] = "1"
    needs: ClassVar[frozenset[Need]] = frozenset({"compare", "embed"})
    uses: ClassVar[frozenset[Need]] = frozenset({"write"})
    control: ClassVar[bool] = False
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "recommended": {},
        "paper": as_profile(),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 10, "draws")  # so that the likeliest reading has some
        require_at_least(self, 2, "contenders")

    def search(self, context: Context) -> Search[None]:
        """Believe, ask what tells most, recommend; until it is sure or the duels are used."""
        arena = yield from open_arena(context, self, features=True)
        yield from arena.duel(self._choose)

    @on_one_thread
    def _choose(self, arena: Arena, strengths: Strengths) -> list[Pair]:
        """Return as many pairs as are wanted, those that tell most, none of them twice at a time."""
        worlds = draw_worlds(arena.rng("pair"), strengths, self.draws)
        best = best_of(worlds, arena.live)
        pairs = pairs_among(best, arena.live, self.contenders)
        told = information(worlds, best, pairs)
        order = sorted(range(len(pairs)), key=lambda k: (-round(float(told[k]), DIGITS), k))
        taken = {frozenset(pair) for pair in arena.pending()}
        free = [pairs[k] for k in order if frozenset(pairs[k]) not in taken]
        return (free or [pairs[k] for k in order])[: arena.wanted]


@dataclass(frozen=True)
class Worlds:
    """How things may be, all equally probable: draws from the posterior.

    Args:
        utilities: Of the prompts, shape (m, n).
        readings: How many of the draws, one after the other, belong to each reading.
    """

    utilities: "Array"
    readings: tuple[tuple[int, Reading], ...]

    def voters(self) -> "Iterator[Voter]":
        """Yield who may judge next: each labeller as often as so far, with the better one on either side."""
        import numpy as np

        counts = [n for n, _ in self.readings]
        tie = np.repeat([reading.tie for _, reading in self.readings], counts)
        said = {name: labeller.n for name, labeller in self.readings[0][1].labellers.items()}
        if not said:
            yield Voter(1.0, np.full(sum(counts), RELIABILITY), np.zeros(sum(counts)), tie)
        for name, n in said.items():
            natures = [reading.labellers[name] for _, reading in self.readings]
            reliability = np.repeat([nature.reliability for nature in natures], counts)
            side = np.repeat([nature.side for nature in natures], counts)
            for shown in (1.0, -1.0):
                yield Voter(n / sum(said.values()) / 2, reliability, shown * side, tie)


@dataclass(frozen=True)
class Voter:
    """Somebody who may judge next, in every world.

    Args:
        share: How probable that is.
        reliability: The factor on the difference of utilities, shape (m,).
        side: The log-odds by which the first of a pair is preferred for where it stands, shape (m,).
        tie: Davidson's tie parameter, shape (m,).
    """

    share: float
    reliability: "Array"
    side: "Array"
    tie: "Array"


def draw_worlds(rng: random.Random, strengths: Strengths, m: int) -> Worlds:
    """Return about m draws, of each reading as many as it is probable."""
    import numpy as np

    shares = [(round(m * reading.chance), reading) for reading in strengths.readings]
    readings = tuple((n, reading) for n, reading in shares if n)
    return Worlds(np.concatenate([reading.draw(rng, n) for n, reading in readings]), readings)


def best_of(worlds: Worlds, live: Sequence[int]) -> "NDArray[np.int64]":
    """Return which of the live prompts is the best in each world, shape (m,)."""
    import numpy as np

    places: NDArray[np.int64] = np.asarray(live)[worlds.utilities[:, live].argmax(axis=1)]
    return places


def pairs_among(best: "NDArray[np.int64]", live: Sequence[int], contenders: int) -> list[Pair]:
    """Return all pairs of the prompts that are the best most often, of each the likelier one first."""
    wins = Counter(best.tolist())
    likeliest = sorted(live, key=lambda place: (-wins[place], place))[:contenders]
    return list(combinations(likeliest, 2))


def information(worlds: Worlds, best: "NDArray[np.int64]", pairs: Sequence[Pair]) -> "Array":
    """Return what the verdict on each pair is expected to tell of which prompt is the best, in nats, shape (pairs,)."""
    import numpy as np

    left, right = np.asarray(pairs).T
    gaps = worlds.utilities[:, left] - worlds.utilities[:, right]
    where = (best[:, None] == np.unique(best)).astype(float)
    shares, means = where.mean(axis=0), (where / where.sum(axis=0)).T
    told = np.zeros(len(pairs))
    for voter in worlds.voters():
        verdicts = chances(voter.reliability[:, None] * gaps + voter.side[:, None], voter.tie[:, None])
        told += voter.share * entropy([verdict.mean(axis=0) for verdict in verdicts])
        told -= voter.share * (shares @ entropy([means @ verdict for verdict in verdicts]))
    return told


def chances(logits: "Array", tie: "Array") -> "tuple[Array, Array, Array]":
    """Return how probable left, right and a tie are, by Davidson's law."""
    import numpy as np

    left = np.exp(np.clip(logits / 2, -30.0, 30.0))
    right = 1 / left
    scale = 1 / (left + right + tie)
    left *= scale
    right *= scale
    return left, right, tie * scale


def entropy(chances: "Sequence[Array]") -> "Array":
    """Return how uncertain verdicts are whose probabilities these are, in nats."""
    import numpy as np

    return np.asarray(-sum(chance * np.log(np.maximum(chance, 1e-300)) for chance in chances))

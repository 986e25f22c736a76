"""APOHF: prompt optimization with human feedback, a neural dueling bandit.

A network predicts how good each prompt is from its features; the duel is between its favourite and the prompt that
could most easily be better still.

Profiles:
    paper: 200 prompts that the optimizer model induces from examples, 150 duels one at a time, the exact bonus.
    reference-code: The same with the diagonal bonus of the released code.
    recommended: The first parameters are scaled by the width and utilities measured against the first network (else it
        predicts, before the first verdict, utilities of some eight log-odds that are nothing but noise), the network
        sees a random projection of the features and learns in fewer and larger steps; new prompts come as it goes, and
        it ends when it is sure.

Differences from the code, in every profile:
    - Ties count half to either side, and skips not at all.
    - A labeller counts by the reliability that the one posterior of all preferences gives, and somebody unreliable not.
    - The input of a duel is chosen, and every duel has one; in the code utility is a mean over inputs.
    - The recommendation comes after the last verdict; in the code it is made before training on it.
    - The network says who is first, and the posterior, which is calibrated, how probably that is the best.
    - The pool ends after three rounds of writing; in the code it may never be full.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from promptopt.ask import Search
from promptopt.ranking import Strengths, normals
from promptopt.settings import require_at_least
from promptopt.strategy import Context, Need
from promptopt_strategies.arena import Arena, ArenaSettings, Pair, as_profile, highest, open_arena, rival
from promptopt_strategies.threads import on_one_thread
from promptopt_strategies.utility_network import Duels, UtilityNetwork, diagonal_bonus, exact_bonus

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Belief:
    """What the network makes of the duels: utilities, their gradients and inner products, and the duels themselves."""

    utilities: "Array"
    gradients: "Array"
    gram: "Array"
    duels: Duels


@dataclass(frozen=True)
class APOHF(ArenaSettings):
    """A neural dueling bandit: greedy first prompt, optimistic second prompt.

    After each verdict the network is trained anew from the same first parameters on all duels, by the
    Bradley-Terry-Luce loss. The first prompt of the next duel has the highest predicted utility of all, the second the
    highest sum of utility and bonus, never the first. The first ``random_duels`` pairs are drawn at random.

    Asks: one Embed, then one Compare after the other.

    Args:
        random_duels: Pairs drawn at random before the network chooses.
        hidden: The width of the two hidden layers.
        nu: How much optimism.
        ridge: The weight of what is believed before any duel (lambda).
        steps: Adam steps of each training.
        rate: Adam's learning rate.
        epsilon: Adam's epsilon: below it a gradient is not blown up.
        form: The bonus with the whole matrix (``exact``) or with its diagonal, as in the released code.
        scaled: Scale the first parameters by the width of their layer.
        centred: Measure utilities and parameters against the first network, whose utilities are then all 0.
        project: Centre the features and project them at random to the width of the hidden layers; no principal
            components, whose signs depend on the machine's linear algebra.
        widen: Recommend among all prompts, and not only among those that have been in a duel.

    Reference:
        Lin et al. 2024, Prompt optimization with human feedback, arXiv 2405.17346.
    """

    pool: int = 60
    random_duels: int = 5
    hidden: int = 32
    nu: float = 3.0
    ridge: float = 10.0
    steps: int = 150
    rate: float = 0.01
    epsilon: float = 1e-5
    form: Literal["exact", "diagonal"] = "exact"
    scaled: bool = True
    centred: bool = True
    project: bool = True
    widen: bool = False

    name: ClassVar[str] = "apohf"
    version: ClassVar[str] = "2"
    needs: ClassVar[frozenset[Need]] = frozenset({"compare", "embed"})
    uses: ClassVar[frozenset[Need]] = frozenset({"write"})
    control: ClassVar[bool] = False
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "recommended": {},
        "paper": as_profile(
            pool=200,
            nu=1.0,
            ridge=0.1,
            steps=1000,
            rate=0.001,
            epsilon=1e-8,
            scaled=False,
            centred=False,
            project=False,
            source="induction",
        ),
        "reference-code": as_profile(
            pool=200,
            nu=1.0,
            ridge=0.1,
            steps=1000,
            rate=0.001,
            epsilon=1e-8,
            scaled=False,
            centred=False,
            project=False,
            source="induction",
            form="diagonal",
        ),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 1, "hidden", "steps")
        require_at_least(self, 0, "random_duels", "nu")
        require_at_least(self, 1e-6, "ridge", "rate")
        require_at_least(self, 0, "epsilon")

    def search(self, context: Context) -> Search[None]:
        """Train, choose, compare, recommend; until it is sure or the duels are used."""
        arena = yield from open_arena(context, self, features=True)
        strengths = arena.believe()
        belief = self._train(arena, strengths)
        while arena.goes_on:
            yield from arena.compare(self._choose(arena, belief))
            strengths = arena.believe()
            belief = self._train(arena, strengths)
            among = arena.live if self.widen else arena.duelled()
            outlook = arena.look_out(strengths, among, belief.utilities)
            yield arena.recommend(outlook, belief.utilities)
            if (yield from arena.grow(outlook, strengths)):
                strengths = arena.believe()
                belief = self._train(arena, strengths)

    @on_one_thread
    def _train(self, arena: Arena, strengths: Strengths) -> _Belief:
        """Return the network's view, trained from its first parameters on all that was said."""
        rows = self._features(arena)
        duels = read_duels(arena, strengths)
        sizes = (rows.shape[1], self.hidden, self.hidden, 1)
        rng = arena.context.rng("apohf", "network")
        first = UtilityNetwork.first(rng, sizes, scaled=self.scaled, centred=self.centred)
        decay = self.ridge / (len(duels.left) + 50)
        network = first.train(rows, duels, steps=self.steps, rate=self.rate, decay=decay, epsilon=self.epsilon)
        gradients = network.gradients(rows)
        return _Belief(network.values(rows), gradients, gradients @ gradients.T, duels)

    def _features(self, arena: Arena) -> "Array":
        import numpy as np

        rows = np.asarray(arena.vectors, dtype=float)
        if not self.project:
            return np.asarray(rows / np.maximum(1e-12, np.linalg.norm(rows, axis=1, keepdims=True)))
        rows = rows - rows.mean(axis=0)
        if rows.shape[1] > self.hidden:
            rows = rows @ normals(arena.context.rng("apohf", "project"), (rows.shape[1], self.hidden))
        return np.asarray(rows / max(1e-12, float(np.sqrt((rows**2).sum(axis=1).mean()))))

    @on_one_thread
    def _choose(self, arena: Arena, belief: _Belief) -> list[Pair]:
        """Return as many pairs as are wanted; a pair that waits for its verdict counts as a duel for the bonus."""
        pairs: list[Pair] = []
        for turn in range(arena.wanted):
            waiting = [*arena.pending(), *pairs]
            if len(arena.asked) + turn < self.random_duels:
                first, second = arena.rng("random", turn).sample(arena.live, 2)
            else:
                first, second = self._favourite_and_rival(arena, belief, waiting)
            pairs.append((first, second))
        return pairs

    def _favourite_and_rival(self, arena: Arena, belief: _Belief, waiting: list[Pair]) -> Pair:
        first = highest(belief.utilities, arena.live, arena.ids)
        met = with_pairs(belief.duels, waiting)
        if self.form == "diagonal":
            unsure = diagonal_bonus(belief.gradients, first, met, nu=self.nu, ridge=self.ridge)
        else:
            unsure = exact_bonus(belief.gram, first, met, nu=self.nu, ridge=self.ridge)
        return first, rival(belief.utilities + unsure, first, arena.live, set(map(frozenset, waiting)), arena.ids)


def read_duels(arena: Arena, strengths: Strengths) -> Duels:
    """Return what was said, in numbers, each verdict with the weight of who gave it."""
    import numpy as np

    at = {key: place for place, key in enumerate(arena.ids)}
    known = strengths.labellers
    said = [(p, max(0.0, round(known[p.labeller].reliability, 3))) for p in arena.preferences if p.is_evidence]
    heard = [(p, weight) for p, weight in said if weight > 0]
    return Duels(
        np.array([at[p.left_id] for p, _ in heard], dtype=np.intp),
        np.array([at[p.right_id] for p, _ in heard], dtype=np.intp),
        np.array([{"left": 1.0, "right": 0.0}.get(p.verdict, 0.5) for p, _ in heard]),
        np.array([weight for _, weight in heard]),
    )


def with_pairs(duels: Duels, pairs: list[Pair]) -> Duels:
    """Return the duels with some that have no verdict yet; only for who met whom."""
    import numpy as np

    left, right = [first for first, _ in pairs], [second for _, second in pairs]
    return Duels(
        np.concatenate([duels.left, np.array(left, dtype=np.intp)]),
        np.concatenate([duels.right, np.array(right, dtype=np.intp)]),
        np.concatenate([duels.left_won, np.full(len(pairs), 0.5)]),
        np.concatenate([duels.weight, np.ones(len(pairs))]),
    )

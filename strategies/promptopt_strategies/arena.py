"""Arena: the prompts of a search by duels, what was said of them, and where new ones come from.

The strategies that ask Compare share it: they differ in what they believe and in which pair they choose.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from promptopt.ask import Compare, Embed, Evaluate, Recommend, Search
from promptopt.duel import Duel, Preference
from promptopt.example import Example
from promptopt.prompt import Candidate, Prompt, distinct
from promptopt.ranking import Outlook, Strengths, fit_strengths, look_out
from promptopt.settings import require_at_least, require_at_most
from promptopt.strategy import Context, Estimate
from promptopt_strategies.proposals import Proposer
from promptopt_strategies.threads import on_one_thread

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

SHOWN = 10  # prompts in a recommendation
DIGITS = 4  # of its figures, so that the last bits of a sum do not matter
SHARED = 0.7  # the share of a utility's variance that features explain, before any preference
TRIED_INPUTS = 8
ASKED_A_JUDGED = 4
DOMINATED = 2.33  # standard deviations behind the best: one-sided 99 %

Pair = tuple[int, int]


@dataclass(frozen=True)
class ArenaSettings:
    """The settings that all searches by duels have.

    Args:
        pool: How many prompts meet, the seeds among them.
        duels: How many duels are judged at most. Those that nobody has to judge, since both outputs are the same, do
            not count; of these and the others together, four times as many are asked at most.
        ahead: How many duels may wait for each of the people who label while the next one is chosen; automatic judges
            get one more at once.
        quorum: How many people's verdicts each duel wants.
        source: Where prompts come from: operators without a model, the optimizer model by ``induction`` from five
            inputs with their targets or by ``rephrase``; ``auto`` lets it rephrase where it can write.
        grow_every: After so many duels dominated prompts leave and new ones come; 0 never.
        grow_by: How many come.
        stop_at: The search ends when the first is the best with this probability; above 1 never.
        stop_regret: It also ends when the first lacks less than this to the best, in log-odds of preference.
        least: It never ends before so many verdicts.
    """

    pool: int = 20
    duels: int = 150
    ahead: int = 2
    quorum: int = 1
    source: Literal["auto", "operators", "induction", "rephrase"] = "auto"
    grow_every: int = 25
    grow_by: int = 3
    stop_at: float = 0.9
    stop_regret: float = 0.05
    least: int = 15

    name: ClassVar[str]

    def __post_init__(self) -> None:
        require_at_least(self, 2, "pool")
        require_at_least(self, 1, "duels", "quorum", "least")
        require_at_least(self, 0, "ahead", "grow_every", "grow_by", "stop_at", "stop_regret")
        require_at_most(self, 100_000, "pool", "duels")

    def estimate(self, context: Context) -> Estimate:
        """Say how much it asks for at most: two answers a duel, and three tries for each prompt that is written."""
        duels = self.duels * ASKED_A_JUDGED
        growths = duels // self.grow_every if self.grow_every else 0
        writes = Proposer.writes(self.source, context, self.pool - 1, growths * self.grow_by)
        return Estimate(min(2 * duels, context.evaluations), writes, duels)


@dataclass
class Arena:
    """Prompts, duels and preferences of one search.

    Args:
        context: What the search may know.
        settings: How it goes.
        candidates: Every prompt so far, in the order in which they came; a prompt keeps its place.
        remaining: Evaluations left in the plan.
        live: The places of the prompts that may still be the best.
        asked: Every duel asked for.
        preferences: All that are valid now.
        vectors: What Embed said of each prompt, by place; empty where features are not used.
        enough: Whether the last recommendation may stand.
    """

    context: Context
    settings: ArenaSettings
    proposer: Proposer
    candidates: list[Candidate]
    remaining: int
    live: list[int] = field(default_factory=list)
    asked: list[Duel] = field(default_factory=list)
    preferences: tuple[Preference, ...] = ()
    vectors: list[tuple[float, ...]] = field(default_factory=list)
    enough: bool = False
    _grown: int = 0

    @property
    def ids(self) -> list[str]:
        """The ids of all prompts, by place."""
        return [candidate.id for candidate in self.candidates]

    @property
    def goes_on(self) -> bool:
        """Whether another duel is wanted and can be paid."""
        return not self.enough and self._left > 0 and self.remaining >= 2 and len(self.live) > 1

    @property
    def _left(self) -> int:
        """How many duels may still be asked."""
        plain = sum(preference.source == "outputs" for preference in self.preferences)
        most = self.settings.duels
        return min(most - (len(self.asked) - plain), ASKED_A_JUDGED * most - len(self.asked))

    @property
    def wanted(self) -> int:
        """How many duels to ask for now, so that some wait for people and none of them waits for us."""
        most = min(self._left, self.remaining // 2)
        return max(1, min(most, self.settings.ahead + 1 - len(self.pending())))

    def pending(self) -> list[Pair]:
        """Return the pairs that were asked for and have no verdict yet."""
        told = Counter((p.left_id, p.right_id, p.example_id) for p in self.preferences if not p.catch)
        at = {key: place for place, key in enumerate(self.ids)}
        pending = []
        for duel in self.asked:
            key = (duel.left.id, duel.right.id, duel.example.id)
            told[key] -= 1
            if told[key] < 0:
                pending.append((at[duel.left.id], at[duel.right.id]))
        return pending

    def duelled(self) -> list[int]:
        """Return the places of the live prompts that have met another one; all live ones before the first duel."""
        met = {key for duel in self.asked for key in (duel.left.id, duel.right.id)}
        return [place for place in self.live if self.candidates[place].id in met] or list(self.live)

    def rng(self, *place: object) -> random.Random:
        """Return the random stream of a place after so many duels."""
        return self.context.rng("duels", len(self.asked), *place)

    def rows(self) -> "Array | None":
        """Return the features of all prompts as rows for the posterior; None where each stands for itself."""
        return feature_rows(self.vectors) if self.vectors else None

    @on_one_thread
    def believe(self, spread: float = 1.5) -> Strengths:
        """Return the posterior over all prompts from all valid preferences."""
        return fit_strengths(self.preferences, self.ids, self.rows(), spread)

    @on_one_thread
    def look_out(
        self, strengths: Strengths, among: Sequence[int] | None = None, utilities: "Array | None" = None
    ) -> Outlook:
        """Return what the posterior says of stopping now; among the live prompts and in its own order if left out."""
        return look_out(strengths, self.rng("outlook"), self.live if among is None else among, utilities)

    def recommend(self, outlook: Outlook, utilities: "Array") -> Recommend:
        """Return what would be returned now, and note whether that is enough.

        Args:
            outlook: The order and the chances, by place.
            utilities: By place.
        """
        said = sum(preference.is_evidence for preference in self.preferences)
        settings = self.settings
        sure = outlook.p_best > settings.stop_at or outlook.regret < settings.stop_regret
        self.enough = said >= settings.least and sure
        first = outlook.order[:SHOWN]
        return Recommend(
            tuple(self.candidates[place] for place in first),
            "utility",
            tuple(round(float(utilities[place]), DIGITS) for place in first),
            p_best=round(outlook.p_best, DIGITS),
            chances=tuple(round(outlook.chances[place], DIGITS) for place in first),
            regret=round(outlook.regret, DIGITS),
            may_stop=self.enough,
        )

    def duel(self, choose: "Callable[[Arena, Strengths], Sequence[Pair]]", spread: float = 1.5) -> Search[None]:
        """Choose pairs by what is believed, have them judged, recommend; until it is sure or the duels are used.

        Args:
            choose: Returns the next pairs, by the posterior.
            spread: Of utilities before any preference.

        Asks:
            Compare and Recommend in turn; what ``grow`` asks.
        """
        strengths = self.believe(spread)
        while self.goes_on:
            yield from self.compare(choose(self, strengths))
            strengths = self.believe(spread)
            outlook = self.look_out(strengths)
            yield self.recommend(outlook, strengths.utilities)
            if (yield from self.grow(outlook, strengths)):
                strengths = self.believe(spread)

    def compare(self, pairs: Sequence[Pair]) -> Search[None]:
        """Have pairs of places judged, each on an input chosen for it.

        Asks:
            One Compare.
        """
        duels: list[Duel] = []
        for first, second in pairs:
            example = self._choose_input(first, second, duels)
            duels.append(Duel(self.candidates[first], self.candidates[second], example))
        self.asked += duels
        answer = yield from Compare(tuple(duels), self.settings.quorum, self.settings.ahead)
        self.preferences, self.remaining = answer.preferences, answer.remaining

    def grow(self, outlook: Outlook, strengths: Strengths) -> Search[bool]:
        """Every so many duels: drop the prompts that are dominated, and let new ones in, made from the best.

        Returns:
            Whether the prompts are others now.

        Asks:
            Write, where the optimizer model makes them; Evaluate of those that a guard refuses; Embed, where features
            are used.
        """
        every = self.settings.grow_every
        if not every or not self.goes_on or len(self.asked) // every == self._grown:
            return False
        self._grown = len(self.asked) // every
        self.live = undominated(strengths, outlook.order)
        ranking = [self.candidates[place] for place in outlook.order]
        fresh = yield from self.proposer.improve(self.rng("grow"), self.settings.grow_by, ranking, self.preferences)
        yield from self._let_in(fresh)
        return True

    def _let_in(self, fresh: Iterable[Candidate]) -> Search[None]:
        known = set(self.ids)
        new = [candidate for candidate in fresh if candidate.id not in known]
        refused = [candidate for candidate in new if self.context.guards.refusal(candidate.prompt)]
        if refused:  # which costs nothing and writes them down
            yield from Evaluate(refused, self.context.search[:1])
            new = [candidate for candidate in new if candidate not in refused]
        places = range(len(self.candidates), len(self.candidates) + len(new))
        self.candidates += new
        self.live += places
        if new and self.vectors:
            yield from self._embed(new)

    def _embed(self, candidates: Sequence[Candidate]) -> Search[None]:
        texts = tuple(prompt_text(candidate.prompt, self.context.fields) for candidate in candidates)
        answer = yield from Embed(texts)
        self.vectors += answer.vectors

    def _choose_input(self, first: int, second: int, chosen: Sequence[Duel]) -> Example:
        """Return an input that this pair was not shown on, the likelier one to tell prompts apart of a few.

        An input on which all answers are the same tells nothing and costs a label; which these are is learned.
        """
        rng = self.context.rng("duels", "input", len(self.asked) + len(chosen))
        pair = {self.candidates[first].id, self.candidates[second].id}
        used = {d.example.id for d in (*self.asked, *chosen) if {d.left.id, d.right.id} == pair}
        fresh = [example for example in self.context.search if example.id not in used] or list(self.context.search)
        some = rng.sample(fresh, min(TRIED_INPUTS, len(fresh)))
        decided = Counter(p.example_id for p in self.preferences if p.winner_id)
        shown = Counter(p.example_id for p in self.preferences)
        draws = [draw_beta(rng, decided[e.id], shown[e.id] - decided[e.id]) for e in some]
        return some[draws.index(max(draws))]


def open_arena(context: Context, settings: ArenaSettings, *, features: bool) -> Search[Arena]:
    """Return an arena with its first prompts.

    Asks:
        One Recommend of the first seed; Write, where the optimizer model makes prompts; Evaluate of those that a guard
        refuses; Embed, for features.
    """
    seeds = list(distinct(map(Candidate, context.seeds)))
    yield Recommend((seeds[0],), "rank")
    proposer = Proposer.of(context, settings.source)
    arena = Arena(context, settings, proposer, seeds, context.evaluations, list(range(len(seeds))))
    more = yield from proposer.start(context.rng("duels", "pool"), settings.pool - len(seeds))
    yield from arena._let_in(more)
    if features:
        yield from arena._embed(arena.candidates)
    return arena


def highest(values: "Array", places: Iterable[int], ids: Sequence[str]) -> int:
    """Return the place with the highest value; of nearly equal ones that of the later id."""
    return max(places, key=lambda place: (round(float(values[place]), 9), ids[place]))


def rival(values: "Array", first: int, live: Iterable[int], taken: Set[frozenset[int]], ids: Sequence[str]) -> int:
    """Return the place with the highest value besides the first, of a pair that is not taken if there is one."""
    others = [place for place in live if place != first]
    free = [place for place in others if frozenset((first, place)) not in taken]
    return highest(values, free or others, ids)


def feature_rows(vectors: Sequence[Sequence[float]]) -> "Array":
    """Return rows whose inner products are how alike two prompts are expected to be, about 1 for a prompt with itself.

    Features explain ``SHARED`` of a utility's variance and what is special to each prompt the rest, so that features
    that say nothing do no lasting harm. A Cholesky factor and no principal components: their signs, and the order of
    nearly equal ones, depend on the machine's linear algebra, and with them every draw.
    """
    import numpy as np

    centred = np.asarray(vectors, dtype=float)
    centred = centred - centred.mean(axis=0)
    alike = centred @ centred.T
    size = float(np.trace(alike)) / len(alike) or 1.0
    return np.asarray(np.linalg.cholesky(SHARED * alike / size + (1 - SHARED) * np.eye(len(alike))))


def undominated(strengths: Strengths, order: Sequence[int]) -> list[int]:
    """Return the places that the best does not dominate: behind it with 99 % confidence."""
    best, utilities = order[0], strengths.utilities
    return sorted(
        place
        for place in order
        if place == best or utilities[best] - utilities[place] <= DOMINATED * strengths.spread(best, place)
    )


def prompt_text(prompt: Prompt, fields: Sequence[str]) -> str:
    """Return all that a prompt says, its inputs as slots: what Embed is asked about."""
    return "\n".join(message.content for message in prompt.template(fields).messages())


def draw_beta(rng: random.Random, wins: int, losses: int) -> float:
    """Draw from Beta(wins + 1, losses + 1): an order statistic of uniform numbers, the same in every release."""
    return sorted(rng.random() for _ in range(wins + losses + 1))[wins]


def as_profile(**settings: Any) -> dict[str, Any]:
    """Return the settings of a profile that never grows and never stops early, as published searches do."""
    return {"grow_every": 0, "stop_at": 2.0, "stop_regret": 0.0, "ahead": 0, **settings}

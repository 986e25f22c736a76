"""IRace: iterated racing over complete prompts, the default where no optimizer model is at hand.

Random prompts are halved on shared rows, the best are improved by mutation and crossover in paired races, and the
best observed, the best predicted and the seed meet in a last race.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar

from promptopt.ask import Search
from promptopt.prompt import Candidate
from promptopt.settings import require_at_least, require_at_most
from promptopt.strategy import Context, Estimate, Need
from promptopt_strategies.breeder import Breeder
from promptopt_strategies.consulting import ask_sentences
from promptopt_strategies.contest import Contest, open_contest
from promptopt_strategies.space import Space


@dataclass(frozen=True)
class IRace:
    """Iterated racing in the space of complete prompts, guided by an effect model.

    1. *Halve.* Score the seeds and random prompts on the first rows, keep a quarter, score those on more, keep two.
    2. *Climb.* Until the reserve is left: breed challengers from the elite, the best of several by a draw from the
       effect model, and race them against the champion in paired blocks of rows. Who falls behind drops out; who is
       ahead at the end is the new champion.
    3. *Final.* Race the elite, the best observed, the best predicted and the seeds on common rows. Climb on with
       what the race leaves.

    The effect model is fitted to all calls made so far. It proposes and explains (the effects of Recommend), and it
    never decides untested.

    Asks: Evaluate, in blocks, until less than a block of the plan is left; one Write for each of the critiques.

    Args:
        evaluations_a_prompt: Draw one random prompt for so many evaluations of the plan.
        first_rows: Rows that every random prompt is scored on.
        more_rows: Further rows for the quarter that is kept.
        block: Rows between two looks at a race.
        challengers: Challengers in one race of the climb.
        screen: Children to choose each challenger from; 1 does without the effect model.
        cross: The share of children with two parents.
        behind: A challenger so many points behind leaves a race of the climb.
        climb_rows: Rows of a race of the climb, at most.
        reserve: The share of the plan that is kept for the final.
        observed: How many of the best observed enter the final.
        predicted: How many of the best predicted enter the final.
        pairs: The most pairs of choices that the effect model holds.
        leaps: The share of challengers that are the best of a model drawn from what is known (Thompson sampling).
        groups: The share of challengers that differ from the champion in several choices at once.
        group_size: In how many.
        critiques: How often the optimizer model is asked, evenly over the plan, for sentences that would keep the
            champion from its errors; each time they become a new choice. Where there is no such model, never.
        sentences: How many it is asked for each time.

    Reference:
        Lopez-Ibanez et al. 2016, The irace package: iterated racing for automatic algorithm configuration;
        Karnin et al. 2013, Almost optimal exploration in multi-armed bandits (halving).
    """

    evaluations_a_prompt: int = 15
    first_rows: int = 4
    more_rows: int = 8
    block: int = 5
    challengers: int = 1
    screen: int = 10
    cross: float = 0.2
    behind: float = 1.0
    climb_rows: int = 30
    reserve: float = 0.2
    observed: int = 3
    predicted: int = 2
    pairs: int = 0
    leaps: float = 0.0
    groups: float = 0.0
    group_size: int = 3
    critiques: int = 0
    sentences: int = 4

    name: ClassVar[str] = "irace"
    version: ClassVar[str] = "2"
    needs: ClassVar[frozenset[Need]] = frozenset()
    uses: ClassVar[frozenset[Need]] = frozenset({"write"})
    control: ClassVar[bool] = False
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "recommended": {},
        "quick": {"evaluations_a_prompt": 20, "screen": 1, "climb_rows": 20, "predicted": 0},
    }

    def __post_init__(self) -> None:
        require_at_least(self, 1, "evaluations_a_prompt", "first_rows", "block", "challengers", "screen", "climb_rows")
        require_at_least(self, 1, "group_size", "sentences")
        require_at_least(self, 0, "more_rows", "cross", "behind", "reserve", "observed", "predicted")
        require_at_least(self, 0, "pairs", "leaps", "groups", "critiques")
        require_at_most(self, 1, "cross", "reserve", "leaps", "groups")

    def estimate(self, context: Context) -> Estimate:
        """Return the whole plan, which is all used, and the critiques."""
        return Estimate(context.evaluations, writes=self.critiques if _may_consult(context) else 0)

    def search(self, context: Context) -> Search[None]:
        """Halve, climb, race the final, and climb on with what is left."""
        contest = open_contest(context, Breeder(Space.of(context), pairs=self.pairs))
        yield from self._halve(contest)
        yield from self._climb(contest, reserve=int(self.reserve * context.evaluations))
        yield from self._final(contest)
        yield from self._climb(contest, reserve=0)

    def _halve(self, contest: Contest) -> Search[None]:
        """Score the seeds and random prompts on few rows, a quarter of them on more, and keep two."""
        board, rows, plan = contest.board, contest.rows, contest.context.evaluations
        wanted = min(plan // self.evaluations_a_prompt, board.remaining) - len(contest.seeds)
        entrants = [*contest.seeds, *contest.breeder.random(contest.context.rng("halve"), max(1, wanted))]
        yield from board.score(entrants[: board.remaining], rows[: self.first_rows])
        yield contest.crown(*board.best()[:2])
        kept = board.best()[: max(2, len(entrants) // 4)]
        yield from board.score(kept, rows[self.first_rows : self.first_rows + self.more_rows])
        yield contest.crown(*board.best(kept)[:2])

    def _climb(self, contest: Contest, reserve: int) -> Search[None]:
        """Race new challengers against the champion until the reserve is left."""
        more = True
        while more and contest.board.remaining >= max(reserve, self.block):
            contest.races += 1
            contest.learn()
            rng = contest.context.rng("climb", contest.races)
            challengers = yield from self._consult(contest)
            if not challengers:
                challengers = [child for _ in range(self.challengers) for child in self._challenger(contest, rng)]
            more = yield from contest.challenge(challengers, self.climb_rows, self.block, self.behind)

    def _challenger(self, contest: Contest, rng: Random) -> list[Candidate]:
        """Return a new challenger; nothing if none turns up."""
        if self.groups and rng.random() < self.groups:
            return contest.breeder.group(rng, contest.elite[0], self.group_size)
        if self.leaps and rng.random() < self.leaps:
            return contest.breeder.ideals(rng, 1)
        child = contest.breeder.child(rng, contest.elite, self.screen, self.cross)
        return [child] if child else []

    def _consult(self, contest: Contest) -> Search[list[Candidate]]:
        """When it is time, ask for sentences against the champion's errors; return the champion with each of them."""
        used = 1 - contest.board.remaining / contest.context.evaluations
        due = min(self.critiques, int(used * (self.critiques + 1))) if _may_consult(contest.context) else 0
        if contest.consulted >= due:
            return []
        contest.consulted += 1
        champion = contest.elite[0]
        texts = yield from ask_sentences(
            contest.context, champion.prompt, contest.board.seen[champion.id], self.sentences
        )
        return contest.breeder.enrich(texts, champion) if texts else []

    def _final(self, contest: Contest) -> Search[None]:
        """Race the elite, the best observed, the best predicted and the seeds on common rows."""
        contest.learn()
        best = contest.board.best()
        predicted = contest.breeder.favourites(contest.context.rng("final"), best[:4], self.predicted, of=200)
        entrants = (*contest.elite, *best[: self.observed], *predicted, *contest.seeds)
        yield from contest.final(entrants, self.block)


def _may_consult(context: Context) -> bool:
    return "write" in context.answers and "instruction" in context.editable

"""IRace: iterated racing over complete prompts, the default where no optimizer model is at hand.

Random prompts are halved on shared rows, the best are improved by mutation and crossover in paired races, and the
best observed, the best predicted and the seed meet in a last race.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from promptopt.ask import Recommend, Search
from promptopt.example import Example, by_hash
from promptopt.prompt import Candidate
from promptopt.selection import Drop
from promptopt.settings import require_at_least, require_at_most
from promptopt.strategy import Context, Estimate, Need
from promptopt_strategies.breeder import Breeder
from promptopt_strategies.scoreboard import Scoreboard
from promptopt_strategies.space import Space


@dataclass
class _Run:
    """What a running search knows; ``elite`` is the champion and the runner-up."""

    context: Context
    rows: tuple[Example, ...]
    board: Scoreboard
    breeder: Breeder
    elite: list[Candidate] = field(default_factory=list)
    races: int = 0

    def crown(self, *best: Candidate) -> Recommend:
        """Make these the elite, with who was there before, and say what would be returned now."""
        self.elite = list({c.id: c for c in (*best, *self.elite)}.values())[:2]
        ranking = tuple({c.id: c for c in (*self.elite[:1], *self.board.best())}.values())
        effects = self.breeder.effects(ranking[0])
        return Recommend(ranking, "mean", tuple(map(self.board.mean, ranking)), effects=effects)


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

    Asks: Evaluate only, in blocks; the plan is used up to less than a block.

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

    name: ClassVar[str] = "irace"
    version: ClassVar[str] = "1"
    needs: ClassVar[frozenset[Need]] = frozenset()
    control: ClassVar[bool] = False
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "recommended": {},
        "quick": {"evaluations_a_prompt": 20, "screen": 1, "climb_rows": 20, "predicted": 0},
    }

    def __post_init__(self) -> None:
        require_at_least(self, 1, "evaluations_a_prompt", "first_rows", "block", "challengers", "screen", "climb_rows")
        require_at_least(self, 0, "more_rows", "cross", "behind", "reserve", "observed", "predicted")
        require_at_most(self, 1, "cross", "reserve")

    def estimate(self, context: Context) -> Estimate:
        """Return the whole plan: it is all used."""
        return Estimate(context.evaluations)

    def search(self, context: Context) -> Search[None]:
        """Halve, climb, race the final, and climb on with what is left."""
        rows = tuple(by_hash(context.search, f"rows {context.seed}"))
        run = _Run(context, rows, Scoreboard(context.evaluations), Breeder(Space.of(context)))
        yield from self._halve(run)
        yield from self._climb(run, reserve=int(self.reserve * context.evaluations))
        yield from self._final(run)
        yield from self._climb(run, reserve=0)

    def _halve(self, run: _Run) -> Search[None]:
        """Score the seeds and random prompts on few rows, a quarter of them on more, and keep two."""
        seeds = [Candidate(seed) for seed in run.context.seeds]
        wanted = min(run.context.evaluations // self.evaluations_a_prompt, run.board.remaining) - len(seeds)
        entrants = [*seeds, *run.breeder.random(run.context.rng("halve"), max(1, wanted))]
        yield from run.board.score(entrants[: run.board.remaining], run.rows[: self.first_rows])
        yield run.crown(*run.board.best()[:2])
        kept = run.board.best()[: max(2, len(entrants) // 4)]
        yield from run.board.score(kept, run.rows[self.first_rows : self.first_rows + self.more_rows])
        yield run.crown(*run.board.best(kept)[:2])

    def _climb(self, run: _Run, reserve: int) -> Search[None]:
        """Race new challengers against the champion until the reserve is left."""
        while run.board.remaining >= max(reserve, self.block):
            run.races += 1
            rng, champion, left = run.context.rng("climb", run.races), run.elite[0], run.board.remaining
            run.breeder.learn(list(run.board.seen.values()))
            children = [run.breeder.child(rng, run.elite, self.screen, self.cross) for _ in range(self.challengers)]
            challengers = [child for child in children if child is not None]
            drop = Drop(deficit=self.behind, z=0.0, spared=frozenset({champion.id}))
            ranking = yield from run.board.race([champion, *challengers], self._course(run, champion), self.block, drop)
            ahead = [c for c in ranking.candidates if run.board.lead(c, champion) > 0]
            yield run.crown(*ahead[:1], champion)
            if run.board.remaining == left:
                break

    def _course(self, run: _Run, champion: Candidate) -> list[Example]:
        """Return the rows of a race, shuffled: first those that the champion has seen, which cost half as much."""
        seen = run.board.seen[champion.id].scores if champion.id in run.board.seen else {}
        shuffled = by_hash(run.rows, f"race {run.context.seed} {run.races}")
        return sorted(shuffled, key=lambda row: row.id not in seen)[: self.climb_rows]

    def _final(self, run: _Run) -> Search[None]:
        """Race the elite, the best observed, the best predicted and the seeds on common rows."""
        run.breeder.learn(list(run.board.seen.values()))
        best = run.board.best()
        predicted = run.breeder.favourites(run.context.rng("final"), best[:4], self.predicted, of=200)
        seeds = [Candidate(seed) for seed in run.context.seeds]
        entrants = {c.id: c for c in (*run.elite, *best[: self.observed], *predicted, *seeds)}
        ranking = yield from run.board.race(list(entrants.values()), run.rows, self.block, Drop())
        yield run.crown(*ranking.candidates[:2])

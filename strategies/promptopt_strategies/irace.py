"""IRace: iterated racing over complete prompts, the default where no optimizer model is at hand.

Random prompts are halved on shared rows, the best are improved by mutation and crossover in paired races, and the
best observed, the best predicted and the seed meet in a last race.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from promptopt.ask import Recommend, Search
from promptopt.example import Example, by_hash
from promptopt.prompt import Candidate
from promptopt.settings import require_at_least, require_at_most
from promptopt.strategy import Context, Estimate, Need
from promptopt_strategies.effects import EffectModel, Observation, fit_effects
from promptopt_strategies.operators import crossover, mutate, random_genome
from promptopt_strategies.scoreboard import Scoreboard, z_score
from promptopt_strategies.space import Genome, Space

MAX_TRIES = 50


@dataclass
class _State:
    """What a running search knows: the space, the scores, the points behind the prompts, and the model."""

    context: Context
    space: Space
    rows: tuple[Example, ...]
    board: Scoreboard
    points: dict[str, Genome] = field(default_factory=dict)
    model: EffectModel | None = None
    races: int = 0

    def refit(self) -> EffectModel | None:
        """Fit the effect model to every score so far."""
        features = {key: self.space.features(point) for key, point in self.points.items()}
        observations = [
            Observation(features[key], key, row, score)
            for key, scores in self.board.scores.items()
            for row, score in scores.items()
            if score is not None and key in features
        ]
        self.model = fit_effects(observations, self.model) if observations else None
        return self.model

    def new(self, point: Genome, operator: str, *parents: str) -> Candidate | None:
        """Return the candidate of a point that was not proposed before."""
        prompt = self.space.prompt(point)
        if prompt.id in self.points:
            return None
        return Candidate(prompt, parents, operator)


@dataclass(frozen=True)
class IRace:
    """Iterated racing in the space of complete prompts, guided by an effect model.

    1. *Halve.* Score the seeds and random prompts on the first rows, keep a quarter, score those on more, keep two.
    2. *Climb.* Until the reserve is left: propose mutants and crossovers of the elite, let a draw from the effect
       model screen them, and race those that are left against the champion in paired blocks of rows. A challenger
       drops out when it falls behind and takes over when it is clearly ahead, or ahead at the end.
    3. *Final.* Race the best observed, the best predicted and the seed on common rows. What is left goes to 2.

    The effect model is fitted to all calls made so far. It proposes and explains (the effects of Recommend), and it
    never decides untested.

    Asks: Evaluate only, in blocks; the plan is used up to less than a block.

    Args:
        evaluations_a_prompt: Draw one random prompt for so many evaluations of the plan.
        first_rows: Rows that every random prompt is scored on.
        more_rows: Further rows for the quarter that is kept.
        block: Rows between two looks at a race.
        challengers: Challengers in one race of the climb.
        screen: Proposals for each challenger; 1 does without the model.
        fresh_share: The share of proposals that are random prompts again.
        cross_share: The share of proposals that are crossovers.
        drop: A challenger that is so many points behind leaves the race.
        take: A challenger that is so many points ahead wins at once.
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
    screen: int = 4
    fresh_share: float = 0.0
    cross_share: float = 0.2
    drop: float = 1.0
    take: float = 4.0
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
        require_at_least(self, 1, "evaluations_a_prompt", "first_rows", "block", "challengers", "screen", "observed")
        require_at_least(self, 0, "more_rows", "fresh_share", "cross_share", "reserve", "predicted", "climb_rows")
        require_at_most(self, 1, "fresh_share", "cross_share", "reserve")

    def estimate(self, context: Context) -> Estimate:
        """Return the whole plan: it is all used."""
        return Estimate(context.evaluations)

    def search(self, context: Context) -> Search[None]:
        """Halve, climb, race the final, and climb on with what is left."""
        rows = tuple(by_hash(context.search, f"rows {context.seed}"))
        state = _State(context, Space.of(context), rows, Scoreboard(context.evaluations))
        elite = yield from self._halve(state)
        elite = yield from self._climb(state, elite, int(self.reserve * context.evaluations))
        elite = yield from self._final(state, elite)
        yield from self._climb(state, elite, 0)

    def _halve(self, state: _State) -> Search[list[Candidate]]:
        """Score the seeds and random prompts; keep a quarter, then two."""
        rng = state.context.rng("halve")
        entrants = [Candidate(seed) for seed in state.context.seeds]
        state.points |= {state.space.prompt(point).id: point for point in state.space.seed_points}
        wanted = max(len(entrants), min(state.context.evaluations // self.evaluations_a_prompt, state.board.remaining))
        for _ in range(MAX_TRIES * wanted):
            point = random_genome(state.space, rng)
            candidate = state.new(point, "random")
            if candidate is not None and len(entrants) < wanted:
                entrants.append(candidate)
                state.points[candidate.id] = point
        yield from state.board.score(entrants, state.rows[: self.first_rows], "screen")
        kept = self._best(state, entrants)[: max(2, len(entrants) // 4)]
        yield from state.board.score(kept, state.rows[: self.first_rows + self.more_rows], "screen")
        elite = self._best(state, kept)
        yield self._recommend(state)
        return elite[:2]

    def _climb(self, state: _State, elite: list[Candidate], reserve: int) -> Search[list[Candidate]]:
        """Race challengers against the champion until the reserve is left; return the elite, champion first."""
        while state.board.remaining > max(reserve, self.block - 1):
            state.refit()
            challengers = self._propose(state, elite)
            if not challengers:
                break
            before = state.board.remaining
            winner = yield from self._race(state, elite[0], challengers)
            elite = list({c.id: c for c in (winner, *elite)}.values())[:2]
            yield self._recommend(state, elite)
            if state.board.remaining == before:
                break
        return elite

    def _propose(self, state: _State, elite: Sequence[Candidate]) -> list[Candidate]:
        """Return new points near the elite, the best by a draw from the effect model for each challenger."""
        state.races += 1
        rng = state.context.rng("propose", state.races)
        chosen: list[Candidate] = []
        for _ in range(self.challengers):
            proposals: dict[str, tuple[Genome, Candidate]] = {}
            for _ in range(MAX_TRIES):
                point, operator, parents = self._vary(state, rng, elite)
                candidate = state.new(point, operator, *parents)
                if candidate is not None and len(proposals) < self.screen:
                    proposals[candidate.id] = (point, candidate)
            if not proposals:
                break
            model = state.model.draw(rng) if state.model and self.screen > 1 else None
            worth = {key: model.predict(state.space.features(p)) if model else 0.0 for key, (p, _) in proposals.items()}
            best = min(proposals, key=lambda key: (-round(worth[key], 9), key if model else ""))
            point, candidate = proposals[best]
            state.points[candidate.id] = point
            chosen.append(candidate)
        return chosen

    def _vary(
        self, state: _State, rng: random.Random, elite: Sequence[Candidate]
    ) -> tuple[Genome, str, tuple[str, ...]]:
        """Return one new point near the elite with its operator and parents."""
        if rng.random() < self.fresh_share:
            return random_genome(state.space, rng), "random", ()
        parents = [c for c in elite if c.id in state.points]
        first = state.points[parents[0].id] if parents else state.space.seed_points[0]
        if len(parents) > 1 and rng.random() < self.cross_share:
            second = state.points[parents[1].id]
            return mutate(state.space, rng, crossover(rng, first, second)), "cross", (parents[0].id, parents[1].id)
        return mutate(state.space, rng, first), "mutate", tuple(p.id for p in parents[:1])

    def _race(self, state: _State, champion: Candidate, challengers: Sequence[Candidate]) -> Search[Candidate]:
        """Race challengers against the champion in paired blocks; return the winner."""
        seen = state.board.scores[champion.id]
        order = by_hash(state.rows, f"race {state.races}")
        order = sorted(order, key=lambda row: row.id not in seen)[: max(self.climb_rows, self.block)]
        racing = list(challengers)
        for start in range(0, len(order), self.block):
            rows = order[: start + self.block]
            yield from state.board.score([champion, *racing], rows)
            lead = {c.id: sum(state.board.differences(c, champion, rows)) for c in racing}
            racing = [c for c in racing if lead[c.id] > -self.drop]
            racing.sort(key=lambda c: (-round(lead[c.id], 9), c.id))
            if not racing or state.board.remaining < self.block or lead[racing[0].id] >= self.take:
                break
        return racing[0] if racing and lead[racing[0].id] > 0 else champion

    def _final(self, state: _State, elite: list[Candidate]) -> Search[list[Candidate]]:
        """Race the best observed, the best predicted and the seed on common rows; return them, best first."""
        model = state.refit()
        observed = self._best(state, list(state.board.candidates.values()))[: self.observed]
        entrants = {c.id: c for c in (*elite, *observed)}
        if model is not None:
            entrants |= {c.id: c for c in self._predicted(state, model)}
        entrants |= {c.id: c for c in map(Candidate, state.context.seeds)}
        racing = list(entrants.values())
        for start in range(0, len(state.rows), self.block):
            rows = state.rows[: start + self.block]
            yield from state.board.score(racing, rows, "final")
            leader = max(racing, key=lambda c: (round(state.board.mean(c), 9), c.id))
            racing = [c for c in racing if not self._beaten(state, c, leader, rows)]
            if state.board.remaining < len(racing) or len(racing) == 1:
                break
        ranked = self._best(state, list(entrants.values()))
        yield self._recommend(state, ranked)
        return ranked

    def _beaten(self, state: _State, candidate: Candidate, leader: Candidate, rows: Sequence[Example]) -> bool:
        differences = state.board.differences(leader, candidate, rows)
        return sum(differences) >= 2 and z_score(differences) >= 1.7

    def _predicted(self, state: _State, model: EffectModel) -> list[Candidate]:
        """Return the best untried points that the model knows of."""
        rng = state.context.rng("predict")
        elite = self._best(state, list(state.board.candidates.values()))[:4]
        made: dict[str, tuple[float, Genome, Candidate]] = {}
        for _ in range(200):
            a, b = (state.points[rng.choice(elite).id] for _ in range(2))
            point = mutate(state.space, rng, crossover(rng, a, b))
            candidate = state.new(point, "predict")
            if candidate is not None:
                made[candidate.id] = (model.predict(state.space.features(point)), point, candidate)
        best = sorted(made, key=lambda key: (-round(made[key][0], 9), key))[: self.predicted]
        state.points |= {key: made[key][1] for key in best}
        return [made[key][2] for key in best]

    def _best(self, state: _State, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return candidates, best first: by mean, drawn towards the mean of all as if by four more rows."""
        board = state.board
        everyone = list(board.candidates.values())
        prior = sum(map(board.mean, everyone)) / len(everyone) if everyone else 0.0
        return sorted(candidates, key=lambda c: (-round(board.mean(c, prior, 4.0), 9), -board.n_rows(c), c.id))

    def _recommend(self, state: _State, first: Sequence[Candidate] = ()) -> Recommend:
        ranked = self._best(state, list(state.board.candidates.values()))
        ranking = tuple({c.id: c for c in (*first[:1], *ranked)}.values())
        effects = state.model.table() if state.model else ()
        return Recommend(ranking, "mean", tuple(map(state.board.mean, ranking)), effects=effects)

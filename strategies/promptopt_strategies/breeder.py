"""Breeder: where new prompts come from, at random or from parents, screened by the effect model.

It remembers the point behind every prompt it made, so that no prompt is proposed twice.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

from promptopt.ask import Effect
from promptopt.evaluation import Evaluation
from promptopt.prompt import Candidate
from promptopt_strategies.effects import EffectModel
from promptopt_strategies.fitting import Record, fit_effects
from promptopt_strategies.operators import crossover, mutate, random_genome
from promptopt_strategies.space import Feature, Genome, Space

MAX_TRIES = 100

Proposal = tuple[Genome, Candidate]


@dataclass
class Breeder:
    """Makes candidates that are points of a space.

    Args:
        space: The space.
        points: The point behind every prompt proposed so far, by prompt id.
        model: What is known of the choices; None before the first fit.
    """

    space: Space
    points: dict[str, Genome] = field(default_factory=dict)
    model: EffectModel | None = None
    _shown: dict[str, tuple[Feature, ...]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.points |= {self.space.prompt(point).id: point for point in self.space.seed_points}

    def random(self, rng: Random, n: int) -> list[Candidate]:
        """Return up to n new random prompts."""
        return [self._keep(made) for made in self._make(n, lambda: (random_genome(self.space, rng), "random", ()))]

    def edits(self, rng: Random, n: int, most: int = 3) -> list[Candidate]:
        """Return up to n new prompts that are one to ``most`` moves away from the seed."""

        def edit() -> tuple[Genome, str, tuple[str, ...]]:
            point = self.space.seed_points[0]
            for _ in range(rng.randint(1, most)):
                point = mutate(self.space, rng, point)
            return point, "mutate", (self.space.seeds[0].id,)

        return [self._keep(made) for made in self._make(n, edit)]

    def child(self, rng: Random, parents: Sequence[Candidate], n: int, cross: float) -> Candidate | None:
        """Return the best of n new children, by a draw from the effect model; None if nothing new turns up.

        Args:
            rng: The random stream.
            parents: The best first.
            n: How many children to choose from; the first one is taken if it is 1.
            cross: The chance that a child has two parents.
        """
        children = list(self._make(n, lambda: self._vary(rng, parents, cross)))
        if n > 1 and self.model is not None:
            children = self._by_worth(children, self.model.draw(rng))
        return self._keep(children[0]) if children else None

    def favourites(self, rng: Random, parents: Sequence[Candidate], n: int, of: int) -> list[Candidate]:
        """Return the n new prompts that the effect model thinks best, of so many crossed and mutated ones."""
        if self.model is None or not n:
            return []
        made = self._by_worth(self._make(of, lambda: self._vary(rng, parents, 1.0)), self.model)
        return [self._keep(proposal) for proposal in made[:n]]

    def learn(self, seen: Sequence[Evaluation]) -> None:
        """Fit the effect model to everything seen so far."""
        records = [
            Record(evaluation.prompt_id, self._features(evaluation.prompt_id), evaluation.scores)
            for evaluation in seen
            if evaluation.prompt_id in self.points and evaluation.scores
        ]
        self.model = fit_effects(records, self.model) if records else None

    def effects(self, best: Candidate) -> tuple[Effect, ...]:
        """Return what the best prompt's changes are worth, as far as they are known, then every level."""
        if self.model is None:
            return ()
        seed = self.space.features(self.space.seed_points[0])
        mine = self.space.features(self.points[best.id]) if best.id in self.points else seed
        return (*self.model.changes(seed, mine), *self.model.table())

    def _features(self, prompt_id: str) -> tuple[Feature, ...]:
        if prompt_id not in self._shown:
            self._shown[prompt_id] = self.space.features(self.points[prompt_id])
        return self._shown[prompt_id]

    def _vary(self, rng: Random, parents: Sequence[Candidate], cross: float) -> tuple[Genome, str, tuple[str, ...]]:
        known = [parent for parent in parents if parent.id in self.points] or [Candidate(self.space.seeds[0])]
        one = known[0] if cross < 1 else rng.choice(known)
        if len(known) > 1 and rng.random() < cross:
            other = rng.choice([parent for parent in known if parent is not one])
            point = crossover(rng, self.points[one.id], self.points[other.id])
            return mutate(self.space, rng, point), "cross", (one.id, other.id)
        return mutate(self.space, rng, self.points[one.id]), "mutate", (one.id,)

    def _make(self, n: int, draw: Callable[[], tuple[Genome, str, tuple[str, ...]]]) -> Iterator[Proposal]:
        """Yield up to n different new proposals."""
        made: set[str] = set()
        for _ in range(MAX_TRIES + 4 * n):
            if len(made) == n:
                break
            point, operator, parents = draw()
            candidate = Candidate(self.space.prompt(point), parents, operator)
            if candidate.id not in self.points and candidate.id not in made:
                made.add(candidate.id)
                yield point, candidate

    def _by_worth(self, proposals: Sequence[Proposal] | Iterator[Proposal], model: EffectModel) -> list[Proposal]:
        worth = [(-round(model.predict(self.space.features(p)), 9), c.id, (p, c)) for p, c in proposals]
        return [proposal for _, _, proposal in sorted(worth, key=lambda item: item[:2])]

    def _keep(self, proposal: Proposal) -> Candidate:
        point, candidate = proposal
        self.points[candidate.id] = point
        return candidate

"""Breeder: where new prompts come from, at random or from parents, screened by the effect model.

It remembers the point behind every prompt it made, so that no prompt is proposed twice.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

from promptopt.ask import Effect
from promptopt.evaluation import Evaluation
from promptopt.prompt import Candidate
from promptopt_strategies.design import balanced_points, ideal_point
from promptopt_strategies.effects import EffectModel
from promptopt_strategies.fitting import Record, fit_effects, strong_pairs
from promptopt_strategies.operators import change_together, crossover, mutate, random_genome, with_level
from promptopt_strategies.space import Feature, Genome, Space

MAX_TRIES = 100
MOST_MOVES = 3

Proposal = tuple[Genome, Candidate]
Origin = tuple[Genome, str, tuple[str, ...]]  # a point, what made it, and its parents' ids


@dataclass
class Breeder:
    """Makes candidates that are points of a space.

    Args:
        space: The space.
        points: The point behind every prompt proposed so far, by prompt id.
        model: What is known of the choices; None before the first fit.
        pairs: The most pairs of choices that the model holds.
    """

    space: Space
    points: dict[str, Genome] = field(default_factory=dict)
    model: EffectModel | None = None
    pairs: int = 0
    _shown: dict[str, tuple[Feature, ...]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.points |= {self.space.prompt(point).id: point for point in self.space.seed_points}

    def random(self, rng: Random, n: int) -> list[Candidate]:
        """Return up to n new random prompts."""
        return [self._keep(made) for made in self._make(n, lambda: (random_genome(self.space, rng), "random", ()))]

    def edits(self, rng: Random, n: int) -> list[Candidate]:
        """Return up to n new prompts that are one to three moves away from the seed."""

        def edit() -> Origin:
            point = self.space.seed_points[0]
            for _ in range(rng.randint(1, MOST_MOVES)):
                point = mutate(self.space, rng, point)
            return point, "mutate", (self.space.seeds[0].id,)

        return [self._keep(made) for made in self._make(n, edit)]

    def balanced(self, rng: Random, n: int, keep: float) -> list[Candidate]:
        """Return up to n new prompts of a balanced design; ``keep`` is the share of the seed's levels."""
        points = balanced_points(self.space, rng, n, keep)
        return [self._keep(made) for made in self._make(n, lambda: (points.pop(), "design", ()), tries=n)]

    def ideals(self, rng: Random, n: int, spread: float = 1.0) -> list[Candidate]:
        """Return up to n new prompts, each the best of a model drawn from what is known (Thompson sampling)."""
        model = self.model

        def ideal() -> Origin:
            start = random_genome(self.space, rng)
            return (ideal_point(self.space, model.draw(rng, spread), start) if model else start), "draw", ()

        return [self._keep(made) for made in self._make(n, ideal, tries=5 * n)]

    def group(self, rng: Random, parent: Candidate, n: int) -> list[Candidate]:
        """Return a new prompt that differs from its parent in n choices at once; nothing if none turns up."""
        point = self.points[parent.id]
        return [
            self._keep(made)
            for made in self._make(1, lambda: (change_together(self.space, rng, point, n), "group", (parent.id,)))
        ]

    def enrich(self, texts: Sequence[str], parent: Candidate) -> list[Candidate]:
        """Make a new choice of these sentences, and return the parent with each of them."""
        self.space = self.space.with_sentences(texts)
        self.points = {prompt: Genome((*point.levels, 0), point.demos) for prompt, point in self.points.items()}
        self._shown.clear()
        last, point = len(self.space.choices) - 1, self.points[parent.id]
        levels = range(1, len(self.space.choices[last].levels))
        changed = [with_level(point, last, level) for level in levels]
        made = [(one, Candidate(self.space.prompt(one), (parent.id,), "sentence")) for one in changed]
        return [self._keep((one, candidate)) for one, candidate in made if candidate.id not in self.points]

    def by_estimate(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return candidates, best first by what the model makes of their choices and of their own scores."""
        if self.model is None:
            return list(candidates)
        model = self.model
        worth = {c.id: round(model.predict(self._features(c.id), c.id), 9) for c in candidates if c.id in self.points}
        return sorted(candidates, key=lambda c: -worth.get(c.id, float("-inf")))

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
        if not records:
            self.model = None
            return
        self.model = fit_effects(records, self.model)
        if self.pairs:
            pairs = strong_pairs(records, self.model, self.pairs)
            self.model = fit_effects(records, self.model, pairs=pairs)

    def effects(self, best: Candidate) -> tuple[Effect, ...]:
        """Return what the best prompt's changes are worth, how much each choice matters, and every level."""
        if self.model is None:
            return ()
        seed = self.space.features(self.space.seed_points[0])
        mine = self.space.features(self.points[best.id]) if best.id in self.points else seed
        return (*self.model.changes(seed, mine), *self.model.spreads(), *self.model.table())

    def _features(self, prompt_id: str) -> tuple[Feature, ...]:
        if prompt_id not in self._shown:
            self._shown[prompt_id] = self.space.features(self.points[prompt_id])
        return self._shown[prompt_id]

    def _vary(self, rng: Random, parents: Sequence[Candidate], cross: float) -> Origin:
        known = [parent for parent in parents if parent.id in self.points] or [Candidate(self.space.seeds[0])]
        one = known[0] if cross < 1 else rng.choice(known)
        if len(known) > 1 and rng.random() < cross:
            other = rng.choice([parent for parent in known if parent is not one])
            point = crossover(rng, self.points[one.id], self.points[other.id])
            return mutate(self.space, rng, point), "cross", (one.id, other.id)
        return mutate(self.space, rng, self.points[one.id]), "mutate", (one.id,)

    def _make(self, n: int, draw: Callable[[], Origin], tries: int | None = None) -> Iterator[Proposal]:
        """Yield up to n different new proposals."""
        made: set[str] = set()
        for _ in range(MAX_TRIES + 4 * n if tries is None else tries):
            if len(made) == n:
                break
            point, operator, parents = draw()
            candidate = Candidate(self.space.prompt(point), parents, operator)
            if candidate.id not in self.points and candidate.id not in made:
                made.add(candidate.id)
                yield point, candidate

    def _by_worth(self, proposals: Iterable[Proposal], model: EffectModel) -> list[Proposal]:
        worth = [(-round(model.predict(self.space.features(p)), 9), c.id, (p, c)) for p, c in proposals]
        return [proposal for _, _, proposal in sorted(worth, key=lambda item: item[:2])]

    def _keep(self, proposal: Proposal) -> Candidate:
        point, candidate = proposal
        self.points[candidate.id] = point
        return candidate

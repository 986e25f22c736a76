"""PlumGAC: a genetic algorithm over phrases, with crossover.

Profiles: as in ``plum.py``. In ``reference-code`` no child is crossed, as by the defaults of the released script. How
many children the paper has is not known here; ``paper`` takes as many as the population holds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from promptopt.ask import Search
from promptopt.settings import require_at_least, require_at_most
from promptopt.strategy import Context
from promptopt_strategies.phrase_edits import Phrasing, splice
from promptopt_strategies.plum import PAPER, REFERENCE_CODE, Plum, Walk, open_walk

# The defaults of the released script, whose ``offspring = 0`` leaves the crossover out.
_SCRIPT: Mapping[str, Any] = MappingProxyType({"population": 10, "mutation": 0.5, "tournament": 2})


@dataclass(frozen=True)
class PlumGAC(Plum):
    """Plum's genetic algorithm with crossover: children take the head of one parent and the tail of another.

    Args:
        neighbours: Mutants of one prompt (m).
        population: Prompts that live on after each step (N_p).
        offspring: Children by crossover in a generation; at 0, the default of the released script, there are none.
        mutation: The chance of each prompt of the population to have mutants (p_m).
        tournament: Draws with replacement, of which the best is a parent (k).

    Reference: Pan et al., Plum, ACL 2024 (Findings), arXiv 2311.08364.
    """

    neighbours: int = 2
    population: int = 10
    offspring: int = 4
    mutation: float = 0.5
    tournament: int = 2

    name: ClassVar[str] = "plum-gac"
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "paper": {**PAPER, **_SCRIPT, "offspring": 10, "tournament": 5},
            "reference-code": {**REFERENCE_CODE, **_SCRIPT, "offspring": 0},
            "recommended": {},
        }
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 1, "population", "tournament")
        require_at_least(self, 0, "offspring", "mutation")
        require_at_most(self, 1, "mutation")

    def search(self, context: Context) -> Search[None]:
        """Breed until nothing improves or the plan is spent."""
        walk = yield from open_walk(self, context)
        population = [walk.incumbent] * self.population
        while walk.goes_on():
            children = self._cross(walk, population)
            population = self.truncate(walk, population + (yield from walk.score(children)))
            mutants = yield from self._mutate(walk, population)
            population = self.truncate(walk, population + (yield from walk.score(mutants)))
            improved = walk.gain(population[0], walk.incumbent) > 0
            yield from walk.settle(population[0] if improved else None, improved=improved)
        yield from walk.close()

    def generation(self) -> int:
        """Return how many candidates one generation scores at most."""
        return self.offspring + self.population * self.neighbours

    def truncate(self, walk: Walk, phrasings: Sequence[Phrasing]) -> list[Phrasing]:
        """Return as many of the best as the population holds."""
        return walk.order(phrasings)[: self.population]

    def _cross(self, walk: Walk, population: Sequence[Phrasing]) -> list[Phrasing]:
        """Return the children of tournament winners."""
        rng = walk.rng("cross")
        children: dict[str, Phrasing] = {}
        for _ in range(self.offspring):
            one, other = (walk.tournament(population, self.tournament, rng) for _ in range(2))
            draft = splice(one, other, rng)
            child = walk.editor.make(draft, one, other) if draft else None
            if child:
                children.setdefault(child.id, child)
        return _new(children, population)

    def _mutate(self, walk: Walk, population: Sequence[Phrasing]) -> Search[list[Phrasing]]:
        """Return the mutants of those that chance picks."""
        rng = walk.rng("mutate")
        mutants: dict[str, Phrasing] = {}
        for number, phrasing in enumerate(population):
            if rng.random() < self.mutation:
                mutants |= {mutant.id: mutant for mutant in (yield from walk.neighbours(phrasing, number))}
        return _new(mutants, population)


def _new(made: Mapping[str, Phrasing], population: Sequence[Phrasing]) -> list[Phrasing]:
    """Return what was made, without what lives already."""
    living = {phrasing.id for phrasing in population}
    return [phrasing for key, phrasing in made.items() if key not in living]

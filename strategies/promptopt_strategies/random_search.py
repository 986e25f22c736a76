"""RandomSearch: the control that every strategy must beat at equal evaluations.

Random complete prompts and random edits of the seed, from the same space and by the same operators as ``irace``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from promptopt.ask import Recommend, Search
from promptopt.example import by_hash
from promptopt.prompt import Candidate
from promptopt.settings import require_at_least
from promptopt.strategy import Context, Estimate, Need
from promptopt_strategies.operators import mutate, random_genome
from promptopt_strategies.scoreboard import Scoreboard
from promptopt_strategies.space import Space

MAX_TRIES = 200


@dataclass(frozen=True)
class RandomSearch:
    """Scores random prompts on the same rows and recommends the best mean.

    The seed comes first; then random complete prompts, and edits of the seed by one to three moves, in turn. Ties
    go to the prompt that was drawn first, so that nothing but the scores speaks for a prompt.

    Asks: one Evaluate a prompt, each on ``rows`` examples, until the plan is spent.

    Args:
        rows: Examples that each prompt is scored on.
        edits: The share of prompts that are edits of the seed.
    """

    rows: int = 20
    edits: float = 0.25

    name: ClassVar[str] = "random"
    version: ClassVar[str] = "1"
    needs: ClassVar[frozenset[Need]] = frozenset()
    control: ClassVar[bool] = True
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {"recommended": {}, "quick": {"rows": 10}}

    def __post_init__(self) -> None:
        require_at_least(self, 1, "rows")

    def estimate(self, context: Context) -> Estimate:
        """Return the whole plan: it is all used."""
        return Estimate(context.evaluations)

    def search(self, context: Context) -> Search[None]:
        """Score the seeds, then random prompts, as long as the plan reaches."""
        rows = by_hash(context.search, f"rows {context.seed}")[: self.rows]
        board = Scoreboard(context.evaluations)
        for candidate in self._candidates(context):
            if board.remaining < len(rows) and board.candidates:
                break
            yield from board.score([candidate], rows, "screen")
            order = sorted(board.candidates.values(), key=lambda c: -board.mean(c))
            yield Recommend(tuple(order), "mean", tuple(map(board.mean, order)))

    def _candidates(self, context: Context) -> Iterator[Candidate]:
        """Yield the seeds, then different random prompts, as long as new ones turn up."""
        space, rng = Space.of(context), context.rng("random")
        seen = {seed.id for seed in context.seeds}
        yield from map(Candidate, context.seeds)
        tries = 0
        while tries < MAX_TRIES:
            tries += 1
            edited = rng.random() < self.edits
            genome = space.seed_points[0] if edited else random_genome(space, rng)
            for _ in range(rng.randint(1, 3) if edited else 0):
                genome = mutate(space, rng, genome)
            prompt = space.prompt(genome)
            if prompt.id not in seen:
                seen.add(prompt.id)
                tries = 0
                parents = (space.seeds[0].id,) if edited else ()
                yield Candidate(prompt, parents, "mutate" if edited else "random")

"""RandomSearch: the control that every strategy must beat at equal evaluations.

Random complete prompts and random edits of the seed, from the same space and by the same operators as ``irace``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from promptopt.ask import Recommend, Search
from promptopt.prompt import Candidate
from promptopt.settings import require_at_least, require_at_most
from promptopt.strategy import Context, Estimate, Need
from promptopt_strategies.breeder import Breeder
from promptopt_strategies.scoreboard import Scoreboard, common_rows
from promptopt_strategies.space import Space


@dataclass(frozen=True)
class RandomSearch:
    """Scores random prompts on the same rows and recommends the best mean.

    The seeds come first, then random complete prompts and edits of the seed by one to three moves. Ties go to the
    prompt that was drawn first, so that nothing but the scores speaks for a prompt.

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
        require_at_least(self, 0, "edits")
        require_at_most(self, 1, "edits")

    def estimate(self, context: Context) -> Estimate:
        """Return the whole plan: all of it is used, but for what is less than a prompt's rows."""
        return Estimate(context.evaluations)

    def search(self, context: Context) -> Search[None]:
        """Score the seeds, then random prompts, as long as the plan reaches."""
        rows = common_rows(context)[: self.rows]
        board, breeder, rng = Scoreboard(context.evaluations), Breeder(Space.of(context)), context.rng("random")
        candidates = [Candidate(seed) for seed in context.seeds]
        while candidates and (board.remaining >= len(rows) or not board.seen):
            yield from board.score(candidates[:1], rows)
            order = sorted(board.candidates.values(), key=lambda c: -round(board.mean(c), 9))
            yield Recommend(tuple(order), "mean", tuple(map(board.mean, order)))
            draw = breeder.edits if rng.random() < self.edits else breeder.random
            candidates = candidates[1:] or draw(rng, 1)

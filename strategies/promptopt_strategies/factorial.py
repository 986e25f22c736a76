"""Factorial: a designed experiment over the choices of a prompt, whose effects say which of them matter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar

from promptopt.ask import Search, together
from promptopt.example import Example
from promptopt.prompt import Candidate
from promptopt.settings import require_at_least, require_at_most
from promptopt.strategy import Context, Estimate, Need
from promptopt_strategies.breeder import Breeder
from promptopt_strategies.contest import Contest, open_contest
from promptopt_strategies.space import Space


@dataclass(frozen=True)
class Factorial:
    """A designed experiment in blocks of rows, a model of its effects, and races that have the last word.

    1. *Design.* Prompts in which every level of every choice stands equally often, each scored on one block of rows.
    2. *Effects.* Ridge-logistic effects of the choices, with how hard each row is and what is special about each
       prompt; pairs of choices that stand out enter too.
    3. *Race.* The best observed, the best predicted and the seeds on common rows.
    4. *Confirm.* While the plan lasts, new predictions and children of the champion race against it.

    Asks: Evaluate only, in blocks.

    Args:
        share: The share of the plan for the design.
        block: Rows that a prompt of the design is scored on.
        blocks: Different blocks of the design; its prompts take them in turn.
        keep: The share of the design's prompts that have the seed's level of a choice.
        pairs: The most pairs of choices in the model.
        observed: How many of the best observed enter the race.
        predicted: How many of the best predicted enter the race.
        spread: How far predictions are drawn from the best estimate; 1 is Thompson sampling, 0 its mean.
        leaps: The share of later challengers that are predictions; the others are children of the champion.
        screen: Children to choose each of those from.
        cross: The share of children with two parents.
        race_block: Rows between two looks at a race.
        behind: A later challenger so many points behind leaves its race.
        climb_rows: Rows of such a race, at most.

    Reference:
        Box, Hunter and Hunter, Statistics for Experimenters (2005), chapters 5 and 6; Thompson, Biometrika 25 (1933).
    """

    share: float = 0.4
    block: int = 6
    blocks: int = 4
    keep: float = 0.3
    pairs: int = 8
    observed: int = 3
    predicted: int = 3
    spread: float = 0.3
    leaps: float = 0.3
    screen: int = 10
    cross: float = 0.2
    race_block: int = 5
    behind: float = 1.0
    climb_rows: int = 30

    name: ClassVar[str] = "factorial"
    version: ClassVar[str] = "1"
    needs: ClassVar[frozenset[Need]] = frozenset()
    control: ClassVar[bool] = False
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {"recommended": {}}

    def __post_init__(self) -> None:
        require_at_least(self, 1, "block", "blocks", "race_block", "screen", "climb_rows")
        require_at_least(self, 0, "share", "keep", "pairs", "observed", "predicted", "spread")
        require_at_least(self, 0, "leaps", "cross", "behind")
        require_at_most(self, 1, "share", "keep", "leaps", "cross")

    def estimate(self, context: Context) -> Estimate:
        """Return the whole plan: it is used but for less than a block."""
        return Estimate(context.evaluations)

    def search(self, context: Context) -> Search[None]:
        """Design, learn, race what was observed against what is predicted, and confirm while the plan lasts."""
        contest = open_contest(context, Breeder(Space.of(context), pairs=self.pairs))
        yield from self._design(contest)
        yield from self._final(contest)
        yield from self._confirm(contest)

    def _design(self, contest: Contest) -> Search[None]:
        """Score the seeds, then a balanced design, each prompt on one block."""
        yield from contest.board.score(contest.seeds, contest.rows[: self.block])
        contest.learn()
        yield contest.crown(*contest.seeds)
        wanted = min(int(self.share * contest.context.evaluations), contest.board.remaining) // self.block
        made = contest.breeder.balanced(contest.context.rng("design"), wanted, self.keep)
        yield from together(*(contest.board.score(group, rows) for group, rows in self._blocks(contest, made)))
        contest.learn()
        yield contest.crown(*self._observed(contest)[:2])

    def _blocks(
        self, contest: Contest, made: Sequence[Candidate]
    ) -> list[tuple[Sequence[Candidate], Sequence[Example]]]:
        """Deal prompts over the blocks of rows."""
        rows, last = contest.rows, max(1, min(self.blocks, len(contest.rows) // self.block))
        dealt = [(made[turn::last], rows[turn * self.block : (turn + 1) * self.block]) for turn in range(last)]
        return [(group, block) for group, block in dealt if group]

    def _observed(self, contest: Contest) -> list[Candidate]:
        return contest.breeder.by_estimate(contest.board.best())

    def _final(self, contest: Contest) -> Search[None]:
        """Race the best observed, the best predicted and the seeds on common rows."""
        predicted = contest.breeder.ideals(contest.context.rng("final"), self.predicted, self.spread)
        observed = self._observed(contest)[: self.observed]
        yield from contest.final([*observed, *predicted, *contest.seeds], self.race_block)

    def _confirm(self, contest: Contest) -> Search[None]:
        """Race new predictions and children of the champion against it while the plan lasts."""
        more = True
        while more and contest.board.remaining >= self.race_block:
            contest.races += 1
            contest.learn()
            challengers = self._challengers(contest, contest.context.rng("confirm", contest.races))
            more = yield from contest.challenge(challengers, self.climb_rows, self.race_block, self.behind)

    def _challengers(self, contest: Contest, rng: Random) -> list[Candidate]:
        """Return a new prediction or a child of the elite; nothing if none turns up."""
        leaps = contest.breeder.ideals(rng, 1, self.spread) if rng.random() < self.leaps else []
        if leaps:
            return leaps
        child = contest.breeder.child(rng, contest.elite, self.screen, self.cross)
        return [child] if child else []

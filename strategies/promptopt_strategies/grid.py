"""Grid: the full factorial of classic openers, task lines and closers around the seed's instruction.

The honest baseline of every instruction search: what do the sentences bring that everybody knows?

Profiles:
    paper: The whole plan goes to the grid, and the best mean wins.
    recommended: Ours. The best cells of a smaller grid race on further rows.
"""

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from itertools import product
from typing import Any, ClassVar

from promptopt.ask import Effect, Recommend, Search
from promptopt.prompt import Candidate, Prompt, distinct
from promptopt.selection import Drop
from promptopt.settings import require_at_least, require_at_most
from promptopt.statistics import Z_95
from promptopt.strategy import Context, Estimate, Need
from promptopt_strategies.scoreboard import Scoreboard, common_rows
from promptopt_strategies.space import is_inline

Cell = tuple[str, ...]  # one text a factor; the empty one for its absence


@dataclass(frozen=True)
class Grid:
    """Scores every combination of opener, task line and closer, the empty one of each among them.

    1. *Grid.* Score all cells on 1, 2, 4, ... shared rows, and rank them after each step, so that it can be seen how
       little the first ranks say. The main effects of the sentences are reported with their intervals.
    2. *Final.* Race the best cells and the seeds.

    Where the plan reaches for fewer evaluations than cells, a random part of them is scored on one row. The sentences
    are data, in ``templates/grid.toml``.

    Asks: Evaluate only; the plan is used up to less than one row for all cells, and what the race leaves.

    Args:
        final: The share of the plan that is kept for the race.
        finalists: Cells in the race, besides the seeds.
        block: Rows between two looks at the race.

    Reference:
        Battle and Gollapudi 2024, The unreasonable effectiveness of eccentric automatic prompts (the grid of openers,
        task lines and closers, without a race); the sentences are our own.
    """

    final: float = 0.4
    finalists: int = 5
    block: int = 5

    name: ClassVar[str] = "grid"
    version: ClassVar[str] = "1"
    needs: ClassVar[frozenset[Need]] = frozenset()
    control: ClassVar[bool] = True
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {"recommended": {}, "paper": {"final": 0.0}}

    def __post_init__(self) -> None:
        require_at_least(self, 0, "final")
        require_at_least(self, 1, "finalists", "block")
        require_at_most(self, 1, "final")

    def estimate(self, context: Context) -> Estimate:
        """Return the whole plan, which is the most that grid and race take together."""
        return Estimate(context.evaluations)

    def search(self, context: Context) -> Search[None]:
        """Score the grid on more and more rows, then race the best of it."""
        rows, board = common_rows(context), Scoreboard(context.evaluations)
        cells = cells_of(context)
        grid = {cell: _candidate(context, cell) for cell in cells[: context.evaluations]}
        reach = max(1, int((1 - self.final) * context.evaluations) // len(grid))
        for size in _nested(min(reach, len(rows))):
            yield from board.score(list(grid.values()), rows[:size])
            order = sorted(grid.values(), key=lambda c: -round(board.mean(c), 9))
            effects = main_effects(grid, board)
            yield Recommend(tuple(order), "mean", tuple(map(board.mean, order)), effects=effects)
        if self.final and board.remaining >= self.block:
            entrants = [*map(Candidate, context.seeds), *order[: self.finalists]]
            ranking = yield from board.race(entrants, rows, self.block, Drop())
            best = distinct([*ranking.candidates, *order])
            yield Recommend(best, "rank", tuple(map(board.mean, best)), effects=effects)


def cells_of(context: Context) -> list[Cell]:
    """Return every cell once: the empty one first, the others shuffled; it alone where the instruction is fixed."""
    if "instruction" not in context.editable:
        return [tuple("" for _ in factors())]
    empty, *others = product(*(("", *texts) for texts in factors().values()))
    return [empty, *context.rng("cells").sample(others, len(others))]


@lru_cache(maxsize=1)
def factors() -> Mapping[str, tuple[str, ...]]:
    """Return the texts of every factor, but for the empty one."""
    data = (files("promptopt_strategies") / "templates" / "grid.toml").read_text(encoding="utf-8")
    return {name: tuple(texts) for name, texts in tomllib.loads(data).items()}


def main_effects(grid: Mapping[Cell, Candidate], board: Scoreboard) -> tuple[Effect, ...]:
    """Return what each text is worth against the average of all cells; those of a factor sum to zero.

    The intervals take all calls as independent; since the rows are shared, they are rather too wide.
    """
    scores = {cell: list(board.seen[c.id].scores.values()) for cell, c in grid.items() if c.id in board.seen}
    everything = [score for found in scores.values() for score in found]
    effects = []
    for place, (name, texts) in enumerate(factors().items()):
        for text in ("", *texts):
            own = [score for cell, found in scores.items() if cell[place] == text for score in found]
            if len(own) < len(everything):
                effects.append(_effect(name, text, own, everything))
    return tuple(sorted(effects, key=lambda e: (-round(abs(e.estimate), 9), e.choice, e.level)))


def _effect(name: str, text: str, own: Sequence[float], everything: Sequence[float]) -> Effect:
    mean = _mean(everything)
    estimate, share = _mean(own) - mean, len(own) / len(everything)
    # The spread is that of all scores: those of one text may all be equal by luck.
    spread = _mean([(score - mean) ** 2 for score in everything])
    half = Z_95 * math.sqrt(spread * (1 - share) / max(1, len(own)))
    return Effect(name, text or "none", estimate, estimate - half, estimate + half, len(own))


def _mean(scores: Sequence[float]) -> float:
    return math.fsum(scores) / len(scores) if scores else 0.0


def _candidate(context: Context, cell: Cell) -> Candidate:
    seed = context.seeds[0]
    if not any(cell):
        return Candidate(seed)
    note = {name: text for name, text in zip(factors(), cell, strict=True) if text}
    instruction = _around(seed, cell, inline=is_inline(seed, context.fields))
    return Candidate(seed.replace(instruction=instruction), (seed.id,), "grid", note)


def _around(seed: Prompt, cell: Cell, *, inline: bool) -> str:
    """Return the seed's instruction with the texts of a cell; one with slots keeps its end, where the answer goes."""
    *before, after = cell
    if inline:
        return "\n".join(filter(None, [" ".join(filter(None, cell)), seed.instruction]))
    gap = "\n" if "\n" in seed.instruction else " "
    return gap.join(filter(None, [*before, seed.instruction, after]))


def _nested(reach: int) -> list[int]:
    """Return 1, 2, 4 and so on up to the reach, which comes last."""
    sizes = [2**power for power in range(reach.bit_length()) if 2**power < reach]
    return [*sizes, reach]

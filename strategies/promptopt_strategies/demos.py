"""Demos: random search over sets of demonstrations, labelled rows and rows that the model itself answered right.

After bootstrapped few-shot with random search, as DSPy made it known; here the sets race on shared rows.

Profiles:
    reference-code: As DSPy runs by default: 16 sets of 16 demonstrations, 1 to 4 of them bootstrapped, all scored on
        the same rows. There the teacher answers anew for every set; here it answers once for all of them.
    recommended: Ours. Sets of 1 to 8 demonstrations, as many as the plan reaches for, race; half of them do without
        bootstrapped ones.
    labelled: The same without bootstrapping.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from random import Random
from typing import Any, ClassVar

from promptopt.ask import Evaluate, Recommend, Search
from promptopt.example import Example, by_hash
from promptopt.prompt import Candidate, Demo, distinct
from promptopt.selection import Drop
from promptopt.settings import require_at_least, require_at_most
from promptopt.strategy import Context, Estimate, Need
from promptopt_strategies.operators import in_turn
from promptopt_strategies.scoreboard import Scoreboard, common_rows
from promptopt_strategies.space import Genome, Space

DROP, NEVER = Drop(), Drop(z=math.inf)


@dataclass
class _Run:
    """What a running search knows.

    Args:
        context: The task.
        rows: The rows to search on, shuffled.
        board: What was seen.
        labelled: The space whose shelf holds the labelled demonstrations alone.
        space: The same with what the model got right on its shelf, too.
        passed: What the model got right, by its number on the shelf.
    """

    context: Context
    rows: Sequence[Example]
    board: Scoreboard
    labelled: Space
    space: Space = field(init=False)
    passed: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.space = self.labelled

    def candidate(self, demos: Sequence[int], operator: str) -> Candidate:
        """Return the first seed with these demonstrations in place of its own."""
        seed = self.space.seed_points[0]
        shown = tuple(demos) if self.space.max_demos else seed.demos
        return Candidate(self.space.prompt(Genome(seed.levels, shown)), (self.context.seeds[0].id,), operator)

    def keep(self, demo: Demo) -> None:
        """Put a demonstration on the shelf, unless it stands there, and note that the model got it right."""
        if demo not in self.space.shelf:
            self.space = replace(self.space, shelf=(*self.space.shelf, demo))
        self.passed.append(self.space.shelf.index(demo))

    def twice(self, demos: Sequence[int]) -> bool:
        """Say whether the last of these asks what one before it asks."""
        *others, last = (self.space.shelf[number].inputs for number in demos)
        return last in others


@dataclass(frozen=True)
class Demos:
    """Looks for the best demonstrations and changes nothing else.

    1. *Look.* Score the seeds as they are, without demonstrations, and with labelled ones.
    2. *Bootstrap.* A teacher, the first seed with a few labelled demonstrations, answers rows of the pool that it does
       not show. What it got right may be shown in the model's own words.
    3. *Draw* sets of random size, bootstrapped demonstrations among them or not, the answers in turn where they are a
       closed set.
    4. *Race* all of them on the rows to search on. Draw again for what the race leaves.

    Every demonstration comes from the pool, whoever answered it, so no row is ever scored by a prompt that shows it.

    Asks: one Evaluate on the pool, all others on the rows to search on, until the plan is spent.

    Args:
        sets: How many sets are drawn; none means one for every 15 evaluations of the plan.
        most: The most demonstrations of a set.
        fill: Fill every set up to ``most`` with labelled demonstrations, instead of drawing its size.
        bootstrapped: The most bootstrapped demonstrations of a set; 0 does without them and without the teacher.
        teacher: Labelled demonstrations that the teacher shows.
        asked: The share of the plan that bootstrapping may take.
        threshold: The least score at which an answer may be shown.
        race: Drop sets that fall behind; otherwise all are scored on the same rows.
        block: Rows between two looks at a race.

    Reference:
        Khattab et al. 2024, DSPy: compiling declarative language model calls into self-improving pipelines, section 4
        (BootstrapFewShotWithRandomSearch); the race is our own.
    """

    sets: int | None = None
    most: int = 8
    fill: bool = False
    bootstrapped: int = 4
    teacher: int = 4
    asked: float = 0.1
    threshold: float = 1.0
    race: bool = True
    block: int = 5

    name: ClassVar[str] = "demos"
    version: ClassVar[str] = "1"
    needs: ClassVar[frozenset[Need]] = frozenset()
    control: ClassVar[bool] = False
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "recommended": {},
        "reference-code": {"sets": 16, "most": 16, "fill": True, "teacher": 16, "asked": 0.2, "race": False},
        "labelled": {"bootstrapped": 0},
    }

    def __post_init__(self) -> None:
        require_at_least(self, 1, "most", "block")
        require_at_least(self, 0, "bootstrapped", "teacher", "asked", "threshold")
        require_at_most(self, 1, "asked", "threshold")
        if self.sets is not None:
            require_at_least(self, 1, "sets")

    def estimate(self, context: Context) -> Estimate:
        """Return the whole plan: it is used up to less than a block."""
        return Estimate(context.evaluations)

    def search(self, context: Context) -> Search[None]:
        """Look, bootstrap, and race sets until the plan is used or nothing new turns up."""
        only = tuple(part for part in context.editable if part == "demos")
        space = Space.of(replace(context, editable=only), max_demos=self.most)
        run = _Run(context, common_rows(context), Scoreboard(context.evaluations), space)
        labelled = in_turn(space, context.rng("teacher"))[: self.teacher]
        teacher = run.candidate(labelled, "labelled")
        entrants = distinct([*map(Candidate, context.seeds), run.candidate([], "bare"), teacher])
        yield from run.board.score(entrants[: run.board.remaining], run.rows[: self.block])
        yield Recommend(tuple(run.board.best()))
        yield from self._bootstrap(run, teacher)
        for turn in count():
            left = run.board.remaining
            entrants = distinct([*entrants, *self._draw(run, context.rng("sets", turn), self.sets or left // 15)])
            entrants = yield from self._race(run, entrants)
            if not self.race or run.board.remaining in range(self.block) or run.board.remaining == left:
                break

    def _race(self, run: _Run, entrants: Sequence[Candidate]) -> Search[tuple[Candidate, ...]]:
        """Race over courses of growing length, which costs what the longest does, and return the best two."""
        course = run.rows if self.race else run.rows[: run.board.remaining // len(entrants)]
        ranking, length = tuple(entrants), self.block
        while length < 2 * len(course):
            found = yield from run.board.race(entrants, course[:length], self.block, DROP if self.race else NEVER)
            ranking, length = found.candidates, 2 * length
            yield Recommend(ranking, "rank", tuple(map(run.board.mean, ranking)))
        return ranking[:2]

    def _bootstrap(self, run: _Run, teacher: Candidate) -> Search[None]:
        """Let the teacher answer rows of the pool that it does not show, and put what it got right on the shelf."""
        unseen = [row for row in by_hash(run.context.pool, f"pool {run.context.seed}") if not teacher.prompt.shows(row)]
        rows = unseen[: min(int(self.asked * run.context.evaluations), run.board.remaining)]
        if not (rows and self.bootstrapped and run.space.max_demos):
            return
        answer = yield from Evaluate([teacher], rows, "bootstrap")
        run.board.remaining = answer.remaining
        for row, outcome in zip(rows, answer.evaluations[0].outcomes, strict=True):
            said = outcome.output.strip()
            if said and outcome.status == "ok" and (outcome.score or 0.0) >= self.threshold:
                run.keep(Demo(dict(row.inputs), said))

    def _draw(self, run: _Run, rng: Random, n: int) -> list[Candidate]:
        """Return n sets, some of which may turn out alike."""
        return [run.candidate(self._set(run, rng), "demos") for _ in range(n if run.space.max_demos else 0)]

    def _set(self, run: _Run, rng: Random) -> list[int]:
        """Draw a set: a size, in half of the cases bootstrapped demonstrations, labelled ones for the rest."""
        size = self.most if self.fill else rng.randint(1, self.most)
        own, drawn = list[int](), list[int]()
        if run.passed and (self.fill or rng.random() < 0.5):
            own = rng.sample(run.passed, min(len(run.passed), size, rng.randint(1, self.bootstrapped)))
        for number in (*own, *in_turn(run.labelled, rng)):
            if len(drawn) < size and not run.twice([*drawn, number]) and run.space.fits([*drawn, number]):
                drawn.append(number)
        return rng.sample(drawn, len(drawn))

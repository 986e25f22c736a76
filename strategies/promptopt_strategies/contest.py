"""Contest: the champion of a search and the races in which challengers try to take its place."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from promptopt.ask import Recommend, Search
from promptopt.example import Example, by_hash
from promptopt.prompt import Candidate, distinct
from promptopt.selection import Drop
from promptopt.strategy import Context
from promptopt_strategies.breeder import Breeder
from promptopt_strategies.scoreboard import Scoreboard, common_rows


@dataclass
class Contest:
    """What a running search knows.

    Args:
        context: The task.
        board: What was seen, and what is left of the plan.
        breeder: Where candidates come from.
        rows: The search examples in the common order.
        elite: The champion and the runner-up.
        races: How many challenges there have been.
        consulted: How often the optimizer model was asked.
    """

    context: Context
    board: Scoreboard
    breeder: Breeder
    rows: tuple[Example, ...]
    elite: list[Candidate] = field(default_factory=list)
    races: int = 0
    consulted: int = 0

    @property
    def seeds(self) -> list[Candidate]:
        """The seed prompts."""
        return [Candidate(seed) for seed in self.context.seeds]

    def learn(self) -> None:
        """Fit the effect model to everything seen so far."""
        self.breeder.learn(list(self.board.seen.values()))

    def crown(self, *best: Candidate) -> Recommend:
        """Make these the elite, with who was there before, and say what would be returned now."""
        self.elite = list(distinct([*best, *self.elite])[:2])
        ranking = distinct([*self.elite[:1], *self.board.best()])
        effects = self.breeder.effects(ranking[0])
        return Recommend(ranking, "mean", tuple(map(self.board.mean, ranking)), effects=effects)

    def challenge(self, challengers: Sequence[Candidate], n_rows: int, block: int, behind: float) -> Search[bool]:
        """Race challengers against the champion in paired blocks; who is ahead at the end takes its place.

        Args:
            challengers: Who tries.
            n_rows: Rows of the race, at most.
            block: Rows between two looks.
            behind: A challenger so many points behind leaves.

        Returns:
            Whether anything new was seen.
        """
        champion, left = self.elite[0], self.board.remaining
        drop = Drop(deficit=behind, z=0.0, spared=frozenset({champion.id}))
        ranking = yield from self.board.race([champion, *challengers], self._course(champion, n_rows), block, drop)
        ahead = [c for c in ranking.candidates if self.board.lead(c, champion) > 0]
        yield self.crown(*ahead[:1], champion)
        return self.board.remaining < left

    def final(self, entrants: Sequence[Candidate], block: int) -> Search[None]:
        """Race all of these on the common rows; the first two are the elite."""
        ranking = yield from self.board.race(distinct(entrants), self.rows, block, Drop())
        yield self.crown(*ranking.candidates[:2])

    def _course(self, champion: Candidate, n_rows: int) -> list[Example]:
        """Return the rows of a race, shuffled: first those that the champion has seen, which cost half as much."""
        seen = self.board.seen[champion.id].scores if champion.id in self.board.seen else {}
        shuffled = by_hash(self.rows, f"race {self.context.seed} {self.races}")
        return sorted(shuffled, key=lambda row: row.id not in seen)[:n_rows]


def open_contest(context: Context, breeder: Breeder) -> Contest:
    """Return the contest of a search that begins."""
    return Contest(context, Scoreboard(context.evaluations), breeder, tuple(common_rows(context)))

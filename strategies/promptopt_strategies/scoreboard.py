"""Scoreboard: what every candidate was seen to do so far, and the plan that is left.

Strategies ask through it, so that no pair is asked for twice and the plan is never overdrawn.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from promptopt.ask import Evaluate, Search
from promptopt.evaluation import Evaluation, gather, paired
from promptopt.example import Example, by_hash
from promptopt.prompt import Candidate
from promptopt.selection import Drop, Ranking, race
from promptopt.strategy import Context

PRIOR_ROWS = 4.0


def common_rows(context: Context) -> list[Example]:
    """Return the rows to search on, shuffled: the order in which all candidates see them."""
    return by_hash(context.search, f"rows {context.seed}")


@dataclass
class Scoreboard:
    """The evaluations of a search.

    Args:
        remaining: Evaluations left in the plan.
        candidates: Every candidate that was asked for, by id.
        seen: What each was seen to do, by id.
    """

    remaining: int
    candidates: dict[str, Candidate] = field(default_factory=dict)
    seen: dict[str, Evaluation] = field(default_factory=dict)

    def score(self, candidates: Sequence[Candidate], rows: Sequence[Example]) -> Search[None]:
        """Score candidates on rows, as many of them as the plan reaches for all.

        Asks:
            One Evaluate; none if everything is known or nothing is left.
        """
        known = [{outcome.example_id for outcome in self._seen(candidate).outcomes} for candidate in candidates]
        missing = [row for row in rows if not all(row.id in ids for ids in known)]
        missing = missing[: self.remaining // max(1, len(candidates))]
        if missing and candidates:
            answer = yield from Evaluate(candidates, missing)
            self._add(candidates, answer.evaluations)
            self.remaining = answer.remaining

    def race(self, candidates: Sequence[Candidate], rows: Sequence[Example], block: int, drop: Drop) -> Search[Ranking]:
        """Race candidates over rows; pairs that are known cost nothing."""
        ranking = yield from race(
            candidates, rows, budget=self.remaining, block=block, drop=drop, known=self.seen.values()
        )
        self._add(candidates, ranking.evaluations.values())
        self.remaining -= ranking.spent
        return ranking

    def lead(self, left: Candidate, right: Candidate) -> float:
        """Return by how many points of score the left one is ahead on the rows that both answered."""
        return sum(own - other for own, other in paired(self._seen(left), self._seen(right)))

    def mean(self, candidate: Candidate) -> float:
        """Return the mean score of a candidate; 0 without any."""
        return self._seen(candidate).mean

    def best(self, candidates: Iterable[Candidate] | None = None) -> list[Candidate]:
        """Return candidates (all if left out), best first.

        Means of few rows say little, so each is drawn towards the mean of all as by ``PRIOR_ROWS`` more rows.
        """
        means = [evaluation.mean for evaluation in self.seen.values()]
        prior = sum(means) / len(means) if means else 0.0

        def place(candidate: Candidate) -> tuple[float, int, str]:
            n, mean = self._seen(candidate).n_valid, self.mean(candidate)
            return -round((n * mean + PRIOR_ROWS * prior) / (n + PRIOR_ROWS), 9), -n, candidate.id

        return sorted(self.candidates.values() if candidates is None else candidates, key=place)

    def _seen(self, candidate: Candidate) -> Evaluation:
        return self.seen.get(candidate.id) or Evaluation(candidate.id, ())

    def _add(self, candidates: Iterable[Candidate], evaluations: Iterable[Evaluation]) -> None:
        for candidate in candidates:
            self.candidates.setdefault(candidate.id, candidate)
        gather(self.seen, evaluations)

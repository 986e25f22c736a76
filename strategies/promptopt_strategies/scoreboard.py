"""Scoreboard: what every candidate scored on every row so far, and the only door to new scores.

It asks for no pair twice and never for more than the plan has left, so that strategies need not count.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from promptopt.ask import Evaluate, Search
from promptopt.example import Example
from promptopt.prompt import Candidate


@dataclass
class Scoreboard:
    """The scores of a search.

    Args:
        remaining: Evaluations left in the plan.
        candidates: Every candidate that was scored, by id.
        scores: By candidate id the scores by example id; None where an example was asked and gave no score.
    """

    remaining: int
    candidates: dict[str, Candidate] = field(default_factory=dict)
    scores: dict[str, dict[str, float | None]] = field(default_factory=dict)

    def score(self, candidates: Sequence[Candidate], rows: Sequence[Example], purpose: str = "race") -> Search[None]:
        """Score candidates on those of the rows that they have not seen, as far as the plan reaches.

        Asks:
            One Evaluate for each set of candidates that lack the same rows.
        """
        lacking: dict[tuple[Example, ...], list[Candidate]] = {}
        for candidate in candidates:
            self.candidates.setdefault(candidate.id, candidate)
            seen = self.scores.setdefault(candidate.id, {})
            lacking.setdefault(tuple(row for row in rows if row.id not in seen), []).append(candidate)
        for missing, group in lacking.items():
            yield from self._ask(group, missing[: self.remaining // len(group)], purpose)

    def n_rows(self, candidate: Candidate) -> int:
        """Return how many rows gave this candidate a score."""
        return len(self._valid(candidate))

    def mean(self, candidate: Candidate, prior: float = 0.0, weight: float = 0.0) -> float:
        """Return the mean score of a candidate, with a prior of so many rows; 0 without any."""
        valid = self._valid(candidate)
        total = len(valid) + weight
        return (sum(valid.values()) + prior * weight) / total if total else 0.0

    def differences(self, left: Candidate, right: Candidate, rows: Sequence[Example]) -> list[float]:
        """Return left minus right on those of the rows that gave both a score."""
        a, b = self._valid(left), self._valid(right)
        return [a[row.id] - b[row.id] for row in rows if row.id in a and row.id in b]

    def _ask(self, group: Sequence[Candidate], rows: Sequence[Example], purpose: str) -> Search[None]:
        if not rows:
            return
        answer = yield from Evaluate(group, rows, purpose)
        self.remaining = answer.remaining
        for evaluation in answer.evaluations:
            asked = self.scores[evaluation.prompt_id]
            asked.update(dict.fromkeys((row.id for row in rows), None))
            asked.update(evaluation.scores)

    def _valid(self, candidate: Candidate) -> dict[str, float]:
        scores = self.scores.get(candidate.id, {})
        return {row: score for row, score in scores.items() if score is not None}


def z_score(differences: Sequence[float]) -> float:
    """Return the sum of paired differences in units of its standard deviation if both were alike.

    For right or wrong answers this is (wins - losses) / sqrt(wins + losses), McNemar's statistic.
    """
    spread = math.sqrt(sum(difference**2 for difference in differences))
    return sum(differences) / spread if spread else 0.0

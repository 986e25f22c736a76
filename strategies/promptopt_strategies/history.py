"""History: the scored texts of a search, and the part of them that a meta-prompt shows.

The functions serve whatever has a score, so that OPRO's demonstrations on numbers use them too.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from promptopt.evaluation import Evaluation
from promptopt.prompt import Candidate


class Scored(Protocol):
    """Anything with a score; higher is better."""

    @property
    def score(self) -> float:
        """How good it is."""


S = TypeVar("S", bound=Scored)


@dataclass(frozen=True)
class Entry:
    """One line of the history: a text, the candidate it made, and what that candidate did."""

    text: str
    candidate: Candidate
    evaluation: Evaluation

    @property
    def score(self) -> float:
        """The mean score."""
        return self.evaluation.mean

    @property
    def missed(self) -> tuple[str, ...]:
        """The ids of the examples that it got wrong."""
        return tuple(o.example_id for o in self.evaluation.outcomes if o.score is not None and o.score < 1)


def best_last(history: Iterable[S], top: int, threshold: float) -> list[S]:
    """Return the ``top`` best entries in order of rising score, then drop those below the threshold.

    Equal scores keep the order in which they came. The cut comes before the threshold, so fewer than ``top`` may stay.
    """
    ascending = sorted(history, key=lambda entry: round(entry.score, 9))
    return [entry for entry in ascending[-top:] if entry.score >= threshold]


def best_first(history: Sequence[Entry]) -> list[Entry]:
    """Return the entries with the best first, of equal ones the earlier; those without a valid score come last."""
    return sorted(history, key=lambda entry: (not entry.evaluation.n_valid, -round(entry.score, 9)))


def bucket(score: float, buckets: int) -> int:
    """Return a score in [0, 1] as a whole number from 0 to ``buckets``; halves go to the even neighbour."""
    return round(score * buckets)

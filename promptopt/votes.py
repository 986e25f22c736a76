"""Votes: preferences in numbers, and what is learned of those who gave them.

Every labeller has a reliability and a side bias of its own, and a judge model the weight of its agreement with people.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from promptopt.duel import Preference, Source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

# Reliability multiplies the difference of two utilities: 1 is the unit, 0 says nothing, below 0 prefers the worse.
RELIABILITY, RELIABILITY_SPREAD = 1.0, 0.4
SIDE_SPREAD = 0.7
JUDGE_SPREAD = 0.15
CONTRARY = 0.1  # the odds, before any preference, that a certain person prefers the worse
SUSPECTS = 4  # each costs another fit
# An unmeasured judge beside people counts half: as if it had agreed with them 3 times of 4.
PRIOR_AGREED, PRIOR_SHARED = 3.0, 4.0
TIE_PRIOR, TIE_SPREAD = -1.0, 1.0  # of the logarithm of Davidson's tie parameter
NODES = ((-(3**0.5), 1 / 6), (0.0, 2 / 3), (3**0.5, 1 / 6))  # Gauss and Hermite's three for a normal distribution


@dataclass(frozen=True, slots=True)
class Labeller:
    """What was learned of somebody who gives preferences.

    Args:
        name: Who.
        source: A person, a judge model or a metric.
        reliability: The factor on the difference of utilities, 1 for the average person; below 0 prefers the worse.
        side: The log-odds by which what stands on the left is preferred.
        n: Preferences that this rests on.
    """

    name: str
    source: Source
    reliability: float
    side: float
    n: int


def judge_weight(preferences: Sequence[Preference], judge: str) -> float:
    """Return how much a judge's verdict counts beside a person's, from 0 to 1: twice its agreement with people, less 1.

    Agreement is the share of duels, of those where both preferred one side, in which it was the same side. Where no
    person has given any preference there is nobody to measure against, and it counts in full.
    """
    people: dict[tuple[str, str, str], Counter[str]] = {}
    for preference in preferences:
        if preference.source == "human" and preference.is_evidence and preference.winner_id:
            people.setdefault(preference.subject, Counter())[preference.winner_id] += 1
    if not people:
        return 1.0
    agreed = shared = 0.0
    for preference in preferences:
        if preference.labeller == judge and preference.winner_id and (said := people.get(preference.subject)):
            shared += said.total()
            agreed += said[preference.winner_id]
    return max(0.0, 2.0 * (agreed + PRIOR_AGREED) / (shared + PRIOR_SHARED) - 1.0)


@dataclass(frozen=True)
class Votes:
    """Preferences in numbers.

    Args:
        gaps: The left prompt's row less the right one's, shape (m, d).
        outcome: 1 for left, -1 for right, 0 for a tie, shape (m,).
        side: 1 where the left prompt stood on the left of the screen, -1 where it stood on the right, else 0.
        labeller: The number of who gave it, shape (m,).
        names: Who, by number, with what it is and the reliability expected of it.
        log_prior: The logarithm of how probable these expectations are before any preference, but for a constant.
    """

    gaps: "Array"
    outcome: "Array"
    side: "Array"
    labeller: "NDArray[np.int64]"
    names: tuple[tuple[str, Source, float], ...]
    log_prior: float = 0.0

    @property
    def n(self) -> int:
        """How many."""
        return len(self.outcome)

    @classmethod
    def of(cls, preferences: Sequence[Preference], ids: Sequence[str], rows: "Array") -> "Votes":
        """Return those of all preferences that are evidence between these prompts."""
        import numpy as np

        at = {key: place for place, key in enumerate(ids)}
        used = [p for p in preferences if p.is_evidence and p.left_id in at and p.right_id in at]
        sources: dict[str, Source] = {p.labeller: p.source for p in used}
        names = tuple(
            (name, source, judge_weight(preferences, name) if source == "model" else RELIABILITY)
            for name, source in sorted(sources.items())
        )
        number = {name: place for place, (name, _, _) in enumerate(names)}
        left = [at[p.left_id] for p in used]
        right = [at[p.right_id] for p in used]
        sides = [0 if not p.shown_first else 1 if p.shown_first == p.left_id else -1 for p in used]
        return cls(
            rows[left] - rows[right],
            np.array([{"left": 1.0, "right": -1.0}.get(p.verdict, 0.0) for p in used]),
            np.array(sides, dtype=float),
            np.array([number[p.labeller] for p in used], dtype=np.int64),
            names,
        )

    def turned(self) -> "tuple[Votes, Array]":
        """Return the same votes in axes that they span, and these axes, shape (d, k).

        Outside of what the gaps span nothing is learned, so with fewer different pairs than prompts all is smaller.
        """
        import numpy as np

        pairs = np.unique(self.gaps, axis=0) if self.n else self.gaps
        axes = np.linalg.qr(pairs.T)[0] if len(pairs) < self.gaps.shape[1] else np.eye(self.gaps.shape[1])
        return replace(self, gaps=self.gaps @ axes), axes

    def suspicions(self, nature: "Nature") -> "list[Votes]":
        """Return the same votes once for each person who may prefer the worse, with that expected of them.

        Who is alone is believed, since there is nobody to measure against; so is a metric.

        Args:
            nature: What the labellers are like if none of them does.
        """
        people = [number for number, (_, source, _) in enumerate(self.names) if source == "human"]
        if sum(source != "model" for _, source, _ in self.names) < 2:
            return []
        suspects = sorted(people, key=lambda number: (round(float(nature.reliability[number]), 9), number))[:SUSPECTS]
        return [self._suspecting(number) for number in suspects]

    def _suspecting(self, number: int) -> "Votes":
        name, source, _ = self.names[number]
        names = (*self.names[:number], (name, source, -RELIABILITY), *self.names[number + 1 :])
        return replace(self, names=names, log_prior=math.log(CONTRARY))


@dataclass(frozen=True)
class Nature:
    """What the labellers are like: a reliability and a side bias each, and how often all of them see a tie."""

    reliability: "Array"
    side: "Array"
    log_tie: float = TIE_PRIOR

    @classmethod
    def of(cls, votes: Votes) -> "Nature":
        """Return what is expected before any preference."""
        import numpy as np

        return cls(np.array([expected for _, _, expected in votes.names]), np.zeros(len(votes.names)))

    def logits(self, votes: Votes, differences: "Array") -> "Array":
        """Return the log-odds of left against right, as each labeller sees the differences of utility."""
        logits: Array = self.reliability[votes.labeller] * differences + self.side[votes.labeller] * votes.side
        return logits

    def log_chance(self, votes: Votes, differences: "Array") -> float:
        """Return the log-probability of this nature and, at these differences, of the votes; but for a constant."""
        import numpy as np

        half = np.clip(self.logits(votes, differences), -60.0, 60.0) / 2
        said = votes.outcome * half + (votes.outcome == 0) * self.log_tie
        total = np.exp(half) + np.exp(-half) + np.exp(self.log_tie)
        expected, spread = self._prior(votes)
        away = ((self.reliability - expected) / spread) ** 2 + (self.side / SIDE_SPREAD) ** 2
        return float((said - np.log(total)).sum() - away.sum() / 2) + votes.log_prior

    def learn(self, votes: Votes, means: "Array", spreads: "Array") -> "Nature":
        """Return what the labellers are like: one Newton step from here, for what is believed of the differences.

        The likelihood is averaged over the differences (a step of expectation maximization): with their estimates
        alone, which were fitted to these very votes, noise would look like reliability.

        Args:
            votes: The preferences.
            means: Of the differences of utility, shape (m,).
            spreads: Their standard deviations, shape (m,).
        """
        import numpy as np

        n = len(votes.names)
        pull, stiffness = np.zeros((n, 2)), np.zeros((n, 2, 2))
        ties = np.array([float((votes.outcome == 0).sum()), 0.0])
        for node, weight in NODES:
            design = np.stack([means + node * spreads, votes.side], axis=1)
            slope, curve, tied = davidson(self.logits(votes, design[:, 0]), self.log_tie, votes.outcome)
            np.add.at(pull, votes.labeller, weight * slope[:, None] * design)
            np.add.at(stiffness, votes.labeller, weight * curve[:, None, None] * design[:, :, None] * design[:, None])
            ties += weight * np.array([-tied.sum(), (tied * (1 - tied)).sum()])
        expected, spread = self._prior(votes)
        prior = np.stack([spread**-2, np.full(n, SIDE_SPREAD**-2)], axis=1)
        pull -= prior * np.stack([self.reliability - expected, self.side], axis=1)
        step = np.linalg.solve(stiffness + prior[:, :, None] * np.eye(2), pull[:, :, None])[:, :, 0]
        reliability, side = self.reliability + step[:, 0], self.side + step[:, 1]
        # A judge that is wrong more often than not is ignored, and not believed turned round.
        is_model = np.array([source == "model" for _, source, _ in votes.names])
        reliability = np.where(is_model, np.maximum(0.0, reliability), reliability)
        tie_step = (ties[0] - (self.log_tie - TIE_PRIOR) / TIE_SPREAD**2) / (ties[1] + TIE_SPREAD**-2)
        return Nature(reliability, side, self.log_tie + max(-1.0, min(1.0, float(tie_step))))

    def _prior(self, votes: Votes) -> tuple["Array", "Array"]:
        import numpy as np

        expected = np.array([reliability for _, _, reliability in votes.names])
        spread = np.array([JUDGE_SPREAD if source == "model" else RELIABILITY_SPREAD for _, source, _ in votes.names])
        return expected, spread

    def labellers(self, votes: Votes) -> dict[str, Labeller]:
        """Return what was learned, by name."""
        import numpy as np

        counts = np.bincount(votes.labeller, minlength=len(votes.names))
        return {
            name: Labeller(name, source, float(self.reliability[k]), float(self.side[k]), int(counts[k]))
            for k, (name, source, _) in enumerate(votes.names)
        }


def davidson(logits: "Array", log_tie: float, outcome: "Array") -> tuple["Array", "Array", "Array"]:
    """Return the log-likelihood's slope and curvature in the logits, and the probability of a tie, of each vote.

    The odds of left, tie and right are exp(t/2), v and exp(-t/2).
    """
    import numpy as np

    half = np.clip(logits, -60.0, 60.0) / 2
    left, right, tie = np.exp(half), np.exp(-half), np.exp(log_tie)
    total = left + right + tie
    lean, decided = (left - right) / total, (left + right) / total
    return (outcome - lean) / 2, (decided - lean**2) / 4, tie / total

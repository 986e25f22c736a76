"""Ranking: one posterior over how good prompts are, from the preferences of people, judge models and metrics.

Bradley-Terry strengths with Davidson's ties, in which every labeller has a reliability and a side bias of its own.
The noun is Strengths; ``copeland`` counts majorities instead.
"""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from promptopt.duel import Preference, Source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

ROUNDS = 12
SETTLED = 1e-6
# Reliability multiplies the difference of two utilities: 1 is the unit, 0 says nothing, below 0 prefers the worse.
RELIABILITY, RELIABILITY_SPREAD = 1.0, 0.6
SIDE_SPREAD = 0.7
JUDGE_SPREAD = 0.15
# An unmeasured judge beside people counts half: as if it had agreed with them 3 times of 4.
PRIOR_AGREED, PRIOR_SHARED = 3.0, 4.0
TIE_PRIOR, TIE_SPREAD = -1.0, 1.0  # of the logarithm of Davidson's tie parameter
DRAWS = 400
NODES = ((-(3**0.5), 1 / 6), (0.0, 2 / 3), (3**0.5, 1 / 6))  # Gauss and Hermite's three for a normal distribution
JITTER = 1e-9


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


@dataclass(frozen=True)
class Strengths:
    """The posterior: utilities are normal, with log-odds of preference as their unit.

    Args:
        ids: The prompts, in the order of the rows.
        utilities: The estimates, shape (n,); only differences mean anything.
        covariance: Of the utilities, shape (n, n).
        labellers: Who gave the preferences, by name.
        tie: Davidson's tie parameter: the odds of a tie to either side of two equally good prompts.
        n: Preferences that this rests on.
    """

    ids: tuple[str, ...]
    utilities: "Array"
    covariance: "Array"
    labellers: Mapping[str, Labeller]
    tie: float
    n: int

    def spread(self, left: int, right: int) -> float:
        """Return the standard deviation of the difference of two utilities."""
        return float(self.spreads(left)[right])

    def spreads(self, index: int) -> "Array":
        """Return the standard deviation of the difference of each utility to one of them, shape (n,)."""
        import numpy as np

        own = np.diag(self.covariance)
        return np.asarray(np.sqrt(np.maximum(own - 2 * self.covariance[index] + own[index], 0.0)))

    def interval(self, index: int, z: float = 1.96) -> tuple[float, float]:
        """Return the interval of a utility against the average of all."""
        spread = self.covariance[index, index] - 2 * self.covariance[index].mean() + self.covariance.mean()
        half = z * float(max(0.0, spread)) ** 0.5
        middle = float(self.utilities[index] - self.utilities.mean())
        return middle - half, middle + half

    def draw(self, rng: random.Random, n: int = 1) -> "Array":
        """Return utilities drawn from the posterior, shape (n, prompts)."""
        import numpy as np

        # Drawn in the space of prompts: the same whatever basis the weights have.
        root = np.linalg.cholesky(self.covariance + JITTER * np.eye(len(self.ids)))
        return np.asarray(self.utilities + normals(rng, (n, len(self.ids))) @ root.T)


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the posterior says of stopping now.

    Args:
        order: The prompts' indices, best first.
        chances: The probability that each is the best, by index.
        regret: What the first of the order is expected to lack to the best, in log-odds of preference.
    """

    order: tuple[int, ...]
    chances: tuple[float, ...]
    regret: float

    @property
    def p_best(self) -> float:
        """The probability that the first is the best."""
        return self.chances[self.order[0]]


def look_out(
    strengths: Strengths, rng: random.Random, among: Sequence[int] | None = None, utilities: "Array | None" = None
) -> Outlook:
    """Return the order by utility, and what draws from the posterior say of it.

    Args:
        strengths: The posterior.
        rng: The random stream of the draws.
        among: The indices that may be best; all if left out.
        utilities: What the order goes by, by index; the posterior's own estimates if left out.
    """
    import numpy as np

    pool = sorted(range(len(strengths.ids)) if among is None else among)
    by = strengths.utilities if utilities is None else utilities
    order = sorted(pool, key=lambda i: (-round(float(by[i]), 9), strengths.ids[i]))
    draws = strengths.draw(rng, DRAWS)[:, pool]
    wins = np.bincount(draws.argmax(axis=1), minlength=len(pool)) / DRAWS
    chances = dict(zip(pool, wins.tolist(), strict=True))
    regret = float((draws.max(axis=1) - draws[:, pool.index(order[0])]).mean())
    return Outlook(tuple(order), tuple(chances.get(i, 0.0) for i in range(len(strengths.ids))), regret)


def fit_strengths(
    preferences: Sequence[Preference], ids: Sequence[str], rows: "Array | None" = None, spread: float = 1.5
) -> Strengths:
    """Fit the posterior: its mode by Newton's method, labellers and utilities in turn; its width by Laplace.

    Only preferences between the prompts named count, and of them only those that are evidence.

    Args:
        preferences: Of anybody.
        ids: The prompts.
        rows: What each prompt's utility is a linear combination of, shape (n, d); each its own if left out.
        spread: The standard deviation of the weights before any preference.

    Reference:
        Davidson 1970, On extending the Bradley-Terry model to accommodate ties; equation 2 for the three odds.
    """
    import numpy as np

    features = np.eye(len(ids)) if rows is None else rows
    votes, axes = _Votes.of(preferences, ids, features).turned()
    weights, precision = np.zeros(axes.shape[1]), spread**-2
    nature = _Nature.of(votes)
    information = precision * np.eye(len(weights))
    for _ in range(ROUNDS if votes.n else 0):
        before = weights
        weights, information = _climb(votes, nature, weights, precision)
        variances = np.einsum("ij,ji->i", votes.gaps, np.linalg.solve(information, votes.gaps.T))
        nature = nature.learn(votes, votes.gaps @ weights, np.sqrt(variances))
        if float(np.abs(weights - before).max()) < SETTLED:
            break
    seen = features @ axes
    learned = np.eye(len(weights)) / precision - np.linalg.inv(information)
    covariance = features @ features.T / precision - seen @ learned @ seen.T
    tie = float(np.exp(nature.log_tie))
    return Strengths(tuple(ids), seen @ weights, covariance, nature.labellers(votes), tie, votes.n)


def copeland(wins: "Array") -> "Array":
    """Return each arm's share of the others that it beats in the majority of their duels; a draw counts half.

    Args:
        wins: How often the row's arm beat the column's, shape (n, n).
    """
    import numpy as np

    n = len(wins)
    majority = (wins > wins.T) + 0.5 * (wins == wins.T)
    np.fill_diagonal(majority, 0.0)
    return np.asarray(majority.sum(axis=1) / max(1, n - 1), dtype=float)


def normals(rng: random.Random, shape: tuple[int, ...]) -> "Array":
    """Return standard normal numbers, by Box and Muller from raw bits, whose stream no release of a library changes."""
    import numpy as np

    size = int(np.prod(shape))
    half = (size + 1) // 2
    bits = np.random.PCG64(rng.getrandbits(64)).random_raw(2 * half)
    uniform = ((bits >> np.uint64(11)) + 0.5) * 2.0**-53
    radius, angle = np.sqrt(-2.0 * np.log(uniform[:half])), 2.0 * np.pi * uniform[half:]
    return np.asarray(np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:size].reshape(shape))


def judge_weight(preferences: Sequence[Preference], judge: str) -> float:
    """Return how much a judge's verdict counts beside a person's, from 0 to 1: twice its agreement with people, less 1.

    Agreement is the share of duels, of those where both preferred one side, in which it was the same side. Where no
    person has given any preference there is nobody to measure against, and it counts in full.
    """
    people: dict[tuple[str, str, str], Counter[str]] = {}
    for preference in preferences:
        if preference.source == "human" and preference.is_evidence and preference.winner_id:
            people.setdefault(_place(preference), Counter())[preference.winner_id] += 1
    if not people:
        return 1.0
    agreed = shared = 0.0
    for preference in preferences:
        if preference.labeller == judge and preference.winner_id and (said := people.get(_place(preference))):
            shared += said.total()
            agreed += said[preference.winner_id]
    return max(0.0, 2.0 * (agreed + PRIOR_AGREED) / (shared + PRIOR_SHARED) - 1.0)


def _place(preference: Preference) -> tuple[str, str, str]:
    first, second = sorted((preference.left_id, preference.right_id))
    return first, second, preference.example_id


@dataclass(frozen=True)
class _Votes:
    """Preferences in numbers.

    Args:
        gaps: The left prompt's row less the right one's, shape (m, d).
        outcome: 1 for left, -1 for right, 0 for a tie, shape (m,).
        side: 1 where the left prompt stood on the left of the screen, -1 where it stood on the right, else 0.
        labeller: The number of who gave it, shape (m,).
        names: Who, by number, with what it is and the reliability expected of it.
    """

    gaps: "Array"
    outcome: "Array"
    side: "Array"
    labeller: "NDArray[np.int64]"
    names: tuple[tuple[str, Source, float], ...]

    @property
    def n(self) -> int:
        return len(self.outcome)

    @classmethod
    def of(cls, preferences: Sequence[Preference], ids: Sequence[str], rows: "Array") -> "_Votes":
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

    def turned(self) -> "tuple[_Votes, Array]":
        """Return the same votes in axes that they span, and these axes, shape (d, k).

        Outside of what the gaps span nothing is learned, so with fewer different pairs than prompts all is smaller.
        """
        import numpy as np

        pairs = np.unique(self.gaps, axis=0) if self.n else self.gaps
        axes = np.linalg.qr(pairs.T)[0] if len(pairs) < self.gaps.shape[1] else np.eye(self.gaps.shape[1])
        return replace(self, gaps=self.gaps @ axes), axes


@dataclass(frozen=True)
class _Nature:
    """What the labellers are like: a reliability and a side bias each, and how often all of them see a tie."""

    reliability: "Array"
    side: "Array"
    log_tie: float = TIE_PRIOR

    @classmethod
    def of(cls, votes: _Votes) -> "_Nature":
        import numpy as np

        return cls(np.array([expected for _, _, expected in votes.names]), np.zeros(len(votes.names)))

    def logits(self, votes: _Votes, differences: "Array") -> "Array":
        """Return the log-odds of left against right, as each labeller sees the differences of utility."""
        logits: Array = self.reliability[votes.labeller] * differences + self.side[votes.labeller] * votes.side
        return logits

    def learn(self, votes: _Votes, means: "Array", spreads: "Array") -> "_Nature":
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
            slope, curve, tied = _davidson(self.logits(votes, design[:, 0]), self.log_tie, votes.outcome)
            np.add.at(pull, votes.labeller, weight * slope[:, None] * design)
            np.add.at(stiffness, votes.labeller, weight * curve[:, None, None] * design[:, :, None] * design[:, None])
            ties += weight * np.array([-tied.sum(), (tied * (1 - tied)).sum()])
        is_model = np.array([source == "model" for _, source, _ in votes.names])
        spread = np.where(is_model, JUDGE_SPREAD, RELIABILITY_SPREAD)
        prior = np.stack([spread**-2, np.full(n, SIDE_SPREAD**-2)], axis=1)
        expected = np.array([reliability for _, _, reliability in votes.names])
        pull -= prior * np.stack([self.reliability - expected, self.side], axis=1)
        step = np.linalg.solve(stiffness + prior[:, :, None] * np.eye(2), pull[:, :, None])[:, :, 0]
        reliability, side = self.reliability + step[:, 0], self.side + step[:, 1]
        # A judge that is wrong more often than not is ignored, and not believed turned round.
        reliability = np.where(is_model, np.maximum(0.0, reliability), reliability)
        tie_step = (ties[0] - (self.log_tie - TIE_PRIOR) / TIE_SPREAD**2) / (ties[1] + TIE_SPREAD**-2)
        return _Nature(reliability, side, self.log_tie + max(-1.0, min(1.0, float(tie_step))))

    def labellers(self, votes: _Votes) -> dict[str, Labeller]:
        import numpy as np

        counts = np.bincount(votes.labeller, minlength=len(votes.names))
        return {
            name: Labeller(name, source, float(self.reliability[k]), float(self.side[k]), int(counts[k]))
            for k, (name, source, _) in enumerate(votes.names)
        }


def _davidson(logits: "Array", log_tie: float, outcome: "Array") -> tuple["Array", "Array", "Array"]:
    """Return the log-likelihood's slope and curvature in the logits, and the probability of a tie, of each vote.

    The odds of left, tie and right are exp(t/2), v and exp(-t/2).
    """
    import numpy as np

    half = np.clip(logits, -60.0, 60.0) / 2
    left, right, tie = np.exp(half), np.exp(-half), np.exp(log_tie)
    total = left + right + tie
    lean, decided = (left - right) / total, (left + right) / total
    return (outcome - lean) / 2, (decided - lean**2) / 4, tie / total


def _climb(votes: _Votes, nature: _Nature, weights: "Array", precision: float) -> tuple["Array", "Array"]:
    """Return the weights after two Newton steps, and the information at the last of them."""
    import numpy as np

    scale = nature.reliability[votes.labeller]
    information = precision * np.eye(len(weights))
    for _ in range(2):
        slope, curve, _ = _davidson(nature.logits(votes, votes.gaps @ weights), nature.log_tie, votes.outcome)
        gradient = votes.gaps.T @ (scale * slope) - precision * weights
        information = (votes.gaps.T * (scale**2 * curve)) @ votes.gaps + precision * np.eye(len(weights))
        step = np.linalg.solve(information, gradient)
        weights = weights + step / max(1.0, float(np.abs(step).max()) / 4.0)
    return weights, information

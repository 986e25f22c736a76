"""Ranking: one posterior over how good prompts are, from the preferences of people, judge models and metrics.

Bradley-Terry strengths with Davidson's ties. The noun is Strengths; ``copeland`` counts majorities instead.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from promptopt.duel import Preference
from promptopt.votes import Labeller, Nature, Votes, davidson

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

ROUNDS = 12
SETTLED = 1e-6
DRAWS = 400
JITTER = 1e-9


@dataclass(frozen=True)
class Reading:
    """One way to read the preferences: what the labellers may be like, and the utilities if they are.

    Args:
        chance: How probable it is.
        utilities: The estimates, shape (n,).
        covariance: Of the utilities, shape (n, n).
        labellers: Who gave the preferences, by name.
        tie: Davidson's tie parameter: the odds of a tie to either side of two equally good prompts.
    """

    chance: float
    utilities: "Array"
    covariance: "Array"
    labellers: Mapping[str, Labeller]
    tie: float

    def draw(self, rng: random.Random, n: int) -> "Array":
        """Return utilities drawn from it, shape (n, prompts)."""
        return draw_normal(rng, self.utilities, self.covariance, n)


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
        readings: What it is the mean and the covariance of, the likeliest not always first.
    """

    ids: tuple[str, ...]
    utilities: "Array"
    covariance: "Array"
    labellers: Mapping[str, Labeller]
    tie: float
    n: int
    readings: tuple[Reading, ...] = ()

    def spread(self, left: int, right: int) -> float:
        """Return the standard deviation of the difference of two utilities."""
        return float(self.spreads(left)[right])

    def spreads(self, index: int) -> "Array":
        """Return the standard deviation of the difference of each utility to one of them, shape (n,)."""
        import numpy as np

        own = np.diag(self.covariance)
        return np.asarray(np.sqrt(np.maximum(own - 2 * self.covariance[index] + own[index], 0.0)))

    def draw(self, rng: random.Random, n: int = 1) -> "Array":
        """Return utilities drawn from the posterior, shape (n, prompts)."""
        return draw_normal(rng, self.utilities, self.covariance, n)


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

    Only preferences between the prompts named count, and of them only those that are evidence. Where two people or more
    have said something it is a mixture: that nobody prefers the worse, or that one of the least reliable does, each as
    probable as the preferences make it; told by its mean and covariance.

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
    votes, axes = Votes.of(preferences, ids, features).turned()
    precision = spread**-2
    fits = [_fit(votes, precision)]
    fits += [_fit(suspicion, precision) for suspicion in votes.suspicions(fits[0].nature)]
    best = max(fit.evidence for fit in fits)
    odds = np.exp([fit.evidence - best for fit in fits])
    unseen, seen = features @ features.T / precision, features @ axes
    readings = tuple(
        Reading(
            chance,
            seen @ fit.weights,
            unseen - seen @ (np.eye(len(fit.weights)) / precision - fit.covariance) @ seen.T,
            fit.nature.labellers(votes),
            math.exp(fit.nature.log_tie),
        )
        for chance, fit in zip((odds / odds.sum()).tolist(), fits, strict=True)
    )
    utilities = np.asarray(sum(reading.chance * reading.utilities for reading in readings))
    covariance = np.zeros_like(unseen)
    for reading in readings:
        away = reading.utilities - utilities
        covariance += reading.chance * (reading.covariance + np.outer(away, away))
    likeliest = max(readings, key=lambda reading: reading.chance)
    return Strengths(tuple(ids), utilities, covariance, likeliest.labellers, likeliest.tie, votes.n, readings)


@dataclass(frozen=True)
class _Fit:
    """A normal posterior of the weights, and how well it explains the votes.

    Args:
        weights: Its mean, shape (k,).
        covariance: Shape (k, k).
        nature: What the labellers are like.
        evidence: The logarithm of the probability of the votes and the labellers' nature, but for a constant.
    """

    weights: "Array"
    covariance: "Array"
    nature: Nature
    evidence: float


def _fit(votes: Votes, precision: float) -> _Fit:
    import numpy as np

    weights, nature = np.zeros(votes.gaps.shape[1]), Nature.of(votes)
    information = precision * np.eye(len(weights))
    for _ in range(ROUNDS if votes.n else 0):
        before = weights
        weights, information = _climb(votes, nature, weights, precision)
        variances = np.einsum("ij,ji->i", votes.gaps, np.linalg.solve(information, votes.gaps.T))
        nature = nature.learn(votes, votes.gaps @ weights, np.sqrt(variances))
        if float(np.abs(weights - before).max()) < SETTLED:
            break
    width = float(np.linalg.slogdet(information / precision)[1])
    evidence = nature.log_chance(votes, votes.gaps @ weights) - (precision * float(weights @ weights) + width) / 2
    return _Fit(weights, np.asarray(np.linalg.inv(information), dtype=float), nature, evidence)


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


def draw_normal(rng: random.Random, mean: "Array", covariance: "Array", n: int) -> "Array":
    """Return draws from a normal distribution of utilities, shape (n, prompts).

    Drawn in the space of prompts: the same whatever basis the weights have.
    """
    import numpy as np

    root = np.linalg.cholesky(covariance + JITTER * np.eye(len(mean)))
    return np.asarray(mean + normals(rng, (n, len(mean))) @ root.T)


def _climb(votes: Votes, nature: Nature, weights: "Array", precision: float) -> tuple["Array", "Array"]:
    """Return the weights after two Newton steps, and the information at the last of them."""
    import numpy as np

    scale = nature.reliability[votes.labeller]
    information = precision * np.eye(len(weights))
    for _ in range(2):
        slope, curve, _ = davidson(nature.logits(votes, votes.gaps @ weights), nature.log_tie, votes.outcome)
        gradient = votes.gaps.T @ (scale * slope) - precision * weights
        information = (votes.gaps.T * (scale**2 * curve)) @ votes.gaps + precision * np.eye(len(weights))
        step = np.linalg.solve(information, gradient)
        weights = weights + step / max(1.0, float(np.abs(step).max()) / 4.0)
    return weights, information

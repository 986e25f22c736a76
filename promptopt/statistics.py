"""Intervals and tests for scores in [0, 1]; the nouns are Interval and PairedDifference.

Prompts are compared on the same examples, so a difference is judged pair by pair; pairs are (before, after).
"""

import math
import random
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from statistics import NormalDist

Pairs = Sequence[tuple[float, float]]

Z_95 = 1.96  # standard errors to either end of a 95 % interval

# The shares that win fastest at gains of 3 to 20 points with usual discordance.
BETS = (0.15, 0.25, 0.35, 0.5)

_BINARY = frozenset((0.0, 1.0))
_STEPS = frozenset((-1.0, 0.0, 1.0))
_MOST_GROWTH = 700.0  # exp of more is no float


@dataclass(frozen=True, slots=True)
class Interval:
    """From low to high, at a confidence level in (0, 1)."""

    low: float
    high: float
    level: float = 0.95

    def holds(self, value: float) -> bool:
        """Say whether the value lies inside, ends included."""
        return self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """How much better the second of each pair is than the first.

    Args:
        mean: The mean difference after - before, in [-1, 1].
        interval: Of the mean difference.
        p_value: Two-sided, of the test that the interval inverts: below 1 - level exactly when 0 is outside.
        n: How many pairs.
        wins: In how many the second is higher.
        losses: In how many the first is higher.
        ties: In how many both are equal.
    """

    mean: float
    interval: Interval
    p_value: float
    n: int
    wins: int
    losses: int
    ties: int


def paired_difference(pairs: Pairs, *, level: float = 0.95) -> PairedDifference:
    """Return the mean difference of paired scores with its interval and p-value.

    Where every difference is -1, 0 or 1 (0/1 scores), the interval is Tango's score interval and the p-value
    McNemar's score test; else both are Student's paired t. Of seven intervals for 0/1 scores, and of t, percentile,
    BCa and bootstrap-t for graded ones, these two kept their coverage best (docs/decisions/intervals.md).
    No pairs give the whole range [-1, 1].
    """
    differences = [after - before for before, after in pairs]
    wins, losses = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
    n = len(differences)
    mean = math.fsum(differences) / n if n else 0.0
    if _STEPS.issuperset(differences):
        interval = tango(wins, losses, n, level=level)
        p_value = math.erfc(abs(wins - losses) / math.sqrt(2 * (wins + losses))) if wins + losses else 1.0
    else:
        interval, p_value = _student(differences, level)
        interval = Interval(max(-1.0, interval.low), min(1.0, interval.high), level)
    return PairedDifference(mean, interval, p_value, n, wins, losses, n - wins - losses)


def macro_difference(strata: Sequence[Pairs], *, level: float = 0.95) -> PairedDifference:
    """Return the mean of the strata's mean differences, each stratum counting the same; one is ``paired_difference``.

    The interval combines those of the strata, so it is as careful with few or equal scores as they are. The p-value is
    that of a normal estimate with this interval's width towards 0.
    """
    if len(strata) < 2:
        return paired_difference(strata[0] if strata else (), level=level)
    parts = [paired_difference(pairs, level=level) for pairs in strata]
    interval = mean_of_means([(part.mean, part.interval) for part in parts], level=level)
    mean = math.fsum(part.mean for part in parts) / len(parts)
    width = mean - interval.low if mean > 0 else interval.high - mean
    z = _normal_quantile(0.5 + level / 2) * abs(mean) / width if width else 0.0
    return PairedDifference(
        mean=mean,
        interval=interval,
        p_value=math.erfc(z / math.sqrt(2)),
        n=sum(part.n for part in parts),
        wins=sum(part.wins for part in parts),
        losses=sum(part.losses for part in parts),
        ties=sum(part.ties for part in parts),
    )


def mean_of_means(parts: Sequence[tuple[float, Interval]], *, level: float = 0.95) -> Interval:
    """Return the interval of the mean of independent estimates from those of the estimates, at the same level.

    One estimate keeps its interval, and none has the whole range of scores.

    Reference: Zou and Donner, Statistics in Medicine 27 (2008) 1693 (method of variance estimates recovery), eq. 3,
    for weights 1/k.
    """
    if len(parts) < 2:
        return parts[0][1] if parts else Interval(0.0, 1.0, level)
    mean = math.fsum(estimate for estimate, _ in parts) / len(parts)
    below = math.hypot(*(estimate - interval.low for estimate, interval in parts)) / len(parts)
    above = math.hypot(*(interval.high - estimate for estimate, interval in parts)) / len(parts)
    return Interval(mean - below, mean + above, level)


def tango(wins: int, losses: int, n: int, *, level: float = 0.95) -> Interval:
    """Return the score interval of a difference of paired proportions, (wins - losses) / n.

    It has a sensible width without any win or loss, and holds 0 exactly when McNemar's score test does not reject.

    Reference: Tango, Statistics in Medicine 17 (1998), section 3.
    """
    if n == 0:
        return Interval(-1.0, 1.0, level)
    z, centre = _normal_quantile(0.5 + level / 2), (wins - losses) / n
    low = _bisect(lambda delta: _tango_statistic(wins, losses, n, delta) > z, -1.0, centre)
    high = _bisect(lambda delta: _tango_statistic(wins, losses, n, delta) > -z, centre, 1.0)
    return Interval(low, high, level)


def wilson(mean: float, n: int, *, level: float = 0.95) -> Interval:
    """Return the score interval of a proportion seen in n examples.

    Reference: Wilson, JASA 22 (1927); Newcombe, Statistics in Medicine 17 (1998) 857, method 3.
    """
    if n == 0:
        return Interval(0.0, 1.0, level)
    z = _normal_quantile(0.5 + level / 2)
    shrink = 1 + z * z / n
    centre = (mean + z * z / (2 * n)) / shrink
    half = z * math.sqrt(mean * (1 - mean) / n + z * z / (4 * n * n)) / shrink
    return Interval(max(0.0, centre - half), min(1.0, centre + half), level)


def mean_interval(scores: Sequence[float], *, level: float = 0.95) -> Interval:
    """Return the interval of the mean of scores in [0, 1]: Wilson's for 0/1 scores, else Student's."""
    if _BINARY.issuperset(scores):
        return wilson(math.fsum(scores) / len(scores) if scores else 0.0, len(scores), level=level)
    interval = _student(scores, level)[0]
    return Interval(max(0.0, interval.low), min(1.0, interval.high), level)


def macro_interval(strata: Sequence[Sequence[float]], *, level: float = 0.95) -> Interval:
    """Return the interval of the mean of the strata's means, of scores in [0, 1]."""
    parts = [(math.fsum(scores) / len(scores), mean_interval(scores, level=level)) for scores in strata if scores]
    return mean_of_means(parts, level=level)


def evidence(differences: Iterable[float]) -> float:
    """Return the e-value against the claim that differences in [-1, 1] are 0 on average, or below.

    It is the wealth of somebody who had 1 and staked a fixed share of it on each difference being positive, averaged
    over several shares. As long as the claim holds it reaches 1 / alpha with probability alpha at most, however often
    one looks and whenever one stops.

    Reference: Waudby-Smith and Ramdas, JRSS B 86 (2024), section 4; Ville, Etude critique de la notion de collectif
        (1939), for the bound.
    """
    counts = Counter(differences)
    growths = (math.fsum(n * math.log1p(bet * d) for d, n in counts.items()) for bet in BETS)
    return math.fsum(math.exp(min(growth, _MOST_GROWTH)) for growth in growths) / len(BETS)


def needed_examples(discordance: float, difference: float, *, power: float = 0.8, level: float = 0.95) -> int:
    """Return how many paired examples show a difference with this power.

    Args:
        discordance: The share of examples on which the two prompts differ, in (0, 1].
        difference: The mean difference to be seen, in [-1, 1], not 0.
        power: The wanted chance to see it.
        level: Of the two-sided interval that has to exclude 0.

    Reference: Connor, Biometrics 43 (1987), eq. 3.
    """
    share, size = max(discordance, abs(difference)), abs(difference)
    z_level, z_power = _normal_quantile(0.5 + level / 2), _normal_quantile(power)
    root = (z_level * math.sqrt(share) + z_power * math.sqrt(share - size * size)) / size  # eq. 3
    return math.ceil(root * root)


def draw_standard_normal(rng: random.Random) -> float:
    """Draw a standard normal number, by its quantile from one uniform one: the same in every release of a library."""
    return _normal_quantile(min(max(rng.random(), 1e-12), 1 - 1e-12))


def rank_correlation(left: Sequence[float], right: Sequence[float]) -> float | None:
    """Return Spearman's correlation, of nearly equal values the mean rank.

    None below three pairs, of which any two agree wholly or not at all, and where one side is always the same.
    """
    a, b, mean = _ranks(left), _ranks(right), (len(left) - 1) / 2
    spread = math.sqrt(sum((x - mean) ** 2 for x in a) * sum((y - mean) ** 2 for y in b))
    if len(a) < 3 or not spread:
        return None
    return sum((x - mean) * (y - mean) for x, y in zip(a, b, strict=True)) / spread


def _ranks(values: Sequence[float]) -> list[float]:
    """Return the rank of each value from 0; equal values share their mean rank."""
    rounded = [round(value, 9) for value in values]
    ordered = sorted(rounded)
    return [(bisect_left(ordered, value) + bisect_right(ordered, value) - 1) / 2 for value in rounded]


def _tango_statistic(wins: int, losses: int, n: int, delta: float) -> float:
    """Return the score statistic of the hypothesis that the difference is delta; it falls as delta grows."""
    a = 2 * n
    b = (2 * n - wins + losses) * delta - wins - losses
    c = -losses * delta * (1 - delta)
    share = (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)  # the likeliest share of losses under delta
    variance = n * (2 * share + delta * (1 - delta))
    distance = wins - losses - n * delta
    if variance <= 1e-12:
        return math.copysign(math.inf, distance) if abs(distance) > 1e-12 else 0.0
    return distance / math.sqrt(variance)


def _student(values: Sequence[float], level: float) -> tuple[Interval, float]:
    """Return Student's interval of the mean and the two-sided p-value that it is 0."""
    n = len(values)
    if n < 2:
        return Interval(-math.inf, math.inf, level), 1.0
    mean = math.fsum(values) / n
    error = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1) / n)
    # One degree of freedom has the heaviest tail, and there the quantile is below 0.64 / (1 - level).
    quantile = _bisect(lambda t: _student_inside(t, n - 1) < level, 0.0, 1 / (1 - level))
    p_value = 1 - _student_inside(abs(mean) / error, n - 1) if error > 0 else float(mean == 0)
    return Interval(mean - quantile * error, mean + quantile * error, level), p_value


def _student_inside(t: float, degrees: int) -> float:
    """Return the chance that Student's t lies in [-t, t].

    Reference: Abramowitz and Stegun (1964), eqs. 26.7.3 and 26.7.4.
    """
    angle = math.atan(t / math.sqrt(degrees))
    cosine, odd = math.cos(angle), degrees % 2
    term, total = (cosine if odd else 1.0), 0.0
    for k in range(1 + odd, degrees, 2):
        total += term
        term *= cosine * cosine * k / (k + 1)
    inside = math.sin(angle) * total
    return 2 / math.pi * (angle + inside) if odd else inside  # eq. 26.7.3, eq. 26.7.4


def _normal_quantile(probability: float) -> float:
    return _normal().inv_cdf(probability)


@cache
def _normal() -> "NormalDist":
    from statistics import NormalDist  # here, since it loads fractions and decimals, which most commands never need

    return NormalDist()


def _bisect(low_side: Callable[[float], bool], low: float, high: float) -> float:
    """Return where the condition, true at the low end, turns false."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if low_side(middle) else (low, middle)
    return (low + high) / 2

"""How often does luck win? Simulated studies whose finalists are all equally good, and studies with a planted gain.

Finalists are chosen on dev and compared with the seed on test by the functions that real studies use (``choose``,
``judge_verdict``), and the exact coverage of the interval is summed over all possible tables.

    python benchmarks/null_studies.py [STUDIES] [--coverage]
"""

import math
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from promptopt.evaluation import Evaluation, Outcome
from promptopt.statistics import tango
from promptopt.verdict import Verdict, choose, judge_verdict

DISCORDANCES = (0.1, 0.2, 0.3)
PLANTED = 0.15
ACCURACY = 0.7
# Discordance and difference; 15 points need a discordance of 15 %, and 10 points at 10 % are the corner without losses.
CELLS = ((0.1, 0.0), (0.2, 0.0), (0.3, 0.0), (0.15, 0.15), (0.2, 0.15), (0.3, 0.15))
CORNERS = ((0.05, 0.0), (0.1, 0.05), (0.1, 0.1))


@dataclass(frozen=True)
class Setting:
    """One kind of study.

    Args:
        discordance: On which share of examples two finalists differ.
        gain: How much better one of the finalists truly is; 0 in a null study.
        finalists: The seed among them.
        dev: Examples for the choice; a range to draw from.
        test: Examples for the verdict.
    """

    discordance: float
    gain: float = 0.0
    finalists: int = 8
    dev: tuple[int, int] = (60, 100)
    test: int = 300


@dataclass(frozen=True)
class Tally:
    """What came of many studies: how many there were, found better, were compared, and had a covering interval."""

    studies: int
    better: int
    compared: int
    covered: int


def simulate(setting: Setting, studies: int, seed: int = 0) -> Tally:
    """Run many studies of one kind."""
    rng = random.Random(f"{seed} {setting}")
    better = compared = covered = 0
    for _ in range(studies):
        verdict, truth = one_study(setting, rng)
        better += verdict.word == "better"
        if verdict.difference:
            compared += 1
            covered += verdict.difference.interval.holds(truth)
    return Tally(studies, better, compared, covered)


def one_study(setting: Setting, rng: random.Random) -> tuple[Verdict, float]:
    """Choose on dev, judge on test; return the verdict and the true difference of the chosen one."""
    dev = outcomes(range(setting.finalists), rng.randint(*setting.dev), setting, rng)
    chosen = choose(dev)
    test = outcomes((0, chosen) if chosen else (0,), setting.test, setting, rng)
    return judge_verdict(test[0], test[-1]), setting.gain if chosen == 1 else 0.0


def outcomes(finalists: Sequence[int], n: int, setting: Setting, rng: random.Random) -> list[Evaluation]:
    """Draw fresh examples and independent outcomes of these finalists; number 0 is the seed, 1 has the gain.

    An example is one that only finalist 1 can do, or one on which everybody tosses a coin (two coins differ in half
    of the cases), or one that all do or all fail.
    """
    noisy = 2 * (max(setting.discordance, setting.gain) - setting.gain)
    rows: list[list[bool]] = []
    for _ in range(n):
        kind = rng.random()
        if kind < setting.gain:
            rows.append([finalist == 1 for finalist in finalists])
        elif kind < setting.gain + noisy:
            rows.append([rng.random() < 0.5 for _ in finalists])
        else:
            rows.append([rng.random() < ACCURACY] * len(finalists))
    return [
        Evaluation(
            str(finalist),
            tuple(Outcome(str(finalist), str(i), "ok", score=float(row[column])) for i, row in enumerate(rows)),
        )
        for column, finalist in enumerate(finalists)
    ]


def upper_limit(hits: int, n: int, level: float = 0.95) -> float:
    """Return the exact one-sided upper limit of a proportion (Clopper and Pearson, 1934)."""
    low, high = hits / n, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        tail = sum(table_chance((k, n - k), (middle, 1 - middle)) for k in range(hits + 1))
        low, high = (middle, high) if tail > 1 - level else (low, middle)
    return high


def coverage(n: int, discordance: float, difference: float) -> float:
    """Return the exact chance that the interval for 0/1 scores holds the true difference."""
    shares = ((discordance + difference) / 2, (discordance - difference) / 2, 1 - discordance)
    most = min(n, math.ceil(n * discordance + 7 * math.sqrt(n * discordance)) + 5)
    covered = 0.0
    for wins in range(most + 1):
        for losses in range(most + 1 - wins):
            chance = table_chance((wins, losses, n - wins - losses), shares)
            if chance > 1e-9:
                interval = tango(wins, losses, n)
                covered += chance * (interval.low - 1e-9 <= difference <= interval.high + 1e-9)
    return covered


def table_chance(counts: Sequence[int], shares: Sequence[float]) -> float:
    """Return the multinomial chance of these counts."""
    if any(count and share <= 0 for count, share in zip(counts, shares, strict=True)):
        return 0.0
    log = math.lgamma(sum(counts) + 1)
    for count, share in zip(counts, shares, strict=True):
        log += (count * math.log(share) if count else 0.0) - math.lgamma(count + 1)
    return math.exp(log)


def main(studies: int, with_coverage: bool) -> bool:
    """Print the tables; return whether every bound held."""
    good = True
    print(f"{'discordance':>12} {'gain':>5} {'better %':>9} {'limit %':>8} {'compared':>9} {'covered %':>10}")
    for discordance in DISCORDANCES:
        for gain in (0.0, PLANTED):
            tally = simulate(Setting(discordance, gain), studies)
            found, limit = tally.better / studies, upper_limit(tally.better, studies)
            covered = tally.covered / max(1, tally.compared)
            good &= found >= 0.8 if gain else limit < 0.065
            good &= 0.93 <= covered <= 0.97
            print(
                f"{max(discordance, gain):12.2f} {gain:5.2f} {100 * found:9.1f} {100 * limit:8.1f} "
                f"{tally.compared:9d} {100 * covered:10.1f}"
            )
    if with_coverage:
        print("\nexact coverage of the interval, %\n   n" + "".join(f"  {d:.2f}/+{g:.2f}" for d, g in CELLS + CORNERS))
        for n in (50, 100, 300):
            row = [coverage(n, discordance, difference) for discordance, difference in CELLS + CORNERS]
            good &= all(0.93 <= value <= 0.97 for value in row[: len(CELLS)])
            print(f"{n:4d}" + "".join(f"{100 * value:12.1f}" for value in row))
    print("all bounds hold" if good else "A BOUND IS BROKEN")
    return good


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:] if argument.isdigit()]
    sys.exit(0 if main(numbers[0] if numbers else 1_000, "--coverage" in sys.argv) else 1)

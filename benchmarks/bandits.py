"""Selectors on simulated arms: how much worse are the chosen than the best, and how often does a race err?

python benchmarks/bandits.py [REPETITIONS]: 36 arms, 4 wanted, 2,048 pulls; every selector meets the same arms and the
same outcomes, so that differences to ``uniform`` are paired. Then races of two arms, equal or ten points apart.
"""

import math
import random
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from statistics import NormalDist
from typing import NamedTuple

from promptopt import selection, selection_as_coded
from promptopt.ask import Search
from promptopt.example import Example
from promptopt.prompt import Candidate, Prompt
from promptopt.selection import Ranking
from promptopt.statistics import Interval, mean_interval, paired_difference
from promptopt.testing.answers import answer_from, drive

KEEP, BUDGET = 4, 2_048
ARMS = [Candidate(Prompt({"instruction": f"arm {index}"})) for index in range(36)]
EXAMPLES = [Example({"input": str(index)}) for index in range(1_200)]
PLACE = {arm.id: index for index, arm in enumerate(ARMS)}
ROW = {example.id: index for index, example in enumerate(EXAMPLES)}
HARDNESS = 2.0  # the spread of the examples' difficulty in log-odds, where arms share it: 24 % discordance
PAIRS, ALPHA = 400, 0.05

Selector = Callable[[random.Random], Search[Ranking]]
World = Callable[[int], tuple[list[float], Callable[[Candidate, Example], float]]]


def selectors() -> dict[str, Selector]:
    """Return every selector, given nothing but a source of chance."""
    own, coded = selection, selection_as_coded
    budget, keep = BUDGET, KEEP
    return {
        "uniform": lambda _: own.uniform(ARMS, EXAMPLES, budget=budget),
        "ucb, c = 1": lambda _: own.ucb(ARMS, EXAMPLES, budget=budget),
        "ucb, c = 2": lambda _: own.ucb(ARMS, EXAMPLES, budget=budget, c=2.0),
        "ucb_e, c = 1": lambda _: own.ucb_e(ARMS, EXAMPLES, budget=budget),
        "successive_rejects": lambda _: own.successive_rejects(ARMS, EXAMPLES, budget=budget, keep=keep),
        "successive_halving": lambda _: own.successive_halving(ARMS, EXAMPLES, budget=budget, keep=keep),
        "sequential_elimination": lambda _: own.sequential_elimination(ARMS, EXAMPLES, budget=budget, keep=keep),
        "the same, power = 1": lambda _: own.sequential_elimination(
            ARMS, EXAMPLES, budget=budget, keep=keep, power=1.0
        ),
        "race": lambda _: own.race(ARMS, EXAMPLES, budget=budget, drop=selection.Drop(keep=keep)),
        "safe_race": lambda _: own.safe_race(ARMS, EXAMPLES, budget=budget, keep=keep),
        "uniform_as_coded": lambda rng: coded.uniform_as_coded(ARMS, EXAMPLES, budget=budget, rng=rng),
        "ucb_as_coded": lambda rng: coded.ucb_as_coded(ARMS, EXAMPLES, rng=rng),
        "ucb_e_as_coded": lambda rng: coded.ucb_as_coded(ARMS, EXAMPLES, rng=rng, error=True),
        "successive_rejects_as_coded": lambda rng: coded.successive_rejects_as_coded(
            ARMS, EXAMPLES, budget=budget, keep=keep, rng=rng
        ),
        "sampled_rejects_as_coded": lambda rng: coded.sampled_rejects_as_coded(
            ARMS, EXAMPLES, budget=budget, keep=keep, rng=rng
        ),
        "successive_halving_as_coded": lambda rng: coded.successive_halving_as_coded(
            ARMS, EXAMPLES, budget=budget, rng=rng
        ),
    }


def independent(repetition: int) -> tuple[list[float], Callable[[Candidate, Example], float]]:
    """Return arms with means of N(0.75, 0.05) and outcomes that have nothing in common: the problem of the notes."""
    rng = random.Random(f"means {repetition}")
    means = [min(1.0, max(0.0, rng.gauss(0.75, 0.05))) for _ in ARMS]
    return means, _scorer(repetition, lambda arm, _: means[arm])


def alike(repetition: int) -> tuple[list[float], Callable[[Candidate, Example], float]]:
    """Return arms for which the same examples are easy and hard, as they are for prompts."""
    rng = random.Random(f"arms {repetition}")
    stretch = math.sqrt(1 + HARDNESS**2 / 3)
    arms = [stretch * (1.2 + rng.gauss(0, 0.28)) for _ in ARMS]
    hardness = [rng.gauss(0, HARDNESS) for _ in EXAMPLES]
    levels = [HARDNESS * NormalDist().inv_cdf((step + 0.5) / 200) for step in range(200)]
    means = [sum(_sigmoid(arm + level) for level in levels) / len(levels) for arm in arms]
    return means, _scorer(repetition, lambda arm, row: _sigmoid(arms[arm] + hardness[row]))


def _scorer(repetition: int, chance: Callable[[int, int], float]) -> Callable[[Candidate, Example], float]:
    """Return 0/1 scores that do not depend on the order in which they are asked for."""
    draws = random.Random(f"outcomes {repetition}")
    table = [[draws.random() for _ in EXAMPLES] for _ in ARMS]

    def score(arm: Candidate, example: Example) -> float:
        place, row = PLACE[arm.id], ROW[example.id]
        return float(table[place][row] < chance(place, row))

    return score


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def repeat(world: World, repetition: int) -> list[tuple[float, int]]:
    """Return the simple regret and the pulls of every selector in one world."""
    means, score = world(repetition)
    best = sum(sorted(means)[-KEEP:])
    results = []
    for selector in selectors().values():
        ranking, _ = drive(selector(random.Random(f"draws {repetition}")), answer_from(score))
        chosen = sum(means[PLACE[arm.id]] for arm in ranking.candidates[:KEEP])
        results.append(((best - chosen) / KEEP, ranking.spent))
    return results


class Race(NamedTuple):
    """A way to race two arms, by the chances that the first alone and the second alone are right."""

    name: str
    run: Callable[[], Search[Ranking]]


def races() -> Iterator[Race]:
    """Yield the safe race, the race that irace climbs by, and the repeated t-test at 0.2 of others."""
    pair, course = ARMS[:2], EXAMPLES[:PAIRS]
    yield Race("safe_race", lambda: selection.safe_race(pair, course, budget=2 * PAIRS, alpha=ALPHA))
    for z in (1.7, 0.84):
        drop = selection.Drop(deficit=1.0, z=z)
        yield Race(f"race, z = {z}", partial(selection.race, pair, course, budget=2 * PAIRS, drop=drop))


def raced(discordance: float, gain: float, repetition: int) -> list[tuple[bool, bool]]:
    """Return for each way to race whether the first arm and whether the second was beaten."""
    rng = random.Random(f"race {discordance} {gain} {repetition}")
    wins, both = (discordance + gain) / 2, (1 - discordance) / 2
    draws = [rng.random() for _ in range(PAIRS)]

    def score(arm: Candidate, example: Example) -> float:
        draw = draws[ROW[example.id]]
        if draw < discordance:
            return float((draw < wins) == (arm.id == ARMS[0].id))
        return float(draw < discordance + both)

    rankings = [drive(race.run(), answer_from(score))[0] for race in races()]
    return [(ARMS[0].id in ranking.beaten, ARMS[1].id in ranking.beaten) for ranking in rankings]


def main(repetitions: int) -> None:
    """Print a table a world, and one of races."""
    with ProcessPoolExecutor(2) as pool:
        for world in (independent, alike):
            runs = list(pool.map(partial(repeat, world), range(repetitions), chunksize=10))
            _print_world(world.__name__, runs)
        print(f"\n{'two arms, 400 pairs at most':30} {'differ':>7} {'gain':>5} {'better found':>22} {'errors':>22}")
        for gain in (0.0, 0.1):
            for discordance in (0.1, 0.2, 0.3, 0.375):
                raced_here = partial(raced, discordance, gain)
                _print_races(discordance, gain, list(pool.map(raced_here, range(1_000), chunksize=50)))


def _print_world(name: str, runs: list[list[tuple[float, int]]]) -> None:
    print(f"\n{name:30} {'regret':>8} {'better than uniform, 95 %':>30} {'pulls':>7} {'most':>7}")
    for index, selector in enumerate(selectors()):
        regrets, pulls = zip(*(run[index] for run in runs), strict=True)
        gain = paired_difference([(regret, run[0][0]) for regret, run in zip(regrets, runs, strict=True)])
        gained = f"{gain.mean:+.4f} {_range(gain.interval, 4)}" if index else "-"
        spent = f"{sum(pulls) / len(runs):7.0f} {max(pulls):7}"
        print(f"{selector:30} {sum(regrets) / len(runs):8.4f} {gained:>30} {spent}")


def _print_races(discordance: float, gain: float, runs: list[list[tuple[bool, bool]]]) -> None:
    for index, race in enumerate(races()):
        wrong = [float(first or (second and not gain)) for first, second in (run[index] for run in runs)]
        found = [float(run[index][1]) for run in runs] if gain else []
        print(f"{race.name:30} {discordance:7.3f} {gain:5.2f} {_share(found):>22} {_share(wrong):>22}")


def _share(values: list[float]) -> str:
    return f"{sum(values) / len(values):.3f} {_range(mean_interval(values), 3)}" if values else "-"


def _range(interval: Interval, digits: int) -> str:
    return f"({interval.low:.{digits}f} to {interval.high:.{digits}f})"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)

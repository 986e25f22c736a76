"""Do failing calls make us choose a worse prompt? Simulated studies with errors, each paired with itself without.

    python benchmarks/faulty_studies.py [STUDIES] [--jobs N]

Of every study a share of up to half of all attempts fails: rate limits, server errors and unreadable replies, which are
tried again, and answers cut short, which stay missing. The landscape knows how good each prompt truly is, so the
chosen prompts of the pair can be compared without any luck of a test. A study that pauses, or whose verdict is *not
measured*, has said that it cannot choose, and is counted apart.
"""

import random
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from math import sqrt
from multiprocessing import get_context
from statistics import fmean, stdev
from tempfile import TemporaryDirectory

from table import show_cells
from workload import examples, task_of

from promptopt import api
from promptopt.budget import Budget
from promptopt.config import ModelSpec, StrategySpec, StudySpec
from promptopt.landscape import Landscape
from promptopt.result import Result
from promptopt.task import Task

STRATEGIES = ("irace", "random", "opro", "apo")
KINDS = ("rate_limit", "server_error", "malformed", "truncated")
MOST = 0.5
BANDS = 5
EVALUATIONS = 300
TRAIN, DEV, TEST = 150, 60, 120
UNSEEN = examples(TRAIN + DEV + TEST, 300)
MOST_POINTS = 1.0
Z_95 = 1.96


@dataclass(frozen=True)
class Pair:
    """What one study chose with errors and without.

    Args:
        share: Of attempts that fail.
        word: ``paused``, or the verdict's word.
        chosen: The true accuracy of the prompt chosen with errors; 0 if it paused.
        without: That of the one chosen without.
        missing: The share of the final's outcomes that carry no score.
    """

    share: float
    word: str
    chosen: float
    without: float
    missing: float = 0.0

    @property
    def decided(self) -> bool:
        return self.word not in ("paused", "not measured")

    @property
    def points(self) -> float:
        """By how many points the chosen prompt is worse for the errors."""
        return 100 * (self.without - self.chosen)


def one_pair(number: int) -> Pair:
    """Run the study of this number twice, in the same world."""
    rng = random.Random(f"faulty {number}")
    strategy, task = STRATEGIES[number % len(STRATEGIES)], task_of(dev=DEV, train=TRAIN, test=TEST)
    share = rng.uniform(0.0, MOST)
    weights = [rng.random() for _ in KINDS]
    faults = {kind: str(share * weight / sum(weights)) for kind, weight in zip(KINDS, weights, strict=True)}
    clean, faulty = (run(number, strategy, task, options) for options in ({}, faults))
    without = true_accuracy(number, clean)
    if faulty.proof is None:
        return Pair(share, faulty.state, 0.0, without)
    final = [finalist.dev for finalist in faulty.proof.finalists]
    missing = 1 - fmean(evaluation.n_valid / evaluation.n for evaluation in final)
    return Pair(share, faulty.proof.verdict.word, true_accuracy(number, faulty), without, missing)


def run(number: int, strategy: str, task: Task, faults: dict[str, str]) -> Result:
    with TemporaryDirectory() as folder:
        spec = StudySpec(
            model=ModelSpec(f"simulated:additive?seed={number}", options=faults),
            strategy=StrategySpec(strategy),
            budget=Budget(evaluations=EVALUATIONS),
            seed=number,
            store=f"{folder}/store.db",
        )
        with api.open_study(spec, task=task) as study:
            return study.run()


def true_accuracy(number: int, result: Result) -> float:
    """Return how often the prompt that dev has chosen is right on unseen examples in the long run."""
    assert result.proof is not None
    chosen = result.proof.finalists[result.proof.chosen].candidate.prompt
    return Landscape("additive", number).accuracy(chosen, UNSEEN)


def line(name: str, pairs: Sequence[Pair]) -> tuple[str, ...]:
    decided = [pair for pair in pairs if pair.decided]
    paused = sum(pair.word == "paused" for pair in pairs)
    head = (name, str(len(pairs)), str(paused), str(len(pairs) - paused - len(decided)))
    if len(decided) < 2:
        return (*head, "", "", "", "")
    missing, mean, half = fmean(pair.missing for pair in decided), *fall(decided)
    accuracies = (
        f"{100 * fmean(pair.without for pair in decided):.1f}",
        f"{100 * fmean(p.chosen for p in decided):.1f}",
    )
    return (*head, f"{missing:.1%}", *accuracies, f"{mean:+.2f} ({mean - half:+.2f} to {mean + half:+.2f})")


def fall(pairs: Sequence[Pair]) -> tuple[float, float]:
    """Return by how many points accuracy falls on average, and half of its 95 % interval."""
    points = [pair.points for pair in pairs]
    return fmean(points), Z_95 * stdev(points) / sqrt(len(points))


def main(studies: int, jobs: int) -> bool:
    """Print the table; return whether the bound held."""
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        pairs = list(pool.map(one_pair, range(studies)))
    lines: list[tuple[str, ...]] = [
        ("failing", "studies", "paused", "not measured", "missing", "without, %", "with, %", "falls by, points")
    ]
    for band in range(BANDS):
        low, high = MOST * band / BANDS, MOST * (band + 1) / BANDS
        lines.append(line(f"{low:.0%} to {high:.0%}", [pair for pair in pairs if low <= pair.share < high]))
    lines += [line(name, pairs[place :: len(STRATEGIES)]) for place, name in enumerate(STRATEGIES)]
    show_cells([*lines, line("all", pairs)])
    mean, _ = fall([pair for pair in pairs if pair.decided])
    print(f"a fall of at most {MOST_POINTS:g} point {'holds' if mean <= MOST_POINTS else 'IS BROKEN'}")
    return mean <= MOST_POINTS


if __name__ == "__main__":
    arguments = [argument for argument in sys.argv[1:] if argument != "--jobs"]
    jobs = int(arguments.pop()) if "--jobs" in sys.argv else 1
    sys.exit(0 if main(int(arguments[0]) if arguments else 200, jobs) else 1)

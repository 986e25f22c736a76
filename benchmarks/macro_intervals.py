"""How often the interval of a macro mean's paired difference holds the truth, over simulated suites.

python benchmarks/macro_intervals.py [REPETITIONS]
"""

import sys
from random import Random

from promptopt.statistics import macro_difference

# For each task: test examples, the chance that only the second prompt is right, and that only the first is.
SUITES = {
    "equal sizes, no difference": [(200, 0.1, 0.1)] * 4,
    "sizes 50 to 300, no difference": [(50, 0.1, 0.1), (100, 0.2, 0.2), (200, 0.05, 0.05), (300, 0.15, 0.15)],
    "one task nearly all ties": [(100, 0.002, 0.002), (100, 0.15, 0.15), (100, 0.15, 0.15), (100, 0.15, 0.15)],
    "gains and losses that cancel": [(100, 0.25, 0.05), (100, 0.05, 0.25), (60, 0.1, 0.1), (300, 0.1, 0.1)],
    "a gain of 5 points": [(100, 0.15, 0.1), (200, 0.15, 0.1), (100, 0.15, 0.1), (200, 0.15, 0.1)],
    "six small tasks": [(30, 0.15, 0.1)] * 6,
    "graded scores": [(80, 0.2, 0.2)] * 4,
}


def draw(rng: Random, n: int, win: float, loss: float, *, graded: bool) -> list[tuple[float, float]]:
    def pair() -> tuple[float, float]:
        luck, size = rng.random(), rng.random() if graded else 1.0
        return (0.0, size) if luck < win else (size, 0.0) if luck < win + loss else (size, size)

    return [pair() for _ in range(n)]


def main() -> None:
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000
    print(f"{'suite':34} {'holds the truth':>15} {'below it':>9} {'above it':>9}   of {repetitions}")
    for name, tasks in SUITES.items():
        rng, below, above = Random(name), 0, 0
        graded = name == "graded scores"
        truth = sum((win - loss) * (0.5 if graded else 1.0) for _, win, loss in tasks) / len(tasks)
        for _ in range(repetitions):
            interval = macro_difference([draw(rng, *task, graded=graded) for task in tasks]).interval
            below += interval.high < truth
            above += interval.low > truth
        held = 1 - (below + above) / repetitions
        print(f"{name:34} {held:15.1%} {below / repetitions:9.1%} {above / repetitions:9.1%}")


if __name__ == "__main__":
    main()

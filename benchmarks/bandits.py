"""Simple regret of the selectors on 36 simulated arms: how much worse are the four chosen than the four best?

python benchmarks/bandits.py [REPETITIONS]
"""

import random
import sys
from collections.abc import Callable
from functools import partial

from promptopt import selection, selection_as_coded
from promptopt.ask import Search
from promptopt.example import Example
from promptopt.prompt import Candidate, Prompt
from promptopt.testing.answers import answer_from, drive

KEEP, BUDGET = 4, 2_048
ARMS = [Candidate(Prompt({"instruction": f"arm {index}"})) for index in range(36)]
EXAMPLES = [Example({"input": str(index)}) for index in range(1_200)]

Selector = Callable[[random.Random], Search[selection.Ranking]]


def selectors() -> dict[str, Selector]:
    """Return every selector, given nothing but a source of chance."""
    own, coded = selection, selection_as_coded
    return {
        "uniform": lambda _: own.uniform(ARMS, EXAMPLES, budget=BUDGET),
        "ucb, c = 1": lambda _: own.ucb(ARMS, EXAMPLES, budget=BUDGET),
        "ucb_e, c = 1": lambda _: own.ucb_e(ARMS, EXAMPLES, budget=BUDGET),
        "successive_rejects": lambda _: own.successive_rejects(ARMS, EXAMPLES, budget=BUDGET, keep=KEEP),
        "successive_halving": lambda _: own.successive_halving(ARMS, EXAMPLES, budget=BUDGET, keep=KEEP),
        "race": lambda _: own.race(ARMS, EXAMPLES, budget=BUDGET, drop=selection.Drop(keep=KEEP)),
        "uniform_as_coded": lambda rng: coded.uniform_as_coded(ARMS, EXAMPLES, budget=BUDGET, rng=rng),
        "ucb_as_coded": lambda rng: coded.ucb_as_coded(ARMS, EXAMPLES, rng=rng),
        "ucb_e_as_coded": lambda rng: coded.ucb_as_coded(ARMS, EXAMPLES, rng=rng, error=True),
        "successive_rejects_as_coded": lambda rng: coded.successive_rejects_as_coded(
            ARMS, EXAMPLES, budget=BUDGET, keep=KEEP, rng=rng
        ),
        "successive_halving_as_coded": lambda rng: coded.successive_halving_as_coded(
            ARMS, EXAMPLES, budget=BUDGET, rng=rng
        ),
    }


def regret(selector: Selector, repetition: int) -> tuple[float, int]:
    """Return the simple regret of one run, and its pulls; every selector meets the same arms and outcomes."""
    rng = random.Random(f"means {repetition}")
    means = {arm.id: min(1.0, max(0.0, rng.gauss(0.75, 0.05))) for arm in ARMS}
    outcomes = random.Random(f"outcomes {repetition}")
    table: dict[tuple[str, str], float] = {}

    def score(arm: Candidate, example: Example) -> float:
        return table.setdefault((arm.id, example.id), float(outcomes.random() < means[arm.id]))

    ranking, _ = drive(selector(random.Random(f"draws {repetition}")), answer_from(score))
    chosen = sum(means[arm.id] for arm in ranking.candidates[:KEEP])
    return (sum(sorted(means.values())[-KEEP:]) - chosen) / KEEP, ranking.spent


def main(repetitions: int) -> None:
    """Print one row a selector."""
    print(f"{'selector':30} {'regret':>8} {'+-':>7} {'pulls':>7}")
    for name, selector in selectors().items():
        runs = list(map(partial(regret, selector), range(repetitions)))
        mean = sum(value for value, _ in runs) / repetitions
        error = (sum((value - mean) ** 2 for value, _ in runs) / repetitions / max(1, repetitions - 1)) ** 0.5
        print(f"{name:30} {mean:8.4f} {error:7.4f} {sum(pulls for _, pulls in runs) / repetitions:7.0f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)

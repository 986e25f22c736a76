"""OPRO on numbers: linear regression and the travelling salesman, the demonstrations of the paper.

    python benchmarks/opro_maths.py
    python benchmarks/opro_maths.py --optimizer http://localhost:8000/v1#model

The strategy is the real one, driven by hand. A text is a pair of numbers or a tour, and its score is how much better it
is than the worst start. Without ``--optimizer`` the optimizer model is a scripted one: simulated and no language model,
but told no more than one is. It reads the meta-prompt, takes the best texts shown, and writes texts near them.

Reference: Yang et al., Large Language Models as Optimizers, ICLR 2024, sections 3.1 and 3.2.
"""

import argparse
import math
import random
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import combinations, count, islice
from typing import Any, Protocol

from promptopt import Candidate, Context, Dialogue, Evaluate, Evaluation, Example, Outcome, Prompt, Recommend
from promptopt.ask import Ask, Evaluated, Write, Written
from promptopt.backends.address import open_backend
from promptopt.backends.base import Backend, Request
from promptopt.layout import chat_layout
from promptopt_strategies.opro import OPRO

Optimizer = Callable[[Write], Written]
Improve = Callable[[str], Iterator[str]]  # from a meta-prompt to texts, the most promising first

REPETITIONS = 5
SAMPLES = 8
STARTS = 5
SHOWN_TEXT = re.compile(r"^text:\n([-\d, ]+)\nscore:\n\d+$", re.MULTILINE)
PROBLEM = Example({"input": ""}, "")  # there is one example: the problem itself


class Problem(Protocol):
    """What is solved by proposing texts.

    Args:
        description: What the optimizer model is told.
        starts: The texts that are scored first.
        shown: How many of the best texts it is shown.
    """

    description: str
    starts: tuple[str, ...]
    shown: int

    def loss(self, text: str) -> float | None:
        """Return what is to be made small; None if the text is no proposal."""

    def is_solved_by(self, text: str) -> bool:
        """Say whether there is nothing better than this text."""


@dataclass
class Run:
    """OPRO at work on a problem.

    Args:
        problem: The problem.
        optimizer: Writes the proposals.
        max_steps: The run ends after so many steps.
        losses: What every text came to, in the order of their coming.
        metas: The meta-prompt of each step.
    """

    problem: Problem
    optimizer: Optimizer
    max_steps: int
    losses: dict[str, float | None] = field(default_factory=dict)
    metas: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.worst = max(filter(None, map(self.problem.loss, self.problem.starts)))
        self.plan = len(self.problem.starts) + SAMPLES * self.max_steps

    @property
    def steps(self) -> int:
        return len(self.metas)

    @property
    def best(self) -> tuple[float, str]:
        """The least loss and its text."""
        return min((loss, text) for text, loss in self.losses.items() if loss is not None)

    @property
    def is_solved(self) -> bool:
        return self.problem.is_solved_by(self.best[1]) if self.losses else False

    def drive(self) -> "Run":
        """Let OPRO propose until the problem is solved or the steps are used; return this run."""
        strategy = OPRO(
            steps=self.max_steps,
            samples=SAMPLES,
            shown=self.problem.shown,
            exemplars=0,
            meta_prompt="bracketed",
            buckets=int(self.worst),  # so that a score is shown as a loss is in the paper: to the whole number
            refuse_digits="never",
            fit_to_plan=False,
            subset_share=1.0,
            gate=0,
            idle_steps=0,
        )
        seeds = tuple(Prompt.of(start, chat_layout({})) for start in self.problem.starts)
        dialogue = Dialogue(strategy, Context(self.problem.description, seeds, (), (PROBLEM,), self.plan))
        while not self.is_solved and (ask := dialogue.ask()) is not None:
            dialogue.tell(self._answer(ask))
        return self

    def _answer(self, ask: Ask[Any]) -> Any:
        if isinstance(ask, Write):
            self.metas.append(ask.messages[-1].content)
            return self.optimizer(ask)
        if isinstance(ask, Evaluate):
            evaluations = tuple(map(self._evaluate, ask.candidates))
            return Evaluated(evaluations, self.plan - len(self.losses))
        assert isinstance(ask, Recommend)
        return None

    def _evaluate(self, candidate: Candidate) -> Evaluation:
        text = candidate.prompt.instruction
        self.losses[text] = loss = self.problem.loss(text)
        if loss is None:  # a failure is missing data: it has no place in the history
            return Evaluation(candidate.id, (Outcome(candidate.id, PROBLEM.id, "malformed", text),))
        return Evaluation(
            candidate.id, (Outcome(candidate.id, PROBLEM.id, "ok", text, max(0.0, 1 - loss / self.worst)),)
        )


class LinearRegression:
    """Find w and b of y = 15 x + 14 + N(0, 1), x from 1 to 50, from pairs and their losses (section 3.1)."""

    w, b, shown = 15, 14, 20
    description = (
        "There is a function of two whole numbers, w and b, and it is to be made as large as possible. A text here is "
        "nothing but two numbers, as in [3, 4] for w = 3 and b = 4, and its score is what the function gives."
    )

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)
        self.points = [(x, self.w * x + self.b + rng.gauss(0, 1)) for x in range(1, 51)]
        pairs = ((round(rng.uniform(10, 20)), round(rng.uniform(10, 20))) for _ in range(STARTS))
        self.starts = tuple(dict.fromkeys(f"{w}, {b}" for w, b in pairs))

    def loss(self, text: str) -> float | None:
        """Return the squared error."""
        if (numbers := read_numbers(text)) is None or len(numbers) != 2:
            return None
        return sum((y - numbers[0] * x - numbers[1]) ** 2 for x, y in self.points)

    def is_solved_by(self, text: str) -> bool:
        return read_numbers(text) == [self.w, self.b]


class Salesman:
    """Find the shortest tour through points with whole coordinates from -100 to 100 (section 3.2)."""

    shown = 10

    def __init__(self, seed: int, n: int = 10) -> None:
        rng = random.Random(seed)
        self.points = [(rng.randint(-100, 100), rng.randint(-100, 100)) for _ in range(n)]
        tours = ([0, *rng.sample(range(1, n), n - 1)] for _ in range(STARTS))
        self.starts = tuple(dict.fromkeys(", ".join(map(str, tour)) for tour in tours))
        self.optimum = shortest_tour(self.points)
        where = "; ".join(f"{number} at ({x}, {y})" for number, (x, y) in enumerate(self.points))
        self.description = (
            f"Find the shortest round tour through these points: {where}. A text here is nothing but a tour: all "
            "numbers of points, each once, 0 first, as in [0, 2, 1]. The shorter it is, the higher its score."
        )

    def loss(self, text: str) -> float | None:
        """Return the length of the tour."""
        tour = read_numbers(text)
        if tour is None or sorted(tour) != list(range(len(self.points))) or tour[0] != 0:
            return None
        return tour_length(self.points, tour)

    def is_solved_by(self, text: str) -> bool:
        loss = self.loss(text)
        return loss is not None and loss < self.optimum + 1e-9


def read_numbers(text: str) -> list[int] | None:
    """Return the whole numbers of a text such as ``3, -4``; None if there is anything else."""
    return [int(number) for number in text.split(",")] if re.fullmatch(r"\s*-?\d+(\s*,\s*-?\d+)*\s*", text) else None


def tour_length(points: list[tuple[int, int]], tour: list[int]) -> float:
    return math.fsum(math.dist(points[a], points[b]) for a, b in zip(tour, [*tour[1:], tour[0]], strict=True))


def shortest_tour(points: list[tuple[int, int]]) -> float:
    """Return the length of the shortest tour (Held and Karp 1962: the best way through each set to each last point)."""
    others = range(1, len(points))
    ways = {(1 << point, point): math.dist(points[0], points[point]) for point in others}
    for size in range(2, len(points)):
        for chosen in combinations(others, size):
            mask = sum(1 << point for point in chosen)
            for last in chosen:
                before = [point for point in chosen if point != last]
                ways[mask, last] = min(
                    ways[mask ^ (1 << last), point] + math.dist(points[point], points[last]) for point in before
                )
    everything = sum(1 << point for point in others)
    return min(ways[everything, point] + math.dist(points[point], points[0]) for point in others)


def near_pairs(meta: str) -> Iterator[str]:
    """Write the pairs around the best one shown, the nearest first, but for those shown."""
    shown = SHOWN_TEXT.findall(meta)
    w, b = read_numbers(shown[-1]) or [0, 0]
    for radius in count(1):
        reach = range(-radius, radius + 1)
        ring = ((dw, db) for dw in reach for db in reach if max(abs(dw), abs(db)) == radius)
        yield from (text for dw, db in ring if (text := f"{w + dw}, {b + db}") not in shown)


def two_opt(meta: str) -> Iterator[str]:
    """Turn a part of one of the tours shown around; the shortest of what comes out first, but for those shown."""
    points = [(int(x), int(y)) for x, y in re.findall(r"at \((-?\d+), (-?\d+)\)", meta)]
    shown = [read_numbers(text) or [] for text in SHOWN_TEXT.findall(meta)]
    turned = [
        [*tour[:start], *reversed(tour[start:end]), *tour[end:]]
        for tour in shown
        for start, end in combinations(range(1, len(points) + 1), 2)
    ]
    fresh = (tour for tour in turned if tour not in shown)
    ordered = sorted(fresh, key=lambda tour: (round(tour_length(points, tour), 9), tour))
    yield from dict.fromkeys(", ".join(map(str, tour)) for tour in ordered)


def scripted(improve: Improve) -> Optimizer:
    """Return the simulated optimizer model that writes what this function finds in the meta-prompt."""

    def write(ask: Write) -> Written:
        return Written(tuple(f"[{text}]" for text in islice(improve(ask.messages[-1].content), ask.n)))

    return write


def of_model(backend: Backend) -> Optimizer:
    """Return a real model as the optimizer model."""

    def write(ask: Write) -> Written:
        requests = ((n, Request("chat", ask.messages, ask.max_tokens, ask.temperature, seed=n)) for n in range(ask.n))
        replies = [arrival[1] for arrival in backend.run(requests) if arrival]
        texts = tuple(reply.text for reply in replies if reply.status in ("ok", "truncated"))
        return Written(texts, failed=ask.n - len(texts))

    return write


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--optimizer", help="the address of a model; without it a scripted one writes")
    parser.add_argument("--steps", type=int, default=500, help="most steps of a run (default: the paper's 500)")
    parser.add_argument("--points", type=int, default=10, help="of the salesman; beyond 13 the optimum takes long")
    options = parser.parse_args()
    with ExitStack() as stack:
        pairs, tours = scripted(near_pairs), scripted(two_opt)
        if options.optimizer:
            pairs = tours = of_model(stack.enter_context(closing(open_backend(options.optimizer))))
        for seed in range(1, REPETITIONS + 1):
            run = Run(LinearRegression(seed), pairs, options.steps).drive()
            print(f"linear regression {seed}: {'solved' if run.is_solved else 'not solved'} after {run.steps} steps")
        for seed in range(1, REPETITIONS + 1):
            salesman = Salesman(seed, options.points)
            run = Run(salesman, tours, options.steps).drive()
            gap = run.best[0] / salesman.optimum - 1
            print(f"travelling salesman {seed}: {gap:.1%} over the optimum after {run.steps} steps")


if __name__ == "__main__":
    main()

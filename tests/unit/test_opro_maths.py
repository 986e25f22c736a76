"""OPRO solves its demonstrations on numbers with scripted optimizer models: section 2f, and line 10 of section 2i."""

import math
import random
from itertools import permutations

import pytest

from benchmarks.opro_maths import (
    SHOWN_TEXT,
    LinearRegression,
    Run,
    Salesman,
    near_pairs,
    read_numbers,
    scripted,
    shortest_tour,
    tour_length,
    two_opt,
)
from promptopt.ask import Write, Written


@pytest.mark.parametrize("seed", range(1, 11))
def test_opro_2i_10_linear_regression_is_solved_within_15_steps(seed: int) -> None:
    problem = LinearRegression(seed)
    run = Run(problem, scripted(near_pairs), max_steps=15).drive()
    assert run.is_solved
    assert run.best[1] == "15, 14"
    assert run.best[0] < min(filter(None, map(problem.loss, problem.starts)), default=math.inf)
    for meta in run.metas:
        shown = SHOWN_TEXT.findall(meta)
        assert 1 <= len(set(shown)) == len(shown) <= 20
        assert [problem.loss(text) for text in shown] == sorted(map(problem.loss, shown), reverse=True)


@pytest.mark.parametrize("seed", range(1, 6))
def test_opro_2f_a_tour_of_10_is_within_2_percent_of_the_shortest(seed: int) -> None:
    problem = Salesman(seed, n=10)
    run = Run(problem, scripted(two_opt), max_steps=50).drive()
    length, tour = run.best
    assert problem.loss(tour) == length
    assert problem.optimum <= length + 1e-9
    assert length <= 1.02 * problem.optimum
    assert all(1 <= len(SHOWN_TEXT.findall(meta)) <= 10 for meta in run.metas)


def test_what_is_no_proposal_is_missing_data_and_never_shown() -> None:
    texts = ["[1, 2, 3]", "[left, right]", "no brackets", "[3, 4]"]

    def write(ask: Write) -> Written:
        return Written(tuple(texts))

    run = Run(LinearRegression(1), write, max_steps=2).drive()
    assert not run.is_solved
    assert run.steps == 2
    assert {text: loss is None for text, loss in run.losses.items() if text not in run.problem.starts} == {
        "1, 2, 3": True,
        "Left, right": True,
        "3, 4": False,
    }
    assert set(SHOWN_TEXT.findall(run.metas[1])) == {*run.problem.starts, "3, 4"}


def test_the_shortest_tour_is_that_of_all() -> None:
    rng = random.Random(5)
    points = [(rng.randint(-100, 100), rng.randint(-100, 100)) for _ in range(7)]
    brute = min(tour_length(points, [0, *rest]) for rest in permutations(range(1, 7)))
    assert shortest_tour(points) == pytest.approx(brute)


@pytest.mark.parametrize(
    ("text", "numbers"), [("3, -4", [3, -4]), (" 15,14 ", [15, 14]), ("3.5, 4", None), ("w=3, b=4", None), ("", None)]
)
def test_read_numbers(text: str, numbers: list[int] | None) -> None:
    assert read_numbers(text) == numbers

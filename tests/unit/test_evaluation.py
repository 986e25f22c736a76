"""Outcome and Evaluation: failures are missing data, never scores."""

import math

import pytest

from promptopt.evaluation import Evaluation, Outcome, paired


def evaluation(prompt: str, **scores: float | None) -> Evaluation:
    """Scores by example; None stands for a call that failed."""
    return Evaluation(
        prompt, tuple(Outcome(prompt, key, "ok" if s is not None else "failed", score=s) for key, s in scores.items())
    )


def test_figures_are_over_the_outcomes_with_a_score() -> None:
    found = evaluation("p", a=1.0, b=0.0, c=None, d=0.5)
    assert (found.n, found.n_valid) == (4, 3)
    assert found.mean == pytest.approx(0.5)
    assert found.standard_error == pytest.approx(0.5 / math.sqrt(3))
    assert found.scores == {"a": 1.0, "b": 0.0, "d": 0.5}


@pytest.mark.parametrize("scores", [{}, {"a": None}, {"a": 1.0, "b": None}])
def test_below_two_scores_nothing_is_known_of_the_error(scores: dict[str, float | None]) -> None:
    found = evaluation("p", **scores)
    assert found.standard_error == math.inf
    assert found.mean == (1.0 if found.n_valid else 0.0)


def test_a_sum_counts_each_example_once_as_last_seen() -> None:
    total = evaluation("p", a=0.0, b=None) + evaluation("p", b=1.0, c=1.0)
    assert total.scores == {"a": 0.0, "b": 1.0, "c": 1.0}
    assert total.n == 3
    assert [outcome.example_id for outcome in total.outcomes] == ["a", "b", "c"]


def test_pairs_are_of_the_examples_that_both_answered() -> None:
    left, right = evaluation("l", a=1.0, b=0.0, c=None), evaluation("r", c=1.0, b=0.5, a=0.0, d=1.0)
    assert paired(left, right) == [(1.0, 0.0), (0.0, 0.5)]
    assert paired(right, left) == [(0.5, 0.0), (0.0, 1.0)]
    assert paired(left, evaluation("none")) == []

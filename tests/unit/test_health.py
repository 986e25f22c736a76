"""Health: when too little can be scored for scores to mean anything."""

import pytest

from promptopt.health import Health, TooManyFailuresError


def test_a_row_that_no_prompt_can_be_scored_on_is_evidence_once() -> None:
    health = Health()
    for _ in range(200):  # prompts on the same five rows, one of which the metric cannot read
        health.note_scores(4, ["odd"], "no number in it")


def test_many_rows_that_cannot_be_scored_stop_it_and_are_counted() -> None:
    health = Health()
    health.note_scores(80)
    with pytest.raises(TooManyFailuresError, match=r"20 of 100 outputs .* \(on 20 examples\).*no number in it"):
        health.note_scores(0, [f"row {n}" for n in range(20)], "no number in it")


def test_a_tenth_may_be_missing() -> None:
    health = Health()
    for n in range(100):
        health.note_scores(9, [f"row {n}"], "no number in it")

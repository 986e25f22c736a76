"""Health: when too little can be scored for scores to mean anything."""

import pytest

from promptopt.backends.base import Reply
from promptopt.health import Health, TooManyFailuresError


def stops_at(health: Health, rounds: int, n_scored: int, *, same_row: bool) -> int | None:
    """Return the round in which it stops; in each, one output cannot be scored beside some that can."""
    for n in range(rounds):
        try:
            health.note_scores(n_scored, ["odd" if same_row else f"row {n}"], "no number in it")
        except TooManyFailuresError:
            return n
    return None


def test_a_row_that_no_prompt_can_be_scored_on_is_evidence_once() -> None:
    assert stops_at(Health(), 200, 4, same_row=True) is None
    assert stops_at(Health(), 200, 4, same_row=False) is not None, "the same share on other rows each time"


def test_a_tenth_may_be_missing_and_a_sixth_may_not() -> None:
    assert stops_at(Health(), 1_000, 9, same_row=False) is None
    assert stops_at(Health(), 1_000, 5, same_row=False) is not None


def test_many_rows_that_cannot_be_scored_stop_it_and_are_counted() -> None:
    health = Health()
    health.note_scores(80)
    with pytest.raises(TooManyFailuresError, match=r"20 of 100 outputs .* \(on 20 examples\).*no number in it"):
        health.note_scores(0, [f"row {n}" for n in range(20)], "no number in it")


@pytest.mark.parametrize("reply", [Reply("", "failed", error="The server says no."), Reply("", "ok")])
def test_why_it_stops_goes_into_a_sentence(reply: Reply) -> None:
    with pytest.raises(TooManyFailuresError) as stopped:
        note(Health(), reply, 40)
    assert str(stopped.value)[-1].isalpha(), "its user writes the end of the sentence"


def note(health: Health, reply: Reply, times: int) -> None:
    for _ in range(times):
        health.note(reply, "http://localhost/v1")

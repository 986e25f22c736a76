"""Races: who leaves, what it costs, and how often the safe one errs."""

import random

import pytest

from promptopt.ask import Evaluate
from promptopt.evaluation import Evaluation, Outcome
from promptopt.example import Example
from promptopt.prompt import Candidate
from promptopt.selection import Drop, race, safe_race
from promptopt.testing.answers import answer_from, drive
from tests.arms import EXAMPLES, arms_of, graded


def test_safe_race_proves_the_better_and_leaves_equals_alone() -> None:
    pool = arms_of(2)
    right = {pool[0].id: 1.0, pool[1].id: 0.0}
    found, _ = drive(safe_race(pool, EXAMPLES, budget=800), answer_from(lambda arm, _: right[arm.id]))
    assert found.candidates == tuple(pool)
    assert found.beaten == {pool[1].id}
    assert found.spent == 2 * 15  # 12 pairs bring the wealth above 2 / 0.05, and looks are 5 apart
    even, _ = drive(safe_race(pool, EXAMPLES, budget=800), answer_from(lambda arm, _: 0.5))
    assert even.beaten == frozenset()
    assert even.spent == 800
    stricter, _ = drive(safe_race(pool, EXAMPLES, budget=800, alpha=1e-6), answer_from(lambda arm, _: right[arm.id]))
    assert stricter.spent > found.spent


def test_safe_race_of_many_shares_alpha() -> None:
    pool = arms_of(10)
    right = {arm.id: float(place == 0) for place, arm in enumerate(pool)}
    ranking, asks = drive(safe_race(pool, EXAMPLES, budget=4_000), answer_from(lambda arm, _: right[arm.id]))
    assert ranking.candidates[0] == pool[0]
    assert ranking.beaten == {arm.id for arm in pool[1:]}
    two, _ = drive(safe_race(pool[:2], EXAMPLES, budget=4_000), answer_from(lambda arm, _: right[arm.id]))
    assert len(asks) * 5 > two.evaluations[pool[0].id].n


@pytest.mark.parametrize("discordance", [0.1, 0.3, 0.5])
def test_safe_race_errs_in_at_most_alpha_of_null_races(discordance: float) -> None:
    pool, wrong = arms_of(2), 0
    for number in range(200):
        rng = random.Random(f"null {discordance} {number}")
        draws = {example.id: rng.random() for example in EXAMPLES[:200]}

        def score(arm: Candidate, example: Example, draws: dict[str, float] = draws) -> float:
            draw = draws[example.id]
            return float((draw < discordance / 2) == (arm is pool[0]) if draw < discordance else draw < 0.8)

        ranking, _ = drive(safe_race(pool, EXAMPLES[:200], budget=400), answer_from(score))
        wrong += bool(ranking.beaten)
    assert wrong <= 10


def test_race_drops_those_behind_after_each_block() -> None:
    pool = arms_of(4)
    right = {pool[0].id: 1.0, pool[1].id: 1.0, pool[2].id: 0.0, pool[3].id: 0.0}
    search = race(pool, EXAMPLES[:40], budget=1_000, block=5)
    ranking, asks = drive(search, answer_from(lambda arm, _: right[arm.id]))
    assert [len(ask.candidates) for ask in asks if isinstance(ask, Evaluate)] == [4] + [2] * 7
    assert ranking.spent == 20 + 70
    assert ranking.candidates == tuple(pool)


def test_race_spares_the_seed_and_needs_both_thresholds() -> None:
    pool = arms_of(2)
    right = {pool[0].id: 1.0, pool[1].id: 0.0}
    answer = answer_from(lambda arm, _: right[arm.id])
    spared, _ = drive(race(pool, EXAMPLES[:20], budget=99, drop=Drop(spared=frozenset([pool[1].id]))), answer)
    assert spared.spent == 40
    late, _ = drive(race(pool, EXAMPLES[:20], budget=99, drop=Drop(deficit=8.0)), answer)
    assert late.spent == 20
    strict, _ = drive(race(pool, EXAMPLES[:20], budget=99, drop=Drop(z=3.5)), answer)
    assert strict.spent == 30


def test_race_without_money_drops_the_worst() -> None:
    pool = arms_of(4)
    search = race(pool, EXAMPLES, budget=34, block=5, drop=Drop(z=99.0))
    ranking, asks = drive(search, answer_from(graded(pool, noise=0.1)))
    assert [len(ask.candidates) for ask in asks if isinstance(ask, Evaluate)] == [4, 2, 1]
    assert ranking.spent == 34
    assert ranking.candidates == tuple(pool)


def test_race_does_not_pay_for_what_is_known() -> None:
    pool = arms_of(2)
    before = Evaluation(pool[0].id, tuple(Outcome(pool[0].id, e.id, "ok", score=1.0) for e in EXAMPLES[:10]))
    search = race(pool, EXAMPLES[:10], budget=10, drop=Drop(z=99.0), known=[before])
    ranking, asks = drive(search, answer_from(lambda *_: 0.5))
    assert all(ask.candidates == (pool[1],) for ask in asks if isinstance(ask, Evaluate))
    assert ranking.spent == 10
    assert ranking.evaluations[pool[0].id].mean == 1.0

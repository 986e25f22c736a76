"""Selectors: golden values, and points 6 to 10 of what makes APO's faithful."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from promptopt.ask import Ask, Batch, Evaluate
from promptopt.evaluation import refused
from promptopt.example import Example
from promptopt.prompt import Candidate
from promptopt.selection import (
    Drop,
    Ranking,
    elimination_schedule,
    halving_schedule,
    race,
    rejects_schedule,
    rejects_spread,
    safe_race,
    sequential_elimination,
    successive_halving,
    successive_rejects,
    ucb,
    ucb_bound,
    ucb_e,
    ucb_e_bound,
    uniform,
)
from promptopt.selection_as_coded import (
    Batches,
    rejects_schedule_as_coded,
    sampled_rejects_as_coded,
    sampled_rejects_step,
    successive_halving_as_coded,
    successive_rejects_as_coded,
    ucb_as_coded,
    uniform_as_coded,
)
from promptopt.testing.answers import answer_from, drive
from tests.arms import EXAMPLES, ROW, arms_of, graded

SELECTORS = [
    uniform, ucb, ucb_e, successive_rejects, successive_halving, sequential_elimination, race, safe_race,
]  # fmt: skip


def pulls_of(total: Sequence[int], arms: int, keep: int = 1) -> int:
    steps = [level - before for before, level in zip([0, *total], total, strict=False)]
    return sum(step * (arms - phase) for phase, step in enumerate(steps[: arms - keep]))


@pytest.mark.parametrize(
    ("arms", "budget", "levels", "total"),
    [
        (4, 60, (9, 12, 18), 57),
        (5, 100, (11, 14, 18, 27), 97),
        (8, 256, (14, 16, 19, 23, 28, 38, 56), 250),
    ],
)
def test_apo_1i_06_successive_rejects_golden(arms: int, budget: int, levels: tuple[int, ...], total: int) -> None:
    assert rejects_schedule(arms, budget) == levels
    pool = arms_of(arms)
    ranking, asks = drive(successive_rejects(pool, EXAMPLES, budget=budget), answer_from(graded(pool)))
    assert ranking.spent == pulls_of(levels, arms) == total <= budget
    assert ranking.candidates == tuple(pool)
    # Exactly one arm leaves per phase; the last phase has two.
    assert [len(ask.candidates) for ask in asks if isinstance(ask, Evaluate)] == list(range(arms, 1, -1))


@pytest.mark.parametrize(("arms", "spread"), [(4, 1.5833), (5, 1.7833), (8, 2.2179)])
def test_successive_rejects_golden_spread(arms: int, spread: float) -> None:
    assert round(rejects_spread(arms), 4) == spread


def test_successive_rejects_golden_36_arms() -> None:
    levels = rejects_schedule(36, 2_048)
    assert levels[:3] == (16, 16, 17)
    assert levels[-3:] == (137, 183, 274)
    assert pulls_of(levels, 36) == 2_030
    pool = arms_of(36)
    ranking, _ = drive(successive_rejects(pool, EXAMPLES, budget=2_048, keep=4), answer_from(graded(pool)))
    assert ranking.spent == pulls_of(levels, 36, keep=4) == 1_602
    assert ranking.basis == "rank"


def test_apo_1i_07_successive_rejects_cumulative_means() -> None:
    # Arm 2 leaves first. Between arms 0 and 1 the second phase alone says one thing and both phases the other.
    pool = arms_of(3)
    first, second = rejects_schedule(3, 60)
    early = {pool[0].id: 1.0, pool[1].id: 0.1, pool[2].id: 0.0}
    late = {pool[0].id: 0.0, pool[1].id: 0.5, pool[2].id: 0.0}

    def score(arm: Candidate, example: Example) -> float:
        return (early if ROW[example.id] < first else late)[arm.id]

    order = [*EXAMPLES[:second]]
    ranking, _ = drive(successive_rejects(pool, order, budget=60), answer_from(score))
    assert [pool.index(arm) for arm in ranking.candidates] == [0, 1, 2]
    # The same data in another order of phases drops the same arms.
    for _ in range(5):
        random.Random(len(order)).shuffle(order)
        again, _ = drive(successive_rejects(pool, order, budget=60), answer_from(score))
        assert again.candidates == ranking.candidates


@pytest.mark.parametrize(
    ("arms", "budget", "rounds", "total"),
    [
        (8, 256, ((8, 10), (4, 21), (2, 42)), 248),
        (5, 100, ((5, 6), (3, 11), (2, 16)), 95),
        (9, 2_048, ((9, 56), (5, 102), (3, 170), (2, 256)), 2_036),
    ],
)
def test_apo_1i_08_successive_halving_golden(
    arms: int, budget: int, rounds: tuple[tuple[int, int], ...], total: int
) -> None:
    assert halving_schedule(arms, budget) == rounds
    assert sum(size * pulls for size, pulls in rounds) == total
    assert halving_schedule(36, 2_048)[:2] == ((36, 9), (18, 18))
    pool, rows = arms_of(arms), [Example({"input": str(i)}) for i in range(700)]
    place = {arm.id: i for i, arm in enumerate(pool)}
    score = answer_from(lambda arm, _: 1 - place[arm.id] / 10)
    ranking, _ = drive(successive_halving(pool, rows, budget=budget), score)
    assert ranking.spent == total
    assert ranking.candidates == tuple(pool)


def test_successive_halving_stops_at_the_beam() -> None:
    pool = arms_of(8)
    ranking, asks = drive(successive_halving(pool, EXAMPLES, budget=256, keep=4), answer_from(graded(pool)))
    assert len(asks) == 1
    assert ranking.spent == 80
    assert ranking.candidates == tuple(pool)
    three, _ = drive(successive_halving(pool, EXAMPLES, budget=256, keep=3), answer_from(graded(pool)))
    assert three.spent == 80 + 84


def test_apo_1i_09_ucb_bounds() -> None:
    # With counts 32 and 0 the unseen arm is chosen; of equal means the one with fewer pulls; c = 0 is greedy.
    assert ucb_bound(1.0, 32, 2, 1.0) < ucb_bound(0.0, 0, 2, 1.0)
    assert ucb_e_bound(1.0, 32, 1.0) < ucb_e_bound(0.0, 0, 1.0)
    assert ucb_bound(0.5, 8, 40, 1.0) > ucb_bound(0.5, 32, 40, 1.0)
    assert ucb_bound(0.6, 32, 40, 0.0) > ucb_bound(0.5, 1, 40, 0.0)


@pytest.mark.parametrize("selector", [ucb, ucb_e])
def test_apo_1i_09_ucb_sees_every_arm_and_greed_stays_with_the_best(selector: Callable[..., object]) -> None:
    pool = arms_of(6)
    search = selector(pool, EXAMPLES, budget=120, c=0.0, width=1, step=4)
    ranking, asks = drive(search, answer_from(graded(pool)))  # type: ignore[arg-type]
    pulled = [ask.candidates[0].id for ask in asks if isinstance(ask, Evaluate)]
    assert pulled[:6] == [arm.id for arm in pool]
    assert set(pulled[6:]) == {pool[0].id}
    assert ranking.spent == 120


def test_apo_1i_09_ucb_of_equal_arms_takes_turns() -> None:
    pool = arms_of(4)
    ranking, _ = drive(ucb(pool, EXAMPLES, budget=80, width=1, step=5), answer_from(lambda *_: 0.5))
    assert {evaluation.n for evaluation in ranking.evaluations.values()} == {20}
    assert ranking.candidates == tuple(pool)


def test_apo_1i_09_reference_code_pulls_the_first_batch_twice() -> None:
    # t counts batches: ln 1 = 0, so batch 2 goes to the arms seen, and unseen ones only come from t = 2.
    pool = arms_of(20)
    search = ucb_as_coded(pool, EXAMPLES, rng=random.Random(0), batches=Batches(rounds=4))
    ranking, asks = drive(search, answer_from(graded(pool)))
    batches = [{arm.id for arm in ask.candidates} for ask in asks if isinstance(ask, Evaluate)]
    assert [len(batch) for batch in batches] == [8, 8, 8, 8]
    assert batches[0] == batches[1]
    assert not batches[2] & batches[0]
    assert all(len(ask.examples) == 32 for ask in asks if isinstance(ask, Evaluate))
    assert ranking.spent <= 4 * 8 * 32


def test_apo_1i_09_reference_code_never_reaches_the_arms_beyond_56() -> None:
    pool = arms_of(60)
    search = ucb_as_coded(pool, EXAMPLES, rng=random.Random(0))
    ranking, _ = drive(search, answer_from(graded(pool)))
    unseen = [arm for arm in ranking.candidates if not ranking.evaluations[arm.id].n]
    assert len(unseen) == 4
    assert ranking.candidates[-4:] == tuple(unseen)


def test_apo_1i_09_recommended_t_counts_pulls() -> None:
    # With 16 and 8 pulls, t = 24 sends the fourth look to the arm that is 0.15 behind; t = 3 looks would not.
    assert ucb_bound(0.85, 8, 24, 1.0) > ucb_bound(1.0, 16, 24, 1.0)
    assert ucb_bound(0.85, 8, 3, 1.0) < ucb_bound(1.0, 16, 3, 1.0)
    pool = arms_of(2)
    means = {pool[0].id: 1.0, pool[1].id: 0.85}
    search = ucb(pool, EXAMPLES, budget=32, c=1.0, width=1, step=8)
    _, asks = drive(search, answer_from(lambda arm, _: means[arm.id]))
    assert [pool.index(ask.candidates[0]) for ask in asks if isinstance(ask, Evaluate)] == [0, 1, 0, 1]


@pytest.mark.parametrize("budget", [36, 100, 500, 2_048])
def test_apo_1i_10_no_selector_exceeds_its_budget(budget: int) -> None:
    pool, rng = arms_of(36), random.Random(5)
    chance = answer_from(lambda *_: float(rng.random() < 0.7))
    searches = [
        uniform(pool, EXAMPLES, budget=budget),
        ucb(pool, EXAMPLES, budget=budget),
        ucb_e(pool, EXAMPLES, budget=budget),
        successive_rejects(pool, EXAMPLES, budget=budget, keep=4),
        successive_halving(pool, EXAMPLES, budget=budget, keep=4),
        sequential_elimination(pool, EXAMPLES, budget=budget, keep=4),
        race(pool, EXAMPLES, budget=budget),
        safe_race(pool, EXAMPLES, budget=budget),
        uniform_as_coded(pool, EXAMPLES, budget=budget, rng=rng),
        successive_halving_as_coded(pool, EXAMPLES, budget=budget, rng=rng),
    ]
    for search in searches:
        ranking, asks = drive(search, chance)
        leaves = [leaf for ask in asks for leaf in (ask.asks.values() if isinstance(ask, Batch) else [ask])]
        asked = sum(len(leaf.candidates) * len(leaf.examples) for leaf in leaves if isinstance(leaf, Evaluate))
        assert ranking.spent <= asked <= budget


def test_apo_1i_10_reference_code_rejects_overspend_as_the_code_does() -> None:
    pool = arms_of(36)
    search = successive_rejects_as_coded(pool, EXAMPLES, budget=2_048, keep=4, rng=random.Random(0))
    _, asks = drive(search, answer_from(graded(pool)))
    assert sum(len(ask.candidates) * len(ask.examples) for ask in asks if isinstance(ask, Evaluate)) == 5_878


def test_uniform_uses_one_common_set() -> None:
    pool = arms_of(5)
    ranking, asks = drive(uniform(pool, EXAMPLES, budget=63), answer_from(graded(pool)))
    (ask,) = asks
    assert isinstance(ask, Evaluate)
    assert list(ask.examples) == EXAMPLES[:12]
    assert ranking.candidates == tuple(pool)
    assert ranking.basis == "mean"


def test_full_coverage_stops_an_arm() -> None:
    pool = arms_of(3)
    for search in (
        uniform(pool, EXAMPLES[:10], budget=900),
        ucb(pool, EXAMPLES[:10], budget=900),
        successive_rejects(pool, EXAMPLES[:10], budget=900),
        sequential_elimination(pool, EXAMPLES[:10], budget=900),
        race(pool, EXAMPLES[:10], budget=900, drop=Drop(z=99.0)),
    ):
        ranking, _ = drive(search, answer_from(graded(pool)))
        assert ranking.spent == 30


def test_a_prompt_that_came_twice_is_one_arm() -> None:
    pool = arms_of(2)
    ranking, _ = drive(uniform([*pool, *pool], EXAMPLES, budget=20), answer_from(graded(pool)))
    assert ranking.candidates == tuple(pool)
    assert ranking.evaluations[pool[0].id].n == 10


@pytest.mark.parametrize("selector", SELECTORS)
def test_an_empty_pool_asks_nothing(selector: Callable[..., object]) -> None:
    ranking, asks = drive(selector([], EXAMPLES, budget=50), answer_from({}))  # type: ignore[arg-type]
    assert ranking == Ranking((), {}, 0, ranking.basis)
    assert asks == []


def test_failed_calls_are_missing_and_rank_last() -> None:
    pool = arms_of(3)
    scores = {pool[0].id: None, pool[1].id: 0.0, pool[2].id: 0.4}
    ranking, _ = drive(uniform(pool, EXAMPLES, budget=30), answer_from(lambda arm, _: scores[arm.id]))
    assert [pool.index(arm) for arm in ranking.candidates] == [2, 1, 0]


def test_sequential_elimination_spends_its_budget_when_the_beam_is_left() -> None:
    # With power 1 and a single winner it is successive rejects, but for the rounding.
    plain = elimination_schedule(8, 256, keep=1, power=1.0, most=400)
    assert all(0 <= mine - theirs <= 2 for mine, theirs in zip(plain, rejects_schedule(8, 256), strict=True))
    levels = elimination_schedule(36, 2_048, keep=4, power=1.4, most=400)
    assert (levels[0], levels[-1], len(levels)) == (11, 181, 32)
    assert pulls_of(levels, 36, keep=4) == 2_048
    # Where the examples run out, the others get what the last ones cannot use.
    assert elimination_schedule(12, 600, keep=3, power=1.4, most=60) == (27, 31, 35, 41, 48, 58, 60, 60, 60)
    pool = arms_of(36)
    ranking, asks = drive(sequential_elimination(pool, EXAMPLES, budget=2_048, keep=4), answer_from(graded(pool)))
    assert ranking.spent == 2_048
    assert ranking.candidates == tuple(pool)
    assert [len(ask.candidates) for ask in asks if isinstance(ask, Evaluate)][:2] == [36, 34]  # two phases are alike


@pytest.mark.parametrize("selector", SELECTORS)
def test_a_refused_arm_costs_nothing_and_ranks_last(selector: Callable[..., object]) -> None:
    pool = arms_of(5)

    def answer(ask: Ask[object]) -> object:
        if isinstance(ask, Batch):
            return tuple(map(answer, ask.asks.values()))
        told = answer_from(graded(pool))(ask)
        assert isinstance(ask, Evaluate)
        evaluations = tuple(
            refused(e.prompt_id, ask.examples, "made up") if e.prompt_id == pool[0].id else e for e in told.evaluations
        )
        return replace(told, evaluations=evaluations)

    ranking, asks = drive(selector(pool, EXAMPLES, budget=200), answer)  # type: ignore[arg-type]
    assert ranking.candidates[-1] == pool[0]
    assert ranking.candidates[0] == pool[1]
    assert ranking.spent == sum(ranking.evaluations[arm.id].n for arm in pool[1:]) <= 200
    asked_of_it = [ask for ask in asks if isinstance(ask, Evaluate) and pool[0] in ask.candidates]
    assert len(asked_of_it) <= 1


def test_apo_1i_06_reference_code_rejects_golden() -> None:
    sizes = rejects_schedule_as_coded(9, 4, 2_048)
    assert sizes == (229, 57, 95, 190, 572)
    assert sum(size * (9 - phase) for phase, size in enumerate(sizes)) == 7_182
    many = rejects_schedule_as_coded(36, 4, 2_048)
    assert sum(size * (36 - phase) for phase, size in enumerate(many)) == 5_878


def test_apo_1i_07_reference_code_forgets_earlier_phases() -> None:
    # Arm 1 is far better over both phases, but a little worse in the fresh sample of the second.
    pool = arms_of(3)
    rows = {3: [0.5, 1.0, 0.0], 2: [0.5, 0.4, 0.0]}

    def answer(ask: Evaluate) -> object:
        scores = dict(zip((arm.id for arm in pool), rows[len(ask.candidates)], strict=True))
        return answer_from(lambda arm, _: scores[arm.id])(ask)

    search = successive_rejects_as_coded(pool, EXAMPLES, budget=60, keep=1, rng=random.Random(0))
    ranking, _ = drive(search, answer)
    assert ranking.candidates == tuple(pool)


def test_sampled_rejects_golden() -> None:
    assert sampled_rejects_step(36, 4, 2_048) == 8
    pool = arms_of(36)
    search = sampled_rejects_as_coded(pool, EXAMPLES, budget=2_048, keep=4, rng=random.Random(0))
    ranking, asks = drive(search, answer_from(graded(pool)))
    assert len(asks) == 32
    assert [len(ask.candidates) for ask in asks if isinstance(ask, Evaluate)] == [8] * 29 + [7, 6, 5]
    assert {len(ask.examples) for ask in asks if isinstance(ask, Evaluate)} == {8}
    assert ranking.candidates[0] in pool[:4]


def test_apo_1i_08_reference_code_cuts_at_the_mean_and_lets_equals_stay() -> None:
    pool = arms_of(8)
    scores = dict(zip((arm.id for arm in pool), [1.0, 0.9, 0.9, 0.9, 0.9, 0.9, 0.1, 0.0], strict=True))
    search = successive_halving_as_coded(pool, EXAMPLES, budget=256, rng=random.Random(0))
    _, asks = drive(search, answer_from(lambda arm, _: scores[arm.id]))
    assert [len(ask.candidates) for ask in asks if isinstance(ask, Evaluate)] == [8, 6, 1]
    equal = successive_halving_as_coded(pool, EXAMPLES, budget=256, rng=random.Random(0))
    ranking, asks = drive(equal, answer_from(lambda *_: 0.3))
    assert [len(ask.candidates) for ask in asks if isinstance(ask, Evaluate)] == [8, 8, 8]
    assert ranking.candidates == tuple(pool)

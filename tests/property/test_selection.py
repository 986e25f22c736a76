"""Selectors under any pool, examples, budget and scores."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptopt.ask import Ask, Batch, Evaluate
from promptopt.example import Example
from promptopt.prompt import Candidate, Prompt
from promptopt.selection import (
    Drop,
    elimination_schedule,
    halving_schedule,
    race,
    rejects_schedule,
    safe_race,
    sequential_elimination,
    successive_halving,
    successive_rejects,
    ucb,
    ucb_e,
    uniform,
)
from promptopt.testing.answers import answer_from, drive

EXAMPLES = [Example({"input": f"row {i}"}) for i in range(30)]
POOL = [Candidate(Prompt({"instruction": f"arm {i}"})) for i in range(12)]

SELECTORS: dict[str, Callable[..., object]] = {
    "uniform": uniform,
    "ucb": ucb,
    "ucb by ones": lambda *args, **more: ucb(*args, width=1, step=1, **more),
    "ucb_e": ucb_e,
    "successive_rejects": successive_rejects,
    "successive_rejects to 3": lambda *args, **more: successive_rejects(*args, keep=3, **more),
    "successive_halving": successive_halving,
    "successive_halving to 3": lambda *args, **more: successive_halving(*args, keep=3, **more),
    "sequential_elimination": sequential_elimination,
    "sequential_elimination to 3": lambda *args, **more: sequential_elimination(*args, keep=3, **more),
    "race": race,
    "safe_race": lambda *args, **more: safe_race(*args, block=3, alpha=0.4, **more),
    "race to 2": lambda *args, **more: race(*args, block=4, drop=Drop(1.0, 0.0, keep=2), **more),
}

SCORES = st.lists(st.sampled_from([0.0, 1.0, 0.5, None]), min_size=7, max_size=40)


def pulls(asks: list[Ask[object]]) -> list[tuple[str, str]]:
    leaves = [leaf for ask in asks for leaf in (ask.asks.values() if isinstance(ask, Batch) else [ask])]
    assert all(leaf.candidates and leaf.examples for leaf in leaves if isinstance(leaf, Evaluate))
    return [(c.id, e.id) for ask in leaves if isinstance(ask, Evaluate) for c in ask.candidates for e in ask.examples]


@pytest.mark.parametrize("name", SELECTORS)
@settings(max_examples=40, deadline=None)
@given(n_arms=st.integers(0, 12), n_examples=st.integers(1, 30), budget=st.integers(0, 200), scores=SCORES)
def test_any_selector(name: str, n_arms: int, n_examples: int, budget: int, scores: list[float | None]) -> None:
    arms, examples = POOL[:n_arms], EXAMPLES[:n_examples]
    table = {
        (arm.id, example.id): scores[(7 * i + 3 * j) % len(scores)]
        for i, arm in enumerate(arms)
        for j, example in enumerate(examples)
    }
    search = SELECTORS[name](arms, examples, budget=budget)
    ranking, asks = drive(search, answer_from(table))  # type: ignore[arg-type]

    pulled = pulls(asks)
    assert len(pulled) == ranking.spent <= budget
    assert len(pulled) == len(set(pulled)), "a pair was pulled twice"
    assert sorted(arm.id for arm in ranking.candidates) == sorted(arm.id for arm in arms)
    assert sum(evaluation.n for evaluation in ranking.evaluations.values()) == ranking.spent
    order = [example.id for example in examples]
    for evaluation in ranking.evaluations.values():
        assert [outcome.example_id for outcome in evaluation.outcomes] == order[: evaluation.n], "not the common order"


@pytest.mark.parametrize("name", SELECTORS)
@settings(max_examples=15, deadline=None)
@given(score=st.sampled_from([0.0, 0.3, 1.0]), budget=st.integers(0, 150), turn=st.randoms(use_true_random=False))
def test_ties_go_by_id_and_the_order_given_does_not_matter(name: str, score: float, budget: int, turn) -> None:
    shuffled = list(POOL[:6])
    turn.shuffle(shuffled)
    answer = answer_from(lambda *_: score)
    one, _ = drive(SELECTORS[name](shuffled, EXAMPLES, budget=budget), answer)  # type: ignore[arg-type]
    seen = {arm.id: one.evaluations[arm.id].n for arm in one.candidates}
    for first, second in zip(one.candidates, one.candidates[1:], strict=False):
        assert seen[first.id] != seen[second.id] or first.id < second.id or "race" in name


@given(arms=st.integers(1, 60), budget=st.integers(1, 5_000))
def test_schedules_fit_the_budget(arms: int, budget: int) -> None:
    levels = rejects_schedule(arms, budget)
    assert list(levels) == sorted(levels)
    if budget >= arms:
        steps = [level - before for before, level in zip([0, *levels], levels, strict=False)]
        assert sum(step * (arms - phase) for phase, step in enumerate(steps)) <= budget
    assert sum(size * pulls for size, pulls in halving_schedule(arms, budget)) <= budget


@given(arms=st.integers(1, 60), budget=st.integers(0, 5_000), keep=st.integers(1, 9), most=st.integers(0, 200))
def test_an_elimination_uses_all_it_can(arms: int, budget: int, keep: int, most: int) -> None:
    levels = elimination_schedule(arms, budget, keep=keep, power=1.4, most=most)
    sizes = range(arms, keep, -1)
    steps = [level - before for before, level in zip([0, *levels], levels, strict=False)]
    spent = sum(step * size for step, size in zip(steps, sizes, strict=True))
    assert all(step >= 0 for step in steps)
    assert spent <= budget
    if sizes:
        assert levels[-1] == most or budget - spent < sum(sizes) + keep

"""RandomSearch: the control."""

import pytest

from promptopt.ask import Evaluate
from promptopt.testing.simulation import sample_context, simulate
from promptopt_strategies.random_search import RandomSearch


def longest(candidate, _):
    return min(1.0, len(candidate.prompt.demos) / 8)


@pytest.mark.parametrize("plan", [1, 19, 20, 300])
def test_every_prompt_gets_the_same_rows_within_the_plan(plan):
    result = simulate(RandomSearch(), sample_context(plan), longest)
    asks = [ask for ask in result.simple_asks if isinstance(ask, Evaluate)]
    assert result.evaluations <= plan
    assert len(asks) == max(1, plan // 20)
    assert len({tuple(example.id for example in ask.examples) for ask in asks}) == 1


def test_recommends_the_best_mean():
    result = simulate(RandomSearch(), sample_context(300), longest)
    last = result.recommendations[-1]
    assert last.estimates == tuple(sorted(last.estimates, reverse=True))
    assert len(result.best.prompt.demos) == max(len(c.prompt.demos) for c in last.ranking)


def test_the_seed_comes_first_and_ties_stay_with_it():
    context = sample_context(300)
    result = simulate(RandomSearch(), context, lambda _candidate, _example: 0.5)
    assert result.best.prompt.id == context.seeds[0].id


def test_draws_random_prompts_and_edits():
    ranking = simulate(RandomSearch(), sample_context(600), longest).recommendations[-1].ranking
    assert {candidate.operator for candidate in ranking} == {"seed", "random", "mutate"}


def test_a_space_without_choices_ends():
    assert simulate(RandomSearch(), sample_context(300, editable=()), longest).evaluations == 20

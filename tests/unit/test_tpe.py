"""TPE: Optuna's sampler behind the contract."""

import logging
import sys
from dataclasses import replace

import pytest

from promptopt.ask import Evaluate, Recommend
from promptopt.errors import ConfigError
from promptopt.example import Example
from promptopt.ids import content_hash
from promptopt.registry import configure
from promptopt.testing.simulation import sample_context, simulate
from promptopt_strategies.random_search import RandomSearch
from promptopt_strategies.tpe import TPE
from tests.conftest import require_package


@pytest.fixture(autouse=True)
def _optuna() -> None:
    require_package("optuna")


def evaluates(result):
    return [ask for ask in result.simple_asks if isinstance(ask, Evaluate)]


def quality(candidate) -> float:
    prompt = candidate.prompt
    return 0.2 + 0.35 * (prompt.answer_cue == "A:") + 0.35 * (len(prompt.demos) >= 4)


def cell(candidate, example: Example) -> float:
    return float(int(content_hash(example.id)[:8], 16) / 0xFFFFFFFF < quality(candidate))


def test_the_seed_is_tried_first():
    context = sample_context(300)
    assert evaluates(simulate(TPE(), context, cell))[0].candidates[0].prompt == context.seeds[0]


def test_dspy_287_5_small_samples_never_decide_the_winner():
    """What is recommended last comes from a race over further rows."""
    context = sample_context(300)
    result = simulate(TPE(), context, cell)
    asks = [ask for ask in result.simple_asks if not isinstance(ask, Recommend)]
    raced = [ask for ask in asks if len(ask.candidates) > 1]
    assert result.best.id in {candidate.id for ask in raced for candidate in ask.candidates}
    assert len({example.id for ask in raced for example in ask.examples}) >= 2 * TPE.rows


def test_dspy_287_8_finds_the_best_cell_in_fewer_evaluations_than_random_in_the_median_of_20_seeds():
    def cost(strategy, seed):
        spent = 0
        for ask in evaluates(simulate(strategy, sample_context(400, seed=seed), cell)):
            spent += len(ask.candidates) * len(ask.examples)
            if any(quality(candidate) > 0.85 for candidate in ask.candidates):
                return spent
        return 400

    # Equal rows a prompt, so that only the choice of prompts differs.
    pairs = [(cost(TPE(), seed), cost(RandomSearch(rows=10), seed)) for seed in range(20)]
    ours, randoms = (sorted(side)[10] for side in zip(*pairs, strict=True))
    assert ours < randoms


def test_a_prompt_that_is_suggested_again_is_scored_on_further_rows():
    context = replace(sample_context(300, editable=("answer_cue",)), evaluations=300)
    seen: dict[str, set[str]] = {}
    again = 0
    for ask in evaluates(simulate(TPE(), context, cell)):
        for candidate in ask.candidates:
            known = seen.setdefault(candidate.id, set())
            fresh = {example.id for example in ask.examples}
            again += bool(known)
            assert not known & fresh or len(ask.candidates) > 1
            known |= fresh
    assert again


def test_a_space_without_choices_ends():
    result = simulate(TPE(), sample_context(300, editable=()), cell)
    assert not result.overspent
    assert result.recommendations


def test_says_nothing_in_the_log(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]):
    with caplog.at_level(logging.INFO):
        simulate(TPE(), sample_context(60), cell)
    assert not caplog.records
    assert not capfd.readouterr().err


def test_without_optuna_one_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    strategy = configure("tpe")
    with pytest.raises(ConfigError, match=r'tpe: needs the package optuna; .* pip install -e "\.\[optuna'):
        strategy.estimate(sample_context())
    with pytest.raises(ConfigError, match="optuna"):
        next(strategy.search(sample_context()))

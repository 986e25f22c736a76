"""Grid: the full factorial of classic openers; the numbers are those of systems.md, 4.B, 299 (g)."""

import math

import pytest

from promptopt.ask import Evaluate
from promptopt.testing.simulation import sample_context, simulate
from promptopt_strategies.grid import Grid, cells_of, factors

CELLS = math.prod(len(texts) + 1 for texts in factors().values())


def evaluates(result):
    return [ask for ask in result.simple_asks if isinstance(ask, Evaluate)]


def last_effects(result):
    return result.recommendations[-1].effects


def likes_closers(candidate, example):
    closer = candidate.note.get("closer", "")
    return float(int(example.id, 16) % 10 < (8 if closer == factors()["closer"][1] else 3))


class TestEccentric299:
    def test_1_the_grid_holds_the_empty_cell_and_every_cell_once(self):
        context = sample_context(300)
        cells = cells_of(context)
        assert len(cells) == len(set(cells)) == CELLS
        assert not any(cells[0])
        first = evaluates(simulate(Grid(), context, likes_closers))[0]
        assert len(first.candidates) == CELLS
        assert first.candidates[0].prompt == context.seeds[0]

    def test_2_the_main_effects_of_a_factor_sum_to_zero(self):
        effects = last_effects(simulate(Grid(**Grid.profiles["paper"]), sample_context(300), likes_closers))
        for name, texts in factors().items():
            weights = [effect.estimate for effect in effects if effect.choice == name]
            assert len(weights) == len(texts) + 1
            assert sum(weights) == pytest.approx(0)

    def test_3_it_ranks_on_nested_subsets(self):
        result = simulate(Grid(final=0.0), sample_context(300), likes_closers)
        seen, sizes = set(), []
        for ask in evaluates(result):
            assert not seen & {example.id for example in ask.examples}
            seen |= {example.id for example in ask.examples}
            sizes.append(len(seen))
        assert sizes == [1, 2, 4, 5]
        assert len(result.recommendations) == len(sizes)

    def test_4_every_effect_has_its_interval_and_number(self):
        effects = last_effects(simulate(Grid(), sample_context(600), likes_closers))
        assert all(effect.low < effect.estimate < effect.high for effect in effects)
        assert {effect.n for effect in effects if effect.choice == "opener"} == {CELLS // 5 * 6}
        clear = {effect.level for effect in effects if effect.low > 0}
        assert clear == {factors()["closer"][1]}


def test_the_race_finds_a_cell_with_the_sentence_that_matters():
    best = simulate(Grid(), sample_context(600), likes_closers).best
    assert best.note["closer"] == factors()["closer"][1]


def test_a_plan_smaller_than_the_grid_scores_a_part_of_it_on_one_row():
    result = simulate(Grid(), sample_context(40), likes_closers)
    assert result.evaluations == 40
    assert len(evaluates(result)[0].candidates) == 40


def test_a_fixed_instruction_leaves_one_cell():
    result = simulate(Grid(), sample_context(100, editable=("demos",)), likes_closers)
    assert {c.id for ask in evaluates(result) for c in ask.candidates} == {sample_context().seeds[0].id}


def test_an_instruction_with_slots_keeps_its_end():
    from dataclasses import replace

    from promptopt.layout import inline_layout
    from promptopt.prompt import Prompt

    seed = Prompt.of("Kind of this note?\n{input}\nKind:", inline_layout("chat", {}))
    result = simulate(Grid(), replace(sample_context(300), seeds=(seed,)), likes_closers)
    texts = {c.prompt.instruction for ask in evaluates(result) for c in ask.candidates}
    assert len(texts) == CELLS
    assert all(text.endswith("{input}\nKind:") for text in texts)

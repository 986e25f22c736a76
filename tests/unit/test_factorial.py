"""Factorial, its design and what it finds."""

import math
from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from promptopt.ask import Batch, Evaluate
from promptopt.errors import ConfigError
from promptopt.ids import content_hash
from promptopt.testing.simulation import sample_context, simulate
from promptopt_strategies.breeder import Breeder
from promptopt_strategies.design import balanced_points, ideal_point
from promptopt_strategies.factorial import Factorial
from promptopt_strategies.fitting import Record, fit_effects, strong_pairs
from promptopt_strategies.space import Space


def by_cue(candidate, example):
    """Right with demonstrations and the cue ``A:``, on most rows."""
    quality = 0.2 + 0.4 * bool(candidate.prompt.demos) + 0.3 * (candidate.prompt.answer_cue == "A:")
    return float(int(content_hash(candidate.id, example.id)[:8], 16) / 0xFFFFFFFF < quality)


def evaluates(result):
    return [ask for ask in result.simple_asks if isinstance(ask, Evaluate)]


class TestSearch:
    @pytest.mark.parametrize("plan", [1, 7, 40, 150, 300, 900])
    def test_uses_nearly_all_of_the_plan_and_never_more(self, plan):
        result = simulate(Factorial(), sample_context(plan), by_cue)
        assert not result.overspent
        assert plan - 2 * Factorial.block <= result.evaluations <= plan

    def test_asks_for_no_pair_twice(self):
        result = simulate(Factorial(), sample_context(300), by_cue)
        assert sum(len(ask.candidates) * len(ask.examples) for ask in evaluates(result)) == result.evaluations

    def test_the_design_comes_in_blocks_of_rows(self):
        """Each prompt of the design sees one block, each block is seen by as many prompts."""
        result = simulate(Factorial(share=0.5, block=6, blocks=4), sample_context(600), by_cue)
        design = next(ask for ask in result.asks if isinstance(ask, Batch))
        asks = list(design.asks.values())
        assert len(asks) == 4
        assert {len(ask.examples) for ask in asks} == {6}
        assert len({example.id for ask in asks for example in ask.examples}) == 24
        sizes = [len(ask.candidates) for ask in asks]
        assert sum(sizes) >= 48
        assert max(sizes) - min(sizes) <= 1

    def test_best_observed_and_best_predicted_race(self):
        result = simulate(Factorial(), sample_context(600), by_cue)
        before = {c.id for ask in evaluates(result)[:5] for c in ask.candidates}
        entrants = {c.id: c for c in evaluates(result)[5].candidates}
        assert sum(c.operator == "draw" for c in entrants.values()) == Factorial.predicted
        assert sum(c in before for c in entrants) >= Factorial.observed

    def test_finds_what_matters_and_says_so(self):
        result = simulate(Factorial(), sample_context(900), by_cue)
        assert result.best.prompt.demos
        assert result.best.prompt.answer_cue == "A:"
        effects = result.recommendations[-1].effects
        whole = [effect for effect in effects if not effect.level]
        assert {whole[0].choice, whole[1].choice} == {"demos", "cue"}
        levels = {(e.choice, e.level): e.estimate for e in effects if e.level and not e.against}
        assert levels["cue", "A:"] > 0 > levels["demos", "0"]

    def test_keeps_a_seed_that_nothing_beats(self):
        context = sample_context(300)
        result = simulate(Factorial(), context, lambda candidate, _: float(candidate.id == context.seeds[0].id))
        assert result.best.prompt.id == context.seeds[0].id

    def test_few_rows_are_used_fully(self):
        context = sample_context(150)
        result = simulate(Factorial(), replace(context, search=context.search[:6]), by_cue)
        assert result.evaluations > 130

    def test_a_space_without_choices_ends(self):
        context = sample_context(300, editable=())
        assert simulate(Factorial(), context, by_cue).best.prompt.id == context.seeds[0].id

    def test_nothing_to_demonstrate_with_is_no_hindrance(self):
        result = simulate(Factorial(), replace(sample_context(300), pool=()), by_cue)
        assert result.evaluations > 280

    @pytest.mark.parametrize("settings", [{"block": 0}, {"share": 1.5}, {"spread": math.nan}])
    def test_settings_without_sense_are_refused(self, settings):
        with pytest.raises(ConfigError):
            Factorial(**settings)


class TestDesign:
    space = Space.of(sample_context())

    def test_every_level_stands_equally_often(self):
        points = balanced_points(self.space, Random(3), 60, keep=0.3)
        for number in self.space.free_choices:
            counts = Counter(point.levels[number] for point in points)
            others = [counts[level] for level in range(1, len(self.space.choices[number].levels))]
            assert counts[0] == 18
            assert max(others) - min(others) <= 1

    def test_choices_are_dealt_independently(self):
        points = balanced_points(self.space, Random(3), 60, keep=0.3)
        one, other = self.space.free_choices[:2]
        assert len({(point.levels[one], point.levels[other]) for point in points}) > len(self.space.choices[one].levels)

    def test_the_ideal_point_is_the_best_by_the_model(self):
        breeder, rng = Breeder(self.space), Random(4)
        records = [
            Record(
                c.id,
                breeder.space.features(breeder.points[c.id]),
                {f"{n}": by_cue(c, e) for n, e in enumerate(EXAMPLES)},
            )
            for c in breeder.random(rng, 40)
        ]
        model = fit_effects(records)
        best = ideal_point(self.space, model, self.space.seed_points[0])
        worth = model.predict(self.space.features(best))
        drawn = balanced_points(self.space, rng, 300, keep=0.3)
        assert worth > max(model.predict(self.space.features(point)) for point in drawn)


class TestPairs:
    def planted(self):
        """Return prompts that are good where both ``a`` and ``x`` stand, and else are not."""
        rng, seen = Random(7), []
        for number in range(80):
            cue, role, care = rng.choice("ab"), rng.choice("xy"), rng.choice("pq")
            chance = 0.85 if (cue, role) == ("a", "x") else 0.35
            scores = {f"row {row}": float(rng.random() < chance) for row in range(8)}
            seen.append(Record(f"prompt {number}", (("cue", cue), ("role", role), ("care", care)), scores))
        return seen

    def test_what_is_more_than_its_parts_is_found(self):
        seen = self.planted()
        pairs = strong_pairs(seen, fit_effects(seen), 1)
        assert {choice for choice, _ in pairs[0]} == {"cue", "role"}

    def test_a_pair_counts_where_both_stand(self):
        seen = self.planted()
        pair = ("cue", "a"), ("role", "x")
        model = fit_effects(seen, pairs=[pair])
        assert model.weights[model.columns["pair", "cue: a & role: x"]] > 0
        alone = model.predict([("cue", "a"), ("role", "y")]) + model.predict([("cue", "b"), ("role", "x")])
        both = model.predict([("cue", "a"), ("role", "x")]) + model.predict([("cue", "b"), ("role", "y")])
        assert both - alone == pytest.approx(model.weights[model.columns["pair", "cue: a & role: x"]])
        assert any(effect.choice == "pair" for effect in model.table())

    def test_where_nothing_interacts_few_pairs_stand_out(self):
        rng, seen = Random(8), []
        for number in range(60):
            features = tuple((name, rng.choice("abcd")) for name in ("cue", "role", "care", "form", "label"))
            scores = {f"row {row}": float(rng.random() < 0.5) for row in range(8)}
            seen.append(Record(f"prompt {number}", features, scores))
        assert len(strong_pairs(seen, fit_effects(seen), 100)) <= 5


EXAMPLES = sample_context().search[:10]

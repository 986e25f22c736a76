"""IRace, its effect model and its scoreboard."""

import math
from dataclasses import replace
from random import Random

import pytest
from threadpoolctl import threadpool_info

from promptopt.ask import Evaluate
from promptopt.errors import ConfigError
from promptopt.ids import content_hash
from promptopt.landscape import Landscape
from promptopt.testing.simulation import sample_context, simulate
from promptopt_strategies.fitting import Record, fit_effects
from promptopt_strategies.irace import IRace
from promptopt_strategies.threads import on_one_thread


def by_cue(candidate, example):
    """Right with demonstrations and the cue ``A:``, on most rows."""
    quality = 0.2 + 0.4 * bool(candidate.prompt.demos) + 0.3 * (candidate.prompt.answer_cue == "A:")
    return float(int(content_hash(candidate.id, example.id)[:8], 16) / 0xFFFFFFFF < quality)


class TestSearch:
    @pytest.mark.parametrize("plan", [1, 7, 40, 150, 300])
    @pytest.mark.parametrize("profile", sorted(IRace.profiles))
    def test_uses_nearly_all_of_the_plan_and_never_more(self, plan, profile):
        result = simulate(IRace(**IRace.profiles[profile]), sample_context(plan), by_cue)
        assert not result.overspent
        assert plan - 2 * IRace.block <= result.evaluations <= plan

    def test_asks_for_no_pair_twice(self):
        result = simulate(IRace(), sample_context(300), by_cue)
        asks = [ask for ask in result.simple_asks if isinstance(ask, Evaluate)]
        assert sum(len(ask.candidates) * len(ask.examples) for ask in asks) == result.evaluations

    def test_finds_what_matters(self):
        best = simulate(IRace(), sample_context(300), by_cue).best.prompt
        assert best.demos
        assert best.answer_cue == "A:"

    def test_says_why(self):
        effects = simulate(IRace(), sample_context(600), by_cue).recommendations[-1].effects
        levels = [effect for effect in effects if effect.level and not effect.against]
        found = {(effect.choice, effect.level): effect for effect in levels}
        assert found["demos", "0"].estimate < 0
        assert found["cue", "A:"].estimate > 0
        sizes = [abs(effect.estimate) for effect in levels]
        assert sizes == sorted(sizes, reverse=True)
        changes = {effect.choice: effect for effect in effects if effect.against}
        assert (changes["cue"].against, changes["cue"].level) == ("Kind:", "A:")
        assert changes["demos"].against == "0"
        assert changes["all together"].low > 0

    def test_the_seed_is_in_the_first_and_in_the_last_race(self):
        context = sample_context(300)
        asks = [ask for ask in simulate(IRace(), context, by_cue).simple_asks if isinstance(ask, Evaluate)]
        assert context.seeds[0].id in {candidate.id for candidate in asks[0].candidates}
        assert sum(context.seeds[0].id in {c.id for c in ask.candidates} for ask in asks) >= 2

    def test_keeps_a_seed_that_nothing_beats(self):
        context = sample_context(300)
        result = simulate(IRace(), context, lambda candidate, _: float(candidate.id == context.seeds[0].id))
        assert result.best.prompt.id == context.seeds[0].id

    def test_few_rows_are_used_fully(self):
        context = sample_context(150)
        result = simulate(IRace(), replace(context, search=context.search[:6]), by_cue)
        assert result.evaluations > 130

    def test_a_space_without_choices_ends(self):
        context = sample_context(300, editable=())
        assert simulate(IRace(), context, by_cue).best.prompt.id == context.seeds[0].id

    def test_equal_seeds_ask_the_same_and_others_do_not(self):
        first, again, other = (simulate(IRace(), sample_context(150, seed=s), by_cue) for s in (1, 1, 2))
        assert [ask.fingerprint() for ask in first.asks] == [ask.fingerprint() for ask in again.asks]
        assert [ask.fingerprint() for ask in first.asks] != [ask.fingerprint() for ask in other.asks]

    def test_the_default_search_is_the_one_that_was_measured(self):
        """docs/measured.md; whatever asks otherwise is another version and has to be measured again."""
        both = [simulate(IRace(), sample_context(300, seed=seed), Landscape(seed=seed)).asks for seed in (1, 2)]
        assert IRace.version == "2"
        assert (
            content_hash([[ask.fingerprint() for ask in asks] for asks in both]) == "db032b377f2d012fd9399b303d18459b"
        )

    @pytest.mark.parametrize("settings", [{"block": 0}, {"reserve": 1.5}, {"cross": math.nan}])
    def test_settings_without_sense_are_refused(self, settings):
        with pytest.raises(ConfigError):
            IRace(**settings)


class TestEffects:
    def planted(self, n=60):
        """Return prompts in which the cue is worth much, the role nothing, and one demonstration harms."""
        rng, seen = Random(5), []
        for number in range(n):
            cue, role, demo = rng.choice("ab"), rng.choice("xy"), rng.random() < 0.3
            chance = 1 / (1 + math.exp(-(1.5 * (cue == "a") - 1.5 * demo)))
            features = [("cue", cue), ("role", role), *([("demo", "bad")] if demo else [])]
            scores = {f"row {row}": float(rng.random() < chance) for row in range(number % 5, 20, 2)}
            seen.append(Record(f"prompt {number}", tuple(features), scores))
        return seen

    def test_planted_signs_are_found_with_intervals(self):
        table = {(e.choice, e.level): e for e in fit_effects(self.planted()).table()}
        assert table["cue", "a"].low > 0 > table["cue", "b"].high
        assert table["demo", "bad"].high < 0
        assert table["role", "x"].low < 0 < table["role", "x"].high
        assert all(-1 <= e.low <= e.estimate <= e.high <= 1 and e.n > 0 for e in table.values())

    def test_changes_from_the_seed_are_told_one_by_one_and_together(self):
        model = fit_effects(self.planted())
        seed, best = [("cue", "b"), ("role", "x"), ("demos", "1"), ("demo", "bad")], [("cue", "a"), ("role", "x")]
        cue, demos, together = model.changes(seed, best)
        assert (cue.choice, cue.level, cue.against) == ("cue", "a", "b")
        assert (demos.choice, demos.level, demos.against) == ("demos", "none", "1")
        assert min(cue.low, demos.low, together.low) > 0
        assert together.estimate == pytest.approx(cue.estimate + demos.estimate)
        assert model.changes(seed, seed) == ()

    def test_a_fit_starts_from_the_last_one_and_ends_the_same(self):
        seen = self.planted()
        warm, cold = fit_effects(seen, fit_effects(seen[:30])), fit_effects(seen)
        assert warm.weights == pytest.approx(cold.weights, abs=1e-6)

    def test_prompts_of_better_choices_are_predicted_better(self):
        model = fit_effects(self.planted())
        good, bad = [("cue", "a")], [("cue", "b"), ("demo", "bad")]
        assert model.predict(good) > model.predict(bad)
        assert model.predict([("cue", "never seen")]) == model.predict([])

    def test_draws_differ_but_not_between_equal_streams(self):
        model = fit_effects(self.planted())
        worth = [model.draw(Random(seed)).predict([("cue", "a")]) for seed in (1, 1, 2)]
        assert worth[0] == worth[1] != worth[2]

    def test_how_much_a_choice_matters_is_the_spread_of_its_levels(self):
        model = fit_effects(self.planted())
        whole = {effect.choice: effect for effect in model.spreads()}
        levels = {(e.choice, e.level): e.estimate for e in model.table()}
        assert whole["cue"].estimate == pytest.approx(abs(levels["cue", "a"] - levels["cue", "b"]) / 2)
        assert whole["cue"].low > 0 == whole["role"].low
        assert [e.estimate for e in model.spreads()] == sorted((e.estimate for e in model.spreads()), reverse=True)

    def test_steps_that_overshoot_are_halved(self):
        """In this world full steps run off to where every chance is 0 or 1, and every effect to 0."""
        result = simulate(IRace(), sample_context(600, seed=9), Landscape(seed=9))
        assert max(abs(effect.estimate) for effect in result.recommendations[-1].effects) > 0.01

    def test_the_fit_is_where_the_penalised_likelihood_is_flat(self):
        """Against the score equations, written out pair by pair."""
        seen = self.planted()
        model = fit_effects(seen)
        slopes = {c: -{"all": 0.01, "demo": 3.0}.get(c[0], 1.0) * model.weights[at] for c, at in model.columns.items()}
        for record in seen:
            for row, score in record.scores.items():
                shows = [("all", ""), *record.features, ("prompt", record.prompt), ("row", row)]
                chance = 1 / (1 + math.exp(-sum(model.weights[model.columns[c]] for c in shows)))
                for column in shows:
                    slopes[column] += score - chance
        assert max(map(abs, slopes.values())) < 1e-8

    def test_linear_algebra_keeps_to_one_thread(self):
        threads = on_one_thread(
            lambda: [pool["num_threads"] for pool in threadpool_info() if "numpy" in pool["filepath"]]
        )
        before = threadpool_info()
        assert set(threads()) == {1}
        assert threadpool_info() == before

    def test_fractions_and_constants_are_fitted(self):
        for score in (0.0, 0.5, 1.0):
            model = fit_effects([Record("p", (("cue", "a"),), {f"{n}": score for n in range(5)})])
            assert all(map(math.isfinite, model.weights))

"""SPRIG's genetic algorithm does what "faithful means" of the algorithm notes, section 3h, says; one test a line."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

import numpy as np
import pytest

from promptopt.ask import Evaluate
from promptopt.evaluation import Evaluation, Outcome
from promptopt.statistics import rank_correlation
from promptopt.testing.simulation import sample_context
from promptopt_strategies.assembly import seed_assemblies
from promptopt_strategies.corpus import Component
from promptopt_strategies.heredity import ACTIONS, crossover, draw_action, random_list
from promptopt_strategies.ranker import Ranker, Scores, Truth, fit_ranker
from promptopt_strategies.sprig_ga import SprigGA
from tests.sprig import BREEDING, CORPUS, PROFILES, bred, evaluates, genetic, run

refit = Scores.refit


class TestSprigGA:
    @pytest.mark.parametrize("profile", PROFILES)
    def test_3h_07_half_dies_by_prediction_and_the_size_stays(
        self, profile: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        generations: list[tuple[list[Any], list[Any], Any]] = []
        learn = SprigGA._learn

        def spy(self: SprigGA, run: Any, survivors: Any, children: Any, number: int) -> Iterator[Any]:
            generations.append((list(survivors), list(children), run.scores.ranker))
            return learn(self, run, survivors, children, number)

        monkeypatch.setattr(SprigGA, "_learn", spy)
        run(genetic(profile, population=40), plan=6_000)
        assert len(generations) > 1
        members: list[Any] = []
        for survivors, children, ranker in generations:
            assert len(survivors) == len(children) == 20
            if members:
                order = sorted(members, key=lambda m: (-round(ranker.predict(m.assembly.components), 9), m.id))
                assert [m.id for m in order[:20]] == [m.id for m in survivors]
            members = [*survivors, *children]

    def test_3h_07_reference_code_starts_with_every_component_alone(self) -> None:
        strategy = genetic("reference-code")
        run_ = strategy._begin(sample_context(5_000))
        seeds = [type("Seed", (), {"assembly": seed_assemblies(run_.context)[0], "id": "seed"})()]
        texts = [member.assembly.components for member in strategy._first(run_, seeds)[1:]]
        assert texts == [(component,) for component in CORPUS]

    @pytest.mark.parametrize(
        ("actions", "crossed"), [(ACTIONS, 0.815), ({**ACTIONS, "useless": 0.0}, 0.825)], ids=["code", "paper"]
    )
    def test_3h_08_actions_are_as_frequent_as_the_table_says(
        self, actions: Mapping[Any, float], crossed: float
    ) -> None:
        rng, n = Random(7), 10_000
        drawn = Counter(draw_action(rng, actions) for _ in range(n))
        for action, chance in {**actions, "crossover": crossed}.items():
            assert abs(drawn[action] - n * chance) <= 3 * math.sqrt(n * chance * (1 - chance))
        assert sum(ACTIONS.values()) == pytest.approx(1 - 0.815)

    def test_3h_08_only_the_code_adds_what_is_useless(self) -> None:
        assert [genetic(profile).add_useless for profile in PROFILES] == [False, True, False]

    def test_3h_09_a_crossover_is_a_part_of_both_parents(self) -> None:
        rng = Random(3)
        for _ in range(500):
            left, right = (random_list(CORPUS, rng, 0, 8) for _ in range(2))
            child, both = crossover(left, right, rng), Counter([*left, *right])
            assert Counter(child) <= both
            assert (1 if both else 0) <= len(child) <= both.total()

    @pytest.mark.parametrize("profile", PROFILES)
    def test_3h_10_the_ranker_learns_from_true_scores_alone(
        self, profile: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        taught: list[list[Truth]] = []
        monkeypatch.setattr(Scores, "refit", lambda self: (taught.append(list(self.truths)), refit(self))[1])
        simulation = run(genetic(profile), plan=BREEDING[profile])
        found = {
            (e.prompt_id, round(e.mean, 9))
            for ask, answer in simulation.exchanges
            if isinstance(ask, Evaluate) and ask.purpose == "truth"
            for e in answer.evaluations
        }
        assert len(taught) >= 3
        assert {(truth.prompt_id, round(truth.mean, 9)) for truth in taught[-1]} == found
        assert len(taught[-1]) > len(taught[0])

    @pytest.mark.parametrize("profile", PROFILES)
    def test_3h_10_its_rank_correlation_on_held_out_truth_is_logged(self, profile: str) -> None:
        simulation = bred(profile)
        logged = {c.note["batch"]: c.note["ranker"] for ask in evaluates(simulation, "truth") for c in ask.candidates}
        values = [value for batch, value in logged.items() if batch not in ("pretrain", "1")]
        assert values
        assert all(value is None or -1 <= value <= 1 for value in values)
        assert any(value is not None for value in values)

    @pytest.mark.parametrize("profile", PROFILES)
    def test_3h_11_the_final_choice_is_by_validation_truth(self, profile: str) -> None:
        simulation = bred(profile)
        truth = {example.id for ask in evaluates(simulation, "truth") for example in ask.examples}
        finals = [ask for ask in evaluates(simulation) if ask.purpose != "truth"]
        kept = {example.id for ask in finals for example in ask.examples}
        assert kept
        assert not kept & truth
        means: dict[str, Evaluation] = {}
        for ask, answer in simulation.exchanges:
            for e in answer.evaluations if ask in finals else ():
                means[e.prompt_id] = means[e.prompt_id] + e if e.prompt_id in means else e
        last = simulation.recommendations[-1]
        assert last.estimates == pytest.approx([means[c.id].mean for c in last.ranking])
        assert last.estimates[0] == max(last.estimates) or profile == "recommended"

    @pytest.mark.parametrize(("profile", "shared"), [("paper", True), ("reference-code", False), ("recommended", True)])
    def test_prompts_of_a_generation_share_their_questions_but_not_in_the_code(
        self, profile: str, shared: bool
    ) -> None:
        asks = evaluates(bred(profile), "truth")
        first = [ask for ask in asks if ask.candidates[0].note["batch"] == "pretrain"]
        assert (len(first) == 1) is shared


class TestRanker:
    def test_it_finds_what_components_are_worth_whatever_the_batch(self) -> None:
        rng, corpus = Random(1), CORPUS[:40]
        worth = {component: rng.uniform(-0.1, 0.1) for component in corpus}
        truths = []
        for number in range(300):
            chosen = random_list(corpus, rng, 1, 5)
            batch = str(number % 3)
            mean = 0.2 + 0.2 * int(batch) + sum(map(worth.__getitem__, chosen)) / 2
            truths.append(Truth(str(number), chosen, batch, mean, 20))
        ranker = fit_ranker(truths)
        found = rank_correlation([ranker.worth(c) for c in corpus], list(worth.values()))
        assert found is not None
        assert found > 0.95
        assert ranker.level("2") - ranker.level("0") == pytest.approx(0.4, abs=0.05)

    def test_worth_is_a_weight_of_its_own_of_its_class_and_of_one_more(self) -> None:
        told = {("batch", "b"): 0.5, ("component", "A."): 0.1, ("kind", "style"): 0.02, ("length", ""): -0.03}
        ranker = Ranker(told, np.eye(4), {})
        known, other = Component("A.", "style"), Component("B.", "style", "C.")
        assert ranker.worth(known) == pytest.approx(0.09)
        assert ranker.worth(other) == pytest.approx(-0.01)
        assert ranker.predict([known, other]) == pytest.approx(0.08)

    def test_its_effects_have_intervals_that_shrink_with_questions(self) -> None:
        few, many = (
            fit_ranker([Truth("a", CORPUS[:1], "b", 0.9, n), Truth("s", (), "b", 0.5, n)]).effects()[0]
            for n in (5, 500)
        )
        assert few.level == many.level == CORPUS[0].text
        assert many.high - many.low < few.high - few.low
        assert many.low > 0

    def test_a_true_score_without_answers_teaches_nothing(self) -> None:
        scores = Scores(CORPUS)
        scores.add(CORPUS[:1], "b", Evaluation("p", (Outcome("p", "e", "failed"),)))
        assert scores.truths == []
        assert scores.standings(5.0) == {}

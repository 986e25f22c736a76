"""SPRIG's beam search does what "faithful means" of the algorithm notes, section 3h, says; one test a line."""

import math
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

from promptopt.ask import Evaluate, Recommend, Write, Written
from promptopt.errors import ConfigError
from promptopt.example import Example
from promptopt.ids import content_hash
from promptopt.prompt import Candidate
from promptopt.registry import configure
from promptopt.testing.simulation import sample_context, simulate
from promptopt_strategies.assembly import seed_assemblies, single_edits
from promptopt_strategies.corpus import Component, load_corpus
from promptopt_strategies.credit import Credit
from tests.sprig import (
    AS_PUBLISHED,
    CORPUS,
    PROFILES,
    assembly,
    beam,
    by_suite,
    by_text,
    evaluates,
    genetic,
    run,
    suite_context,
)


class TestSprigBeam:
    @pytest.mark.parametrize(("length", "children"), [(0, 306), (1, 131), (2, 203), (3, 276), (6, 501)])
    def test_3h_01_counts_match_the_formula(self, length: int, children: int) -> None:
        parent = assembly(*(f"Number {n}." for n in range(length)))
        arms = CORPUS[:60] if length else CORPUS
        wordings = {c.text: [Component(f"{c.text} {n}", "style", c.text) for n in range(10)] for c in parent.components}
        edits = list(single_edits(parent, arms, wordings))
        assert len(edits) == children

    def test_3h_01_all_single_edits_of_the_four_types(self) -> None:
        parent = assembly("A.", "B.", "C.")
        other = Component("B again.", "style", "B.")
        edits = single_edits(parent, [Component("N.", "style")], {"B.": [other]})
        texts = Counter((child.operator, child.assembly.prompt.system) for child in edits)
        assert texts == Counter(
            [("add", t) for t in ("N. A. B. C.", "A. N. B. C.", "A. B. N. C.", "A. B. C. N.")]
            + [("delete", t) for t in ("B. C.", "A. C.", "A. B.")]
            + [("swap", t) for t in ("B. A. C.", "C. B. A.", "A. C. B.")]
            + [("rephrase", "A. B again. C.")]
        )

    @pytest.mark.parametrize("profile", AS_PUBLISHED)
    def test_3h_01_a_step_scores_every_single_edit_of_the_beam_once(self, profile: str) -> None:
        simulation = run(beam(profile, beam=2, paraphrases=0), plan=9_000)
        parents = [Component(c.prompt.system, "") for c in simulation.recommendations[1].ranking[:2]]
        asked = evaluates(simulation)[2].candidates
        arms = [Component(text, "") for text in {c.note["component"] for c in asked if c.operator == "add"}]
        assert len(arms) == 60
        frame = seed_assemblies(sample_context())[0]
        expected = {child.id for p in parents for child in single_edits(frame.with_components([p]), arms, {})}
        assert {candidate.id for candidate in asked} == expected
        assert len(asked) == len(expected)

    @pytest.mark.parametrize("profile", PROFILES)
    def test_3h_01_every_child_is_one_edit_from_a_parent(self, profile: str) -> None:
        plan = 900 if profile == "recommended" else 8_000
        simulation = run(beam(profile, beam=2), plan=plan)
        lists = {c.id: c.prompt.system for ask in evaluates(simulation) for c in ask.candidates}
        for ask in evaluates(simulation):
            for candidate in ask.candidates:
                if candidate.operator == "add":
                    (parent,) = candidate.parents
                    assert len(candidate.prompt.system) > len(lists[parent])
                    assert candidate.note["component"] in candidate.prompt.system

    def test_3h_02_bounds_use_differences_and_are_infinite_for_the_untried(self) -> None:
        credit, (one, two, three) = Credit(), CORPUS[:3]
        for delta in (0.1, 0.3):
            credit.add(one, delta, 10)
        credit.add(two, -0.2, 10)
        assert credit.bound(one) == pytest.approx(0.2 + math.sqrt(2 * math.log(3.001) / 2))
        assert credit.bound(two) == pytest.approx(-0.2 + math.sqrt(2 * math.log(3.001)))
        assert credit.bound(three) == math.inf
        assert credit.top(CORPUS, 2) == [CORPUS[2], CORPUS[3]]
        assert Credit().top(CORPUS, 60) == list(CORPUS)

    def test_3h_02_paraphrases_are_credited_to_their_source(self) -> None:
        credit = Credit()
        credit.add(Component("In other words.", "style", CORPUS[0].text), 0.5, 10)
        assert credit.deltas == {CORPUS[0].text: [0.5]}

    @pytest.mark.parametrize("profile", AS_PUBLISHED)
    @pytest.mark.parametrize("level", [0.0, 0.4])
    def test_3h_02_a_higher_level_of_all_scores_changes_nothing(self, profile: str, level: float) -> None:
        def graded(candidate: Candidate, example: Example) -> float:
            return level + 0.5 * (len(candidate.prompt.system) % 7) / 7

        first = simulate(beam(profile), sample_context(16_000), graded)
        plain = simulate(beam(profile), sample_context(16_000), lambda c, e: graded(c, e) - level)
        asked = [[candidate.id for candidate in ask.candidates] for ask in evaluates(first)]
        assert len(asked) > 2
        assert asked == [[candidate.id for candidate in ask.candidates] for ask in evaluates(plain)]

    @pytest.mark.parametrize("profile", AS_PUBLISHED)
    def test_3h_02_an_addition_is_credited_against_the_parents_latest_score(
        self, profile: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        credited: dict[str, float] = {}
        monkeypatch.setattr(Credit, "add", lambda _, component, delta, n: credited.update({component.text: delta}))
        simulation = run(beam(profile), plan=3_200)
        (seed,), children = (answer.evaluations for ask, answer in simulation.exchanges if isinstance(ask, Evaluate))
        texts = [candidate.prompt.system for candidate in evaluates(simulation)[1].candidates]
        assert credited == {text: found.mean - seed.mean for text, found in zip(texts, children, strict=True)}
        assert len(credited) == 306

    @pytest.mark.parametrize("profile", AS_PUBLISHED)
    def test_3h_03_one_set_of_questions_a_step_and_a_new_one_each_step(self, profile: str) -> None:
        context = suite_context(60_000)
        asks = evaluates(simulate(beam(profile), context, by_suite))
        sets = [frozenset(example.id for example in ask.examples) for ask in asks]
        assert len(sets) == len(set(sets)) >= 3
        for ask in asks:
            assert Counter(example.task for example in ask.examples) == {"t0": 10, "t1": 10, "t2": 10}

    def test_3h_03_halving_shows_all_that_stay_the_same_questions(self) -> None:
        simulation = simulate(beam("recommended"), suite_context(900), by_suite)
        seen: dict[str, list[str]] = {}
        for ask in evaluates(simulation)[:2]:
            for candidate in ask.candidates:
                seen.setdefault(candidate.id, []).extend(example.id for example in ask.examples)
        longest = max(seen.values(), key=len)
        assert all(rows == longest[: len(rows)] for rows in seen.values())
        first = evaluates(simulation)[0].examples
        assert {example.task for example in first[:3]} == {"t0", "t1", "t2"}

    @pytest.mark.parametrize("profile", AS_PUBLISHED)
    def test_3h_04_parents_come_back_only_if_an_edit_makes_them_again(self, profile: str) -> None:
        simulation = run(beam(profile, paraphrases=0), plan=18_000)
        steps = evaluates(simulation)
        first_beam = {c.id for c in simulation.recommendations[1].ranking}
        assert len(first_beam) == 10
        again = {candidate.id for candidate in steps[2].candidates} & first_beam
        assert again == set()  # no single edit of a single component gives another one back
        assert steps[0].candidates[0].id in {
            candidate.id for candidate in steps[2].candidates
        }  # but deleting gives none

    def test_3h_04_recommended_parents_always_compete(self) -> None:
        asks = run(beam("recommended"), plan=900).simple_asks
        steps = [
            (before.ranking[:3], ask.candidates)
            for before, ask in pairwise(asks)
            if isinstance(before, Recommend) and isinstance(ask, Evaluate) and ask.purpose == "step"
        ]
        assert len(steps) > 5
        for beam_, pool in steps:
            assert {candidate.id for candidate in beam_} <= {candidate.id for candidate in pool}

    @pytest.mark.parametrize("profile", PROFILES)
    def test_3h_04_the_beam_is_at_most_ten(self, profile: str) -> None:
        assert beam(profile).beam <= 10

    def test_3h_05_a_swap_is_another_prompt_of_the_same_components(self) -> None:
        parent = assembly("A.", "B.", "C.")
        moved = [child.assembly for child in single_edits(parent, (), {}) if child.operator == "swap"]
        assert len({child.id for child in moved} | {parent.id}) == 4
        assert all(Counter(child.components) == Counter(parent.components) for child in moved)

    @pytest.mark.parametrize("profile", PROFILES)
    def test_3h_06_it_starts_empty_and_its_first_children_are_single_components(self, profile: str) -> None:
        simulation = run(beam(profile), plan=900 if profile == "recommended" else 3_200)
        asks = evaluates(simulation)
        seed = sample_context().seeds[0]
        assert seed.system == ""
        first = [c for ask in asks[: 2 if profile in AS_PUBLISHED else 1] for c in ask.candidates]
        texts = {candidate.prompt.system for candidate in first if candidate.id != seed.id}
        corpus = {component.text for component in CORPUS}
        assert texts == corpus if profile in AS_PUBLISHED else texts <= corpus

    def test_a_step_that_the_plan_cannot_pay_is_not_begun(self) -> None:
        simulation = run(beam("paper"), plan=1_000)
        assert [len(ask.candidates) for ask in evaluates(simulation)] == [1]
        assert not simulation.overspent

    def test_recommended_is_two_to_three_orders_cheaper(self) -> None:
        paper = 306 * 10 + 24 * 10 * 131 * 10  # at length 1 throughout, one task
        assert paper / run(beam("recommended"), plan=2_000).evaluations > 100


class TestSuite:
    @pytest.mark.parametrize("name", ["sprig-beam", "sprig-ga"])
    def test_every_task_is_asked_the_same_number_of_questions(self, name: str) -> None:
        simulation = simulate(configure(name), suite_context(900), by_suite)
        asked = Counter(e.task for ask in evaluates(simulation)[:1] for e in ask.examples for _ in ask.candidates)
        assert len(set(asked.values())) == 1
        assert simulation.evaluations > 700

    @pytest.mark.parametrize("name", ["sprig-beam", "sprig-ga"])
    def test_only_the_shared_text_changes(self, name: str) -> None:
        context = suite_context(400)
        rest = {key: value for key, value in context.seeds[0].to_json().items() if key != "system"}
        for ask in evaluates(simulate(configure(name), context, by_suite)):
            for candidate in ask.candidates:
                assert {k: v for k, v in candidate.prompt.to_json().items() if k != "system"} == rest

    @pytest.mark.parametrize("name", ["sprig-beam", "sprig-ga"])
    def test_a_component_that_helps_one_task_and_harms_two_is_not_taken(self, name: str) -> None:
        def fickle(candidate: Candidate, example: Example) -> float:
            return float((example.task == "t2") == bool(candidate.prompt.system))

        assert simulate(configure(name), suite_context(900), fickle).best.prompt.system == ""


class TestWording:
    def test_a_model_that_can_write_is_asked_for_other_wordings(self) -> None:
        def writer(ask: Write) -> Written:
            return Written((f"<component>New words {content_hash(ask.payload())[:3]} {{input}}.</component>",) * ask.n)

        context = replace(sample_context(1_500), answers=frozenset({"write"}))
        for name, purposes in (("sprig-beam", {"rephrase"}), ("sprig-ga", {"rephrase", "add", "merge"})):
            simulation = simulate(configure(name), context, by_text, writer)
            writes = [ask for ask in simulation.simple_asks if isinstance(ask, Write)]
            assert {ask.purpose for ask in writes} == purposes
            assert sum(ask.n for ask in writes) <= configure(name).estimate(context).writes
            asked = [c.prompt for ask in evaluates(simulation) for c in ask.candidates]
            new = [prompt for prompt in asked if "New words" in prompt.system]
            assert new
            assert all("{{input}}" in prompt.system for prompt in new)  # a brace in a reply stays a brace

    def test_without_one_nothing_is_written(self) -> None:
        for name in ("sprig-beam", "sprig-ga"):
            simulation = run(configure(name), plan=1_500)
            assert not any(isinstance(ask, Write) for ask in simulation.simple_asks)
            operators = {c.operator for ask in evaluates(simulation) for c in ask.candidates}
            assert operators >= ({"add", "delete", "rephrase"} if name == "sprig-beam" else {"crossover"})


class TestFrames:
    def test_the_users_own_system_text_is_cut_into_components(self) -> None:
        context = sample_context()
        seed = context.seeds[0].replace(system="Be kind. Be brief! Why not?")
        (made,) = seed_assemblies(replace(context, seeds=(seed,)))
        assert [component.text for component in made.components] == ["Be kind.", "Be brief!", "Why not?"]
        assert made.id == seed.id

    def test_a_text_that_shows_an_input_stays(self) -> None:
        context = sample_context()
        seed = context.seeds[0].replace(system="Judge this: {input}")
        (made,) = seed_assemblies(replace(context, seeds=(seed,)))
        grown = made.with_components([Component("Be kind.", "style")])
        assert (made.components, made.id) == ((), seed.id)
        assert grown.prompt.system == "Be kind. Judge this: {input}"

    def test_where_the_system_text_is_fixed_components_stand_before_the_instruction(self) -> None:
        context = replace(sample_context(), editable=("instruction",))
        (made,) = seed_assemblies(context)
        grown = made.with_components([Component("Be kind.", "style")])
        assert grown.prompt.instruction == "Be kind. Name the kind of the note."

    def test_nothing_to_change_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="--part system"):
            seed_assemblies(replace(sample_context(), editable=("demos",)))

    def test_risky_components_come_only_when_asked_for(self) -> None:
        risky = {c.text for c in load_corpus(risky=True)} - {c.text for c in CORPUS}
        for profile in PROFILES:
            assert not beam(profile).risky
            assert not genetic(profile).risky
        simulation = run(beam("paper", risky=True), plan=3_500)
        assert risky <= {c.prompt.system for c in evaluates(simulation)[1].candidates}

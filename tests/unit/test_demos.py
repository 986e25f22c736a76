"""Demos: bootstrapped random search over sets of demonstrations; the numbers are those of systems.md, 4.C, 287 (g)."""

from dataclasses import replace

import pytest

from promptopt.ask import Evaluate
from promptopt.example import Example
from promptopt.layout import Turn, completion_layout
from promptopt.prompt import Demo
from promptopt.testing.simulation import sample_context, simulate
from promptopt_strategies.demos import Demos


def evaluates(result):
    return [ask for ask in result.simple_asks if isinstance(ask, Evaluate)]


def sets(result):
    return {c.id: c for ask in evaluates(result) for c in ask.candidates if c.operator == "demos"}.values()


def more_is_better(candidate, _):
    return len(candidate.prompt.demos) / 10


def half(_, example):
    """Right on every other row, whatever the prompt."""
    return float(int(example.id, 16) % 2)


class TestDSPy287:
    def test_1_no_scored_row_stands_among_its_own_demonstrations(self):
        for ask in evaluates(simulate(Demos(), sample_context(300), half)):
            assert not any(c.prompt.shows(example) for c in ask.candidates for example in ask.examples)

    @pytest.mark.parametrize("threshold", [0.5, 1.0])
    def test_2_only_answers_that_pass_the_metric_are_bootstrapped(self, threshold):
        context = sample_context(300)

        def scorer(_, example):
            return (0.0, 0.5, 1.0)[int(example.id, 16) % 3]

        result = simulate(Demos(threshold=threshold), context, scorer)
        (ask,) = [ask for ask in evaluates(result) if ask.purpose == "bootstrap"]
        answered = dict(zip(ask.examples, [scorer(None, e) for e in ask.examples], strict=True))
        shown = [demo for candidate in sets(result) for demo in candidate.prompt.demos]
        own_words = {demo.inputs["input"]: demo.target for demo in shown if demo.target.startswith("not ")}
        passing = {e.inputs["input"]: f"not {e.target}" for e, score in answered.items() if score == 0.5 >= threshold}
        assert own_words.items() <= passing.items()
        assert bool(own_words) == (threshold == 0.5)

    def test_3_no_demonstrations_wanted_means_none_shown(self):
        context = sample_context(300, editable=("instruction",))
        result = simulate(Demos(), context, half)
        assert {c.prompt.id for ask in evaluates(result) for c in ask.candidates} == {context.seeds[0].id}

    def test_4_the_unchanged_prompt_is_scored_and_can_win(self):
        context = sample_context(300)
        result = simulate(Demos(), context, lambda candidate, _: 1 - len(candidate.prompt.demos) / 10)
        assert context.seeds[0].id in {candidate.id for candidate in evaluates(result)[0].candidates}
        assert result.best.prompt == context.seeds[0]

    def test_5_without_the_race_all_sets_are_scored_on_the_same_rows(self):
        result = simulate(Demos(race=False, sets=9, bootstrapped=0), sample_context(300), half)
        seen = {}
        for ask in evaluates(result):
            for candidate in ask.candidates:
                seen.setdefault(candidate.id, set()).update(example.id for example in ask.examples)
        assert len(set(map(frozenset, seen.values()))) == 1

    def test_6_as_many_calls_as_the_formula_says(self):
        """At most (sets + 2 fixed ones) times the rows, and the teacher's answers."""
        asked = Demos(race=False, sets=9, asked=0.1)
        result = simulate(asked, sample_context(300), half)
        teacher = next(len(ask.examples) for ask in evaluates(result) if ask.purpose == "bootstrap")
        assert teacher <= 30
        rows = (300 - teacher) // 11
        assert result.evaluations <= 11 * rows + teacher


def test_the_teacher_answers_rows_of_the_pool_that_it_does_not_show():
    context = sample_context(300)
    (ask,) = [a for a in evaluates(simulate(Demos(), context, half)) if a.purpose == "bootstrap"]
    (teacher,) = ask.candidates
    assert len(teacher.prompt.demos) == 4
    assert {e.id for e in ask.examples} <= {e.id for e in context.pool}
    assert len(ask.examples) == len(context.pool) - 4


def test_what_is_scored_for_the_choice_is_never_of_the_pool():
    context = sample_context(300)
    pool = {e.id for e in context.pool}
    scored = [a for a in evaluates(simulate(Demos(), context, half)) if a.purpose != "bootstrap"]
    assert not any(example.id in pool for ask in scored for example in ask.examples)


def test_an_answer_in_the_models_own_words_is_shown_as_it_was_given():
    context = sample_context(300)
    result = simulate(Demos(threshold=0.5), context, lambda *_: 0.5)
    labels = {(e.inputs["input"], e.target) for e in context.pool}
    for candidate in sets(result):
        inputs = [demo.inputs["input"] for demo in candidate.prompt.demos]
        assert len(inputs) == len(set(inputs))
        for demo in candidate.prompt.demos:
            assert (demo.inputs["input"], demo.target.removeprefix("not ")) in labels


def test_labelled_alone_asks_no_teacher():
    result = simulate(Demos(**Demos.profiles["labelled"]), sample_context(300), half)
    assert {ask.purpose for ask in evaluates(result)} == {"screen"}


@pytest.mark.parametrize(("most", "fill", "sizes"), [(3, False, {1, 2, 3}), (5, True, {5})])
def test_sets_have_the_sizes_that_were_asked_for(most, fill, sizes):
    result = simulate(Demos(most=most, fill=fill), sample_context(300), half)
    assert {len(candidate.prompt.demos) for candidate in sets(result)} == sizes


def test_the_answers_of_a_closed_set_stand_in_turn():
    result = simulate(Demos(most=3, fill=True, bootstrapped=0), sample_context(300), half)
    assert all(len({demo.target for demo in c.prompt.demos}) == 3 for c in sets(result))


def test_nothing_but_the_demonstrations_changes():
    context = sample_context(300)
    for candidate in sets(simulate(Demos(), context, half)):
        assert candidate.prompt.replace(demos=()) == context.seeds[0]


def test_finds_the_better_size():
    assert len(simulate(Demos(), sample_context(300), more_is_better).best.prompt.demos) == 8


@pytest.mark.parametrize("plan", [1, 3, 7, 40, 300])
@pytest.mark.parametrize("profile", sorted(Demos.profiles))
def test_never_passes_its_plan(plan, profile):
    result = simulate(Demos(**Demos.profiles[profile]), sample_context(plan), half)
    assert not result.overspent
    assert result.recommendations


def test_a_pool_that_is_empty_or_a_layout_without_a_place_for_demonstrations_leaves_the_seed():
    context = sample_context(100)
    blind = replace(completion_layout({}), turns=(Turn("text", ("{instruction}", "{fields}", "{answer_cue}")),))
    for other in (replace(context, pool=()), replace(context, seeds=(context.seeds[0].replace(layout=blind),))):
        assert simulate(Demos(), other, half).best.prompt == other.seeds[0]


def test_a_row_that_the_seed_shows_is_not_asked():
    context = sample_context(300)
    shown = context.pool[0]
    seed = context.seeds[0].replace(demos=(Demo.of(shown),))
    result = simulate(Demos(teacher=0), replace(context, seeds=(seed,)), half)
    assert not result.overspent
    strange = Example({"input": "never seen"}, "nature")
    assert seed.shows(shown)
    assert not seed.shows(strange)

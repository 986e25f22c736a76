"""The space of complete prompts, its component library and the operators that move in it."""

from dataclasses import replace
from random import Random

import pytest

from promptopt.example import Example
from promptopt.layout import Turn, chat_layout, completion_layout, inline_layout
from promptopt.prompt import PARTS, Demo, Prompt
from promptopt.strategy import Context
from promptopt_strategies.components import describe_answers
from promptopt_strategies.operators import crossover, mutate, random_demos, random_genome
from promptopt_strategies.space import Space
from promptopt_strategies.wording import nouns, relations, reword

CHOICES = ("positive", "negative")
BOTH = frozenset({"chat", "completion"})


def rows(start, end, **extra):
    return tuple(Example({"input": f"text {n}"}, CHOICES[n % 2], CHOICES, **extra) for n in range(start, end))


def context(*seeds, **changes):
    settings = {"pool": rows(0, 12), "search": rows(12, 30), "evaluations": 100, "choices": CHOICES, "modes": BOTH}
    return Context("Say whether a text is positive or negative.", seeds or (completion(),), **{**settings, **changes})


def completion(instruction="Classify the review.", **parts):
    layout = completion_layout({"input": "Review"})
    return Prompt.of(instruction, layout, answer_cue="Sentiment:", **parts)


def chat():
    return Prompt.of("Classify the review.", chat_layout({"input": "Review"}), system="Be brief.")


def inline(mode="chat"):
    return Prompt.of("Classify.\nReview: {input}\nSentiment:", inline_layout(mode, {"input": "Input"}))


def drawn(space, n=60):
    rng = Random(1)
    points = [random_genome(space, rng) for _ in range(n)]
    return [*points, *(mutate(space, rng, point) for point in points)]


class TestSeed:
    @pytest.mark.parametrize("seed", [completion(), completion(""), chat(), inline(), inline("completion")])
    def test_is_a_point_of_the_space_exactly(self, seed):
        space = Space.of(context(seed))
        assert space.prompt(space.seed_points[0]).id == seed.id

    def test_every_seed_of_the_same_kind_is_a_point(self):
        seeds = (completion(), completion("Judge {{this}} review."), chat())
        space = Space.of(context(*seeds))
        assert [space.prompt(point).id for point in space.seed_points] == [seed.id for seed in seeds]

    @pytest.mark.parametrize(("first", "last"), [("Be kind.", "Judge {input}."), ("Read {input}.", "Judge it.")])
    def test_messages_of_the_users_own_stay_in_every_prompt(self, first, last):
        own = (Turn("user", (first,)), Turn("assistant", ("Yes.",)))
        layout = inline_layout("chat", {})
        seed = Prompt.of(last, replace(layout, turns=(layout.turns[0], *own, *layout.turns[1:])))
        space = Space.of(context(seed))
        assert space.prompt(space.seed_points[0]).id == seed.id
        prompts = [space.prompt(point) for point in drawn(space)]
        for prompt in prompts:
            said = [(role, segments) for role, segments in prompt.template(("input",)).turns]
            assert [role for role, _ in said] == ["user", "assistant", "user"]
            assert said[0][1][0].startswith(first[:4])
        assert len({prompt.instruction for prompt in prompts}) > 3

    def test_seeds_of_the_other_kind_are_left_out(self):
        space = Space.of(context(completion(), inline()))
        assert [seed.id for seed in space.seeds] == [completion().id]

    def test_own_demonstrations_stay(self):
        seed = completion(demos=(Demo({"input": "mine"}, "positive"),))
        space = Space.of(context(seed))
        assert space.prompt(space.seed_points[0]).id == seed.id


class TestDemos:
    def test_come_only_from_the_pool(self):
        told = context()
        pool = {example.inputs["input"] for example in told.pool}
        space = Space.of(told)
        shown = {demo.inputs["input"] for point in drawn(space) for demo in space.prompt(point).demos}
        assert shown
        assert shown <= pool

    def test_none_is_always_a_level(self):
        space = Space.of(context())
        assert any(not point.demos for point in drawn(space))

    def test_are_different_and_not_too_many_and_not_too_long(self):
        space = Space.of(context(), max_demos=4, demo_chars=40)
        for point in drawn(space):
            chars = sum(len(d.inputs["input"]) + len(d.target) for d in space.prompt(point).demos)
            assert len(point.demos) == len(set(point.demos)) <= 4
            assert chars <= 40

    def test_targets_of_a_closed_set_are_balanced(self):
        space = Space.of(context())
        for seed in range(20):
            targets = [space.shelf[number].target for number in random_demos(space, Random(seed))]
            assert abs(targets.count("positive") - targets.count("negative")) <= 1

    def test_an_empty_pool_is_fine(self):
        space = Space.of(context(pool=()))
        assert all(not point.demos for point in drawn(space))

    def test_inline_prompts_get_them_in_front_in_their_own_form(self):
        space = Space.of(context(inline()))
        echo = next(n for n, choice in enumerate(space.choices) if choice.name == "echo")
        point = next(point for point in drawn(space) if point.demos and point.levels[echo] == 1)
        prompt = space.prompt(point)
        shown = prompt.template(("input",)).render(rows(20, 21)[0])[-1].content
        first = prompt.demos[0]
        assert shown.startswith(f"Review: {first.inputs['input']}\nSentiment: {first.target}")
        assert shown.endswith("Classify.\nReview: text 20\nSentiment:")


class TestEditable:
    @pytest.mark.parametrize("part", PARTS)
    @pytest.mark.parametrize("seed", [completion(), chat(), inline()])
    def test_other_parts_stay_as_they_are(self, part, seed):
        space = Space.of(context(seed, editable=(part,)))
        fixed = {key: value for key, value in seed.to_json().items() if key != part}
        for point in drawn(space, 20):
            assert {key: value for key, value in space.prompt(point).to_json().items() if key != part} == fixed

    def test_nothing_editable_leaves_the_seed(self):
        space = Space.of(context(editable=()))
        assert {space.prompt(point).id for point in drawn(space)} == {completion().id}


class TestPrompts:
    @pytest.mark.parametrize("seed", [completion(), chat(), inline()])
    def test_always_show_the_input(self, seed):
        space = Space.of(context(seed))
        for point in drawn(space):
            assert "input" in space.prompt(point).template(("input",)).slots

    def test_modes_are_those_the_model_takes(self):
        space = Space.of(context(chat(), modes=frozenset({"chat"})))
        assert {space.prompt(point).layout.mode for point in drawn(space)} == {"chat"}

    def test_several_fields_are_all_shown(self):
        examples = tuple(Example({"premise": f"p{n}", "claim": f"c{n}"}, "yes" if n % 2 else "no") for n in range(20))
        layout = chat_layout({"premise": "Premise", "claim": "Claim"})
        inline_seed = Prompt.of("Does {premise} support {claim}?\nAnswer:", inline_layout("chat", {}))
        for seed in (Prompt.of("Judge the claim.", layout), inline_seed):
            told = context(seed, pool=examples[:10], search=examples[10:], fields=("premise", "claim"), choices=())
            space = Space.of(told)
            assert space.prompt(space.seed_points[0]).id == seed.id
            for point in drawn(space):
                assert space.prompt(point).template(told.fields).slots == {"premise", "claim"}

    def test_slots_in_the_system_text_count_as_inline(self):
        seed = Prompt.of("Answer.", inline_layout("chat", {}), system="The review is {input}.")
        space = Space.of(context(seed))
        for point in drawn(space):
            shown = space.prompt(point).template(("input",)).render(rows(20, 21)[0])
            assert sum(message.content.count("text 20") for message in shown) == 1

    def test_braces_in_data_stay_braces(self):
        pool = tuple(Example({"input": "{input}" + str(n)}, CHOICES[n % 2], CHOICES) for n in range(6))
        space = Space.of(context(pool=pool))
        defined = next(n for n, choice in enumerate(space.choices) if choice.name == "definition")
        point = next(p for p in drawn(space) if p.levels[defined] and space.prompt(p).layout.mode == "completion")
        shown = space.prompt(point).template(("input",)).render(rows(20, 21)[0])[-1].content
        assert '"{input}0" is positive' in shown or '"{input}2" is positive' in shown

    def test_choices_are_listed_where_the_set_is_closed(self):
        options = next(choice for choice in Space.of(context()).choices if choice.name == "options")
        assert "Answer with one of: positive, negative." in options.levels


class TestOperators:
    def test_a_mutation_changes_something_most_of_the_time(self):
        space, rng = Space.of(context()), Random(3)
        points = [random_genome(space, rng) for _ in range(200)]
        changed = sum(mutate(space, rng, point) != point for point in points)
        assert changed > 150

    def test_about_half_of_the_mutations_touch_the_demonstrations(self):
        space, rng = Space.of(context()), Random(3)
        points = [random_genome(space, rng) for _ in range(400)]
        touched = sum(mutate(space, rng, point, double=0.0).levels == point.levels for point in points)
        assert 140 < touched < 260

    def test_a_cross_takes_every_level_from_a_parent(self):
        space, rng = Space.of(context()), Random(3)
        left, right = random_genome(space, rng), random_genome(space, rng)
        child = crossover(rng, left, right)
        assert all(level in pair for level, *pair in zip(child.levels, left.levels, right.levels, strict=True))
        assert child.demos in (left.demos, right.demos)


class TestWording:
    def test_nouns_and_relations_of_an_instruction(self):
        assert nouns("Give the plural of a noun.") == ["plural", "noun"]
        assert nouns("Say whether a film review snippet is positive or negative.") == ["snippet"]
        assert relations("Write the past tense of the verb.") == ["past tense"]

    def test_other_words_keep_case_and_articles_and_spare_the_answers(self):
        assert reword("Give an antonym of a word.") == "Write an opposite of a word."
        assert reword("Name the section.", ["Section"]) == "Say the section."

    @pytest.mark.parametrize(
        ("targets", "kind"),
        [
            (["12", "-3", "4.5"], "number"),
            (["cats", "dogs", "mice"], "word"),
            (["a", "b", "c"], "letter"),
            (['{"name": "x"}', '{"name": "y"}'], "json"),
            (["on the left", "up"], "phrase"),
            (["this is a whole sentence here", "up"], "text"),
            (["", "x"], "text"),
            (["yes", "no"] * 5, "choice"),
        ],
    )
    def test_answers_are_known_by_their_form(self, targets, kind):
        pool = tuple(Example({"input": f"{n}"}, target) for n, target in enumerate(targets))
        assert describe_answers(context(pool=pool, search=(), choices=())).kind == kind

"""Prompt and Candidate: the id is the content, parts are immutable, empty parts do not count."""

import dataclasses

import pytest

from promptopt.example import Example
from promptopt.layout import chat_layout, completion_layout
from promptopt.prompt import Candidate, Demo, Prompt

LAYOUT = chat_layout({"text": "Text"})
DEMO = Demo({"text": "fine"}, "good")


def test_the_id_is_the_content() -> None:
    prompt = Prompt.of("Judge.", LAYOUT, system="S", demos=(DEMO,), answer_cue="A:")
    assert prompt.id == Prompt(dict(reversed(list(prompt.parts.items())))).id
    assert prompt == Prompt.from_json(prompt.to_json())
    others = [
        prompt.replace(instruction="Judge!"),
        prompt.replace(system="T"),
        prompt.replace(demos=(DEMO, DEMO)),
        prompt.replace(demos=(Demo({"text": "fine"}, "bad"),)),
        prompt.replace(answer_cue="B:"),
        prompt.replace(layout=completion_layout({"text": "Text"})),
    ]
    assert len({prompt, *others}) == 7


def test_empty_parts_do_not_count() -> None:
    assert Prompt.of("Judge.", LAYOUT) == Prompt.of("Judge.", LAYOUT, system="", demos=(), answer_cue="")


def test_replace_leaves_the_first_prompt_alone() -> None:
    prompt = Prompt.of("Judge.", LAYOUT, demos=(DEMO,))
    assert prompt.replace(instruction="").instruction == ""
    assert (prompt.instruction, prompt.demos) == ("Judge.", (DEMO,))
    with pytest.raises(dataclasses.FrozenInstanceError):
        prompt.parts = {}  # type: ignore[misc]


def test_parts_that_are_not_there_are_empty() -> None:
    prompt = Prompt.of("Judge.", LAYOUT)
    assert (prompt.system, prompt.answer_cue, prompt.demos) == ("", "", ())


def test_a_scope_is_the_prompt_of_one_predictor() -> None:
    program = Prompt({"a/instruction": "First.", "a/layout": LAYOUT, "b/instruction": "Second.", "b/layout": LAYOUT})
    assert program.scope("a") == Prompt.of("First.", LAYOUT)
    assert program.scope("b").instruction == "Second."
    assert Prompt.from_json(program.to_json()) == program


def test_a_layout_part_that_is_none_is_said() -> None:
    with pytest.raises(TypeError, match="layout"):
        _ = Prompt({"layout": "text"}).layout


def test_a_demo_shows_an_example() -> None:
    assert Demo.of(Example({"text": "fine"}, "good", meta={"secret": "never shown"})) == DEMO


def test_a_demo_that_lacks_a_field_shows_it_empty() -> None:
    prompt = Prompt.of("Judge.", completion_layout({"text": "Text", "title": "Title"}), demos=(DEMO,), answer_cue="A:")
    asked = prompt.template(("title", "text")).render(Example({"title": "t", "text": "x"}))
    assert "Title: \nText: fine\nA: good" in asked[0].content


def test_how_a_candidate_came_about_does_not_count() -> None:
    prompt = Prompt.of("Judge.", LAYOUT)
    assert Candidate(prompt, ("parent",), "mutate", {"note": 1}).id == Candidate(prompt).id == prompt.id

"""Texts go into prompts and templates exactly as they are, whatever braces they have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptopt.example import Example
from promptopt.layout import chat_layout
from promptopt.prompt import Prompt
from promptopt_strategies.writing import clip, count_of, parse_tagged, read_part, render_template, write_part

FIELDS = ("input", "topic")
TEXTS = st.lists(
    st.sampled_from(["{", "}", "{input}", "{{input}}", "{topic}", "{x}", "input", "Say", " ", "\n", "</reason>", "é"])
).map("".join)


def shown(prompt: Prompt) -> str:
    row = Example({"input": "IN", "topic": "TO"}, "x")
    return "\n".join(message.content for message in prompt.template(FIELDS).render(row))


@given(TEXTS)
def test_a_written_text_is_shown_as_it_is(text: str) -> None:
    prompt = write_part(Prompt.of("Old.", chat_layout({})), "instruction", text, FIELDS)
    assert read_part(prompt, "instruction", FIELDS) == text
    assert text in shown(prompt)


@given(TEXTS, TEXTS)
def test_reading_and_writing_back_changes_nothing(old: str, new: str) -> None:
    prompt = write_part(Prompt.of("{input}: kind?", chat_layout({})), "instruction", old, FIELDS)
    assert write_part(prompt, "instruction", read_part(prompt, "instruction", FIELDS), FIELDS) == prompt
    rewritten = write_part(prompt, "instruction", new, FIELDS)
    assert "input" in rewritten.template(FIELDS).slots
    assert rewritten.replace(instruction="") == prompt.replace(instruction="")


def test_a_lost_slot_comes_back_at_the_end_and_a_strange_one_is_text() -> None:
    prompt = Prompt.of("Is {input} big?", chat_layout({}))
    assert write_part(prompt, "instruction", "Big? {topic}", FIELDS).instruction == "Big? {{topic}}\n\n{input}"


@given(TEXTS, TEXTS)
def test_templates_are_filled_in_one_pass(critique: str, errors: str) -> None:
    text = render_template("apo-edit", instruction="{critique}", errors=errors, critique=critique, count="one")
    assert "<current>\n{critique}\n</current>" in text
    assert critique in text
    assert errors in text


def test_a_template_without_a_value_is_a_mistake() -> None:
    with pytest.raises(KeyError, match="apo-paraphrase has no value"):
        render_template("apo-paraphrase")


@given(st.lists(st.text("ab \n{}", max_size=8), max_size=5))
def test_all_well_formed_tags_are_found(spans: list[str]) -> None:
    text = "x".join(f"<reason>{span}</reason>" for span in spans)
    assert parse_tagged(text + "<reason>open", "reason") == tuple(span.strip() for span in spans)


def test_small_words() -> None:
    assert (clip("abc", 3), clip("abcd", 3)) == ("abc", "abc …")
    assert (count_of(1, "reason"), count_of(4, "reason")) == ("one reason", "4 different reasons")

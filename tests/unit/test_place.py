"""Place: the slot positions of OPRO in every layout, section 2b of the algorithm notes."""

from dataclasses import replace

import pytest

from promptopt.errors import ConfigError
from promptopt.example import Example
from promptopt.layout import Turn, chat_layout, completion_layout, inline_layout
from promptopt.prompt import Demo, Prompt
from promptopt_strategies.place import Place

LAYOUTS = {
    "chat": chat_layout({"input": "Note"}),
    "chat with turns": chat_layout({"input": "Note"}, demo_turns=True),
    "completion": completion_layout({"input": "Note"}),
    "completion, input first": completion_layout({"input": "Note"}, input_first=True),
}
ROW = Example({"input": "Rain at noon"}, "craft")


@pytest.mark.parametrize(
    ("position", "asked"),
    [
        ("before_q", "Say it.\nNote: Rain at noon\nKind:"),
        ("q_begin", "Note: Say it.\nRain at noon\nKind:"),
        ("q_end", "Note: Rain at noon\nSay it.\nKind:"),
        ("a_begin", "Note: Rain at noon\nKind: Say it."),
    ],
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_opro_2b_slot_positions(layout: str, position: str, asked: str) -> None:
    demo = Demo({"input": "Wind"}, "trade")
    seed = Prompt.of("Old.", LAYOUTS[layout], answer_cue="Kind:", system="Be exact.", demos=(demo,))
    prompt = Place.of(seed, ("input",), position).put("Say it.")  # type: ignore[arg-type]  # a parameter
    if position == "a_begin":
        prompt = prompt.replace(instruction="")
    first, *others = "\n".join(m.content for m in prompt.template(("input",)).render(ROW)).split("\n")
    assert first == "Be exact."
    assert "\n".join(filter(None, others)).endswith(asked)
    assert "\n".join(others).count("Say it.") == (2 if position == "a_begin" else 1)  # answers shown open so as well
    assert "Note: Wind" in others


@pytest.mark.parametrize(
    ("position", "asked"),
    [
        ("before_q", "Say it.\nRain at noon\n{Where}: Kent"),
        ("q_begin", "Say it.\nRain at noon\n{Where}: Kent"),
        ("q_end", "Rain at noon\n{Where}: Kent\nSay it."),
        ("a_begin", "Rain at noon\n{Where}: Kent\nSay it."),
    ],
)
def test_opro_2b_slot_positions_without_labels_and_with_two_inputs(position: str, asked: str) -> None:
    fields, example = ("input", "Where"), Example({"input": "Rain at noon", "Where": "Kent"}, "craft")
    seed = Prompt.of("", chat_layout({"Where": "{Where}"}))
    place = Place.of(seed, fields, position)  # type: ignore[arg-type]  # a parameter
    assert [message.content for message in place.put("Say it.").template(fields).render(example)] == [asked]


def test_fixed_messages_of_a_seed_stay() -> None:
    layout = chat_layout({"input": "Note"})
    fixed = (Turn("user", ("Hello.",)), Turn("assistant", ("Hello. What is it?",)))
    seed = Prompt.of("Old.", replace(layout, turns=(layout.turns[0], *fixed, *layout.turns[1:])))
    messages = Place.of(seed, ("input",), "q_begin").put("Say it.").template(("input",)).render(ROW)
    assert [m.content for m in messages] == ["Hello.", "Hello. What is it?", "Note: Say it.\nRain at noon"]


def test_a_prompt_that_places_its_inputs_itself_is_not_moved() -> None:
    seed = Prompt.of("Is {input} a kind?", inline_layout("chat", {}))
    with pytest.raises(ConfigError, match="says itself where its inputs go"):
        Place.of(seed, ("input",), "q_begin")
    with pytest.raises(ConfigError, match="named as a part"):
        Place.of(Prompt.of("", chat_layout({})), ("demos",), "q_begin")
    assert Place.of(seed, ("input",), "as_is").prompt == seed
    assert Place.of(seed, ("input",), "a_begin").prompt == seed

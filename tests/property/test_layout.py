"""Layout and Prompt over arbitrary texts: one pass, no text is ever read twice, ids are content."""

import json
import string
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from promptopt.example import Example
from promptopt.ids import content_hash
from promptopt.layout import (
    Layout,
    Slot,
    Turn,
    chat_layout,
    completion_layout,
    escape,
    inline_layout,
    merge,
    split_slots,
    unescape,
    unknown_slots,
)
from promptopt.prompt import Demo, Prompt

FIELDS = ("a", "b")
BRACED = st.lists(
    st.sampled_from(["{", "}", "{{", "}}", "a", "b", "c", "{a}", "{b}", "{c}", "{{a}}", "{{c}}", "{{{a}}}", " ", "\n"])
    | st.text(max_size=4)
).map("".join)
EXAMPLES = st.builds(lambda a, b: Example({"a": a, "b": b}), BRACED, BRACED)
# The texts of a layout; a block of its own is filled line by line, so those with slots are made here.
BARE = Layout("chat", (Turn("system", ("{system}",)), Turn("user", ("{instruction}",))))
DEMOS = st.lists(st.builds(lambda a, b, t: Demo({"a": a, "b": b}, t), BRACED, BRACED, BRACED), max_size=2).map(tuple)
LAYOUTS = st.sampled_from(
    [
        BARE,
        chat_layout({"a": "A"}),
        chat_layout({"a": "A", "b": "B"}, demo_turns=True),
        completion_layout({"a": "A"}),
        completion_layout({}, input_first=True),
        inline_layout("completion", {"b": "B"}),
    ]
)
PROMPTS = st.builds(
    lambda layout, i, s, d, c: Prompt.of(i, layout, system=s, demos=d, answer_cue=c),
    LAYOUTS,
    BRACED,
    BRACED,
    DEMOS,
    BRACED,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def filled(text: str, example: Example) -> str:
    """The rule again, told in another way: walk through the text and look at each brace once."""
    said, at = "", 0
    while at < len(text):
        for name in FIELDS:
            if text.startswith("{{" + name + "}}", at):
                said += "{" + name + "}"
                at += len(name) + 4
                break
            if text.startswith("{" + name + "}", at):
                said += example.inputs[name]
                at += len(name) + 2
                break
        else:
            said += text[at]
            at += 1
    return said


@given(BRACED, EXAMPLES)
def test_a_text_is_filled_in_one_pass(text: str, example: Example) -> None:
    said = Prompt.of(text, BARE).template(FIELDS).render(example)
    assert "".join(message.content for message in said) == filled(text, example)


@given(st.text(alphabet=st.sampled_from("{}c1 \n\"':,"), min_size=1), EXAMPLES)
def test_braces_around_no_known_field_stay_byte_for_byte(text: str, example: Example) -> None:
    said = Prompt.of(text, BARE).template(FIELDS).render(example)
    assert [message.content for message in said] == [text]


@given(EXAMPLES)
def test_values_are_never_scanned_for_slots(example: Example) -> None:
    values = example.inputs
    said = Prompt.of("<{a}|{b}|{{a}}>", BARE).template(FIELDS).render(example)
    assert said[0].content == f"<{values['a']}|{values['b']}|{{a}}>"


@given(DEMOS, EXAMPLES)
def test_demos_are_shown_as_they_are(demos: tuple[Demo, ...], example: Example) -> None:
    layout = Layout("completion", (Turn("text", ("{demos}",)),), demo="<{a}|{b}|{target}>", separator="#")
    said = Prompt.of("", layout, demos=demos).template(FIELDS).render(example)
    expected = "#".join(f"<{demo.inputs['a']}|{demo.inputs['b']}|{demo.target}>" for demo in demos)
    assert "".join(message.content for message in said) == expected


@given(BRACED)
def test_what_is_escaped_is_text(text: str) -> None:
    assert merge(split_slots(escape(text, FIELDS), FIELDS)) == ((text,) if text else ())


@given(BRACED)
def test_exported_texts_are_read_back_as_they_were(text: str) -> None:
    segments = merge(split_slots(text, FIELDS))
    exported = "".join("{" + s.name + "}" if isinstance(s, Slot) else escape(s, FIELDS) for s in segments)
    assert merge(split_slots(exported, FIELDS)) == segments


@given(BRACED)
def test_unescaping_leaves_what_is_unknown_as_single_braces(text: str) -> None:
    shown = unescape(text, FIELDS)
    assert merge(s for s in split_slots(shown, FIELDS) if isinstance(s, Slot)) == merge(
        s for s in split_slots(text, FIELDS) if isinstance(s, Slot)
    )
    assert all(name not in FIELDS for name in unknown_slots(text, FIELDS))


@given(PROMPTS)
def test_a_prompt_survives_json_with_its_id(prompt: Prompt) -> None:
    again = Prompt.from_json(json.loads(json.dumps(prompt.to_json())))
    assert again.id == prompt.id
    assert again.template(FIELDS).digest == prompt.template(FIELDS).digest


@given(PROMPTS, st.randoms(use_true_random=False))
def test_a_prompts_id_knows_no_order_of_keys(prompt: Prompt, random: Any) -> None:
    parts = list(prompt.parts.items())
    random.shuffle(parts)
    demos = tuple(Demo(dict(reversed(list(demo.inputs.items()))), demo.target) for demo in prompt.demos)
    assert Prompt({**dict(parts), "demos": demos}).id == prompt.id


@given(PROMPTS, EXAMPLES)
def test_a_request_shows_every_field_that_it_has_slots_for(prompt: Prompt, example: Example) -> None:
    template = prompt.template(FIELDS)
    text = "".join(message.content for message in template.render(example))
    assert all(example.inputs[name] in text for name in template.slots)


@given(JSON, st.randoms(use_true_random=False))
def test_ids_know_no_order_of_keys_at_any_depth(value: Any, random: Any) -> None:
    def turned(item: Any) -> Any:
        if isinstance(item, list):
            return [turned(inner) for inner in item]
        if isinstance(item, dict):
            keys = list(item)
            random.shuffle(keys)
            return {key: turned(item[key]) for key in keys}
        return item

    assert content_hash(turned(value)) == content_hash(value)


@given(JSON, JSON)
def test_ids_are_equal_only_for_equal_plain_data(left: Any, right: Any) -> None:
    same = json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)
    assert (content_hash(left) == content_hash(right)) == same


@given(st.dictionaries(st.sampled_from(string.ascii_lowercase), st.text(max_size=5), min_size=1), st.text(max_size=5))
def test_an_examples_id_knows_no_order_of_fields(inputs: dict[str, str], target: str) -> None:
    assert Example(inputs, target).id == Example(dict(reversed(inputs.items())), target).id

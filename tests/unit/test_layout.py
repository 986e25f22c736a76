"""Layout: slots are filled in one pass, constant text comes first, and empty parts leave no trace."""

import pytest

from promptopt.example import Example
from promptopt.layout import (
    Layout,
    Message,
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

LABELS = {"text": "Text", "title": "Title"}
FIELDS = ("title", "text")
EXAMPLE = Example({"title": "Good {text}", "text": "I like {title} and {instruction}."}, "yes")
DEMOS = (Demo({"title": "A", "text": "one"}, "yes"), Demo({"title": "B", "text": "two"}, "no"))


def rendered(prompt: Prompt) -> list[tuple[str, str]]:
    return [(m.role, m.content) for m in prompt.template(FIELDS).render(EXAMPLE)]


def test_slots_are_known_names_in_single_braces() -> None:
    assert merge(split_slots("a {text} b {other} {{text}} {}", ["text"])) == (
        "a ",
        Slot("text"),
        " b {other} {text} {}",
    )


@pytest.mark.parametrize(
    ("text", "unknown"), [("{a} {b}", ["b"]), ("{{b}} {a}", []), ('{"b": 1}', []), ("{b {c}}", ["c"])]
)
def test_unknown_slots_are_names_in_single_braces(text: str, unknown: list[str]) -> None:
    assert unknown_slots(text, ["a"]) == unknown


def test_unescape_leaves_known_names_to_the_compiler() -> None:
    assert unescape("{{other}} {{text}} {text}", ["text"]) == "{other} {{text}} {text}"


def test_escape_touches_known_names_only() -> None:
    assert escape("{text} {other} {}", ["text"]) == "{{text}} {other} {}"


def test_the_completion_layout_in_full() -> None:
    prompt = Prompt.of("Judge.", completion_layout(LABELS), system="S", demos=DEMOS, answer_cue="Answer:")
    assert rendered(prompt) == [
        (
            "text",
            "S\n\nJudge.\n\nTitle: A\nText: one\nAnswer: yes\n\nTitle: B\nText: two\nAnswer: no\n\n"
            "Title: Good {text}\nText: I like {title} and {instruction}.\nAnswer:",
        )
    ]
    assert prompt.template(FIELDS).stop == ("\n",)


def test_input_first_puts_the_instruction_behind_the_fields() -> None:
    prompt = Prompt.of("Judge.", completion_layout(LABELS, input_first=True), answer_cue="Answer:")
    text = rendered(prompt)[0][1]
    assert text.startswith("Title: Good")
    assert text.endswith("\n\nJudge.\nAnswer:")


def test_chat_with_demos_as_turns() -> None:
    prompt = Prompt.of("Judge.", chat_layout(LABELS, demo_turns=True), demos=DEMOS[:1])
    assert rendered(prompt) == [
        ("system", "Judge."),
        ("user", "Title: A\nText: one"),
        ("assistant", "yes"),
        ("user", "Title: Good {text}\nText: I like {title} and {instruction}."),
    ]


@pytest.mark.parametrize("layout", [chat_layout(LABELS), completion_layout(LABELS), inline_layout("chat", LABELS)])
def test_empty_parts_leave_no_lines_and_no_messages(layout: Layout) -> None:
    said = rendered(Prompt.of("About {text}:", layout))
    assert len(said) == 1
    assert "\n\n\n" not in said[0][1]
    assert said[0][1] == said[0][1].strip()


def test_without_a_cue_the_answer_of_a_demo_stands_at_the_start_of_its_line() -> None:
    assert "Text: one\nyes\n\n" in rendered(Prompt.of("Judge.", chat_layout(LABELS), demos=DEMOS))[0][1]


def test_an_inline_prompt_shows_the_fields_where_it_names_them() -> None:
    prompt = Prompt.of("Is '{title}' fit for: {text}?", inline_layout("completion", LABELS, ["\n"]), answer_cue="So:")
    assert rendered(prompt) == [
        ("text", "Is 'Good {text}' fit for: I like {title} and {instruction}.?\n\nSo:"),
    ]
    assert prompt.template(FIELDS).slots == {"title", "text"}


def test_fields_named_like_parts_are_fields_in_texts_and_parts_in_blocks() -> None:
    prompt = Prompt.of("Do: {instruction}", inline_layout("chat", {}), demos=())
    example = Example({"instruction": "sing {demos}", "demos": "d"})
    assert prompt.template(("instruction", "demos")).render(example) == (Message("user", "Do: sing {demos}"),)
    shown = Prompt.of("Follow it.", completion_layout({"instruction": "Task"}))
    assert shown.template(("instruction",)).render(example)[0].content == "Follow it.\n\nTask: sing {demos}"


def test_a_field_without_a_label_is_bare() -> None:
    assert Prompt.of("", completion_layout({})).template(("text",)).render(EXAMPLE)[0].content == EXAMPLE.inputs["text"]


def test_constant_text_comes_first_and_is_shared() -> None:
    prompt = Prompt.of("Judge.", completion_layout(LABELS), demos=DEMOS, answer_cue="Answer:")
    role, segments = prompt.template(FIELDS).turns[0]
    assert role == "text"
    assert isinstance(segments[0], str)
    assert segments[0].endswith("Answer: no\n\nTitle: ")


def test_the_digest_tells_apart_all_that_a_request_has_besides_the_example() -> None:
    prompt = Prompt.of("Judge {text}", completion_layout(LABELS))
    turns = (Turn("text", ("{instruction}",)),)
    others = [
        prompt,
        prompt.replace(instruction="Judge {{text}}"),
        prompt.replace(layout=completion_layout(LABELS, stop=())),
        prompt.replace(layout=completion_layout({"text": "T"})),
        prompt.replace(layout=Layout("chat", turns)),
        prompt.replace(layout=Layout("completion", turns)),
    ]
    assert len({other.template(("text",)).digest for other in others}) == len(others)
    alike = prompt.replace(system="", demos=())
    assert alike.template(("text",)).digest == prompt.template(("text",)).digest


def test_exports_tell_a_slot_from_the_same_words_in_the_text() -> None:
    prompt = Prompt.of("Say {{text}} of {text}, {other}", inline_layout("chat", LABELS))
    assert prompt.template(("text",)).messages() == (Message("user", "Say {{text}} of {text}, {other}"),)


def test_a_layout_survives_json() -> None:
    layout = Layout("chat", (Turn("user", ("a", "b")), Turn("demos")), {"x": "X"}, "{target}", "\n", ("END",))
    assert Layout.from_json(layout.to_json()) == layout

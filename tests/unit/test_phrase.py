"""Phrases: nothing is lost in cutting, and joining puts the spaces that moving took away."""

import pytest

from promptopt.errors import StrategyError
from promptopt.phrase import Level, cut, join
from promptopt.strategy import Context
from promptopt.testing.simulation import sample_context

LEVELS: tuple[Level, ...] = ("phrase", "word", "sentence", "span")
TEXTS = (
    "",
    "  ",
    "\n lead, and trail \n\n",
    "One.",
    "Say whether it is good or bad. Answer with one word, e.g. \"good\".\n1. Read {text}.\n2. Judge - then answer:",
    "判断句子。积极，还是消极？ Answer 好",
)  # fmt: skip


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("text", TEXTS)
def test_pieces_joined_give_the_text_back(text: str, level: Level) -> None:
    assert "".join(cut(text, level)) == text
    assert join(cut(text, level)) == text


def test_phrases_end_at_punctuation_and_lines_and_begin_at_function_words() -> None:
    assert cut("Read the review, and say whether it is good.\nAnswer with one word") == (
        "Read the review, ",
        "and say ",
        "whether it is good.\n",
        "Answer with one word",
    )


def test_spans_are_two_to_four_equal_parts_of_each_sentence() -> None:
    words = ["a"] * 40
    for n in range(2, 40):
        spans = cut(" ".join(words[:n]), "span")
        sizes = [len(span.split()) for span in spans]
        assert 2 <= len(spans) <= 4
        assert max(sizes) - min(sizes) <= 1


def test_no_piece_holds_a_part_of_a_slot() -> None:
    for level in LEVELS:
        assert any("{some_text}" in piece for piece in cut("Look at {some_text}, and judge.", level))


def test_join_puts_a_space_where_pieces_would_touch_but_not_between_wide_letters() -> None:
    assert join(["of the note.", "Name the kind "]) == "of the note. Name the kind "
    assert join(["a\n", "b"]) == "a\nb"
    assert join(["还是消极？", "积极，"]) == "还是消极？积极，"
    assert join(["", "a", "", "b"]) == "a b"


def test_a_context_takes_phrases_from_its_own_segmenter() -> None:
    context = sample_context()
    parsed = Context(context.description, context.seeds, (), context.search, 10, segmenter=lambda text: text.split("|"))
    with pytest.raises(StrategyError, match="loses text"):
        parsed.phrases("Name|the kind")
    whole = Context(context.description, context.seeds, (), context.search, 10, segmenter=lambda text: [text])
    assert whole.phrases("Name the kind of it.") == ("Name the kind of it.",)
    assert whole.phrases("Name it. Judge it.", "sentence") == ("Name it. ", "Judge it.")

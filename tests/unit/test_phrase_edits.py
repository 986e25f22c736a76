"""Phrase edits: places for inputs stay, sentences are not torn, and other wordings come from words or from a model."""

import random
from dataclasses import replace
from typing import Any

import pytest

from promptopt.ask import Write, Written
from promptopt.errors import ConfigError
from promptopt.landscape import Landscape
from promptopt.layout import chat_layout, inline_layout
from promptopt.prompt import Prompt, distinct
from promptopt.registry import configure
from promptopt.strategy import Context
from promptopt.testing.answers import answer_from, drive
from promptopt.testing.simulation import sample_context, simulate
from promptopt_strategies.phrase_edits import Editor, library_of
from promptopt_strategies.wording import rewordings

INLINE = "Say whether the text is about trade, or about craft.\nText: {input}\nKind:"


def context(text: str, inline: bool = False) -> Context:
    layout = inline_layout("completion", {}, ("\n",)) if inline else chat_layout({"input": "Note"})
    return replace(sample_context(1500, ("instruction",)), seeds=(Prompt.of(text, layout),))


def candidates(strategy: Any, where: Context, writer: Any = None) -> Any:
    asks = simulate(strategy, where, Landscape(), writer).simple_asks
    return distinct(c for ask in asks for c in getattr(ask, "candidates", ()))


@pytest.mark.parametrize("name", ["plum-hc", "plum-gac", "plum-harmony"])
@pytest.mark.parametrize("profile", ["paper", "recommended"])
def test_a_place_for_an_input_is_never_lost_or_doubled(name: str, profile: str) -> None:
    made = candidates(configure(name, profile), context(INLINE, inline=True))
    assert len(made) > 10
    assert all(candidate.prompt.instruction.count("{input}") == 1 for candidate in made)


def test_sentences_of_the_library_stand_between_sentences() -> None:
    where = context(INLINE, inline=True)
    editor = Editor(where, "phrase", library_of(where), library_share=1.0)
    base = editor.open(where.seeds[0])
    made, _ = drive(editor.neighbours(base, 60, 1, random.Random(0)), answer_from({}))
    library = {text.strip() for text in library_of(where)}
    assert len(made) > 40
    for phrasing in made:
        lines = phrasing.candidate.prompt.instruction.split("\n")
        assert [line for line in lines if line not in library] == INLINE.split("\n")


def test_bare_punctuation_is_not_edited_but_stays() -> None:
    where = context("Judge it. - Then answer.")
    editor = Editor(where, "phrase")
    base = editor.open(where.seeds[0])
    assert base.phrases == ("Judge it. ", "- ", "Then answer.")
    made, _ = drive(editor.neighbours(base, 20, 1, random.Random(0)), answer_from({}))
    assert made
    assert all("- " in phrasing.phrases for phrasing in made)


def test_a_text_without_letters_is_no_candidate() -> None:
    where = context("Brief.")
    editor = Editor(where, "phrase")
    base = editor.open(where.seeds[0])
    assert drive(editor.neighbours(base, 5, 1, random.Random(0)), answer_from({}))[0] == []


def test_an_empty_seed_can_only_grow() -> None:
    made = candidates(configure("plum-hc"), context(""))
    assert len(made) > 10
    assert [candidate.prompt.instruction for candidate in candidates(configure("plum-hc", "paper"), context(""))] == [
        ""
    ]


def test_rewordings_exchange_one_word_both_ways_or_all() -> None:
    assert rewordings("Name the topic of an article.") == (
        "Say the topic of an article.",
        "Name the subject of an article.",
        "Name the section of an article.",
        "Name the topic of a text.",
        "Say the subject of a text.",
    )
    assert rewordings("Be brief.") == ()


def writing(text: str) -> Any:
    asked: list[Write] = []

    def write(ask: Write) -> Written:
        asked.append(ask)
        return Written(tuple(f"{text} {number}" for number in range(ask.n)))

    return write, asked


def test_a_model_may_reword_so_many_phrases_and_is_needed_only_then() -> None:
    assert configure("plum-hc").needs == frozenset()
    strategy = configure("plum-hc", "paper", {"paraphraser": "model", "reworded": 3, "neighbours": 20})
    assert strategy.needs == {"write"}
    write, asked = writing("Find the {input}\n  of it")
    made = candidates(strategy, context("Name the kind. Write the label. Judge the tone. Mind the topic."), write)
    assert len(asked) == 3
    assert {ask.n for ask in asked} == {10}
    assert strategy.estimate(context("")).writes == 30
    reworded = [c for c in made if "Find" in c.prompt.instruction]
    assert reworded
    # What a model writes is text: its line breaks go, and its braces never become a slot.
    assert all("Find the {{input}} of it" in candidate.prompt.instruction for candidate in reworded)


def test_words_are_exchanged_offline_where_the_model_writes_nothing() -> None:
    strategy = configure("plum-hc", "paper", {"paraphraser": "model", "neighbours": 20})
    made = candidates(strategy, context("Name the kind."), lambda ask: Written((), ask.n))
    assert {c.prompt.instruction for c in made} >= set(rewordings("Name the kind."))


def test_plum_refuses_a_task_that_keeps_the_instruction() -> None:
    with pytest.raises(ConfigError, match="keeps fixed"):
        simulate(configure("plum-sa"), sample_context(editable=("demos",)), Landscape())

"""Guards: each refuses what it is for, and lets pass what a good prompt may well have."""

from dataclasses import fields, replace

import pytest

from benchmarks import guards as false_alarms
from promptopt import plugins
from promptopt.errors import ConfigError
from promptopt.example import Example
from promptopt.guards import COMMON_ROWS, Guards, Rules
from promptopt.layout import Layout, chat_layout, completion_layout, inline_layout
from promptopt.prompt import Demo, Prompt
from promptopt_datasets.ready import ready_names

SEED = Prompt.of("Is this review positive or negative?", chat_layout({"text": "Review"}), answer_cue="Answer:")
ROWS = (
    Example(
        {"text": "The plot falls apart in the second half, and nobody on screen seems to care about it."}, "negative"
    ),
    Example({"text": "A warm and funny film that my whole family enjoyed."}, "positive"),
    Example({"text": "Utterly dull from start."}, "negative"),
    Example({"text": "无论如何这部电影都值得一看因为演员们的表演非常自然动人"}, "positive"),
)
POOL = (Example({"text": "One of the best films of the year by far, see it."}, "positive"),)
GUARDS = Guards(seeds=(SEED,), fields=("text",), rows=ROWS, pool=POOL, description="Tell the sentiment of a review.")


def refusal(instruction: str, guards: Guards = GUARDS) -> str:
    return guards.refusal(guards.seeds[0].replace(instruction=instruction))


def guard_of(instruction: str, guards: Guards = GUARDS) -> str:
    return refusal(instruction, guards).partition(":")[0]


@pytest.mark.parametrize(
    ("guard", "instruction"),
    [
        ("length", "Think about it. " * 300),
        ("copies", "Negative: the plot falls apart in the SECOND half and nobody on screen, for instance."),
        ("copies", "Say positive to 'A warm and funny film that my whole family enjoyed'."),
        ("copies", "比如“这部电影都值得一看因为演员们的表演非常自然”是正面的。 Answer positive or negative."),
        ("meta", "Sure! Decide whether the review is positive or negative."),
        ("meta", "Here is the improved prompt: Decide whether the review is positive."),
        ("meta", "Here's a revised version:\nDecide whether the review is positive."),
        ("meta", "**Improved instruction:** Decide whether the review is positive."),
        ("meta", "Decide. This revised prompt addresses the errors above."),
        ("meta", "As an AI language model, I decide whether the review is positive."),
        ("meta", "Decide whether the review is positive.</task>"),
        ("meta", "<task>Decide whether the review is positive."),
        ("meta", "Decide <SLOT> whether the review is positive."),
        ("meta", "Decide whether the review is positive.<|im_end|>"),
        ("meta", "[INST] Decide whether the review is positive. [/INST]"),
        ("meta", "```\nDecide whether the review is positive.\n```"),
        ("variables", "Decide whether {review} is positive."),
        ("variables", "Decide whether {{review}} is positive."),
        ("variables", "Decide whether {{text}} is positive."),  # reads {text} to the model, and no slot
        ("variables", "Decide whether [insert review here] is positive."),
        ("variables", "Decide whether <<review>> is positive."),
        ("variables", "Decide whether %(review)s is positive."),
        ("urls", "Decide as told on https://example.org/guide."),
        ("urls", "Decide as told on www.example.net."),
        ("urls", "Decide as they do at rottentomatoes.com."),
        ("invisible", "Decide\u200b whether it is positive."),
        ("invisible", "Decide \u202ewhether\u202c it is positive."),
        ("invisible", "Decide\u2066 whether it is positive."),
        ("invisible", "Decide whether\ufeff it is positive."),
        ("invisible", "Decide whether \U000e0041it is positive."),
        ("invisible", "Decide whether \x07 it is positive."),
        ("invisible", "Decide wh\u200dether it is positive."),
        ("language", "Определи, положительный это отзыв или отрицательный."),
        ("language", "请判断这条评论是正面的还是负面的。"),
    ],
)
def test_a_guard_refuses(guard: str, instruction: str) -> None:
    assert guard_of(instruction) == guard
    off = replace(GUARDS, rules=Rules(**{guard: False}))
    assert guard_of(instruction, off) != guard
    alone = Rules(**{f.name: f.name == guard for f in fields(Rules) if f.type is bool})
    assert guard_of(instruction, replace(GUARDS, rules=alone)) == guard


@pytest.mark.parametrize(
    "instruction",
    [
        "",
        "Read the review carefully and decide, positive or negative?",
        "Here is a review. Sure signs of praise mean positive; be certain before you answer.",
        "Put the label between <label> and </label>.",
        "Write the label in <answer> tags: <answer>positive</answer>.",
        'Answer with JSON such as {"label": "positive"}.',
        "The score is \\boxed{positive} or $x^{n} + \\frac{a}{b}$ and {1, 2}.",
        "Judge the new version of the film, not the final version of the script.",
        "Follow the steps:\n1. Read.\n2. Decide.\n\nNote: one word only.",
        "Use Node.js style, e.g. v1.2, i.e. nothing else… “positive” — or ‘negative’? ✅ 👩‍💻",
        "Dis si l’avis est « positif » ou non.",  # another language in the same script is not seen
        "Decide for reviews such as «Очень хороший фильм», which are positive, and answer in English.",
        'For instance, "One of the best films of the year by far, see it." is positive.',  # the pool may be shown
        "A review that seems to care about it and my whole family may be either.",
        "Take care: the plot falls apart in the second film.",  # seven words of a row
        'Here "One of the best films of the year by far, see it." is positive and "Two of the best" not.',
        "Utterly dull films are negative.",  # a row too short to be known by its words
    ],
)
def test_a_good_prompt_is_let_through(instruction: str) -> None:
    assert refusal(instruction) == ""


def test_the_reason_says_what_and_where() -> None:
    assert refusal("Decide as on https://example.org/guide.") == (
        "urls: it has the address 'https://example.org/guide.', which no seed has"
    )
    assert refusal("Think. " * 1000) == "length: some 1756 tokens, where 1000 are allowed"
    assert refusal("Decide\u200b.") == "invisible: it has the character U+200B"
    assert refusal("请判断这条评论是正面的还是负面的。") == "language: it is written in CJK and the seed in LATIN"


def test_what_the_user_wrote_is_allowed() -> None:
    text = (
        "Sure! Here is the improved prompt: see https://example.org/a and {note}\u200b. The plot falls apart in the "
        "second half, and nobody on screen seems to care about it.</task>"
    )
    seed = SEED.replace(instruction=text)
    given = replace(GUARDS, seeds=(seed,))
    assert given.refusal(seed) == ""
    assert refusal("Decide now. " + text, given) == ""
    told = replace(GUARDS, description="See https://example.org/a for {note}.")
    assert refusal("Decide by https://example.org/a and {note}.", told) == ""


def test_a_seed_and_whatever_is_free_are_never_refused() -> None:
    long = SEED.replace(instruction="Think. " * 2_000)
    assert replace(GUARDS, seeds=(SEED, long)).refusal(long) == ""
    assert replace(GUARDS, free=frozenset({long.id})).refusal(long) == ""
    assert GUARDS.refusal(long).startswith("length: ")
    assert Guards().refusal(long) == ""


def test_placeholders_of_the_seed_are_kept() -> None:
    fields_ = ("premise", "claim")
    seed = Prompt.of("Does {premise} support {claim}?", inline_layout("chat", {}))
    guards = Guards(seeds=(seed,), fields=fields_)
    assert refusal("Does {claim} follow from {premise}?", guards) == ""
    assert refusal("Does {premise} support it?", guards) == "placeholders: the input {claim} is not shown"
    other = seed.replace(instruction="Is {claim} true?")
    assert refusal("So is {claim} true?", replace(guards, seeds=(seed, other))) == ""


def test_layouts_count_too() -> None:
    layout = chat_layout({"text": "Review"})
    shown = replace(layout.turns[1], blocks=("See www.example.net", *layout.turns[1].blocks))
    assert GUARDS.refusal(SEED.replace(layout=replace(layout, turns=(layout.turns[0], shown)))).startswith("urls: ")
    silent = Layout("chat", (replace(layout.turns[1], blocks=("{instruction}",)),))
    assert GUARDS.refusal(SEED.replace(layout=silent)).startswith("placeholders: ")
    assert GUARDS.refusal(SEED.replace(layout=completion_layout({"text": "Text"}))) == ""


def test_demonstrations_come_from_the_pool() -> None:
    scored, pooled = Demo.of(ROWS[1]), Demo.of(POOL[0])
    assert GUARDS.refusal(SEED.replace(demos=(pooled,))) == ""
    assert GUARDS.refusal(SEED.replace(demos=(pooled, scored))) == (
        "copies: a demonstration is an example that prompts are scored on"
    )
    assert replace(GUARDS, rules=Rules(copies=False)).refusal(SEED.replace(demos=(scored,))) == ""


def test_words_that_many_rows_share_are_a_form_and_no_copy() -> None:
    form = "Which of the following best describes the tone of number {}?"
    rows = tuple(Example({"text": form.format(number)}, "a") for number in range(COMMON_ROWS + 1))
    text = "Say which of the following best describes the tone of the text."
    assert refusal(text, replace(GUARDS, rows=rows)) == ""
    assert guard_of(text, replace(GUARDS, rows=rows[:COMMON_ROWS])) == "copies"


def test_what_the_pool_shares_with_a_row_may_be_quoted() -> None:
    row = Example({"text": "Cheap, and opening hours suit people who work shifts."}, "positive")
    pooled = Example({"text": "Opening hours suit people who work shifts. Superb!"}, "positive")
    guards = replace(GUARDS, rows=(row,), pool=(pooled,))
    assert (
        refusal('"Dull." is negative, and "Opening hours suit people who work shifts. Superb!" is not.', guards) == ""
    )
    assert guard_of("Cheap, and opening hours suit people who work shifts.", replace(guards, pool=())) == "copies"


def test_length_is_relative_to_long_seeds() -> None:
    long = replace(GUARDS, seeds=(SEED.replace(instruction="Think about it. " * 200),))
    assert refusal("Weigh every word. " * 600, long) == ""
    assert guard_of("Weigh every word. " * 800, long) == "length"
    assert guard_of("Weigh every word. " * 9, replace(GUARDS, rules=Rules(max_tokens=5, growth=1.0))) == "length"


def test_joiners_are_spelling_where_a_script_needs_them() -> None:
    persian = replace(GUARDS, seeds=(SEED.replace(instruction="آیا این نظر مثبت است؟"),))
    assert refusal("آیا این نظر می\u200cتواند مثبت باشد؟", persian) == ""
    assert guard_of("آیا این نظر \u202bمثبت باشد؟", persian) == "invisible"


def test_an_empty_seed_takes_its_language_from_the_description() -> None:
    empty = replace(GUARDS, seeds=(SEED.replace(instruction=""),))
    assert guard_of("请判断这条评论是正面的还是负面的。", empty) == "language"
    assert refusal("请判断这条评论是正面的还是负面的。", replace(empty, description="")) == ""


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"max_tokens": 0}, "max_tokens = 0 must be at least 1"),
        ({"growth": float("nan")}, "growth = nan must be at least 1"),
        ({"copied_words": 4}, "copied_words = 4 must be at least 5"),
    ],
)
def test_rules_have_bounds(settings: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Rules(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ready_names())
def test_no_prompt_of_our_own_library_is_refused(name: str) -> None:
    reasons = list(false_alarms.refusals(plugins.load_task(name, mode="completion")))
    assert len(reasons) > 100
    assert not any(reasons)

"""Markup: whatever a model writes becomes texts and known tags, nothing is lost, and nothing steers unseen."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptopt.web.differences import differences
from promptopt.web.markup import MOST_MARKDOWN, MOST_SHOWN, TAGS, render, spelled


def text_of(nodes: Any) -> str:
    return "".join(node if isinstance(node, str) else text_of(node[1:]) for node in nodes)


def tags_of(nodes: Any) -> set[str]:
    inner = [node for node in nodes if not isinstance(node, str)]
    return {node[0] for node in inner}.union(*(tags_of(node[1:]) for node in inner))


@given(st.text(alphabet=st.sampled_from("ab <>&\"'`*_#|-[]()!{}:1.\n\t\\~\u202e\u05d0\ud800\0"), max_size=200))
def test_only_known_tags_come_and_as_written_loses_nothing(text: str) -> None:
    made = render(text)
    assert tags_of(made.formatted) | tags_of(made.plain) <= TAGS
    assert text_of(n for n in made.plain if isinstance(n, str)) == "".join(n for n in text if n not in "\u202e\ud800\0")


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "a <b onclick='x()'>bold</b> word",
        "<!-- hidden -->",
    ],
)
def test_html_is_text(text: str) -> None:
    assert tags_of(render(text).formatted) <= {"p"}
    assert text_of(render(text).formatted) == text


def test_links_and_images_are_shown_with_their_address_and_never_followed() -> None:
    nodes = render("[safe](https://a.example/x) ![cat](http://b.example/p.png) [bad](javascript:alert(1))").formatted
    assert text_of(nodes) == (
        "safe (https://a.example/x) [image: cat] (http://b.example/p.png) [bad](javascript:alert(1))"
    )
    assert tags_of(nodes) == {"p", "code"}


def test_markdown_becomes_structure() -> None:
    made = render("# Title\n\n- one **two**\n- three `x`\n\n> said\n\n```py\nif a < b:\n```\n\n|a|b|\n|-|-|\n|1|2|\n")
    assert made.kind == "markdown"
    assert {"h3", "ul", "li", "strong", "code", "blockquote", "pre", "table", "td"} <= tags_of(made.formatted)
    assert made.formatted[0] == ["h3", "Title"]


def test_json_gets_lines_and_keeps_every_literal() -> None:
    made = render('{"a": [1, 2.50, 1e400], "a": "\\u00e9 {,}", "b": {}, "c": []}')
    assert made.kind == "json"
    assert text_of(made.formatted) == (
        '{\n  "a": [\n    1,\n    2.50,\n    1e400\n  ],\n  "a": "\\u00e9 {,}",\n  "b": {},\n  "c": []\n}'
    )


@pytest.mark.parametrize("text", ["{not json}", "[1, 2", "[" * 5_000])
def test_what_only_looks_like_json_is_text(text: str) -> None:
    assert render(text).kind != "json"
    assert text_of(render(text).plain) == text


def test_code_without_fences_keeps_its_shape() -> None:
    code = "def f(x):\n    # not a heading\n    return x * 2 * 3\n"
    assert render(code).kind == "code"
    assert text_of(render(code).formatted) == code
    assert render("Dear customer,\nthanks for asking.\nWe will help.").kind != "code"


def test_characters_that_are_not_seen_are_named() -> None:
    assert spelled("a\u202eb\u2066c\0\u200bd\n") == [
        "a", ["mark", "U+202E"], "b", ["mark", "U+2066"], "c", ["mark", "U+0000"], ["mark", "U+200B"], "d\n",
    ]  # fmt: skip
    assert spelled("\U000e0041 \ud800") == [["mark", "U+E0041"], " ", ["mark", "U+D800"]]
    family = "👩\u200d👩\u200d👧 نمی\u200cخواهم"
    assert spelled(family) == [family], "joiners make letters and emoji"


def test_long_texts_are_shown_plain_and_then_cut() -> None:
    assert render("**b** " * MOST_MARKDOWN).kind == "text"
    made = render("x" * (MOST_SHOWN + 7))
    assert made.cut == 7
    assert len(text_of(made.formatted)) == MOST_SHOWN


@given(st.lists(st.sampled_from(["a", "b", " c", "\n", "d e", "\u202e"]), max_size=30),
       st.lists(st.sampled_from(["a", "b", " c", "\n", "d f", "\u202e"]), max_size=30))  # fmt: skip
def test_differences_keep_both_texts_and_mark_nothing_that_both_have(ones: list[str], others: list[str]) -> None:
    left, right = "".join(ones), "".join(others)
    found = differences(left, right)
    assert found is not None
    for nodes, text in zip(found, (left, right), strict=True):
        assert text_of(nodes) == text_of(spelled(text))
    if left == right:
        assert not any(node[0] == "ins" for nodes in found for node in nodes)
    kept = ["".join(text_of([n]) for n in nodes if n[0] != "ins").split() for nodes in found]
    assert "".join(kept[0]) == "".join(kept[1])


def test_differences_name_the_words() -> None:
    assert differences("the way is free", "the road is free") == (
        ["the", " ", ["ins", "way"], " is free"], ["the", " ", ["ins", "road"], " is free"],
    )  # fmt: skip
    assert differences("a\n" * 2_001, "b\n" * 2_001) is None


def test_differences_of_json_are_in_its_items_and_not_in_its_spaces() -> None:
    assert differences('{"price":1,"in":[2]}', '{"price": 4, "in": [2]}') == (
        ['{\n  "price":', " ", ["ins", "1,"], '\n  "in": [\n    2\n  ]\n}'],
        ['{\n  "price":', " ", ["ins", "4,"], '\n  "in": [\n    2\n  ]\n}'],
    )
    assert differences("[1, 2]", "[1,2]") == (["[\n  1,\n  2\n]"],) * 2

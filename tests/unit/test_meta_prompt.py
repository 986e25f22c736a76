"""MetaPrompt: replies are read by the contract of each shape, section 2c of the algorithm notes."""

import pytest

from promptopt_strategies.meta_prompt import extract, normalise


@pytest.mark.parametrize(
    ("shape", "reply", "text"),
    [
        ("tagged", "so: <text>a [b]</text> end", "a [b]"),
        ("tagged", "untagged reply", "untagged reply"),
        ("tagged", "<text>never closed", "never closed"),
        ("tagged", "never opened</text> rest", "never opened"),
        ("bracketed", "first [a <b>] then [c]", "a <b>"),
        ("bracketed", "no brackets", ""),
        ("instructions_only", "<text>one</text><text>two</text>", "one"),
        ("instructions_only", "no tag", ""),
    ],
)
def test_replies_are_read_by_the_contract_of_the_shape(shape: str, reply: str, text: str) -> None:
    assert extract(reply, shape) == text  # type: ignore[arg-type]  # a parameter


@pytest.mark.parametrize(
    ("text", "normal"), [(" **bold** text ", "Bold text"), ("a", "a"), ("über", "Über"), ("", ""), ("** x y**", "X y")]
)
def test_opro_2i_04_normalise(text: str, normal: str) -> None:
    assert normalise(text) == normal

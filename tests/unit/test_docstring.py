"""Docstrings are taken apart as they are written in this project."""

from promptopt.catalogue import describe_strategies
from promptopt.docstring import Docstring


class Sample:
    """Does ``this``.

    A paragraph that
    is wrapped.

    1. One point
       over two lines.
    2. Another point.

    *Asks*: one thing,
    and another.

    Args:
        width: How many
            things: all of them.
        names: Which.

    Differences from the code, in all profiles:
        - None.

    Profiles:
        reference-code: As it
            is.

    Reference:
        Somebody 2020, section 2:
        the formula.
    """


class Bare:
    pass


def test_the_parts_of_a_docstring():
    said = Docstring.of(Sample)
    assert said.summary == "Does `this`."
    assert said.body == "A paragraph that is wrapped.\n\n1. One point over two lines.\n2. Another point."
    assert said.entries("Args") == {"width": "How many things: all of them.", "names": "Which."}
    assert said.entries("Profiles") == {"reference-code": "As it is."}
    assert said.sections["Differences"] == "- None."
    assert said.sections["Asks"] == "one thing,\nand another."
    assert said.sections["Reference"] == "Somebody 2020, section 2:\nthe formula."


def test_a_class_without_a_docstring_says_nothing():
    assert Docstring.of(Bare) == Docstring("", "", {})


def test_every_setting_of_every_strategy_is_explained():
    for told in describe_strategies():
        unexplained = [row["setting"] for row in told["settings"] if not row["meaning"]]
        assert not unexplained, f"{told['name']}: {unexplained} stand not under Args in its docstring"

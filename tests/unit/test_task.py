"""Task: what cannot be worked on is refused when it is made, in one sentence."""

from dataclasses import replace

import pytest

from promptopt.errors import ConfigError, DataError
from promptopt.example import Dataset, Example
from promptopt.layout import inline_layout
from promptopt.prompt import Prompt
from promptopt.task import check_placeholders
from tests.toy import toy_task


def test_a_task_wants_a_seed() -> None:
    with pytest.raises(ConfigError, match=r"task toy: there is no seed prompt; give one with --prompt"):
        replace(toy_task(), seeds=())


def test_an_unknown_part_is_named() -> None:
    with pytest.raises(ConfigError, match=r"no part is called intro; known: system, instruction"):
        replace(toy_task(), editable=("instruction", "intro"))


def test_every_seed_must_show_an_input() -> None:
    blind = Prompt.of("Guess.", inline_layout("chat", {}))
    with pytest.raises(ConfigError, match=r"shows the model no input; put one of \{input\} into it"):
        replace(toy_task(), seeds=(*toy_task().seeds, blind))


def test_a_row_that_lacks_a_field_is_named() -> None:
    rows = (Example({"a": "1", "b": "2"}), Example({"a": "3"}))
    seed = Prompt.of("{a} {b}", inline_layout("chat", {}))
    with pytest.raises(DataError, match=r"ragged: dev row 1 has no field 'b'; add it"):
        replace(toy_task(), dataset=Dataset("ragged", rows[:1], rows[1:]), seeds=(seed,))


def test_choices_are_those_that_all_examples_share() -> None:
    task = toy_task()
    assert task.choices == ("red", "green", "blue")
    for others in ((), ("red", "green")):
        mixed = Dataset("mixed", task.dataset.train, (Example({"input": "another"}, "red", others),))
        assert replace(task, dataset=mixed).choices == ()


@pytest.mark.parametrize("text", ["{input}", "{{label}}", '{"json": true}', "{}", ""])
def test_placeholders_that_are_there_or_escaped_pass(text: str) -> None:
    check_placeholders([text], ["input"])


def test_a_placeholder_that_the_data_does_not_have_is_refused_with_the_way_out() -> None:
    with pytest.raises(ConfigError, match=r"\{label\}, but the data has \{input\}.*\{\{label\}\} if you mean"):
        check_placeholders(["fine", "a {label}"], ["input"])

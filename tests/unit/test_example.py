"""Example and Dataset: ids by content, splits without overlap, and the cut of train."""

import pytest

from promptopt.errors import DataError
from promptopt.example import POOL_LIMIT, Dataset, Example, by_hash, question_id


def examples(first: int, last: int) -> tuple[Example, ...]:
    return tuple(Example({"text": f"row {i}"}, str(i % 2)) for i in range(first, last))


def test_an_id_is_the_content_and_nothing_else() -> None:
    one = Example({"a": "1", "b": "2"}, "yes", ("yes", "no"), {"x": [1]})
    assert one.id == Example({"b": "2", "a": "1"}, "yes", ("yes", "no"), {"x": [1]}).id
    others = [
        Example({"a": "1", "b": "3"}, "yes", ("yes", "no"), {"x": [1]}),
        Example({"a": "1", "b": "2"}, "no", ("yes", "no"), {"x": [1]}),
        Example({"a": "1", "b": "2"}, "yes", ("no", "yes"), {"x": [1]}),
        Example({"a": "1", "b": "2"}, "yes", ("yes", "no"), {"x": [2]}),
        Example({"a": "1", "b": "2"}, "yes", ("yes", "no"), {"x": [1]}, "suite"),
    ]
    assert len({one, *others}) == 6
    assert one == Example({"b": "2", "a": "1"}, "yes", ("yes", "no"), {"x": [1]})
    assert one != "yes"


@pytest.mark.parametrize("again", ["row 0", "  row\n0 "])
def test_a_question_that_stands_twice_is_refused_with_both_places(again: str) -> None:
    """Also with another target, and also if only white space differs: it leaks all the same."""
    with pytest.raises(DataError, match=r"toy: test row 2 repeats the input of train row 1"):
        Dataset("toy", examples(0, 3), (), (*examples(7, 8), Example({"text": again}, "other")))


def test_the_same_words_in_another_field_or_task_are_another_question() -> None:
    asked = Example({"a": "x", "b": "y"})
    assert question_id(asked) != question_id(Example({"a": "y", "b": "x"}))
    assert question_id(asked) != question_id(Example({"a": "x", "b": "y"}, task="other"))


def test_train_is_cut_into_pool_and_search_by_content() -> None:
    rows = examples(0, 30)
    dataset = Dataset("toy", rows)
    assert len(dataset.pool) == 10
    assert sorted([*dataset.pool, *dataset.search], key=lambda e: e.id) == sorted(rows, key=lambda e: e.id)
    turned = Dataset("toy", tuple(reversed(rows)))
    assert (turned.pool, turned.search) == (dataset.pool, dataset.search), "whatever the order of the file"


@pytest.mark.parametrize(("n", "n_pool"), [(0, 0), (1, 0), (2, 1), (3, 1), (1_000, POOL_LIMIT)])
def test_the_pool_is_a_third_and_at_most_48(n: int, n_pool: int) -> None:
    dataset = Dataset("toy", examples(0, n))
    assert (len(dataset.pool), len(dataset.search)) == (n_pool, n - n_pool)


def test_the_hash_knows_which_split_a_row_is_in_but_no_order() -> None:
    rows = examples(0, 9)
    dataset = Dataset("toy", rows[:3], rows[3:6], rows[6:])
    assert dataset.hash == Dataset("other name", rows[2::-1], rows[3:6], rows[6:]).hash
    assert dataset.hash != Dataset("toy", rows[:3], rows[6:], rows[3:6]).hash


def test_fields_come_from_the_first_example_of_the_first_split_that_has_one() -> None:
    assert Dataset("toy", (), (), (Example({"b": "1", "a": "2"}),)).fields == ("b", "a")
    assert Dataset("empty").fields == ()


def test_by_hash_shuffles_alike_whatever_the_order_given() -> None:
    rows = examples(0, 20)
    assert by_hash(rows) == by_hash(reversed(rows))
    assert by_hash(rows) != list(rows)
    assert by_hash(rows, "salt") != by_hash(rows)

"""Ids: one text and one hash for equal plain data, and nothing else gets through."""

from collections import OrderedDict
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptopt.ids import canonical_json, content_hash, nested_hash


def test_the_form_is_fixed_for_ever() -> None:
    """Stored ids rest on it: whoever changes this orphans every store."""
    assert canonical_json({"b": [1, 2.5, None, True], "a": "ä"}) == '{"a":"ä","b":[1,2.5,null,true]}'
    assert content_hash("a", {"b": 1}) == "eca804df760fb03e17a96ad25795ff52"


def test_order_of_keys_and_kind_of_mapping_do_not_matter() -> None:
    plain = {"a": 1, "b": {"c": 2, "d": 3}}
    turned = OrderedDict(b=MappingProxyType({"d": 3, "c": 2}), a=1)
    assert content_hash(plain) == content_hash(turned)
    assert content_hash(frozenset("abc")) == content_hash(set("cba"))


def test_lists_and_tuples_are_alike_but_nesting_counts() -> None:
    assert content_hash(["a", "b"]) == content_hash(("a", "b"))
    assert len({content_hash("a", "b"), content_hash(["a", "b"]), content_hash("ab"), content_hash(["a"], "b")}) == 4


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        content_hash({"score": [number]})


def test_what_is_no_plain_data_is_refused() -> None:
    with pytest.raises(TypeError, match="object is not plain data"):
        content_hash(object())


def test_lone_surrogates_have_an_id() -> None:
    assert content_hash("\ud83d") != content_hash("\ude00")


@given(
    st.lists(st.lists(st.lists(st.text() | st.floats(allow_nan=False, allow_infinity=False)), max_size=5), max_size=5)
)
def test_a_nested_list_has_the_same_hash_by_parts(groups: list[list[list[object]]]) -> None:
    assert nested_hash(iter(group) for group in groups) == content_hash(groups)
    many = [[["x", n] for n in range(2_500)], *groups]
    assert nested_hash(many) == content_hash(many)

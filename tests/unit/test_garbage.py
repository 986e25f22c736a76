"""The collector's threshold is raised while blocks are open, by any thread, and is the user's own afterwards."""

import gc
from collections.abc import Iterator

import pytest

from promptopt.garbage import SELDOM, seldom_collected


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def test_it_is_raised_until_the_last_block_ends() -> None:
    gc.set_threshold(500, 7, 8)
    one, other = seldom_collected(), seldom_collected()
    one.__enter__()
    other.__enter__()
    assert gc.get_threshold() == (SELDOM, 7, 8)
    one.__exit__(None, None, None)
    assert gc.get_threshold() == (SELDOM, 7, 8)
    other.__exit__(None, None, None)
    assert gc.get_threshold() == (500, 7, 8)


@pytest.mark.parametrize("first", [0, 10 * SELDOM])
def test_who_wants_it_more_seldom_still_keeps_that(first: int) -> None:
    gc.set_threshold(first, 7, 8)
    with seldom_collected():
        assert gc.get_threshold() == (first, 7, 8)
    assert gc.get_threshold() == (first, 7, 8)

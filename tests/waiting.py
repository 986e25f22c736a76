"""Waiting for what a thread, a process or a page is about to do: for the thing itself, and never for a time."""

import time
from collections.abc import Callable

LONGEST_S = 240.0  # which nothing takes that happens at all, however busy the machine


def wait_for(is_so: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + LONGEST_S
    while not is_so():
        assert time.monotonic() < give_up_at, f"not so after {LONGEST_S:.0f} s"
        time.sleep(0.02)

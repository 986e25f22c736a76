"""How often Python collects cyclic garbage, while thousands of calls and outcomes come and go.

Their objects form no cycles, yet every 700 of them set a collection off: a quarter of the time of a cached evaluation.
"""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SELDOM = 50_000


class _Blocks:
    """The blocks that are open, over all threads, and the threshold from before the first of them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.n = 0
        self.usual = gc.get_threshold()


_blocks = _Blocks()


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Have the collector wait for more garbage than usual, in the whole process, until the last such block ends."""
    with _blocks.lock:
        _blocks.n += 1
        if _blocks.n == 1:
            _blocks.usual = gc.get_threshold()
            first, *others = _blocks.usual
            gc.set_threshold(first and max(first, SELDOM), *others)  # 0 means never, and stays
    try:
        yield
    finally:
        with _blocks.lock:
            _blocks.n -= 1
            if _blocks.n == 0:
                gc.set_threshold(*_blocks.usual)

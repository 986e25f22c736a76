"""Python's collector of garbage in circles, held back where much plain data is made at once.

Rows and outcomes refer to nothing that refers back; looking for circles in them was a quarter of a cached evaluation.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Hold the collector back for the moment that a batch takes; all threads' garbage waits as long."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()

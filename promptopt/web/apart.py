"""Apart: the labelling page in a process of its own, so that nobody who labels waits while a search thinks.

The two meet only in the store. The page ends with whoever started it, also after kill -9: the pipe between them breaks.
"""

import multiprocessing
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection

from promptopt.errors import PromptOptError, StoreError
from promptopt.web.server import STOP_S, Address, serving

SWITCH_S = 0.0005  # so that the next pair does not wait while the standing is worked out


@contextmanager
def serving_apart(store_path: str, study: tuple[int, str], address: Address) -> Iterator[Address]:
    """Serve the labelling page of a study in another process until the block ends.

    Args:
        store_path: The store.
        study: The study's id and name.
        address: Where to listen; port 0 takes any that is free.

    Yields:
        The address with the port that was taken.

    Raises:
        ConfigError: The port is taken, or nobody could reach the address.
        StoreError: The process ended before it listened.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=_serve, args=(theirs, store_path, study, address), name="page", daemon=True)
    child.start()
    theirs.close()
    try:
        yield _taken(ours)
    finally:
        ours.close()
        child.join(2 * STOP_S)


def _taken(pipe: Connection) -> Address:
    try:
        answer = pipe.recv()
    except EOFError:
        raise StoreError("The page's process ended before it listened; its own words stand above.") from None
    if isinstance(answer, PromptOptError):
        raise answer
    return Address(*answer)


def _serve(pipe: Connection, store_path: str, study: tuple[int, str], address: Address) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both; the other one ends this one in its turn
    sys.setswitchinterval(SWITCH_S)
    try:
        with serving(store_path, study, address) as taken:
            pipe.send(tuple(taken))
            with suppress(EOFError):
                pipe.recv()
    except PromptOptError as error:
        pipe.send(error)

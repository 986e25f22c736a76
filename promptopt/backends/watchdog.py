"""Watchdog: starts a server and ends its whole process group when the pipe from its maker closes, however that died.

Run by its path, in a process of its own, so it uses nothing but the standard library; its arguments are the command.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

GRACE_S = 15.0
_LOOK_S = 0.05


def main() -> int:
    """Start the server, wait for its end or the pipe's, end what is left of it, and return its exit code."""
    told, tell = os.pipe()

    def wake(*_: object) -> None:
        os.write(tell, b".")

    signal.signal(signal.SIGTERM, wake)
    server = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603
    for wait in (_wait_for_the_pipe, server.wait):
        threading.Thread(target=_then, args=(wait, wake), daemon=True).start()
    os.read(told, 1)
    end_group(server.pid)
    return server.wait()


def end_group(group: int) -> None:
    """End all processes of a group: asked first, killed when that takes too long."""
    give_up_at = time.monotonic() + GRACE_S
    left = _signal(group, signal.SIGTERM)
    while left and time.monotonic() < give_up_at:
        time.sleep(_LOOK_S)
        left = _signal(group, 0)
    if left:
        _signal(group, signal.SIGKILL)


def _signal(group: int, number: int) -> bool:
    """Send a signal to a group and return whether anybody is left in it."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def _then(wait: Callable[[], object], wake: Callable[[], None]) -> None:
    wait()
    wake()


def _wait_for_the_pipe() -> None:
    while os.read(0, 1024):
        pass


if __name__ == "__main__":
    sys.exit(main())

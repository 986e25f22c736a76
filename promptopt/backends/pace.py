"""Pace: when the next call to an endpoint may be sent, how long it may take, and when to try again.

Everything that one endpoint's requests have in common lives here; the clock is the loop's monotonic one.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime

from promptopt.errors import FatalBackendError

# Connections are opened gradually: a server's accept queue is short, and a dropped opening costs a second.
FIRST_OPENINGS = 16
OPENINGS_PER_S = 2000.0

BACKOFF_MOST_S = 30.0
PAUSE_MOST_S = 300.0


class Pace:
    """The traffic rules of one endpoint.

    Args:
        address: The endpoint, for messages.
        concurrency: Calls in flight at most.
        timeout_s: How long one attempt may take.
        backoff_s: The mean wait before the second attempt; it doubles from then on.
    """

    def __init__(self, address: str, concurrency: int, timeout_s: float, backoff_s: float) -> None:
        self.answered_at = 0.0
        self._address = address
        self._concurrency = concurrency
        self._timeout_s = timeout_s
        self._backoff_s = backoff_s
        self._places = asyncio.Semaphore(concurrency)
        self._began_at = 0.0
        self._n_begun = 0
        self._resume_at = 0.0
        # Jitter must not touch any stream that a search draws from.
        self._rng = random.Random()

    @asynccontextmanager
    async def place(self) -> AsyncIterator[float]:
        """Hold one of the places in flight from when a call may be sent; yields how many seconds it may take."""
        async with self._places:
            if self._n_begun < self._concurrency:
                await self._open_gradually()
            while (wait_s := self._resume_at - time.monotonic()) > 0:
                await asyncio.sleep(wait_s * self._rng.uniform(1.0, 1.1))
            yield self._timeout_s

    def note_answer(self, retry_after_s: float = 0.0) -> None:
        """Remember that the endpoint lives, and for how long it wants to be left alone.

        Raises:
            FatalBackendError: The wait is longer than anybody would sit through.
        """
        self.answered_at = time.monotonic()
        if retry_after_s > PAUSE_MOST_S:
            raise FatalBackendError(
                f"{self._address} asks to wait for {retry_after_s:.0f} s, longer than the {PAUSE_MOST_S:.0f} s that "
                "a study waits by itself; resume it then."
            )
        self._resume_at = max(self._resume_at, self.answered_at + retry_after_s)

    async def back_off(self, attempt: int) -> None:
        """Wait after the failed attempt of this number, counted from 1."""
        mean_s = min(BACKOFF_MOST_S, self._backoff_s * 2 ** (attempt - 1))
        await asyncio.sleep(mean_s * self._rng.uniform(0.5, 1.5))

    async def _open_gradually(self) -> None:
        now = time.monotonic()
        self._began_at = self._began_at or now
        due_at = self._began_at + max(0, self._n_begun - FIRST_OPENINGS) / OPENINGS_PER_S
        self._n_begun += 1
        if due_at > now:
            await asyncio.sleep(due_at - now)


def retry_after_s(value: str | None) -> float:
    """Return how many seconds a Retry-After header asks to wait, given in seconds or as a date; 0 if it does not."""
    if not value:
        return 0.0
    try:
        wait_s = float(value)
    except ValueError:
        try:
            wait_s = parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return 0.0
    return wait_s if wait_s > 0 else 0.0  # also where it is NaN

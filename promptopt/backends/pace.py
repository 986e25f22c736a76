"""Pace: when the next call to an endpoint may be sent, how long it may take, and when to try again.

Everything that one endpoint's requests have in common lives here; the clock is the loop's monotonic one.
"""

import asyncio
import random
import time
from collections import defaultdict, deque
from collections.abc import Collection
from email.utils import parsedate_to_datetime
from types import TracebackType

from promptopt.errors import FatalBackendError

# Connections are opened gradually: a server's accept queue is short, and a dropped opening costs a second.
FIRST_OPENINGS = 16
OPENINGS_PER_S = 2000.0

BACKOFF_MOST_S = 30.0
PAUSE_MOST_S = 300.0

# A call may take six times as long as nearly all calls of its size do, once that is known.
PATIENCE = 6.0
PATIENCE_LEAST_S = 2.0
KNOWN_FROM = 20
KEPT = 200
LOOK_S = 0.1


class Pace:
    """The traffic rules of one endpoint.

    The window of calls in flight follows how much the endpoint turns away: by half that share it shrinks a round, and
    by a thirty-second of the bound it grows (the fraction-based decrease of Alizadeh et al. 2010, DCTCP). A few chance
    refusals leave it open, an endpoint that refuses everything halves it.

    Args:
        address: The endpoint, for messages.
        concurrency: Calls in flight at most.
        timeout_s: How long one attempt may take at most.
        backoff_s: The mean wait before the second attempt; it doubles from then on.
    """

    def __init__(self, address: str, concurrency: int, timeout_s: float, backoff_s: float) -> None:
        self.answered_at = 0.0
        self.n_resting = 0
        self.window = float(concurrency)
        self._address = address
        self._concurrency = concurrency
        self._timeout_s = timeout_s
        self._backoff_s = backoff_s
        self._in_flight: set[Place] = set()
        self._n_held = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._latencies: defaultdict[int, deque[float]] = defaultdict(lambda: deque(maxlen=KEPT))
        self._n_round = self._n_turned_away = 0
        self._began_at = 0.0
        self._n_begun = 0
        self._resume_at = 0.0
        self._looking = False
        # Jitter must not touch any stream that a search draws from.
        self._rng = random.Random()

    async def place(self, size: int = 0, overdue: int = 0) -> "Place":
        """Wait for a place in flight and return it, to be held with ``with``; that raises TimeoutError when overdue.

        Args:
            size: How many tokens may be written; calls of like size take about as long.
            overdue: How many attempts of its request were overdue; each lets the next take twice as long.
        """
        if self._n_held < int(self.window) and not self._waiting:
            self._n_held += 1
        else:
            await self._queue()
        try:
            if self._n_begun < self._concurrency:
                await self._open_gradually()
            while (wait_s := self._resume_at - time.monotonic()) > 0:
                await asyncio.sleep(wait_s * self._rng.uniform(1.0, 1.1))
        except asyncio.CancelledError:
            self._give_up_place()
            raise
        return Place(self, size.bit_length(), overdue)

    def note_answer(self, *, turned_away: bool = False, retry_after_s: float = 0.0) -> None:
        """Remember that the endpoint lives, whether it had room, and for how long it wants to be left alone.

        Raises:
            FatalBackendError: The wait is longer than anybody would sit through.
        """
        self.answered_at = time.monotonic()
        self._n_round += 1
        self._n_turned_away += turned_away
        if self._n_round >= self.window:
            self._end_round()
        if not retry_after_s:
            return
        if retry_after_s > PAUSE_MOST_S:
            raise FatalBackendError(
                f"{self._address} asks to wait for {retry_after_s:.0f} s, longer than the {PAUSE_MOST_S:.0f} s that "
                "a study waits by itself; resume it then."
            )
        self._resume_at = max(self._resume_at, self.answered_at + retry_after_s)

    async def back_off(self, attempt: int) -> None:
        """Wait after the failed attempt of this number, counted from 1."""
        mean_s = min(BACKOFF_MOST_S, self._backoff_s * 2 ** (attempt - 1))
        self.n_resting += 1
        try:
            await asyncio.sleep(mean_s * self._rng.uniform(0.5, 1.5))
        finally:
            self.n_resting -= 1

    def _end_round(self) -> None:
        share = self._n_turned_away / self._n_round
        grown = self.window * (1 - share / 2) + max(1.0, self._concurrency / 32) * (share < 1)
        self.window = max(1.0, min(float(self._concurrency), grown))
        self._n_round = self._n_turned_away = 0
        self._wake()

    def _wake(self) -> None:
        free = int(self.window) - self._n_held
        while free > 0 and self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
                self._n_held += 1
                free -= 1

    async def _queue(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():  # it had just been given a place
                self._give_up_place()
            raise

    def _give_up_place(self) -> None:
        self._n_held -= 1
        if self._waiting:
            self._wake()

    def _watch(self, place: "Place") -> None:
        self._in_flight.add(place)
        if not self._looking:
            self._looking = True
            self._look()

    def _look(self) -> None:
        """End the calls that are overdue; one look for all of them is cheaper than a timer each."""
        if not self._in_flight:
            self._looking = False
            return
        patience_s = {size_class: self._patience_s(latencies) for size_class, latencies in self._latencies.items()}
        now = time.monotonic()
        for place in self._in_flight:
            most_s = min(self._timeout_s, patience_s.get(place.size_class, self._timeout_s) * 2.0**place.overdue)
            if not place.is_ended and now - place.began_at > most_s:
                place.end()
        asyncio.get_running_loop().call_later(min(LOOK_S, self._timeout_s / 4), self._look)

    def _patience_s(self, latencies: Collection[float]) -> float:
        if len(latencies) < KNOWN_FROM:
            return self._timeout_s
        return max(PATIENCE_LEAST_S, PATIENCE * sorted(latencies)[int(0.95 * (len(latencies) - 1))])

    def _leave(self, place: "Place", *, came_back: bool) -> None:
        self._in_flight.discard(place)
        self._give_up_place()
        if came_back:
            self._latencies[place.size_class].append(place.held_s)

    async def _open_gradually(self) -> None:
        now = time.monotonic()
        self._began_at = self._began_at or now
        due_at = self._began_at + max(0, self._n_begun - FIRST_OPENINGS) / OPENINGS_PER_S
        self._n_begun += 1
        if due_at > now:
            await asyncio.sleep(due_at - now)


class Place:
    """One call in flight; entered when it is sent, left when it has come back.

    It ends its task as ``asyncio.timeout`` does, but without a timer of its own: one look for all is cheaper.

    Args:
        pace: Whose it is.
        size_class: The class of calls that take about as long.
        overdue: How many attempts of its request were overdue.
    """

    __slots__ = ("began_at", "held_s", "is_ended", "overdue", "pace", "size_class", "task")

    def __init__(self, pace: Pace, size_class: int, overdue: int) -> None:
        self.pace = pace
        self.size_class = size_class
        self.overdue = overdue
        self.is_ended = False
        self.task = asyncio.current_task()
        self.began_at = time.monotonic()  # the loop's own clock may tick by whole milliseconds
        self.held_s = 0.0

    def __enter__(self) -> "Place":
        self.pace._watch(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.held_s = time.monotonic() - self.began_at
        self.pace._leave(self, came_back=kind is None)
        # If others have cancelled the task as well, it is for them and not for us to stop it.
        if self.is_ended and self.task and not self.task.uncancel() and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def end(self) -> None:
        """End the call, which then raises TimeoutError."""
        self.is_ended = True
        if self.task:
            self.task.cancel()


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

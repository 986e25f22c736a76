"""The event loop that backends share: one thread a process, and the stream that runs coroutines for ``run``.

LoopThread lives here. Nothing outside the backends knows that there is an event loop at all.
"""

import asyncio
import importlib
import itertools
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable
from importlib.util import find_spec
from queue import Empty, SimpleQueue
from typing import Any, ClassVar, Generic, TypeVar, cast

from promptopt.backends.base import K, Reply, Request
from promptopt.errors import FatalBackendError

# The faster loop is not there for every platform.
LOOPS = importlib.import_module("uvloop" if find_spec("uvloop") else "asyncio")

T = TypeVar("T")
Answer = Callable[[Request], Coroutine[Any, Any, Reply]]

TICK_S = 0.025
GATHER_S = 0.025  # with the buffer's 50 ms and a tick, the most that a kill may cost
CANCEL_S = 1.0
CLOSED = "This backend was closed; open it again."


class LoopThread:
    """The event-loop thread of this process; opened by the first backend that needs it, ended by the last.

    Use ``open`` and ``close``; each ``open`` wants one ``close``.
    """

    _lock: ClassVar[threading.Lock] = threading.Lock()
    _shared: ClassVar["LoopThread | None"] = None

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop = LOOPS.new_event_loop()
        self._pid = os.getpid()
        self._users = 0
        self._thread = threading.Thread(target=self._loop.run_forever, name="promptopt-backends", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls) -> "LoopThread":
        """Return the loop of this process, started if there is none; a forked child gets one of its own."""
        with cls._lock:
            if cls._shared is None or cls._shared.is_foreign:
                cls._shared = cls()
            cls._shared._users += 1
            return cls._shared

    @property
    def is_foreign(self) -> bool:
        """Whether this loop was started before a fork, so that its thread does not exist here."""
        return self._pid != os.getpid()

    @property
    def is_usable(self) -> bool:
        """Whether the loop runs, in this process, and the interpreter is not on its way out."""
        return not self.is_foreign and not self._loop.is_closed() and not sys.is_finalizing()

    def require_usable(self) -> None:
        """Refuse to work when closed, or in a forked child.

        Raises:
            FatalBackendError: Says which.
        """
        if self.is_foreign:
            raise FatalBackendError(
                "This backend was opened before the process was forked and cannot be used in the child; "
                "open a new backend after the fork."
            )
        if self._loop.is_closed():
            raise FatalBackendError(CLOSED)

    def call(self, function: Callable[..., object], *args: object) -> None:
        """Have the loop call a function soon; does not wait."""
        self.require_usable()
        self._loop.call_soon_threadsafe(function, *args)

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and return its result; an interrupt cancels it."""
        if not self.is_usable:
            coroutine.close()
            self.require_usable()
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        finally:
            future.cancel()

    def close(self) -> None:
        """Give the loop back; the last user ends the thread and whatever still runs on it."""
        if self.is_foreign:
            return
        with LoopThread._lock:
            self._users -= 1
            if self._users > 0:
                return
            if LoopThread._shared is self:
                LoopThread._shared = None
        self.wait(_cancel(lambda: asyncio.all_tasks(self._loop)))
        self.wait(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def stream(
    loop: LoopThread,
    answer: Answer,
    requests: Iterable[tuple[K, Request]],
    limit: int,
    ahead: int = 0,
    resting: Callable[[], int] = lambda: 0,
) -> Generator[tuple[K, Reply] | None, None, None]:
    """Answer requests on the loop: the body of ``Backend.run`` for backends that wait for a network.

    Args:
        loop: Where the answers are made.
        answer: Makes one reply; what it raises ends the stream.
        requests: Taken whenever fewer than the limit and ``ahead`` are taken and not yet given back.
        limit: How many requests may be answered at a time.
        ahead: How many more are taken to wait on the loop, so that no place stays free while a reply goes to the other
            thread and a request comes back.
        resting: How many of those that are answered wait for another attempt, so that others may go meanwhile.
    """
    source = iter(requests)
    crew: _Crew[K] = _Crew(answer, lambda: limit + resting(), enough=max(1, 3 * ahead // 4))
    n_open = 0
    try:
        while True:
            if batch := list(itertools.islice(source, limit + ahead - n_open)):
                n_open += len(batch)
                loop.call(crew.start, batch)
            if not n_open:
                return
            ended = crew.wait()
            if not ended:
                loop.require_usable()
                yield None
            for arrival in ended:
                n_open -= 1
                yield arrival
    finally:
        if n_open and loop.is_usable:
            loop.wait(_cancel(lambda: crew.workers))


class _Crew(Generic[K]):
    """The workers of one stream; replies are handed over by the handful, since each change of thread costs time.

    Args:
        answer: Makes one reply.
        limit: How many workers there may be now.
        enough: How many replies are a handful; fewer are one after 25 ms, or when nothing else is open.
    """

    def __init__(self, answer: Answer, limit: Callable[[], int], enough: int) -> None:
        self.workers: set[asyncio.Task[None]] = set()  # touched by the loop's thread alone, like the next four
        self._waiting: deque[tuple[K, Request]] = deque()
        self._n_open = 0
        self._ended: list[tuple[K, Reply]] = []
        self._is_gathering = False
        self._answer = answer
        self._limit = limit
        self._enough = enough
        self._handfuls: SimpleQueue[list[tuple[K, Reply]] | BaseException] = SimpleQueue()

    def start(self, batch: list[tuple[K, Request]]) -> None:
        self._waiting.extend(batch)
        self._n_open += len(batch)
        for _ in range(min(len(self._waiting), self._limit() - len(self.workers))):
            worker = asyncio.get_running_loop().create_task(self._work())
            self.workers.add(worker)
            worker.add_done_callback(self._look_at)

    def wait(self) -> list[tuple[K, Reply]]:
        """Return what has ended; nothing if that takes too long. For the thread that iterates.

        Raises:
            BaseException: What ended a worker.
        """
        try:
            handful = self._handfuls.get(timeout=TICK_S)
        except Empty:
            return []
        if isinstance(handful, BaseException):
            raise handful
        return handful

    async def _work(self) -> None:
        try:
            while self._waiting:
                key, request = self._waiting.popleft()
                reply = await self._answer(request)
                self._n_open -= 1
                self._ended.append((key, reply))
                if len(self._ended) >= self._enough or not self._n_open:
                    self._hand_over()
                elif not self._is_gathering:
                    self._is_gathering = True
                    asyncio.get_running_loop().call_later(GATHER_S, self._end_gathering)
        finally:  # at once, and not when its task is looked at: till then others may be started
            self.workers.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    def _look_at(self, worker: asyncio.Task[None]) -> None:
        """End the stream if this worker did not come to its end."""
        error = FatalBackendError(CLOSED) if worker.cancelled() else worker.exception()
        if error:
            for other in self.workers:  # so that nothing more is sent
                other.cancel()
            self._hand_over()
            self._handfuls.put(error)

    def _end_gathering(self) -> None:
        self._is_gathering = False
        if self._ended:
            self._hand_over()

    def _hand_over(self) -> None:
        self._handfuls.put(self._ended)
        self._ended = []


async def _cancel(tasks: Callable[[], Iterable["asyncio.Task[Any]"]]) -> None:
    """Cancel tasks and give them a moment to let go of their connections."""
    others = [task for task in tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others, timeout=CANCEL_S)


def _forget_lock() -> None:
    # The parent may have held the lock in another thread at the moment of the fork.
    LoopThread._lock = threading.Lock()


os.register_at_fork(after_in_child=_forget_lock)

"""BackendContract: what every backend must do, as a test class; subclass it and say how to open yours."""

import contextlib
import threading
import time
from collections.abc import Iterator
from itertools import islice

from promptopt.backends.base import TAKEN_AHEAD, Backend, Reply, Request
from promptopt.layout import Message

STATUSES = ("ok", "truncated", "refused", "malformed", "failed")


class PullError(Exception):
    """Raised by a request stream on purpose."""


class BackendContract:
    """The rules of ``Backend``; a subclass gives ``open_backend`` and may give better requests."""

    n_requests = 40

    def open_backend(self) -> Backend:
        """Return a fresh backend that answers ``request``; the test closes it."""
        raise NotImplementedError

    def request(self, number: int) -> Request:
        """Return a small request; equal numbers give equal requests."""
        return Request("chat", (Message("user", f"Say the number {number}."),), max_tokens=4)

    def stream(self, n: int | None = None) -> Iterator[tuple[int, Request]]:
        """Return numbered requests."""
        return ((number, self.request(number)) for number in range(self.n_requests if n is None else n))

    def test_every_request_is_answered_once(self) -> None:
        """Each key comes back exactly once, with a reply that makes sense."""
        with contextlib.closing(self.open_backend()) as backend:
            replies = [arrival for arrival in backend.run(self.stream()) if arrival is not None]
        assert sorted(key for key, _ in replies) == list(range(self.n_requests))
        for _, reply in replies:
            _check(reply)

    def test_requests_are_taken_lazily_and_by_the_thread_that_iterates(self) -> None:
        """Never more are taken and not given back than there are places; no other thread runs the caller's code."""
        n_taken = 0
        threads = set()

        def watched() -> Iterator[tuple[int, Request]]:
            nonlocal n_taken
            for numbered in self.stream():
                n_taken += 1
                threads.add(threading.get_ident())
                yield numbered

        with contextlib.closing(self.open_backend()) as backend:
            n_back = 0
            for arrival in backend.run(watched()):
                assert n_taken - n_back <= backend.concurrency + backend.concurrency // TAKEN_AHEAD
                n_back += arrival is not None
        assert threads == {threading.get_ident()}

    def test_no_requests_no_replies(self) -> None:
        """An empty stream ends at once."""
        with contextlib.closing(self.open_backend()) as backend:
            assert list(backend.run(iter(()))) == []

    def test_closing_the_iterator_is_prompt_and_the_backend_lives_on(self) -> None:
        """A stream that is left half-way stops within a second, and the next one is answered in full."""
        with contextlib.closing(self.open_backend()) as backend:
            replies = backend.run(self.stream())
            next(replies)
            began_at = time.monotonic()
            replies.close()
            assert time.monotonic() - began_at < 1
            assert len([arrival for arrival in backend.run(self.stream(5)) if arrival]) == 5

    def test_two_streams_at_a_time(self) -> None:
        """Streams do not mix."""
        with contextlib.closing(self.open_backend()) as backend:
            left = (arrival for arrival in backend.run(self.stream(8)) if arrival)
            right = (arrival for arrival in backend.run(self.stream(6)) if arrival)
            got_left = list(islice(left, 3))
            assert sorted(key for key, _ in right) == list(range(6))
            assert sorted(key for key, _ in [*got_left, *left]) == list(range(8))

    def test_an_error_of_the_caller_passes_through(self) -> None:
        """What the request stream raises ends the run, and only the run."""

        def broken() -> Iterator[tuple[int, Request]]:
            yield from self.stream(3)
            raise PullError

        with contextlib.closing(self.open_backend()) as backend:
            seen = False
            try:
                list(backend.run(broken()))
            except PullError:
                seen = True
            assert seen
            assert len([arrival for arrival in backend.run(self.stream(3)) if arrival]) == 3

    def test_names_are_stable(self) -> None:
        """Two backends opened alike have one key; address, modes, abilities and concurrency make sense."""
        with contextlib.closing(self.open_backend()) as one, contextlib.closing(self.open_backend()) as other:
            assert one.model_key == other.model_key
            assert len(one.model_key) == 32
            assert ":" in one.address
            assert one.modes
            assert one.modes <= {"chat", "completion"}
            assert one.abilities <= {"likelihood", "choice", "write"}
            assert one.concurrency >= 1

    def test_close_twice(self) -> None:
        """Closing is safe at any time, used or not."""
        unused = self.open_backend()
        unused.close()
        unused.close()
        used = self.open_backend()
        assert len([arrival for arrival in used.run(self.stream(2)) if arrival]) == 2
        used.close()
        used.close()


def _check(reply: Reply) -> None:
    assert reply.status in STATUSES
    assert reply.attempts >= 1
    assert reply.usage.seconds >= 0
    assert (reply.status == "ok") <= (not reply.error)
    assert (reply.status == "failed") <= bool(reply.error)

"""BackendContract: what every backend must do, as a test class; subclass it and say how to open yours."""

import contextlib
import tempfile
import threading
from collections.abc import Iterator
from itertools import islice
from typing import get_args

from promptopt.backends.base import TAKEN_AHEAD, Backend, Reply, Request
from promptopt.budget import Budget, Spend, Usage
from promptopt.evaluation import Status
from promptopt.example import Dataset, Example
from promptopt.grader import Grader, Work
from promptopt.health import Health
from promptopt.layout import Message, chat_layout
from promptopt.ledger import Ledger
from promptopt.metrics import Rubric
from promptopt.prompt import Prompt
from promptopt.store.rows import OutcomeRow, StudyRow
from promptopt.store.store import Store

RIGHT = Rubric("The answer is right.", ("wrong", "right"))
STATUSES = get_args(Status)


class PullError(Exception):
    """Raised by a request stream on purpose."""


@contextlib.contextmanager
def judging_store() -> Iterator[tuple[Store, list[Work]]]:
    """Open a store with a study and three outputs that wait for a grade."""
    prompt, usage = Prompt.of("Say the number.", chat_layout({"input": "Number"})), Usage(8, 2)
    examples = tuple(Example({"input": f"number {n}"}, str(n)) for n in range(3))
    with tempfile.TemporaryDirectory() as folder, Store.open(f"{folder}/judged.db") as store:
        store.put_dataset(Dataset("numbers", examples))
        store.put_prompts([prompt])
        store.create_study(StudyRow(0, "judged", {}, "hash", 0, {}))
        rows = [OutcomeRow(f"key {e.target}", prompt.id, e.id, "model", 0, "ok", e.target, usage) for e in examples]
        store.add_outcomes(rows, [], [])
        yield store, [Work(row.request_key, e, row.output, RIGHT) for row, e in zip(rows, examples, strict=True)]


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
        """A stream that is left half-way is read no further, and the next one is answered in full."""
        taken: list[int] = []

        def watched() -> Iterator[tuple[int, Request]]:
            for number, request in self.stream():
                taken.append(number)
                yield number, request

        with contextlib.closing(self.open_backend()) as backend:
            replies = backend.run(watched())
            next(replies)
            n_taken = len(taken)
            replies.close()
            assert len(taken) == n_taken
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

    def test_can_be_the_judge_of_a_rubric(self) -> None:
        """Grades are from 0 to 1 or missing, every reply is paid, and nothing is asked again that was read."""
        with judging_store() as (store, works), contextlib.closing(self.open_backend()) as backend:
            ledger = Ledger(Budget(), Spend(), health=Health(0.0))
            grader = Grader(backend, store, ledger, study_id=1)
            graded = [score for _, score in grader.grade(works, lambda _: None)]
            assert len(graded) == len(works)
            assert all(score is None or 0 <= score.value <= 1 for score in graded)
            assert ledger.spend.calls >= 2 * len(works)
            if None not in graded:
                before = ledger.spend.calls
                assert [score for _, score in grader.grade(works, lambda _: None)] == graded
                assert ledger.spend.calls == before

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

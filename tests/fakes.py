"""A backend in memory for tests of the services: it says what it is told to, and counts what it is asked."""

import json
from collections.abc import Callable, Generator, Iterable
from typing import Any

from promptopt.backends.base import Again, K, Reply, Request, always
from promptopt.budget import Usage
from promptopt.layout import Mode

Say = Callable[[Request], Reply]


def echo(request: Request) -> Reply:
    """Say the last message; a token a word."""
    text = request.messages[-1].content
    return Reply("ok", text, Usage(len(text.split()), 1))


def work_out(calls: Generator[Any, Any, Any], answer: Callable[[str, Any], Any]) -> Any:
    """Make the calls that a computation over a server's answers asks for, and return its result."""
    found = None
    while True:
        try:
            path, body, read = calls.send(found)
        except StopIteration as end:
            return end.value
        found, _ = read(json.dumps(answer(path, json.loads(body))).encode())


class FakeBackend:
    """Keeps a window of requests open and answers them in the order of ``pick``, the oldest first by default."""

    address = "fake:"
    model_key = "fake-model"
    modes: frozenset[Mode] = frozenset({"chat", "completion"})
    added_tokens = 0

    def __init__(
        self,
        say: Say = echo,
        concurrency: int = 4,
        pick: Callable[[int], int] = lambda n_open: 0,
        *,
        ticks: bool = False,
    ) -> None:
        self.say = say
        self.concurrency = concurrency
        self.pick = pick
        self.ticks = ticks
        self.asked: list[Request] = []
        self.abilities = frozenset({"write", "likelihood"})

    def run(
        self, requests: Iterable[tuple[K, Request]], _again: Again = always
    ) -> Generator[tuple[K, Reply] | None, None, None]:
        source = iter(requests)
        window: list[tuple[K, Request]] = []
        while True:
            while len(window) < self.concurrency and (pair := next(source, None)) is not None:
                self.asked.append(pair[1])
                window.append(pair)
            if not window:
                return
            if self.ticks:
                yield None
            key, request = window.pop(self.pick(len(window)) % len(window))
            yield key, self.say(request)

    def close(self) -> None:
        return None

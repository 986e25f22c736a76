"""An OpenAI-compatible server for load: it waits, answers or fails as told, and counts what is asked of it.

    python benchmarks/mock_server.py '{"latency_ms": 50, "rate_limit": 0.05}'

prints its port and ends when its standard input does, so that nobody leaves it behind. On a bare protocol and with
answers made beforehand it takes well over 10,000 requests a second of one core (``speed.py server`` measures it).
An answer is a label that the hash of the request's body gives, so equal requests get equal answers.
"""

import asyncio
import gc
import hashlib
import heapq
import json
import math
import random
import resource
import subprocess
import sys
import time
import urllib.request
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

LABELS = ("red", "green", "blue")
MODEL = "mock"
CUT = "re"  # what a truncated answer says: no label
USAGE = {"prompt_tokens": 90, "completion_tokens": 2, "total_tokens": 92}
FAULTS = ("rate_limit", "server_error", "hang", "malformed", "truncated")
BACKLOG = 2048
TICK_S = 0.0005  # answers that are due within a tick go out together


@dataclass(frozen=True)
class Manner:
    """How the server behaves; the shares are of attempts and strike by the hash of body, attempt and seed.

    Args:
        latency_ms: The median time from request to answer; 0 answers at once.
        sigma: The standard deviation of its logarithm; 0 makes it fixed.
        slots: Requests served at a time, the others wait; 0 for no limit.
        rate_limit: The share answered at once with 429.
        retry_after_s: What such an answer asks to wait; 0 leaves the header out.
        server_error: The share answered with 500.
        hang: The share answered only after ``hang_s``.
        hang_s: How long that is.
        malformed: The share answered with 200 and something that is no answer.
        truncated: The share cut short, with ``finish_reason`` = ``length``.
        writer: Whether requests at a temperature above 0 are answered by promptopt's scripted optimizer model.
        seed: Of the faults and latencies.
    """

    latency_ms: float = 50.0
    sigma: float = 0.0
    slots: int = 0
    rate_limit: float = 0.0
    retry_after_s: float = 0.0
    server_error: float = 0.0
    hang: float = 0.0
    hang_s: float = 120.0
    malformed: float = 0.0
    truncated: float = 0.0
    writer: bool = False
    seed: int = 0


def response(status: str, body: bytes, *headers: str) -> bytes:
    lines = (f"HTTP/1.1 {status}", "Content-Type: application/json", *headers, f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def completion(text: str | None, *, chat: bool, finish: str = "stop") -> bytes:
    choice: dict[str, Any] = {"index": 0, "finish_reason": finish, "logprobs": None}
    choice |= {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
    kind = "chat.completion" if chat else "text_completion"
    body = {"id": "mock-1", "object": kind, "created": 1, "model": MODEL, "choices": [choice], "usage": USAGE}
    return json.dumps(body, separators=(",", ":")).encode()


class Answers:
    """The responses that are made beforehand, for one of the two routes."""

    def __init__(self, manner: Manner, *, chat: bool) -> None:
        whole = completion(LABELS[0], chat=chat)
        unreadable = (whole[:60], b'{"usage":{}}', completion(None, chat=chat), b"<html><body>busy</body></html>")
        wait = [f"Retry-After: {manner.retry_after_s:g}"] if manner.retry_after_s else []
        self.good = [response("200 OK", completion(label, chat=chat)) for label in LABELS]
        self.malformed = [response("200 OK", body) for body in unreadable]
        self.truncated = response("200 OK", completion(CUT, chat=chat, finish="length"))
        self.rate_limit = response("429 Too Many Requests", b'{"error":{"message":"slow down"}}', *wait)
        self.server_error = response("500 Internal Server Error", b'{"error":{"message":"broken"}}')


class Connection(asyncio.Protocol):
    """One client's connection: its requests are answered one after the other, however many it sends at once."""

    __slots__ = ("buffer", "busy", "server", "ticket", "transport")

    def __init__(self, server: "MockServer") -> None:
        self.server = server
        self.buffer = b""
        self.busy = False
        self.ticket = 0  # of the request that is being answered

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.server.counts["connections"] += 1

    def connection_lost(self, _error: Exception | None) -> None:
        if self.busy:
            self.server.give_up(self)

    def data_received(self, data: bytes) -> None:
        self.buffer = self.buffer + data if self.buffer else data
        if not self.busy:
            self.read()

    def read(self) -> None:
        """Take the next whole request from what came, if there is one."""
        while self.buffer and not self.busy:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self.buffer[: end + 2].lower()
            at = head.find(b"content-length:")
            stop = end + 4 + (int(head[at + 15 : head.find(b"\r", at)]) if at > 0 else 0)
            if len(self.buffer) < stop:
                return
            body, self.buffer = self.buffer[end + 4 : stop], self.buffer[stop:]
            self.route(head, body)

    def route(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"post /v1/chat/completions "):
            self.server.take(self, body, chat=True)
        elif head.startswith(b"post /v1/completions "):
            self.server.take(self, body, chat=False)
        elif head.startswith(b"get /v1/models "):
            self.transport.write(response("200 OK", json.dumps({"data": [{"id": MODEL}]}).encode()))
        elif head.startswith(b"get /stats "):
            self.transport.write(response("200 OK", json.dumps(self.server.stats()).encode()))
        else:
            self.transport.write(response("404 Not Found", b'{"error":{"message":"no such route"}}'))


Waiter = tuple[Connection, float, bytes]  # who asked, how long the answer takes, what it says


class MockServer:
    """All connections, what is due when, and the counters."""

    def __init__(self, manner: Manner) -> None:
        self.manner = manner
        self.answers = {chat: Answers(manner, chat=chat) for chat in (True, False)}
        self.shares = [(name, getattr(manner, name)) for name in FAULTS if getattr(manner, name)]
        self.latency_s = manner.latency_ms / 1000
        self.rng = random.Random(manner.seed)
        self.counts: Counter[str] = Counter()
        self.in_flight = self.most_in_flight = 0
        self.in_flight_s = self.changed_at = 0.0
        self.attempts: Counter[bytes] = Counter()
        self.serving = 0
        self.waiting: deque[Waiter] = deque()
        self.due: list[tuple[float, int, Connection, int, bytes]] = []
        self.timer: asyncio.TimerHandle | None = None
        self.sequence = 0
        self.write = scripted_writer() if manner.writer else None

    def take(self, connection: Connection, body: bytes, *, chat: bool) -> None:
        """Decide what becomes of a request, and when."""
        self.counts["requests"] += 1
        self.note(1)
        connection.busy = True
        delay_s, said = self.decide(body, chat=chat)
        if delay_s <= 0:
            self.answer(connection, said)
        elif self.manner.slots and self.serving >= self.manner.slots:
            self.waiting.append((connection, delay_s, said))
        else:
            self.start(connection, delay_s, said)

    def start(self, connection: Connection, delay_s: float, said: bytes) -> None:
        self.serving += 1
        self.sequence += 1
        due = time.monotonic() + delay_s
        heapq.heappush(self.due, (due, self.sequence, connection, connection.ticket, said))
        if self.timer is None or due < self.timer.when():
            self.arm(due)

    def arm(self, due: float) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self.timer = asyncio.get_running_loop().call_at(due, self.serve)

    def serve(self) -> None:
        """Send everything that is due."""
        self.timer = None
        until = time.monotonic() + TICK_S
        while self.due and self.due[0][0] <= until:
            _, _, connection, ticket, said = heapq.heappop(self.due)
            if connection.ticket == ticket:
                self.answer(connection, said)
                self.free_slot()
        if self.due and self.timer is None:
            self.arm(self.due[0][0])

    def answer(self, connection: Connection, said: bytes) -> None:
        connection.transport.write(said)
        connection.busy = False
        connection.ticket += 1
        self.counts["answered"] += 1
        self.note(-1)
        if connection.buffer:
            asyncio.get_running_loop().call_soon(connection.read)

    def give_up(self, connection: Connection) -> None:
        """Forget the request of a client that has hung up."""
        connection.ticket += 1
        self.counts["given up"] += 1
        self.note(-1)
        if any(waiter is connection for waiter, _, _ in self.waiting):
            self.waiting = deque(entry for entry in self.waiting if entry[0] is not connection)
        else:
            self.free_slot()

    def free_slot(self) -> None:
        self.serving -= 1
        if self.waiting:
            self.start(*self.waiting.popleft())

    def decide(self, body: bytes, *, chat: bool) -> tuple[float, bytes]:
        """Return how long a request takes and what is answered."""
        latency_s, answers = self.latency_s, self.answers[chat]
        if self.manner.sigma:
            latency_s *= math.exp(self.rng.gauss(0.0, self.manner.sigma))
        fault, luck = self.fault(body) if self.shares else ("", 0)
        if fault:
            self.counts[fault] += 1
        if fault == "rate_limit":
            return 0.0, answers.rate_limit
        if fault == "server_error":
            return latency_s, answers.server_error
        if fault == "malformed":
            return latency_s, answers.malformed[luck % len(answers.malformed)]
        if fault == "truncated":
            return latency_s, answers.truncated
        if fault == "hang":
            latency_s = self.manner.hang_s
        if self.write and (text := self.write(body)) is not None:
            return latency_s, response("200 OK", completion(text, chat=chat))
        return latency_s, answers.good[zlib.crc32(body) % len(LABELS)]

    def fault(self, body: bytes) -> tuple[str, int]:
        """Return which fault strikes this attempt, if any, and a number that is the attempt's own."""
        key = hashlib.blake2b(body, digest_size=16).digest()
        place = b"%d %d" % (self.manner.seed, self.attempts[key])
        self.attempts[key] += 1
        luck = int.from_bytes(hashlib.blake2b(key + place, digest_size=8).digest())
        share = luck / 2**64
        for name, width in self.shares:
            if share < width:
                return name, luck
            share -= width
        return "", luck

    def note(self, change: int) -> None:
        """Follow how many requests are in flight: received and not answered yet."""
        now = time.monotonic()
        self.in_flight_s += self.in_flight * (now - self.changed_at)
        self.changed_at = now
        self.in_flight += change
        self.most_in_flight = max(self.most_in_flight, self.in_flight)

    def stats(self) -> dict[str, float]:
        """Return the counters, the most and the time integral of requests in flight, and the CPU seconds used."""
        self.note(0)
        figures = {"in_flight": self.in_flight, "most_in_flight": self.most_in_flight, "in_flight_s": self.in_flight_s}
        return {**dict.fromkeys(("requests", *FAULTS), 0), **self.counts, **figures, "cpu_s": time.process_time()}


def scripted_writer() -> Callable[[bytes], str | None]:
    """Return what answers meta-prompts, in the form they ask for, and says None to any other request."""
    from promptopt.backends.base import Request
    from promptopt.backends.scripted import ADVISER
    from promptopt.layout import Message

    def write(body: bytes) -> str | None:
        asked = json.loads(body)
        if not asked.get("temperature"):
            return None
        message = Message("user", asked["messages"][-1]["content"])
        return ADVISER(Request("chat", (message,), temperature=1.0), random.Random(zlib.crc32(body)))

    return write


@dataclass(frozen=True)
class Mock:
    """A running server, from outside."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def stats(self) -> dict[str, float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/stats", timeout=30) as answer:
            figures: dict[str, float] = json.load(answer)
            return figures


@contextmanager
def serving(manner: Manner = Manner()) -> Iterator[Mock]:
    """Run a server in a child process."""
    command = [sys.executable, __file__, json.dumps(asdict(manner))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Mock(int(process.stdout.readline()))
        finally:
            process.stdin.close()
            process.wait(30)


async def serve(manner: Manner) -> None:
    loop = asyncio.get_running_loop()
    server, over = MockServer(manner), asyncio.Event()
    listening = await loop.create_server(lambda: Connection(server), "127.0.0.1", 0, backlog=BACKLOG)
    print(listening.sockets[0].getsockname()[1], flush=True)
    loop.add_reader(sys.stdin.fileno(), over.set)
    await over.wait()
    listening.close()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    gc.disable()
    asyncio.run(serve(Manner(**json.loads(sys.argv[1] if len(sys.argv) > 1 else "{}"))))

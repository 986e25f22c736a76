"""SimulatedBackend: a made-up model whose every reply is a pure function of a seed and the request.

It is right as often as its Landscape says, and fails as a real server does; for testing searches, never for results.
"""

import asyncio
import random
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import asdict, dataclass, fields

from promptopt.backends.base import Again, K, Reply, Request, always
from promptopt.backends.loop import LoopThread, stream
from promptopt.backends.scripted import ADVISER, Rewriter, wanted_tag
from promptopt.budget import Usage
from promptopt.errors import ConfigError
from promptopt.evaluation import ANSWERED, Status
from promptopt.example import Example
from promptopt.ids import content_hash
from promptopt.landscape import ADDITIVE, Landscape, locate, uniform
from promptopt.layout import Message, Mode

Writer = Callable[[Request, random.Random], str]

MAX_ATTEMPTS = 5
MALFORMED_RETRIES = 2


@dataclass(frozen=True, slots=True)
class Faults:
    """The shares of calls that go wrong, each between 0 and 1.

    The first four strike an attempt and are retried, as a real backend would; the last two strike the request.

    Args:
        rate_limit: Answered with 429.
        server_error: Answered with 500.
        hang: Not answered; given up after ``hang_s``.
        malformed: Answered with something unreadable.
        truncated: Cut at the token limit.
        refused: Declined.
        hang_s: How long an attempt that hangs takes, in seconds.

    Raises:
        ConfigError: A share is not between 0 and 1.
    """

    rate_limit: float = 0.0
    server_error: float = 0.0
    hang: float = 0.0
    malformed: float = 0.0
    truncated: float = 0.0
    refused: float = 0.0
    hang_s: float = 1.0

    def __post_init__(self) -> None:
        for spec in fields(self)[:6]:
            if not 0 <= getattr(self, spec.name) <= 1:
                raise ConfigError(f"simulated: {spec.name} = {getattr(self, spec.name)} must be between 0 and 1.")

    def of_attempt(self, place: tuple[object, ...]) -> str:
        """Return which fault strikes the attempt of this place, or nothing."""
        luck = uniform("attempt", *place)
        for name in ("rate_limit", "server_error", "hang", "malformed"):
            if luck < (share := float(getattr(self, name))):
                return name
            luck -= share
        return ""

    def of_request(self, place: tuple[object, ...]) -> Status:
        """Return how a request of this place ends once it gets through."""
        luck = uniform("request", *place)
        return "truncated" if luck < self.truncated else "refused" if luck < self.truncated + self.refused else "ok"


class SimulatedBackend:
    """A model in a Landscape: it knows the right answers and gives them as often as the prompt deserves.

    A request that asks one of the examples is answered; one at a temperature above 0 that asks none, or that wants
    its answer in tags, is a meta-prompt and goes to the writer.

    Args:
        examples: All inputs that may be asked, with their targets.
        landscape: How good each prompt is; its seed decides everything else too.
        faults: What goes wrong.
        writer: The optimizer model.
        latency_ms: How long each attempt takes; 0 answers in the calling thread.
        concurrency: Calls in flight at most.

    Raises:
        ConfigError: A number is out of range.
    """

    def __init__(
        self,
        examples: Sequence[Example] = (),
        landscape: Landscape = ADDITIVE,
        faults: Faults = Faults(),
        writer: Writer = ADVISER,
        latency_ms: float = 0.0,
        concurrency: int = 64,
    ) -> None:
        if concurrency < 1 or latency_ms < 0:
            raise ConfigError("simulated: concurrency must be at least 1 and latency_ms at least 0.")
        self._examples = tuple(examples)
        self._questions = _Questions(self._examples)
        self._targets = sorted({example.target for example in self._examples})
        self._landscape = landscape
        self._faults = faults
        self._writer = writer
        self._latency_s = latency_ms / 1000
        self._concurrency = concurrency
        self._loop: LoopThread | None = None

    @property
    def address(self) -> str:
        """``simulated:`` with the shape and seed of its landscape."""
        return f"simulated:{self._landscape.shape}?seed={self._landscape.seed}"

    @property
    def model_key(self) -> str:
        """The hash of landscape, faults, answers and writer."""
        known = sorted(example.id for example in self._examples)
        writer = list(self._writer.pool) if isinstance(self._writer, Rewriter) else _name(self._writer)
        return content_hash("simulated", asdict(self._landscape), asdict(self._faults), known, writer)

    @property
    def modes(self) -> frozenset[Mode]:
        """Both."""
        return frozenset({"chat", "completion"})

    @property
    def abilities(self) -> frozenset[str]:
        """All."""
        return frozenset({"likelihood", "write"})

    @property
    def concurrency(self) -> int:
        """How many calls it keeps in flight at most."""
        return self._concurrency

    @property
    def added_tokens(self) -> int:
        """None."""
        return 0

    def run(
        self, requests: Iterable[tuple[K, Request]], _again: Again = always
    ) -> Generator[tuple[K, Reply] | None, None, None]:
        """Answer requests; see ``Backend.run``."""
        if self._latency_s or self._faults.hang:
            self._loop = self._loop or LoopThread.open()
            yield from stream(self._loop, self._answer_slowly, requests, self._concurrency)
            return
        for key, request in requests:
            yield key, self.answer(request)

    def close(self) -> None:
        """Give the event loop back."""
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.close()

    def answer(self, request: Request) -> Reply:
        """Return the reply to a request, at once: what ``run`` gives after the latency."""
        place = (self._landscape.seed, _digest(request))
        status, attempts, seconds, error = self._fate(place)
        text = ""
        if status in ANSWERED:
            said = self._say(request, place)
            if said is None:
                status, error = (
                    "failed",
                    "The simulated model knows no such input; give it the examples that are asked.",
                )
            else:
                text = said[: len(said) // 2] if status == "truncated" else said
        n_chars = sum(len(message.content) for message in request.messages)
        return Reply(status, text, Usage(n_chars // 4 + 1, len(text) // 4 + 1, seconds=seconds), attempts, error)

    async def _answer_slowly(self, request: Request) -> Reply:
        reply = self.answer(request)
        await asyncio.sleep(reply.usage.seconds)
        return reply

    def _fate(self, place: tuple[object, ...]) -> tuple[Status, int, float, str]:
        """Return how a request ends: its status, attempts, seconds, and what went wrong."""
        seconds, n_malformed, fault = 0.0, 0, ""
        for attempt in range(1, MAX_ATTEMPTS + 1):
            fault = self._faults.of_attempt((*place, attempt))
            seconds += self._faults.hang_s if fault == "hang" else self._latency_s
            if not fault:
                return self._faults.of_request(place), attempt, seconds, ""
            n_malformed += fault == "malformed"
            if n_malformed > MALFORMED_RETRIES:
                return "malformed", attempt, seconds, "The simulated answer cannot be read."
        error = f"The simulated server failed {MAX_ATTEMPTS} times; the last time it was {fault}."
        return "malformed" if fault == "malformed" else "failed", MAX_ATTEMPTS, seconds, error

    def _say(self, request: Request, place: tuple[object, ...]) -> str | None:
        """Return what the model writes, or None if it does not know what it is asked."""
        example = self._questions.find(request.messages)
        if request.temperature > 0 and (example is None or wanted_tag(request.messages[-1].content)):
            return self._writer(request, random.Random(int(content_hash("write", *place, request.seed), 16)))
        if example is None:
            return None
        draw = request.seed if request.temperature > 0 else None
        right = self._landscape.is_right(request.messages, example, draw)
        return self._answer_of(example, request.choices, right=right)

    def _answer_of(self, example: Example, choices: Sequence[str], *, right: bool) -> str:
        # The wrong answer to a question is always the same one, as with real models.
        options = choices or example.choices or self._targets
        if right:
            return next((option for option in options if option.strip() == example.target), example.target)
        wrong = [option for option in options if option.strip() != example.target]
        return wrong[int(uniform("wrong", self._landscape.seed, example.id) * len(wrong))] if wrong else "unknown"


class _Questions:
    """Finds which example a request asks."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._examples = examples
        self._by_last_line: dict[str, list[Example]] = {}
        for example in examples:
            for value in example.inputs.values():
                if value:
                    self._by_last_line.setdefault(value.rsplit("\n", 1)[-1], []).append(example)

    def find(self, messages: Sequence[Message]) -> Example | None:
        """Return the example whose inputs stand last in the last message.

        A value that fills a line, or stands after a label, is looked up; only text that mentions its input within
        a sentence is searched for all known inputs.
        """
        text = messages[-1].content
        for line in reversed(text.split("\n")):
            parts = line.split(": ")
            for cut in range(len(parts)):
                asked = self._last(text, self._by_last_line.get(": ".join(parts[cut:]), ()))
                if asked is not None:
                    return asked
        return self._at_the_end(text) or self._last(text, self._examples)

    def _at_the_end(self, text: str) -> Example | None:
        """Return the example with the longest value that the text ends with, after any word."""
        words = text.rsplit("\n", 1)[-1].split(" ")
        endings = (self._by_last_line.get(" ".join(words[cut:]), ()) for cut in range(len(words)))
        return next(filter(None, (self._last(text, examples) for examples in endings)), None)

    def _last(self, text: str, examples: Iterable[Example]) -> Example | None:
        """Return the example that ends last in the text, the longest of those; None if none stands in it whole."""
        best: tuple[tuple[int, int], Example] | None = None
        for example in examples:
            values = [value for value in example.inputs.values() if value]
            spans = [(locate(text, value), len(value)) for value in values]
            if not spans or min(at for at, _ in spans) < 0:
                continue
            rank = max(at + length for at, length in spans), sum(length for _, length in spans)
            if best is None or rank > best[0]:
                best = rank, example
        return best[1] if best else None


def _digest(request: Request) -> str:
    messages = [[message.role, message.content] for message in request.messages]
    return content_hash(messages, request.temperature, request.seed if request.temperature > 0 else None)


def _name(writer: Writer) -> str:
    return getattr(writer, "__qualname__", type(writer).__qualname__)

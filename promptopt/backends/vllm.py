"""VLLMBackend and OwnedVLLM: what vLLM can do beyond the OpenAI format, on a server that runs or on one of our own.

Calls, retries and pace are those of ``HTTPBackend``; the server's life is in ``vllm_server``.
"""

import asyncio
import math
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from promptopt.backends.base import Again, K, Reply, Request, always
from promptopt.backends.dialect import Dialect
from promptopt.backends.endpoint import Endpoint
from promptopt.backends.gauges import Gauges
from promptopt.backends.http import Call, HTTPBackend, HTTPOptions
from promptopt.backends.loop import CLOSED, TICK_S
from promptopt.backends.vllm_kept import KeptServer, find_kept
from promptopt.backends.vllm_scoring import (
    TEMPLATE_FIELDS,
    TOKENIZE,
    Question,
    Tokens,
    UntoldError,
    read_choices,
    situation,
    step_choices,
)
from promptopt.backends.vllm_server import ServerOptions, Tell, VLLMServer
from promptopt.backends.vllm_wire import probe, read_bound, write_bound
from promptopt.backends.wire import path_of
from promptopt.budget import Usage
from promptopt.errors import FatalBackendError, TransientError
from promptopt.ids import content_hash
from promptopt.layout import Mode

T = TypeVar("T")

METRICS = "/../metrics"  # beside /v1

# A server of our own queues what it is given, so a long wait is no fault, and a deep queue keeps it busy.
OWN_OPTIONS = HTTPOptions(concurrency=256, timeout_s=600.0, completion=True)
DEFAULT = HTTPOptions(completion=True)


class VLLMBackend(HTTPBackend):
    """Reaches a model that vLLM serves: choices are scored exactly, and answers can be bound to them.

    Before the first bound answer the server is asked once, with a few tokens that no budget counts, whether it honours
    such a bond at all.

    Args:
        address: As of ``HTTPBackend``.
        options: How it is used.

    Raises:
        ConfigError: The address cannot be used, or the key is missing.
    """

    def __init__(self, address: str | Endpoint, options: HTTPOptions = DEFAULT) -> None:
        super().__init__(address, options)
        self._probe: asyncio.Task[Reply] | None = None
        self._tails: dict[Any, tuple[Tokens, ...]] = {}  # how choices are cut into tokens, by situation
        self._learning = asyncio.Lock()
        self._template = {name: value for name, value in self._dialect.extra.items() if name in TEMPLATE_FIELDS}

    @property
    def model_key(self) -> str:
        """That of any endpoint, and that choices are scored as vLLM can."""
        return content_hash("vllm", super().model_key)

    @property
    def abilities(self) -> frozenset[str]:
        """All: ``write``, ``likelihood`` and ``choice``."""
        return frozenset({"write", "likelihood", "choice"})

    def gauges(self) -> Gauges:
        """Ask the server for its queue and its prefix cache; all of it is 0 where it does not tell.

        Raises:
            FatalBackendError: The server cannot be reached.
        """
        return self._connect().wait(self._ask_gauges())

    async def _ask_gauges(self) -> Gauges:
        if self._transport is None:
            raise FatalBackendError(CLOSED)
        try:
            response = await self._transport.send("GET", METRICS)
        except TransientError as error:
            raise FatalBackendError(f"{self.address} {error} and tells no metrics.") from None
        return Gauges.read(response.payload.decode("utf-8", "replace")) if response.status == 200 else Gauges()

    async def _answer(self, request: Request, model: str, again: Again) -> Reply:
        if request.choices:
            return await self._score(request, model, again)
        if request.allowed:
            await self._require_bonds(request.mode, model)
        return await super()._answer(request, model, again)

    def _word(self, request: Request, model: str, dialect: Dialect) -> Call:
        if not request.allowed:
            return super()._word(request, model, dialect)
        body = write_bound(request, model, dialect)
        return Call(path_of(request), body, lambda payload: read_bound(payload, request, dialect))

    async def _score(self, request: Request, model: str, again: Again) -> Reply:
        """Return the choice that the answer most probably is; all calls that it takes are one reply's."""
        bill, place = _Bill(request, again), situation(request)
        async with self._learning:  # one has its prompt read in full, so that the others need not
            if place not in self._tails:
                return await self._read(request, model, bill)
        if tails := self._tails[place]:
            logprobs = await self._work_out(step_choices(request, model, tails, self._template), bill)
            if logprobs or bill.failed:
                return bill.settle(logprobs)
        return await self._read(request, model, bill)

    async def _read(self, request: Request, model: str, bill: "_Bill") -> Reply:
        try:
            found = await self._work_out(read_choices(request, model, self._template), bill)
        except UntoldError:
            raise FatalBackendError(
                f"{self.address} tells no log-probabilities of a prompt (prompt_logprobs), so it cannot score choices; "
                "is it vLLM? Use scoring = generate."
            ) from None
        if found is None:
            return bill.settle(None)
        logprobs, self._tails[situation(request)] = found
        return bill.settle(logprobs)

    async def _work_out(self, questions: Generator[Question, Any, T], bill: "_Bill") -> T | None:
        """Answer the questions of a computation by calls; None if one of them brings no answer."""
        answer = None
        while True:
            try:
                path, body, read = questions.send(answer)
            except StopIteration as end:
                result: T = end.value
                return result
            found: list[Any] = []
            try:
                reply = await self._call(Call(path, body, partial(_keep, read, found)), bill)
            except FatalBackendError:
                if path != TOKENIZE:
                    raise
                reply = Reply("failed")  # behind some proxies there is nothing but /v1, and it goes without
            bill.add(reply, counts=path != TOKENIZE)
            if bill.failed:
                return None
            answer = found[-1] if found else None

    async def _call(self, call: Call, bill: "_Bill") -> Reply:
        return await self._speak(bill.request, bill.again, lambda _dialect: call)

    async def _require_bonds(self, mode: Mode, model: str) -> None:
        """Refuse a server that takes the setting and ignores it, as one does that does not know it."""
        question = probe(mode)
        if self._probe is None:
            self._probe = asyncio.create_task(super()._answer(question, model, always))
        reply = await asyncio.shield(self._probe)
        if reply.text not in question.allowed:
            said = reply.error or f"it answers {reply.text[:40]!r} where only {question.allowed[0]!r} is allowed."
            raise FatalBackendError(
                f"{self.address} does not honour structured_outputs, so answers cannot be bound to the choices; use "
                f"scoring = likelihood or generate: {said}"
            )


@dataclass(slots=True)
class _Bill:
    """What the calls for one request have taken, and the one that brought no answer."""

    request: Request
    again: Again
    usage: Usage = Usage()
    attempts: int = 0
    failed: Reply | None = None

    def add(self, reply: Reply, *, counts: bool) -> None:
        self.usage += reply.usage
        self.attempts += reply.attempts
        if counts and reply.status != "ok":
            self.failed = reply

    def settle(self, logprobs: list[float] | None) -> Reply:
        """Return the reply to the request: its likeliest choice, if it came to that."""
        best = self.request.choices[logprobs.index(max(logprobs))] if logprobs else ""
        chances = tuple(map(math.exp, logprobs or ()))
        return replace(self.failed or Reply("ok", best, chances=chances), usage=self.usage, attempts=self.attempts)


def _keep(read: Callable[[bytes], tuple[Any, Usage]], found: list[Any], payload: bytes) -> Reply:
    value, usage = read(payload)
    found.append(value)
    return Reply("ok", usage=usage)


class OwnedVLLM(VLLMBackend):
    """Reaches a model on a vLLM server of its own, started when the model is first needed and ended with us.

    Where a server is kept for this model and these settings (``promptopt vllm start``), that one is used and goes on.

    Args:
        model: A folder, or a name on the hub.
        server: How it is started.
        options: How it is used.
        tell: Told how the start goes: what, seconds, 0.

    Raises:
        ConfigError: There is no vLLM to start.
    """

    def __init__(self, model: str, server: ServerOptions, options: HTTPOptions, tell: Tell | None = None) -> None:
        own = VLLMServer(model, server, tell)
        self._server: VLLMServer | KeptServer = find_kept(own.model_key) or own
        super().__init__(self._server.endpoint, options)

    @property
    def address(self) -> str:
        """``vllm:``, with the model."""
        return f"vllm:{self._server.model}"

    @property
    def endpoint(self) -> Endpoint:
        """Where its server listens once it runs, and with which key."""
        return self._server.endpoint

    @property
    def model_key(self) -> str:
        """The hash of the model and the settings that decide what it says; not of the port, which changes."""
        return content_hash(self._server.model_key, *self._dialect.key)

    def run(
        self, requests: Iterable[tuple[K, Request]], again: Again = always
    ) -> Generator[tuple[K, Reply] | None, None, None]:
        """Answer requests in the order in which replies come; see ``Backend.run``. The first run starts the server.

        Raises:
            FatalBackendError: The server does not start, or ended; quotes its log.
        """
        self._connect()
        while not self._server.is_ready():
            yield None
            time.sleep(TICK_S)
        try:
            with closing(super().run(requests, again)) as arrivals:
                for arrival in arrivals:
                    if arrival is not None and arrival[1].status == "failed":
                        self._server.require_alive()
                    yield arrival
        except FatalBackendError:
            self._server.require_alive()
            raise

    def close(self) -> None:
        """Close the connections and end the server."""
        super().close()
        self._server.close()

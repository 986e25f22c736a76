"""HTTPBackend: any OpenAI-compatible endpoint (vLLM, OpenAI, Ollama, llama.cpp, LM Studio, TGI).

The thread that iterates ``run`` takes the requests; the calls, their retries and their pace are on the event loop.
"""

import threading
import time
from collections.abc import Callable, Coroutine, Generator, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from promptopt.backends.base import MOST_ADDED, TAKEN_AHEAD, Again, K, Reply, Request, always
from promptopt.backends.dialect import Dialect
from promptopt.backends.endpoint import Endpoint
from promptopt.backends.loop import CLOSED, LoopThread, stream
from promptopt.backends.pace import Pace, retry_after_s
from promptopt.backends.transport import AiohttpTransport, Transport
from promptopt.backends.wire import (
    CutError,
    LostError,
    MalformedError,
    OverdueError,
    TurnedAwayError,
    UnreachableError,
    UnsupportedError,
    path_of,
    read_failure,
    read_models,
    read_reply,
    write_request,
)
from promptopt.budget import Usage
from promptopt.errors import (
    BackendError,
    ConfigError,
    ContextLengthError,
    FatalBackendError,
    RefusedError,
    TransientError,
)
from promptopt.evaluation import Status
from promptopt.ids import canonical_json, content_hash
from promptopt.layout import Mode

MALFORMED_RETRIES = 2
PATIENCE_WHEN_TURNED_AWAY = 4


@dataclass(frozen=True, slots=True)
class HTTPOptions:
    """How an endpoint is used.

    Args:
        key_variable: The environment variable that holds the key; ``OPENAI_API_KEY`` if empty.
        concurrency: Calls in flight at most.
        timeout_s: How long one attempt may take at most, in seconds; less once it is known how long calls take.
        max_attempts: Attempts for one request, the first included; four times as many where the server has no room.
        backoff_s: The mean wait before the second attempt, in seconds; it doubles from then on.
        completion: Whether the server has ``/completions`` beside ``/chat/completions``.
        likelihood: Whether choices may be scored by the log-probabilities of the first token.
        reasoning: ``true``, ``false`` or ``auto``; see ``Dialect``.
        body: A JSON object whose fields go into every request.
        server: ``vllm`` where vLLM is served, for what it can do beyond the format; see ``VLLMBackend``.

    Raises:
        ConfigError: A number is not above 0, or no such kind of server is known.
    """

    key_variable: str = ""
    concurrency: int = 64
    timeout_s: float = 120.0
    max_attempts: int = 5
    backoff_s: float = 0.5
    completion: bool = False
    likelihood: bool = False
    reasoning: str = "auto"
    body: str = ""
    server: str = ""

    def __post_init__(self) -> None:
        if self.server not in ("", "vllm"):
            raise ConfigError(f"http backend: server = {self.server!r} must be vllm, or left out.")
        for name in ("concurrency", "timeout_s", "max_attempts", "backoff_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"http backend: {name} = {getattr(self, name)} must be above 0.")


class Call(NamedTuple):
    """One call: its route below the base URL, its body, and how its answer is read."""

    path: str
    body: bytes
    read: Callable[[bytes], Reply]


@dataclass(slots=True)
class _Effort:
    """What one request has taken so far."""

    attempts: int = 0
    turned_away: int = 0
    overdue: int = 0
    malformed: int = 0
    seconds: float = 0.0
    began_at: float = field(default_factory=time.monotonic)

    def finish(self, reply: Reply) -> Reply:
        took = reply.usage
        reply.usage = Usage(took.prompt_tokens, took.completion_tokens, took.cached_tokens, took.cost_usd, self.seconds)
        reply.attempts = self.attempts
        return reply


def _status_after(error: BackendError) -> Status:
    """Return how a request ends whose last attempt brought this error."""
    if isinstance(error, CutError):
        return "truncated"
    return "malformed" if isinstance(error, MalformedError) else "failed"


class HTTPBackend:
    """Reaches one model behind an OpenAI-compatible endpoint; nothing is sent before the model is first needed.

    Args:
        address: The base URL (``http://host:port/v1``), with ``#model-name`` where it serves more than one; see
            ``Endpoint.at``. Or the endpoint that such an address stands for.
        options: How it is used.
        transport: What makes the attempts.

    Raises:
        ConfigError: The address or an option cannot be used, or the key is missing.
    """

    def __init__(
        self,
        address: str | Endpoint,
        options: HTTPOptions = HTTPOptions(),
        transport: Callable[[Endpoint], Transport] = AiohttpTransport,
    ) -> None:
        self._endpoint = Endpoint.at(address, options.key_variable) if isinstance(address, str) else address
        self._options = options
        self._pace = Pace(self.address, options.concurrency, options.timeout_s, options.backoff_s)
        self._lock = threading.Lock()
        self._loop: LoopThread | None = None
        self._make_transport = transport
        self._transport: Transport | None = None
        self._dialect = Dialect.of(self._endpoint.model, options.reasoning, options.body)
        self._served: dict[str, str] | None = None
        self._closed = False

    @property
    def address(self) -> str:
        """The base URL, with the model if one was named."""
        return self._endpoint.address

    @property
    def model(self) -> str:
        """The model that answers; asks the server if none was named.

        Raises:
            ConfigError: None was named and the server lists none.
            FatalBackendError: The server cannot be reached or refuses the key.
        """
        served = self._models()
        if not self._endpoint.model and not served:
            raise ConfigError(f"{self.address} lists no model; name one after a '#', as in {self.address}#model-name.")
        return self._endpoint.model or next(iter(served))

    @property
    def model_key(self) -> str:
        """The hash of the model's name, the base URL, the root that the server loaded it from, and its own fields."""
        root = self._models().get(self.model, "")
        return content_hash("http", self.model, self._endpoint.url, root, *self._dialect.key)

    @property
    def modes(self) -> frozenset[Mode]:
        """Chat, and completion unless the options say that the server has none."""
        return frozenset({"chat", "completion"}) if self._options.completion else frozenset({"chat"})

    @property
    def abilities(self) -> frozenset[str]:
        """``write``, and ``likelihood`` where the options allow it."""
        return frozenset({"write", "likelihood"}) if self._options.likelihood else frozenset({"write"})

    @property
    def concurrency(self) -> int:
        """How many calls it keeps in flight at most."""
        return self._options.concurrency

    @property
    def added_tokens(self) -> int:
        """What any template may add, and twice the bytes of the fields that a user adds to every request."""
        return MOST_ADDED + 2 * len(canonical_json(self._dialect.extra).encode())

    def run(
        self, requests: Iterable[tuple[K, Request]], again: Again = always
    ) -> Generator[tuple[K, Reply] | None, None, None]:
        """Answer requests in the order in which replies come; see ``Backend.run``."""
        model = self.model
        return stream(
            self._connect(),
            lambda request: self._answer(request, model, again),
            requests,
            self.concurrency,
            self.concurrency // TAKEN_AHEAD,
            lambda: self._pace.n_resting,
        )

    def close(self) -> None:
        """Close the connections and give the event loop back."""
        with self._lock:
            self._closed = True
            loop, transport = self._loop, self._transport
            self._loop = self._transport = None
        if loop is not None and transport is not None and loop.is_usable:
            loop.wait(transport.close())
            loop.close()

    def _answer(self, request: Request, model: str, again: Again) -> Coroutine[Any, Any, Reply]:
        """Answer one request, in the wording that the model takes."""
        return self._speak(request, again, lambda dialect: self._word(request, model, dialect))

    def _word(self, request: Request, model: str, dialect: Dialect) -> Call:
        if request.choices and not self._options.likelihood:
            raise FatalBackendError(f"{self.address} scores no choices; open it with likelihood = true.")
        body = write_request(request, model, dialect)
        return Call(path_of(request), body, lambda payload: read_reply(payload, request, dialect))

    async def _speak(self, request: Request, again: Again, word: Callable[[Dialect], Call]) -> Reply:
        """Make the call of a request, with as many attempts as it takes and is allowed.

        Args:
            request: What is to be answered.
            again: See ``Backend.run``.
            word: Words the call; asked once more if the model turns out to take another dialect.
        """
        effort, dialect = _Effort(), self._dialect
        call = word(dialect)
        while True:
            try:
                status, payload = await self._send("POST", call.path, call.body, effort, request.max_tokens)
                if status != 200:
                    raise self._failure(status, payload)
                return effort.finish(call.read(payload))
            except FatalBackendError:
                raise
            except UnsupportedError as error:
                if not dialect.may_switch:
                    return effort.finish(Reply("failed", error=f"{self.address} {error}."))
                dialect = self._dialect = dialect.switched()
                call = word(dialect)
            except BackendError as error:
                if reply := self._last_word(error, request, again, effort):
                    return effort.finish(reply)
                if not isinstance(error, OverdueError):  # which has taken its time already
                    await self._pace.back_off(effort.attempts)

    def _last_word(self, error: BackendError, request: Request, again: Again, effort: _Effort) -> Reply | None:
        """Return the reply that this error leaves a request with, or None if there is to be another attempt."""
        verdict = self._verdict(error, effort)
        lost = isinstance(error, LostError)
        usage = error.usage if isinstance(error, LostError) else None
        if verdict is None and lost and not again(request, usage):
            verdict = _status_after(error)
        if verdict is None:
            return None
        if isinstance(error, CutError):
            return Reply(verdict, error.text, usage or Usage())
        return Reply(verdict, "", usage or Usage(), error=f"{self.address} {error}.", lost=lost and not usage)

    def _verdict(self, error: BackendError, effort: _Effort) -> Status | None:
        """Return how the request ends with this error, or None if it is worth another attempt.

        Raises:
            FatalBackendError: The whole endpoint is gone.
        """
        if isinstance(error, RefusedError | ContextLengthError):
            return "refused"
        if not isinstance(error, TransientError):
            return "failed"
        effort.turned_away += isinstance(error, TurnedAwayError)
        most = self._options.max_attempts
        last = effort.attempts - effort.turned_away >= most or effort.turned_away >= most * PATIENCE_WHEN_TURNED_AWAY
        if isinstance(error, MalformedError):
            effort.malformed += 1
            return _status_after(error) if last or effort.malformed > MALFORMED_RETRIES else None
        if last and isinstance(error, UnreachableError) and self._pace.answered_at < effort.began_at:
            raise FatalBackendError(f"{self.address} {error} any more; start the server again, then resume.")
        return "failed" if last else None

    async def _send(
        self, method: str, path: str, body: bytes | None, effort: _Effort, size: int = 0
    ) -> tuple[int, bytes]:
        """Make one attempt and return the status and body that came.

        Raises:
            TransientError: Nothing came, or only a part.
            FatalBackendError: The certificate is not trusted, or the wait asked for is too long.
        """
        if self._transport is None:
            raise FatalBackendError(CLOSED)
        place = await self._pace.place(size, effort.overdue)
        try:
            with place:
                effort.attempts += 1
                response = await self._transport.send(method, path, body)
        except TimeoutError:
            effort.overdue += 1
            raise OverdueError(f"did not answer within {place.held_s:.1f} s") from None
        finally:
            effort.seconds += place.held_s
        status = response.status
        wait_s = retry_after_s(response.retry_after) if status != 200 else 0.0
        self._pace.note_answer(turned_away=status in (429, 503), retry_after_s=wait_s)
        return status, response.payload

    def _failure(self, status: int, payload: bytes) -> BackendError:
        """Return the error of a status; a fatal one as a whole sentence that says what to do."""
        error = read_failure(status, payload, self._endpoint.key)
        if not isinstance(error, FatalBackendError):
            return error
        if status == 401:
            variable = self._endpoint.key_variable or "of the provider"
            hint = f"set the environment variable {variable} to a valid key, or name another one with key_variable"
        elif status == 404:
            hint = f"the models it lists: {', '.join(self._served or {}) or 'none'}"
        else:
            hint = "no call can succeed until that is settled"
        return FatalBackendError(f"{self.address} {error}; {hint}.")

    def _models(self) -> dict[str, str]:
        """Return what the server serves, asked once."""
        loop = self._connect()
        if self._served is None:
            self._served = loop.wait(self._ask_models())
        return self._served

    async def _ask_models(self) -> dict[str, str]:
        effort = _Effort()
        while True:
            try:
                status, payload = await self._send("GET", "/models", None, effort)
                if status == 200:
                    return read_models(payload)
                if status in (404, 405, 501):  # a small server need not have the route
                    return {}
                raise self._failure(status, payload)
            except TransientError as error:
                if effort.attempts >= self._options.max_attempts:
                    raise FatalBackendError(f"{self.address} {error}; is the server running there?") from None
            await self._pace.back_off(effort.attempts)

    def _connect(self) -> LoopThread:
        """Open the loop and the transport, once.

        Raises:
            FatalBackendError: The backend was closed, or opened before a fork.
        """
        with self._lock:
            if self._closed:
                raise FatalBackendError(CLOSED)
            if self._loop is None:
                transport = self._make_transport(self._endpoint)  # which may import a good deal, so not on the loop
                self._loop = LoopThread.open()
                self._loop.wait(transport.open())
                self._transport = transport
            self._loop.require_usable()
            return self._loop

"""Llama: a GGUF model inside this process, on the CPU, through llama.cpp (the package xllamacpp).

LlamaEngine answers one request at a time; EmbeddedBackend keeps the thread that may call it.
"""

import importlib.util
import os
import platform
import sysconfig
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from secrets import token_hex
from typing import Any

from promptopt.backends.base import Reply, Request
from promptopt.backends.likelihood import Top, best_of, weigh
from promptopt.budget import Usage
from promptopt.errors import ConfigError, FatalBackendError
from promptopt.layout import Message

PACKAGE = "xllamacpp"
INSTALL = 'pip install -e ".[embedded]"'
N_CTX = 2048
TOP_LOGPROBS = 300
READING = "shared first"  # named in the model's key, since another way of reading finishes near ties differently
MAX_THREADS = 4
SPIN_COUNT = "500"
THREADS_VARIABLE = "PROMPTOPT_THREADS"

# A cancelled request ends at the next batch of the prompt, so a batch must not take long; 2048 is 2% faster.
_N_BATCH = 128
_SOCKET_PATH_LIMIT = 90
_MAX_SEED = 2**32 - 1  # this one and those above mean "any" to the engine

IsDropped = Callable[[], bool]


class DroppedError(Exception):
    """Nobody waits for this answer any more; never leaves the backends."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the engine's stream held.

    Args:
        finish: Why it ended: ``stop``, ``length``, or the empty string if the engine did not answer.
        error: The engine's own error, if it did not.
    """

    text: str = ""
    finish: str = ""
    top: tuple[tuple[bytes, float], ...] = ()
    usage: Usage = Usage()
    error: Mapping[str, Any] | None = None


class LlamaEngine:
    """A loaded model; only one thread may use it, since it works on one request at a time.

    Args:
        path: The GGUF file.
        threads: How many threads compute.

    Raises:
        ConfigError: The engine is not installed.
        FatalBackendError: The file cannot be loaded.
    """

    def __init__(self, path: Path, threads: int) -> None:
        self._read_first: tuple[str, tuple[Message, ...]] | None = None
        self._read_last = ""
        llama = _import_engine()
        params = llama.CommonParams()
        params.model.path = str(path)
        params.n_ctx, params.n_batch, params.n_ubatch = N_CTX, _N_BATCH, _N_BATCH
        params.n_parallel, params.n_gpu_layers = 1, 0
        # Beyond some 250 tokens what one token attends to is summed up thread by thread, so their number would show in
        # the answer; reading is safe, and answers are short.
        params.cpuparams.n_threads, params.cpuparams_batch.n_threads = 1, threads
        params.verbosity, params.cache_ram_mib, params.n_threads_http = 0, 0, 1
        params.fit_params = params.warmup = params.ui = params.endpoint_slots = False
        params.api_keys = [token_hex(16)]
        # The engine insists on a server, by default on TCP and open to every web page. Here it gets a socket that
        # only we could reach, and that nobody can once its folder is removed; calls do not go through it.
        short = len(tempfile.gettempdir()) < _SOCKET_PATH_LIMIT
        with tempfile.TemporaryDirectory(prefix="promptopt-", dir=None if short else "/tmp") as folder:  # noqa: S108
            params.hostnames = [f"{folder}/engine.sock"]
            try:
                self._server = llama.Server(params)
            except RuntimeError as error:
                raise FatalBackendError(
                    f"The model file {path} cannot be loaded ({str(error).rstrip('.')}); it is damaged, of a kind that "
                    f"{PACKAGE} {engine_version()} does not know, or larger than the free memory."
                ) from None

    def answer(self, request: Request, is_dropped: IsDropped) -> Reply:
        """Answer a request; what it shares with its group is read once, and before anything else.

        What the engine makes of a text depends in the last digits on how it was cut into batches, which is enough to
        turn a near tie. So an answer may rest on what its group shares and on nothing else that was read before.

        Args:
            request: What is asked.
            is_dropped: Looked at with every token and every 128 tokens of the prompt.

        Raises:
            DroppedError: The answer was not wanted any more.
        """
        began_at = time.monotonic()
        self._read_shared(request, is_dropped)
        if request.choices:
            reply = self._score(request, is_dropped)
        else:
            reply = _reply(self._ask(request, request.max_tokens, is_dropped))
        usage = reply.usage
        seconds = time.monotonic() - began_at
        timed = Usage(usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens, seconds=seconds)
        return replace(reply, usage=timed)

    def _read_shared(self, request: Request, is_dropped: IsDropped) -> None:
        """Leave the engine with what the request shares with its group, read by itself, and no more of its text."""
        group, last, text = (request.mode, request.shared), self._read_last, _text(request.messages)
        known = bool(request.shared) and group == self._read_first
        self._read_first, self._read_last = None, text
        if not request.shared:
            return
        if not known or _alike(text, last) > _alike(text, _text(request.shared)):
            first = replace(request, messages=request.shared, shared=request.shared if known else ())
            self._ask(first, 0, is_dropped)
        self._read_first = group

    def _score(self, request: Request, is_dropped: IsDropped) -> Reply:
        """Return the likeliest of the request's choices; the prompt counts once, however many looks it took."""
        answers: list[_Answer] = []

        def ask(stem: str) -> Top:
            answers.append(self._ask(request, 1, is_dropped, stem=stem, logprobs=True))
            return answers[-1].top

        mass = weigh(request.choices, ask)
        best = best_of(mass)
        first = answers[0].usage
        usage = Usage(first.prompt_tokens, len(answers), first.cached_tokens)
        failed = next((answer for answer in answers if answer.error is not None), None)
        if failed is not None:
            return _reply(failed)
        if best is None:
            error = f"None of the choices begins with one of the {TOP_LOGPROBS} likeliest tokens."
            return Reply("failed", usage=usage, error=error)
        return Reply("ok", best, usage, chances=tuple(mass[choice] for choice in request.choices))

    def _ask(
        self, request: Request, max_tokens: int, is_dropped: IsDropped, *, stem: str = "", logprobs: bool = False
    ) -> _Answer:
        """Make one call to the engine.

        Args:
            request: What is asked.
            max_tokens: The most tokens to write.
            is_dropped: Looked at with every chunk.
            stem: How the answer begins; the engine goes on from there.
            logprobs: Also return the likeliest first tokens.
        """
        chat = request.mode == "chat"
        payload = _chat_payload(request.messages, stem) if chat else _text_payload(request.messages, stem)
        payload |= {"max_tokens": max_tokens, "temperature": request.temperature, "stop": list(request.stop)}
        payload["cache_prompt"] = bool(request.shared) or bool(stem)
        payload |= {"stream": True, "return_progress": True, "stream_options": {"include_usage": True}}
        if request.seed is not None:
            payload["seed"] = request.seed % _MAX_SEED
        if logprobs:
            payload |= {"logprobs": True, "top_logprobs": TOP_LOGPROBS} if chat else {"logprobs": TOP_LOGPROBS}
        chunks: list[dict[str, Any]] = []

        def take(chunk: dict[str, Any]) -> bool:
            chunks.append(chunk)
            return is_dropped()

        call = self._server.handle_chat_completions if chat else self._server.handle_completions
        try:
            call(payload, take)
        except (RuntimeError, TypeError, ValueError) as error:
            return _Answer(error={"message": str(error)})
        if is_dropped():
            raise DroppedError
        return _read(chunks)


def engine_version() -> str:
    """Return the version of the installed engine, without importing it.

    Raises:
        ConfigError: There is none.
    """
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        raise ConfigError(_missing()) from None


def require_engine() -> None:
    """Refuse at the start, and without the cost of an import, where the engine cannot work.

    Raises:
        ConfigError: It is not installed, or made for newer CPUs.
    """
    if importlib.util.find_spec(PACKAGE) is None:
        raise ConfigError(_missing())
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return
    if platform.machine() in ("x86_64", "AMD64") and " avx2" not in flags:
        raise ConfigError(
            "The embedded model needs a CPU with AVX2, which this machine (or its virtual machine) does not offer; "
            "name a server instead, as in http://host:port/v1#name."
        )


def default_threads() -> int:
    """Return how many threads compute best: the cores that we may use, up to 4, but one on a busy machine.

    The engine's threads wait for each other by spinning, which is ruinous where others want the cores too. The
    environment variable ``PROMPTOPT_THREADS`` overrides.

    Raises:
        ConfigError: The variable is not a whole number above 0.
    """
    given = os.environ.get(THREADS_VARIABLE, "")
    if given:
        if not given.isdecimal() or int(given) < 1:
            raise ConfigError(
                f"The environment variable {THREADS_VARIABLE} = {given!r} must be a whole number above 0."
            )
        return int(given)
    cores = _cores()
    return 1 if os.getloadavg()[0] >= cores else min(cores, MAX_THREADS)


def _cores() -> int:
    """Return how many cores this process may use, by its affinity and its control group."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))


def _import_engine() -> Any:
    # Its threads wait for each other by spinning; unbounded, that is ruinous as soon as others want the cores.
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    try:
        import xllamacpp
    except ImportError as error:
        raise ConfigError(f"{_missing()} (import says: {error})") from None
    return xllamacpp


def _missing() -> str:
    if "musl" in str(sysconfig.get_config_var("HOST_GNU_TYPE")):
        return (
            f"The embedded model needs the package {PACKAGE}, which has no build for musl systems such as Alpine; "
            "use a glibc image such as python:3.11-slim, or a server, as in http://host:port/v1#name."
        )
    return f"The embedded model needs the package {PACKAGE}; run this in the checkout of promptopt: {INSTALL}"


def _text(messages: Sequence[Message]) -> str:
    return "\0".join(message.content for message in messages)


def _alike(left: str, right: str) -> int:
    """Return how many characters two texts have in common from their beginning on."""
    return next((n for n, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))


def _text_payload(messages: Sequence[Message], stem: str) -> dict[str, Any]:
    return {"prompt": "".join(message.content for message in messages) + stem}


def _chat_payload(messages: Sequence[Message], stem: str) -> dict[str, Any]:
    # The engine continues an assistant message that stands last.
    turns = [*messages, Message("assistant", stem)] if stem else messages
    return {"messages": [{"role": turn.role, "content": turn.content} for turn in turns]}


def _read(chunks: Sequence[Mapping[str, Any]]) -> _Answer:
    """Put a stream together; both modes differ only in where the text stands."""
    text, finish, usage = [], "", Usage()
    top: tuple[tuple[bytes, float], ...] = ()
    for chunk in chunks:
        if "error" in chunk:
            return _Answer(error=chunk["error"])
        if told := chunk.get("usage"):
            cached = (told.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
            usage = Usage(told["prompt_tokens"], told["completion_tokens"], cached)
        for choice in chunk.get("choices", ()):
            text.append(choice.get("text") or choice.get("delta", {}).get("content") or "")
            finish = choice.get("finish_reason") or finish
            if not top and (told := choice.get("logprobs")) and told["content"]:
                top = tuple((bytes(e["bytes"]), float(e["logprob"])) for e in told["content"][0]["top_logprobs"])
    return _Answer("".join(text), finish, top, usage)


def _reply(answer: _Answer) -> Reply:
    if answer.error is None:
        return Reply("truncated" if answer.finish == "length" else "ok", answer.text, answer.usage)
    if answer.error.get("type") == "exceed_context_size_error":
        asked, held = answer.error.get("n_prompt_tokens"), answer.error.get("n_ctx", N_CTX)
        error = f"The prompt has {asked} tokens and the embedded model's context holds {held}."
        return Reply("refused", error=error)
    said = " ".join(str(answer.error.get("message", "no reason given")).split())[:200]
    return Reply("failed", error=f"The embedded model does not accept the request: {said.rstrip('.')}.")

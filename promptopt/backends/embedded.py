"""EmbeddedBackend: a small model inside this process; no key, no server, no network once its file is here.

The engine works on one request at a time in a thread of its own; requests of one prompt should come one after
another, since the engine does not read again what two neighbours have in common.
"""

import asyncio
import threading
from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from promptopt.backends.base import MOST_ADDED, Again, K, Reply, Request, always
from promptopt.backends.llama import (
    N_CTX,
    PACKAGE,
    READING,
    DroppedError,
    LlamaEngine,
    default_threads,
    engine_version,
    require_engine,
)
from promptopt.backends.loop import CLOSED, LoopThread, stream
from promptopt.backends.model_file import sha256_of
from promptopt.errors import ConfigError, FatalBackendError
from promptopt.ids import content_hash
from promptopt.layout import Mode


class EmbeddedBackend:
    """Runs one GGUF model on the CPU; the file is loaded when the first request comes.

    Args:
        path: The model file.
        threads: How many threads compute; chosen by the machine's cores and load if left out.
        address: How people name it.

    Raises:
        ConfigError: The engine is not installed, or the number of threads makes no sense.
    """

    def __init__(self, path: Path, *, threads: int | None = None, address: str = "embedded:") -> None:
        if threads is not None and threads < 1:
            raise ConfigError(f"{address} threads = {threads} must be above 0.")
        require_engine()
        self._path = path
        self._threads = threads or default_threads()
        self._address = address
        self._lock = threading.Lock()
        self._loop: LoopThread | None = None
        self._worker: ThreadPoolExecutor | None = None
        self._engine: LlamaEngine | None = None  # touched by the worker's thread alone, until that has ended
        self._closed = threading.Event()

    @property
    def address(self) -> str:
        """``embedded:``, with the path if one was named."""
        return self._address

    @property
    def model_key(self) -> str:
        """The hash of the file's content, the engine and its version, and how it reads."""
        return content_hash("embedded", sha256_of(self._path), PACKAGE, engine_version(), N_CTX, READING)

    @property
    def modes(self) -> frozenset[Mode]:
        """Both; chat goes through the template in the model's file."""
        return frozenset({"chat", "completion"})

    @property
    def abilities(self) -> frozenset[str]:
        """Likelihood; it can be asked to write, but so small a model writes no usable prompts."""
        return frozenset({"likelihood"})

    @property
    def concurrency(self) -> int:
        """One request in the engine and one that waits, so that the engine never does."""
        return 2

    @property
    def added_tokens(self) -> int:
        """What any template may add."""
        return MOST_ADDED

    def run(
        self, requests: Iterable[tuple[K, Request]], _again: Again = always
    ) -> Generator[tuple[K, Reply] | None, None, None]:
        """Answer requests one after the other; see ``Backend.run``.

        Raises:
            ConfigError: The engine is not installed.
            FatalBackendError: The file cannot be loaded, the backend was closed, or used before a fork.
        """
        return stream(self._start(), self._answer, requests, self.concurrency)

    def close(self) -> None:
        """Stop what runs (a second at most for most prompts) and free the model."""
        with self._lock:
            loop, worker = self._loop, self._worker
            self._loop = self._worker = None
            self._closed.set()
        if loop is None or worker is None or loop.is_foreign:
            return
        worker.shutdown(wait=True, cancel_futures=True)
        self._engine = None
        loop.close()

    def _start(self) -> LoopThread:
        with self._lock:
            if self._closed.is_set():
                raise FatalBackendError(CLOSED)
            if self._loop is None:
                self._loop = LoopThread.open()
                self._worker = ThreadPoolExecutor(1, thread_name_prefix="promptopt-embedded")
            self._loop.require_usable()
            return self._loop

    async def _answer(self, request: Request) -> Reply:
        worker, dropped = self._worker, threading.Event()
        if worker is None:
            raise FatalBackendError(CLOSED)
        try:
            future = worker.submit(self._work, request, dropped)
        except RuntimeError:  # closed between the lines, from another thread
            raise FatalBackendError(CLOSED) from None
        try:
            return await asyncio.wrap_future(future)
        finally:
            dropped.set()

    def _work(self, request: Request, dropped: threading.Event) -> Reply:
        """Answer one request, in the worker's thread."""
        if self._engine is None:
            self._engine = LlamaEngine(self._path, self._threads)
        try:
            return self._engine.answer(request, lambda: dropped.is_set() or self._closed.is_set())
        except DroppedError:
            raise FatalBackendError(CLOSED) from None

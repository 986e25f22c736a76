"""VLLMServer: the life of a vLLM server of our own, from its command to its end.

It runs under a watchdog (``watchdog.py``) that ends it when we do, however that happens.
"""

import contextlib
import errno
import hashlib
import http.client
import os
import re
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from promptopt.backends import watchdog
from promptopt.backends.endpoint import Endpoint
from promptopt.backends.loop import CLOSED
from promptopt.backends.model_file import CACHE_VARIABLE, cache_folder
from promptopt.errors import ConfigError, FatalBackendError
from promptopt.ids import content_hash

Tell = Callable[[str, int, int], None]
"""Told how something slow goes: what, how far, and of how much (0 where nobody knows)."""

COMMAND_VARIABLE = "PROMPTOPT_VLLM_COMMAND"
KEY_VARIABLE = "VLLM_API_KEY"
HOST = "127.0.0.1"

_TELL_S = 10.0
_HEALTH_S = 2.0
LOOK_S = 0.5
KILL_S = 5.0
_LOGS_KEPT = 9
_ERROR = re.compile(r"\b[A-Z]\w*Error: ")
_QUOTE = 200
_LARGE = 1 << 24
_ENDS = 1 << 16


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How a server is started; what is left empty or 0 is vLLM's own choice.

    Args:
        command: What starts vLLM's OpenAI server; the environment variable ``PROMPTOPT_VLLM_COMMAND``, else
            ``vllm serve``, if empty.
        revision: The model's revision on the hub.
        dtype: The type of the weights, such as ``bfloat16``.
        max_model_len: The size of the context, in tokens.
        gpu_memory_utilization: The share of the GPU's memory to use, from 0 to 1.
        tensor_parallel_size: Over how many GPUs the model is spread.
        enforce_eager: Whether to run without compiling: a quicker start, slower answers.
        args: Further arguments, as on a command line.
        start_timeout_s: How long the start may take, in seconds.
    """

    command: str = ""
    revision: str = ""
    dtype: str = ""
    max_model_len: int = 0
    gpu_memory_utilization: float = 0.0
    tensor_parallel_size: int = 0
    enforce_eager: bool = False
    args: str = ""
    start_timeout_s: float = 900.0

    def arguments(self) -> list[str]:
        """Return the settings as arguments of the command."""
        words = []
        for name in ("revision", "dtype", "max_model_len", "gpu_memory_utilization", "tensor_parallel_size"):
            if value := getattr(self, name):
                words += [f"--{name.replace('_', '-')}", str(value)]
        return [*words, *(["--enforce-eager"] if self.enforce_eager else []), *shlex.split(self.args)]


def find_command(given: str = "") -> list[str]:
    """Return the words of the command that starts vLLM's server.

    Args:
        given: The command; that of the environment, else ``vllm serve``, if empty.

    Raises:
        ConfigError: There is no such command.
    """
    words = shlex.split(given or os.environ.get(COMMAND_VARIABLE, "")) or ["vllm", "serve"]
    if shutil.which(words[0]) is None:
        raise ConfigError(
            f"There is no {words[0]} to start a vLLM server with: install it in an environment of its own (python3 -m "
            "venv vllm && vllm/bin/pip install vllm) and name it with --model-option command='vllm/bin/vllm serve' or "
            f"in {COMMAND_VARIABLE}, or give the address of a server that runs, as in http://localhost:8000/v1."
        )
    return words


class VLLMServer:
    """A vLLM server on a free port of this machine, with a key that nobody else knows.

    Args:
        model: A folder, or a name on the hub.
        options: How it is started.
        tell: Told how the start goes.
        stays: Whether it goes on when we end, until ``end``.

    Raises:
        ConfigError: There is no model named, or no command to start it with.
    """

    def __init__(self, model: str, options: ServerOptions, tell: Tell | None = None, *, stays: bool = False) -> None:
        if not model:
            raise ConfigError("vllm: names no model; write vllm:FOLDER or vllm:NAME, as in vllm:Qwen/Qwen3-8B.")
        self.model = model
        self._command = find_command(options.command)
        self._options = options
        self._tell = tell or _silent
        self.port = _free_port()
        key = secrets.token_urlsafe(32)
        self.endpoint = Endpoint(f"http://{HOST}:{self.port}/v1", "", key, KEY_VARIABLE)
        self.log = cache_folder() / "logs" / f"vllm-{os.getpid()}-{self.port}.log"
        self._stays = stays
        self._pipe: int | None = None
        self._lock = threading.Lock()
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._started_at = self._looked_at = self._told_at = 0.0
        self._ready = self._closed = False

    @cached_property
    def model_key(self) -> str:
        """The hash of the model and of the settings that decide what it says.

        A folder counts by what is in it. A name on the hub counts by itself and its revision.
        """
        options = self._options
        decides = [options.revision, options.dtype, options.max_model_len, options.args]
        return content_hash("vllm", _fingerprint(Path(self.model).expanduser()) or self.model, decides)

    def is_ready(self) -> bool:
        """Return whether it answers; the first call starts it.

        Raises:
            FatalBackendError: It ended, or took too long; quotes its log.
        """
        with self._lock:
            if self._closed:
                raise FatalBackendError(CLOSED)
            if self._watchdog is None:
                self._start()
            if not self._ready:
                self._look()
            return self._ready

    def require_alive(self) -> None:
        """Refuse to go on with a server that has ended.

        Raises:
            FatalBackendError: It has; quotes its log.
        """
        if self._watchdog is None or (code := self._exit_code(self._watchdog)) is None:
            return
        when = "" if self._ready else " before it was ready"
        raise FatalBackendError(f"The server of vllm:{self.model} ended{when} (exit code {code}){self._last_words()}")

    @property
    def pid(self) -> int:
        """The process id of its watchdog; 0 before it is started."""
        return self._watchdog.pid if self._watchdog else 0

    def close(self) -> None:
        """End the server with all its processes, unless it stays; more than once does no harm."""
        if not self._stays:
            self.end()

    def leave(self) -> None:
        """Let it go on when this object is gone."""
        if self._watchdog is not None:
            self._watchdog.returncode = 0  # else Python complains of a child that nobody waits for

    def end(self) -> None:
        """End the server with all its processes; more than once does no harm."""
        with self._lock:
            self._closed = True
            if self._watchdog is None:
                return
            if self._pipe is not None:
                os.close(self._pipe)
                self._pipe = None
            else:
                self._watchdog.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._watchdog.wait(watchdog.GRACE_S + KILL_S)

    def _exit_code(self, watchdog_: "subprocess.Popen[bytes]") -> int | None:
        """Return how the server ended, or None while it runs; one that no longer listens is given time to end."""
        if self._ready and watchdog_.poll() is None and _is_deaf(self.port):
            with contextlib.suppress(subprocess.TimeoutExpired):
                return watchdog_.wait(watchdog.GRACE_S + KILL_S)
        return watchdog_.poll()

    def _start(self) -> None:
        serve = [self.model] if "serve" in self._command else ["--model", self.model]
        place = ["--host", HOST, "--port", str(self.port)]
        # Without the details nobody learns what the prefix cache gave; a line in the log for each call costs time.
        manner = ["--enable-prompt-tokens-details", "--uvicorn-log-level", "warning"]
        command = [*self._command, *serve, *place, *manner, *self._options.arguments()]
        quiet = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
        end, beginning = os.pipe()
        with _open_log(self.log) as log:
            self._watchdog = subprocess.Popen(  # noqa: S603
                [sys.executable, "-I", watchdog.__file__, *command],
                stdin=end,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**quiet, **os.environ, KEY_VARIABLE: self.endpoint.key},
                start_new_session=True,
                pass_fds=(beginning,) if self._stays else (),  # a pipe that the watchdog itself holds open never closes
            )
        os.close(end)
        if self._stays:
            os.close(beginning)
        else:
            self._pipe = beginning
        self._started_at = self._told_at = time.monotonic()
        self._tell(f"starting vLLM, its log is {self.log}", 0, 0)

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked_at < LOOK_S:
            return
        self._looked_at = now
        self.require_alive()
        waited_s = now - self._started_at
        if waited_s > self._options.start_timeout_s:
            raise FatalBackendError(
                f"The server of vllm:{self.model} was not ready within start_timeout_s = "
                f"{self._options.start_timeout_s:g} s{self._last_words()}"
            )
        self._ready = is_healthy(self.port)
        if self._ready or now - self._told_at > _TELL_S:
            self._told_at = now
            self._tell("vLLM is ready after" if self._ready else "starting vLLM", round(waited_s), 0)

    def _last_words(self) -> str:
        """Return the first error and the last lines of the log, and where it is."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        text = text.replace(self.endpoint.key, "***")
        lines = [" ".join(line.split())[:_QUOTE] for line in text.splitlines() if line.strip()]
        errors = [line for line in lines if _ERROR.search(line)]
        said = " / ".join(dict.fromkeys([*errors[:1], *lines[-3:]]))
        return f"; its log, {self.log}, ends: {said or 'without a word'}"


def _open_log(path: Path) -> BinaryIO:
    """Open a fresh log that only we may read; old ones go."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        logs = sorted(path.parent.glob("vllm-*.log"), key=lambda old: old.stat().st_mtime)
        for old in logs[:-_LOGS_KEPT]:
            old.unlink(missing_ok=True)
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
    except OSError as error:
        raise ConfigError(
            f"The log of vLLM cannot be written to {path.parent} ({error.strerror}); name another folder in "
            f"{CACHE_VARIABLE}."
        ) from None


def _fingerprint(model: Path) -> str:
    """Return the hash of a model's folder or file, small files whole and large ones by size and both ends, else ""."""
    files = sorted(path for path in model.iterdir() if path.is_file()) if model.is_dir() else [model]
    digest = hashlib.sha256()
    for path in files:
        if not path.is_file():
            return ""
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            if size > _LARGE:
                digest.update(file.read(_ENDS))
                file.seek(-_ENDS, os.SEEK_END)
            digest.update(file.read())
    return digest.hexdigest()


def _silent(*_: object) -> None:
    return None


def _free_port() -> int:
    with socket.socket() as found:
        found.bind((HOST, 0))
        return int(found.getsockname()[1])


def _is_deaf(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(_HEALTH_S)
        return probe.connect_ex((HOST, port)) == errno.ECONNREFUSED


def is_healthy(port: int) -> bool:
    """Return whether a server on this machine says that it can be asked."""
    connection = http.client.HTTPConnection(HOST, port, timeout=_HEALTH_S)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()

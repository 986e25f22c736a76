"""KeptServer: a vLLM server that stays after the command that started it, until it is stopped.

A file in the cache folder, which only its owner may read, says where each one listens and with which key. The process
named there is its watchdog, which ends the server when it is told to.
"""

import json
import os
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from promptopt.backends import watchdog
from promptopt.backends.endpoint import Endpoint
from promptopt.backends.model_file import cache_folder
from promptopt.backends.vllm_server import (
    HOST,
    KEY_VARIABLE,
    KILL_S,
    LOOK_S,
    ServerOptions,
    Tell,
    VLLMServer,
    is_healthy,
)
from promptopt.errors import ConfigError, FatalBackendError

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class KeptServer:
    """A server that runs already.

    Args:
        model: A folder, or a name on the hub.
        model_key: The hash of the model and of the settings that decide what it says.
        port: Where it listens on this machine.
        key: What it wants to be asked with.
        pid: The process id of its watchdog.
        log: Where its log is.
    """

    model: str
    model_key: str
    port: int
    key: str
    pid: int
    log: str

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens, and with which key."""
        return Endpoint(f"http://{HOST}:{self.port}/v1", "", self.key, KEY_VARIABLE)

    @property
    def is_running(self) -> bool:
        """Whether its watchdog lives, and is not another process that has got its number."""
        try:
            words = (PROC / str(self.pid) / "cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        return os.fsencode(watchdog.__file__) in words and str(self.port).encode() in words

    def is_ready(self) -> bool:
        """Return whether it answers.

        Raises:
            FatalBackendError: It has ended.
        """
        self.require_alive()
        return is_healthy(self.port)

    def require_alive(self) -> None:
        """Refuse to go on with a server that has ended.

        Raises:
            FatalBackendError: It has.
        """
        if not self.is_running:
            raise FatalBackendError(
                f"The server of vllm:{self.model} that was kept has ended; its log is {self.log}. Start it again with "
                f"promptopt vllm start {self.model}, or go on without, and a study starts one of its own."
            )

    def close(self) -> None:
        """Leave it running: it is not ours to end."""

    def end(self) -> None:
        """End it with all its processes."""
        if self.is_running:
            os.kill(self.pid, signal.SIGTERM)
        give_up_at = time.monotonic() + watchdog.GRACE_S + KILL_S
        while self.is_running and time.monotonic() < give_up_at:
            time.sleep(LOOK_S / 10)
        _file(self.port).unlink(missing_ok=True)

    def to_json(self) -> dict[str, Any]:
        """Return what people may know of it, as plain data."""
        state = "ready" if is_healthy(self.port) else "starting"
        return {"model": self.model, "state": state, "address": self.endpoint.url, "pid": self.pid, "log": self.log}


def keep(model: str, options: ServerOptions, tell: Tell | None = None) -> KeptServer:
    """Start a server that stays, and return it when it answers; one that is kept for the same is returned as it is.

    Raises:
        ConfigError: There is no model named, or no command to start it with.
        FatalBackendError: It did not start; quotes its log.
    """
    if not PROC.is_dir():
        raise ConfigError("Servers are kept on Linux only, where /proc tells which of them still runs.")
    server = VLLMServer(model, options, tell, stays=True)
    if (known := find_kept(server.model_key)) is not None:
        return known
    try:
        is_ready = server.is_ready()
        made = KeptServer(model, server.model_key, server.port, server.endpoint.key, server.pid, str(server.log))
        _write(made)  # at once, so that one that takes long to start can be seen and stopped
        while not is_ready:
            time.sleep(LOOK_S / 10)
            is_ready = server.is_ready()
    except BaseException:
        server.end()
        _file(server.port).unlink(missing_ok=True)
        raise
    server.leave()
    return made


def kept() -> list[KeptServer]:
    """Return the servers that run; the files of those that have ended are removed."""
    running = []
    for file in sorted((cache_folder() / "servers").glob("*.json")):
        try:
            server = KeptServer(**json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            continue
        if server.is_running:
            running.append(server)
        else:
            file.unlink(missing_ok=True)
    return running


def find_kept(model_key: str) -> KeptServer | None:
    """Return the server that is kept for this model and these settings, if there is one."""
    return next((server for server in kept() if server.model_key == model_key), None)


def _file(port: int) -> Path:
    return cache_folder() / "servers" / f"vllm-{port}.json"


def _write(server: KeptServer) -> None:
    path = _file(server.port)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump(asdict(server), file)

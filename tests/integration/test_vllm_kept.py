"""A server that is kept between runs, with a stand-in for vLLM: it outlives its maker, is used again, and is ended."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from promptopt import catalogue
from promptopt.backends.address import open_backend, read_vllm_options
from promptopt.backends.vllm_kept import KeptServer, keep, kept
from promptopt.errors import FatalBackendError, UnknownNameError
from tests.integration.test_vllm_server import COMMAND, ask, is_alive, pids, wait_for_the_end_of_all
from tests.waiting import wait_for


@pytest.fixture(autouse=True)
def _stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTOPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("STAND_IN_PIDS", str(tmp_path / "pids"))
    monkeypatch.setenv("PROMPTOPT_VLLM_COMMAND", COMMAND)
    monkeypatch.delenv("STAND_IN", raising=False)


def command(*words: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "promptopt", "vllm", *words]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=240)


def test_it_outlives_the_command_serves_several_backends_and_is_stopped(tmp_path: Path) -> None:
    made = command("start", "some/model")
    assert (made.returncode, "vllm:some/model is ready" in made.stdout) == (0, True), made.stderr
    server, _ = pids(tmp_path)
    for _ in range(2):
        with contextlib.closing(open_backend("vllm:some/model")) as backend:
            assert [reply.status for reply in ask(backend)] == ["ok"] * 4
        assert is_alive(server)
    assert "already" not in command("start", "vllm:some/model").stderr
    assert pids(tmp_path)[0] == server
    assert len(pids(tmp_path)) == 2, "a second start takes the first one's server"
    assert "ready" in command("status").stdout
    assert command("stop").stdout == "vllm:some/model has ended.\n"
    wait_for_the_end_of_all(tmp_path)
    assert "No vLLM server is kept" in command("status").stdout
    assert list((tmp_path / "cache" / "servers").iterdir()) == []


def test_other_settings_that_decide_what_it_says_are_another_server(tmp_path: Path) -> None:
    server = keep("some/model", read_vllm_options({})[0])
    try:
        other = open_backend("vllm:some/model", options={"max_model_len": "512"})
        with contextlib.closing(other):
            ask(other)
            assert len(pids(tmp_path)) == 4
        assert server.is_running
        same = open_backend("vllm:some/model", options={"gpu_memory_utilization": "0.5"})
        assert same.model_key == open_backend("vllm:some/model").model_key
    finally:
        server.end()
    wait_for_the_end_of_all(tmp_path)


def test_where_it_is_can_be_read_by_its_owner_only(tmp_path: Path) -> None:
    server = keep("some/model", read_vllm_options({})[0])
    try:
        (file,) = (tmp_path / "cache" / "servers").iterdir()
        assert file.stat().st_mode & 0o777 == 0o600
        assert server.key not in str(catalogue.kept_vllm())
    finally:
        catalogue.end_vllm("some/model")
    with pytest.raises(UnknownNameError, match="no kept vLLM server named 'some/model'"):
        catalogue.end_vllm("some/model")


def test_one_that_has_ended_is_told_from_another_process_of_its_number(tmp_path: Path) -> None:
    server = keep("some/model", read_vllm_options({})[0])
    with contextlib.closing(open_backend("vllm:some/model")) as backend:
        ask(backend)
        os.kill(server.pid, signal.SIGTERM)
        wait_for_the_end_of_all(tmp_path)
        wait_for(lambda: not server.is_running)
        with pytest.raises(FatalBackendError, match=r"was kept has ended.*promptopt vllm start some/model"):
            ask(backend)
    assert kept() == []
    mine = KeptServer("some/model", "key", server.port, "secret", os.getpid(), "log")
    assert not mine.is_running
    mine.end()
    assert is_alive(os.getpid())


def test_a_start_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN", "die")
    failed = command("start", "some/model")
    assert failed.returncode == 1
    assert "OutOfRoomError" in failed.stderr
    wait_for_the_end_of_all(tmp_path)
    assert kept() == []

"""The life of a server of our own, with a stand-in for vLLM: however we end, it ends too. Also run as a child."""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from promptopt import api
from promptopt.backends import vllm_server, watchdog
from promptopt.backends.address import open_backend
from promptopt.backends.base import Backend, Reply, Request
from promptopt.budget import Budget
from promptopt.config import ModelSpec, StudySpec
from promptopt.errors import ConfigError, FatalBackendError, UnknownNameError
from promptopt.layout import Message
from tests.toy import dump, run, toy_spec, toy_task
from tests.waiting import LONGEST_S, wait_for

ROOT = Path(__file__).parent.parent.parent
COMMAND = shlex.join([sys.executable, str(Path(__file__).parent / "stand_in_vllm.py")])
SMALL = toy_task(40, 10, 20)


@pytest.fixture(autouse=True)
def _stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTOPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("STAND_IN_PIDS", str(tmp_path / "pids"))
    monkeypatch.setenv("PROMPTOPT_VLLM_COMMAND", COMMAND)
    monkeypatch.delenv("STAND_IN", raising=False)


def pids(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "pids").read_text().split()] if (folder / "pids").exists() else []


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has asked for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for_the_end_of_all(folder: Path) -> None:
    wait_for(lambda: not any(map(is_alive, pids(folder))))


def ask(backend: Backend, n: int = 4) -> list[Reply]:
    requests = ((i, Request("chat", (Message("user", f"question {i}"),))) for i in range(n))
    return [arrival[1] for arrival in backend.run(requests) if arrival is not None]


def test_it_starts_when_first_needed_and_ends_with_the_backend(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    backend = open_backend("vllm:some/model", tell=lambda *what: told.append(what))
    with contextlib.closing(backend):
        assert backend.address == "vllm:some/model"
        assert backend.abilities == {"write", "likelihood", "choice"}
        assert backend.model_key
        assert pids(tmp_path) == [], "nothing is started before the model is needed"
        replies = ask(backend)
        assert [reply.status for reply in replies] == ["ok"] * 4
        server, worker = pids(tmp_path)
        assert is_alive(server)
        assert is_alive(worker)
        assert len(ask(backend)) == 4
        assert pids(tmp_path) == [server, worker], "one server does for all"
        assert told[0][0].startswith("starting vLLM, its log is ")
        assert told[-1][0] == "vLLM is ready after"
    assert not is_alive(server)
    assert not is_alive(worker), "its workers end with it"
    with pytest.raises(FatalBackendError, match="closed"):
        ask(backend)
    log = next((tmp_path / "cache" / "logs").iterdir())
    assert log.stat().st_mode & 0o077 == 0


def test_one_that_dies_at_its_start_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN", "die")
    with contextlib.closing(open_backend("vllm:m")) as backend, pytest.raises(FatalBackendError) as caught:
        ask(backend)
    said = str(caught.value)
    assert "ended before it was ready (exit code 7)" in said
    assert "OutOfRoomError: no memory for the model" in said
    assert "the last line" in said
    assert "my key is ***" in said
    assert str(tmp_path / "cache" / "logs") in said
    wait_for_the_end_of_all(tmp_path)


def test_one_that_hangs_at_its_start_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN", "hang")
    backend = open_backend("vllm:m", options={"start_timeout_s": "2"})
    with contextlib.closing(backend), pytest.raises(FatalBackendError, match="not ready within start_timeout_s = 2 s"):
        ask(backend)
    wait_for_the_end_of_all(tmp_path)


def test_one_that_dies_at_work_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN", "crash")
    backend = open_backend("vllm:m", options={"backoff_s": "0.05", "max_attempts": "3"})
    with (
        contextlib.closing(backend),
        pytest.raises(FatalBackendError, match=r"ended \(exit code 3\).*RuntimeError: the engine is dead"),
    ):
        ask(backend, 20)
    wait_for_the_end_of_all(tmp_path)


@pytest.mark.parametrize("manner", ["ready", "hang"])
def test_kill_9_of_the_parent_leaves_no_process(tmp_path: Path, manner: str) -> None:
    """At work, and while the server still starts."""
    sign = "a.db-begun" if manner == "ready" else "pids"
    kill_at(start_child(tmp_path / "a.db", {"STAND_IN": manner, "STAND_IN_S": "0.5"}), tmp_path / sign)
    assert len(pids(tmp_path)) == 2
    wait_for_the_end_of_all(tmp_path)


def test_a_study_killed_with_9_resumes_on_another_port_to_the_same_journal(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole.db", tmp_path / "killed.db"
    assert run(spec(whole), SMALL).state == "finished"
    kill_at(start_child(killed, {"STAND_IN_S": "0.5"}), tmp_path / "killed.db-begun")
    with start_child(killed) as child:
        assert child.wait(LONGEST_S) == 0
    assert dump(killed) == dump(whole)
    assert len(pids(tmp_path)) == 6
    wait_for_the_end_of_all(tmp_path)


def test_a_start_is_reported_on_the_command_line(tmp_path: Path) -> None:
    words = ["evaluate", "sentiment", "--model", "vllm:stand-in", "--store", str(tmp_path / "a.db")]
    ran = subprocess.run([sys.executable, "-m", "promptopt", *words], capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.startswith(f"starting vLLM, its log is {tmp_path}")
    assert "vLLM is ready after" in ran.stderr
    wait_for_the_end_of_all(tmp_path)


def test_what_ignores_being_asked_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "GRACE_S", 0.2)
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True) as stubborn:
        assert stubborn.stdout is not None
        stubborn.stdout.readline()
        watchdog.end_group(stubborn.pid)
        assert stubborn.wait(LONGEST_S) == -signal.SIGKILL


def test_a_watchdog_that_is_told_to_end_ends_its_server_first(tmp_path: Path) -> None:
    code = f"import os, time; open({str(tmp_path / 'pids')!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    with subprocess.Popen(
        [sys.executable, "-I", watchdog.__file__, sys.executable, "-c", code], stdin=subprocess.PIPE
    ) as dog:
        wait_for(lambda: len(pids(tmp_path)) == 1)
        dog.terminate()
        dog.wait(LONGEST_S)
        assert not is_alive(pids(tmp_path)[0])


def key(model: str, **options: str) -> str:
    with contextlib.closing(open_backend(f"vllm:{model}", options=options)) as backend:
        return backend.model_key


def test_what_a_model_is_known_by(tmp_path: Path) -> None:
    assert key("a/b") == key("a/b") == key("a/b", gpu_memory_utilization="0.5", enforce_eager="yes", concurrency="3")
    others = [{"dtype": "float16"}, {"revision": "v2"}, {"max_model_len": "512"}, {"args": "--quantization fp8"}]
    assert len({key("a/b"), key("a/c"), *(key("a/b", **other) for other in others)}) == 6
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "weights").write_bytes(bytes(vllm_server._LARGE) + b"abc")
    assert key(str(tmp_path / "one")) == key(str(tmp_path / "two")), "a folder counts by what is in it"
    (tmp_path / "two" / "weights").write_bytes(bytes(vllm_server._LARGE) + b"abd")
    assert key(str(tmp_path / "one")) != key(str(tmp_path / "two"))


def test_what_the_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    options = vllm_server.ServerOptions(
        dtype="bfloat16", max_model_len=512, gpu_memory_utilization=0.5, enforce_eager=True, args="--seed 3 --x 'a b'"
    )
    assert options.arguments() == [
        *("--dtype", "bfloat16", "--max-model-len", "512", "--gpu-memory-utilization", "0.5"),
        *("--enforce-eager", "--seed", "3", "--x", "a b"),
    ]
    assert vllm_server.find_command(f"{sys.executable} -m x") == [sys.executable, "-m", "x"]


def test_no_vllm_is_told_in_one_sentence_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTOPT_VLLM_COMMAND", "no-such-command serve")
    with pytest.raises(ConfigError, match=r"There is no no-such-command.*pip install vllm.*--model-option command="):
        open_backend("vllm:m")
    with pytest.raises(ConfigError, match="names no model"):
        open_backend("vllm:", options={"command": COMMAND})
    with pytest.raises(UnknownNameError, match="did you mean max_model_len"):
        open_backend("vllm:m", options={"max_modellen": "3"})


def spec(store: Path) -> StudySpec:
    model = ModelSpec("vllm:stand-in", options={"concurrency": "8"})
    return replace(toy_spec(store), model=model, budget=Budget(evaluations=60))


def start_child(store: Path, environment: dict[str, str] | None = None) -> "subprocess.Popen[bytes]":
    """Run the study of this store in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.integration.test_vllm_server", str(store)],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
    )


def kill_at(child: "subprocess.Popen[bytes]", sign: Path) -> None:
    """Kill a child with -9 when a file has been written."""
    with child:
        wait_for(lambda: (sign.exists() and sign.stat().st_size > 0) or child.poll() is not None)
        assert child.poll() is None, "it ended before it could be killed"
        os.kill(child.pid, signal.SIGKILL)


def main() -> None:
    store = Path(sys.argv[1])

    def observe(progress: object) -> None:
        if getattr(progress, "done", 0) > 8:
            Path(f"{store}-begun").write_text("now")

    with api.open_study(spec(store), task=SMALL, observer=observe) as study:
        assert study.run().state == "finished"


if __name__ == "__main__":
    main()

"""Kill -9 at random instants: the resumed study ends in the same journal and repeats next to no call."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.toy import SMALL, dump, run, small_plural, toy_spec

MODEL = "simulated:additive?seed=3&latency_ms=12&concurrency=6&rate_limit=0.03&truncated=0.02"
CHILD = Path(__file__).parent.parent / "toy.py"
KILLS = int(os.environ.get("PROMPTOPT_KILLS", "5"))
MOST_LATE = 50  # what six at a time, of 12 ms each, can bring in 100 ms


def start(store: Path, log: Path, strategy: str, model: str) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "PYTHONHASHSEED": str(random.randrange(1000)), "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, str(CHILD), str(store), str(log), strategy, model], env=environment, cwd=CHILD.parent.parent
    )


def calls(log: Path) -> list[list[str]]:
    return [line.split() for line in log.read_text().splitlines()] if log.exists() else []


def excused(log: list[list[str]]) -> Counter[str]:
    """The calls that a kill at the end of this log may cost: in flight, or finished and not stored yet."""
    open_calls: Counter[str] = Counter()
    late: Counter[str] = Counter()
    for what, name in log:
        if what == "sent":
            open_calls[name] += 1
        elif what == "done":
            open_calls[name] -= 1
            late[name] += 1
        else:
            late.clear()
    assert late.total() <= MOST_LATE
    return +open_calls + late


def kill_and_resume(folder: Path, strategy: str, model: str, *, kills: int, longest: int) -> Path:
    """Kill a study at random places of its work, let it end, check what was repeated, and return its store.

    Args:
        folder: Where its files go.
        strategy: Of the study.
        model: Of the study.
        kills: How often it is killed.
        longest: After how many lines of its log it is killed at the latest.
    """
    store, log = folder / "killed.db", folder / "calls.log"
    allowed: Counter[str] = Counter()
    chance = random.Random(7)
    done = 0
    while done < kills:
        child = start(store, log, strategy, model)
        seen = len(calls(log))
        enough = seen + chance.randint(1, longest)
        while child.poll() is None and len(calls(log)) < enough:
            time.sleep(0.005)
        if child.poll() is not None:
            break
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        allowed += excused(calls(log)[seen:])
        done += 1
    assert start(store, log, strategy, model).wait(timeout=600) == 0
    assert done >= min(kills, 3)
    sent = Counter(name for what, name in calls(log) if what == "sent")
    repeated = sent - Counter(sent.keys())
    assert not repeated - allowed, "a call was repeated that had been answered and stored before the kill"
    return store


@pytest.mark.parametrize("strategy", ["irace", "random"])
def test_a_study_killed_at_random_instants_ends_in_the_same_journal(tmp_path: Path, strategy: str) -> None:
    whole = tmp_path / "whole.db"
    run(toy_spec(whole, strategy, MODEL))
    longest = 500 if KILLS <= 10 else 80
    assert dump(kill_and_resume(tmp_path, strategy, MODEL, kills=KILLS, longest=longest)) == dump(whole)


@pytest.mark.real
def test_a_study_on_the_embedded_model_killed_three_times_ends_in_the_same_journal(tmp_path: Path) -> None:
    whole = tmp_path / "whole.db"
    run(toy_spec(whole, "irace", "embedded:", budget=SMALL), small_plural())
    store = kill_and_resume(tmp_path, "irace", "embedded:", kills=3, longest=60)
    assert dump(store) == dump(whole)

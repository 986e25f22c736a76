"""Several processes on one store: kills at random instants, leases of the living and the dead, readers and writers."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from promptopt.errors import StudyBusyError
from promptopt.store.store import Store
from promptopt.testing.stores import filled, study_row
from tests.waiting import wait_for

# Each line says that the batch of this number was stored before the line was written.
WRITE = """
import os, sys
from dataclasses import replace
from promptopt.store.store import Store
from promptopt.testing.stores import METRIC, consumed_rows, outcome_rows, score_rows
store = Store.open(sys.argv[1])
rows = outcome_rows(1)
for number in range(int(sys.argv[2]), 10**9):
    batch = [replace(row, request_key=f"{number:09}-{index}") for index, row in enumerate(rows)]
    store.add_outcomes(batch, score_rows(batch), consumed_rows(1, "2", batch))
    os.write(1, f"{number}\\n".encode())
"""

HOLD = """
import sys, time
from promptopt.store.store import Store
store = Store.open(sys.argv[1])
store.acquire_lease(1)
print("held", flush=True)
time.sleep(600)
"""


@contextmanager
def child(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with Store.open(tmp_path / "s.db") as store:
        filled(store)
    return tmp_path / "s.db"


@pytest.mark.parametrize("seed", range(5))
def test_what_was_stored_survives_a_kill(path: Path, seed: int) -> None:
    """Two lives on one file; after each, all that was said to be stored is there, and batches are whole."""
    rng = random.Random(seed)
    first = 0
    for _ in range(2):
        with child(WRITE, path, first) as writer:
            started = first_line(writer)
            time.sleep(rng.uniform(0, 0.1))
            writer.send_signal(signal.SIGKILL)
            said = started + writer.communicate()[0]
        # A line may be cut by the kill; the batch is stored nevertheless.
        numbers = [int(line) for line in said.splitlines(keepends=True) if line.endswith("\n")]
        with Store.open(path) as store:
            used = [key for key in store.consumed(1, "2") if int(key[:9]) >= first]
            stored = store.find_outcomes(used)
            assert {f"{number:09}-{index}" for number in numbers for index in range(6)} <= set(stored)
            assert len(used) == len(stored) == len(store.scores(used, "exact"))
            assert len(used) % 6 == 0
            assert len(used) // 6 <= len(numbers) + 1, "no more than the batch that could not be told of"
            assert store.spend(1).calls == 7 + len(store.consumed(1, "2"))
            first += len(used) // 6


def is_taken(store: Store) -> bool:
    try:
        store.acquire_lease(1)
    except StudyBusyError:
        return False
    return True


def test_a_living_process_is_respected_and_a_dead_one_is_not(path: Path) -> None:
    with Store.open(path) as store, child(HOLD, path) as holder:
        assert first_line(holder) == "held\n"
        with pytest.raises(StudyBusyError, match=rf"Process {holder.pid} on .* works on the study 'first' since"):
            store.acquire_lease(1)
        other = store.create_study(study_row("second"))
        store.acquire_lease(other)
        holder.kill()
        wait_for(lambda: is_taken(store))  # not waited for by its parent: it stays a zombie, which is dead enough
        store.release_lease(1)


def test_one_reads_and_writes_while_another_writes(path: Path) -> None:
    with Store.open(path) as store, Store.open(path, read_only=True) as reader, child(WRITE, path, 0) as writer:
        first_line(writer)
        seen: list[int] = []

        def go_on() -> bool:
            seen.append(len(reader.consumed(1, "2")))
            store.create_study(study_row(f"study {len(seen)}"))
            # A slow disk may hold the other one up for a while, so this goes on until it has moved.
            return len(seen) >= 20 and seen[0] < seen[-1]

        wait_for(go_on)
        assert seen == sorted(seen)
        assert all(count % 6 == 0 for count in seen), "readers see whole batches"
        assert len(reader.studies()) == 1 + len(seen)

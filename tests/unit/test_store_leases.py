import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from promptopt.errors import StudyBusyError
from promptopt.store import leases
from promptopt.store.leases import EXPIRY_S, Holder
from promptopt.store.store import Store
from promptopt.testing.stores import study_row


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "s.db") as store:
        store.create_study(study_row("first"))
        yield store


def become(monkeypatch: pytest.MonkeyPatch, host: str, pid: int = 7, started: str = "1") -> None:
    monkeypatch.setattr(leases, "_host", lambda: host)
    monkeypatch.setattr(leases, "_me", lambda: Holder(host, pid, started))


def test_a_living_process_keeps_its_study(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.acquire_lease(1)
    me = leases._me()
    become(monkeypatch, me.host)
    for refused in (lambda: store.acquire_lease(1), lambda: store.renew_lease(1), lambda: store.delete_study("first")):
        with pytest.raises(
            StudyBusyError, match=rf"^Process {os.getpid()} on [^ ]+ works on the study 'first' since 2"
        ):
            refused()
    store.release_lease(1)
    monkeypatch.undo()
    store.renew_lease(1)


@pytest.mark.parametrize("changed", [{"pid": 2**22 + 1}, {"started": "1"}])
def test_a_dead_one_does_not(store: Store, monkeypatch: pytest.MonkeyPatch, changed: dict[str, str]) -> None:
    """Nobody has this pid, or somebody who started at another time."""
    real = leases._me()
    dead = Holder(**{"host": real.host, "pid": os.getppid(), "started": leases._started(os.getppid())} | changed)
    monkeypatch.setattr(leases, "_me", lambda: dead)
    store.acquire_lease(1)
    monkeypatch.undo()
    store.acquire_lease(1)
    monkeypatch.setattr(leases, "_me", lambda: dead)
    with pytest.raises(StudyBusyError, match="lost it"):
        store.renew_lease(1)


def test_another_host_keeps_it_while_it_renews(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    become(monkeypatch, "far away")
    store.acquire_lease(1)
    become(monkeypatch, "here")
    with pytest.raises(StudyBusyError, match="Process 7 on far works"):
        store.acquire_lease(1)
    real = leases.time.time()
    monkeypatch.setattr(leases.time, "time", lambda: real + EXPIRY_S + 1)
    store.acquire_lease(1)


def test_without_proc_only_living_and_dead_are_told_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(leases, "PROC", tmp_path)
    leases._host.cache_clear()
    try:
        host = leases._host()
        assert not Holder(host, os.getpid(), "").is_gone()
        assert Holder(host, 2**22 + 1, "").is_gone()
        assert not Holder("elsewhere", 2**22 + 1, "").is_gone()
    finally:
        leases._host.cache_clear()


def test_losing_it_to_nobody(store: Store) -> None:
    with pytest.raises(StudyBusyError, match=r"^Nobody holds the study"):
        store.renew_lease(1)


def test_a_study_is_worked_on_while_its_process_lives(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not store.is_worked_on(1)
    store.acquire_lease(1)
    assert store.is_worked_on(1)
    store.release_lease(1)
    assert not store.is_worked_on(1)
    become(monkeypatch, leases._host(), pid=2**22 + 1)
    store.acquire_lease(1)
    monkeypatch.undo()
    assert not store.is_worked_on(1)
    store.acquire_lease(1)
    store.release_lease(1)
    become(monkeypatch, "elsewhere")
    store.acquire_lease(1)
    monkeypatch.undo()
    assert store.is_worked_on(1), "it cannot be seen from here"


def test_two_threads_of_a_process_do_not_hold_one_study(store: Store) -> None:
    store.acquire_lease(1)
    with Store.open(store.path) as other:
        with pytest.raises(StudyBusyError, match="Another thread of this process works on the study 'first' since 2"):
            other.acquire_lease(1)
        other.release_lease(1)
        assert other.is_worked_on(1), "what it does not hold it cannot give back"
        store.release_lease(1)
        other.acquire_lease(1)
    store.acquire_lease(1)

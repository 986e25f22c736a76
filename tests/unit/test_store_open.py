import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from promptopt.errors import StoreError
from promptopt.store import dialect, leases, migrations
from promptopt.store.rows import StudyRow
from promptopt.store.store import Store

STUDY = StudyRow(0, "first", {}, "hash", 7, {})


def test_the_file_is_for_its_owner_only_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with Store.open(tmp_path / "s.db") as store:
            store.create_study(STUDY)
            modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"s.db": 0o600, "s.db-wal": 0o600, "s.db-shm": 0o600}


@pytest.mark.parametrize("name", ["with space.db", "%41?x=1#y.db", "ü.db"])
def test_odd_file_names(tmp_path: Path, name: str) -> None:
    for url in (str(tmp_path / name), f"sqlite:///{tmp_path / name}"):
        with Store.open(url) as store:
            assert store.path == tmp_path / name
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_relative_url_is_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert dialect.path_of("sqlite:///some.db") == tmp_path / "some.db"
    assert dialect.path_of("some.db") == tmp_path / "some.db"
    assert dialect.path_of("~/some.db") == Path.home() / "some.db"


@pytest.mark.parametrize("url", ["postgresql://ann:s3cret@host/db", "sqlite://", "sqlite://host/x", "http://a/b"])
def test_other_urls_are_refused_without_their_passwords(url: str) -> None:
    with pytest.raises(StoreError, match=r"one SQLite file, .* give a path") as refused:
        Store.open(url)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("url", ["", ".", ":memory:", "sqlite:///", "sqlite:///:memory:"])
def test_what_is_no_file_is_refused(url: str) -> None:
    with pytest.raises(StoreError, match="A store is a file"):
        Store.open(url)


def test_a_missing_store_is_made_only_where_wanted(tmp_path: Path) -> None:
    for read_only in (True, False):
        with pytest.raises(StoreError, match="There is no store at"):
            Store.open(tmp_path / "s.db", create=False, read_only=read_only)
    with pytest.raises(StoreError, match=r"cannot be made \(no such file or directory\)"):
        Store.open(tmp_path / "no folder" / "s.db")
    with pytest.raises(StoreError, match="is a folder, and a store is a file"):
        Store.open(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("application_id", [0, 42])
def test_a_foreign_database_is_refused_and_untouched(tmp_path: Path, application_id: int) -> None:
    path = tmp_path / "browser.db"
    with closing(sqlite3.connect(path)) as foreign:
        foreign.execute(f"PRAGMA application_id = {application_id}")
        foreign.execute("CREATE TABLE bookmarks (url TEXT)")
        foreign.commit()
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"browser\.db is not a promptopt store"):
        Store.open(path)
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["browser.db"]


def test_what_one_of_two_connections_writes_is_seen_after_another_process_has_come_and_gone(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    look = "import sys; from promptopt.store.store import Store\nwith Store.open(sys.argv[1]) as s: print(s.studies())"
    Store.open(path).close()
    with Store.open(path) as store, Store.open(path):
        for name in ("first", "second"):
            store.create_study(replace(STUDY, name=name))
            looked = subprocess.run([sys.executable, "-c", look, path], capture_output=True, text=True, timeout=60)
            assert f"name='{name}'" in looked.stdout


def test_a_text_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("just words " * 50)
    with pytest.raises(StoreError, match="is not a promptopt store"):
        Store.open(path)


def test_a_damaged_store_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    Store.open(path).close()
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + b"x" * (len(whole) - 100))
    with pytest.raises(StoreError, match="is damaged"), Store.open(path) as store:
        store.studies()


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    (tmp_path / "s.db").touch()
    with Store.open(tmp_path / "s.db") as store:
        assert store.studies() == []


def test_threads_that_make_one_store_at_once(tmp_path: Path) -> None:
    faults: list[Exception] = []

    def work(name: str) -> None:
        try:
            with Store.open(tmp_path / "s.db") as store:
                store.create_study(StudyRow(0, name, {}, "hash", 7, {}))
        except StoreError as error:
            faults.append(error)

    threads = [threading.Thread(target=work, args=(f"study {n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    with Store.open(tmp_path / "s.db", read_only=True) as store:
        assert len(store.studies()) == 8


def test_a_look_while_the_store_is_being_made_is_no_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([0, None, migrations.APPLICATION_ID])
    monkeypatch.setattr(dialect, "application_id", lambda path: next(looks))
    (tmp_path / "s.db").write_bytes(b"")
    Store.open(tmp_path / "s.db").close()  # empty files are not looked at
    (tmp_path / "s.db-journal").touch()
    Store.open(tmp_path / "s.db").close()  # 0: half there, and whoever makes it is at it
    (tmp_path / "s.db-journal").unlink(missing_ok=True)
    Store.open(tmp_path / "s.db").close()  # None, and whole by the time of the second look
    assert next(looks, "none left") == "none left"


def test_a_foreign_database_that_is_being_written_is_refused_and_untouched(tmp_path: Path) -> None:
    path = tmp_path / "browser.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as foreign:
        foreign.execute("CREATE TABLE bookmarks (url TEXT)")
        foreign.execute("BEGIN IMMEDIATE")
        foreign.execute("INSERT INTO bookmarks VALUES ('a')")
        assert Path(f"{path}-journal").exists()
        with pytest.raises(StoreError, match=r"browser\.db is not a promptopt store"):
            Store.open(path)
        foreign.execute("COMMIT")
        assert foreign.execute("SELECT name FROM sqlite_master").fetchall() == [("bookmarks",)]


def test_read_only_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with Store.open(path) as store:
        store.create_study(STUDY)
    with Store.open(path, read_only=True) as store:
        assert [row.name for row in store.studies()] == ["first"]
        with pytest.raises(StoreError, match="cannot be written; open it for writing"):
            store.update_study(1, state="paused")
    with Store.open(path) as store:
        assert store.studies()[0].state == "running"


@contextmanager
def without_privileges() -> Iterator[None]:
    """Drop root's rights for a while, since nothing is read-only for root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_that_cannot_be_written() -> None:
    folder = Path(tempfile.mkdtemp())  # pytest's own folders are closed to other users
    path = folder / "s.db"
    try:
        with Store.open(path) as store:
            store.create_study(STUDY)
        path.chmod(0o444)
        folder.chmod(0o555)
        with without_privileges():
            with pytest.raises(StoreError, match=r"cannot be made \(permission denied\)"):
                Store.open(folder / "new.db")
            with pytest.raises(StoreError, match="cannot be written"):
                Store.open(path)
            with Store.open(path, read_only=True) as store:
                assert [row.name for row in store.studies()] == ["first"]
        path.chmod(0o000)
        with without_privileges(), pytest.raises(StoreError, match="cannot be opened; check the rights"):
            Store.open(path, read_only=True)
    finally:
        folder.chmod(0o700)
        shutil.rmtree(folder)


MOUNTS = """\
/dev/vda / ext4 rw 0 0
server:/home {home} nfs4 rw 0 0
/dev/vdb {home}/scratch xfs rw 0 0
//win/share {home}/scratch/with\\040space cifs rw 0 0
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [("", "nfs4"), ("projects", "nfs4"), ("scratch", None), ("scratch/with space", "cifs"), ("scratch/with", None)],
)
def test_network_file_systems_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, kind: str | None
) -> None:
    home = tmp_path / "home"
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS.format(home=home))
    monkeypatch.setattr(dialect, "MOUNTS", mounts)
    (home / folder).mkdir(parents=True)
    if kind is None:
        Store.open(home / folder / "s.db").close()
        return
    with pytest.raises(StoreError, match=rf"network file system \({kind}\)"):
        Store.open(home / folder / "s.db")
    assert not (home / folder / "s.db").exists()


def test_an_unknown_file_system_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialect, "MOUNTS", tmp_path / "missing")
    with Store.open(tmp_path / "s.db") as store:
        assert store.studies() == []


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    Store.open(path).close()
    with closing(sqlite3.connect(path)) as raw:
        raw.execute(f"PRAGMA user_version = {migrations.newest() + 1}")
    with pytest.raises(StoreError, match="newer than this release of promptopt knows"):
        Store.open(path)


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "s.db")
    store.close()
    store.close()
    with pytest.raises(StoreError, match="is closed; open it again"):
        store.studies()


def test_a_full_disk_is_said_and_survived(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.db") as store:
        pages = dialect.pragma(store._connection, "page_count")
        dialect.pragma(store._connection, f"max_page_count = {pages}")
        big = StudyRow(0, "big", {"x": "y" * 100_000}, "hash", 7, {})
        with pytest.raises(StoreError, match="the disk is full; free some space"):
            store.create_study(big)
        assert store.studies() == []
        dialect.pragma(store._connection, "max_page_count = 100000")
        store.create_study(big)
        assert store.studies()[0].config == {"x": "y" * 100_000}


def test_a_store_that_stays_locked(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with Store.open(path) as store, closing(sqlite3.connect(path, isolation_level=None)) as other:
        dialect.pragma(store._connection, "busy_timeout = 20")
        other.execute("BEGIN IMMEDIATE")
        assert store.studies() == [], "readers don't wait"
        with pytest.raises(StoreError, match="stayed locked by another process"):
            store.create_study(STUDY)
        other.execute("ROLLBACK")
        store.create_study(STUDY)


def test_what_sqlite_cannot_hold_is_said(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.db") as store:
        with pytest.raises(StoreError, match="64 bits at most"):
            store.create_study(StudyRow(0, "first", {}, "hash", 2**70, {}))
        with pytest.raises(StoreError, match="half a character"):
            store.create_study(StudyRow(0, "\ud800", {}, "hash", 7, {}))
        with pytest.raises(ValueError, match="not JSON compliant"):
            store.create_study(StudyRow(0, "first", {"x": float("nan")}, "hash", 7, {}))
        store.create_study(STUDY)


def test_people_can_read_the_views(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.db") as store:
        store.create_study(STUDY)
        with closing(sqlite3.connect(store.path)) as shell:
            assert shell.execute("SELECT study, name, calls FROM spend").fetchall() == [(1, "first", 0)]
            assert shell.execute("SELECT * FROM trial_scores").fetchall() == []


def test_this_process_can_say_when_it_started() -> None:
    assert leases._started(os.getpid()) == leases._me().started
    assert not leases._me().is_gone()

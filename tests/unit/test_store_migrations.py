import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection

from promptopt.errors import StoreError
from promptopt.store import migrations, schema
from promptopt.store.store import Store
from promptopt.testing.stores import filled


def add_colour(connection: Connection) -> None:
    connection.exec_driver_sql("ALTER TABLE studies ADD COLUMN colour TEXT NOT NULL DEFAULT 'red'")


def rebuild_prompts(connection: Connection) -> None:
    # Dropping a table that others refer to is what foreign keys would punish.
    connection.exec_driver_sql("CREATE TABLE new (id TEXT PRIMARY KEY, parts TEXT NOT NULL)")
    connection.exec_driver_sql("INSERT INTO new SELECT id, parts FROM prompts")
    connection.exec_driver_sql("DROP TABLE prompts")
    connection.exec_driver_sql("ALTER TABLE new RENAME TO prompts")


def stumble(connection: Connection) -> None:
    add_colour(connection)
    raise StoreError("the step failed")


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(migrations, "MIGRATIONS", ())
    with Store.open(tmp_path / "s.db") as store:
        filled(store)
    return tmp_path / "s.db"


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as raw:
        return int(raw.execute("PRAGMA user_version").fetchone()[0])


def has_colour(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as raw:
        return "colour" in [row[1] for row in raw.execute("PRAGMA table_info(studies)")]


def test_every_step_is_taken_and_a_copy_kept(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dump = Store.open(old).dump(1)
    monkeypatch.setattr(migrations, "MIGRATIONS", (add_colour, rebuild_prompts))
    with Store.open(old) as store:
        assert store.dump(1) == dump
        assert store.trial_scores(1)[0].n == 6
    copy = Path(f"{old}.v1.bak")
    assert (version(old), version(copy)) == (3, 1)
    assert (has_colour(old), has_colour(copy)) == (True, False)
    assert copy.stat().st_mode & 0o777 == 0o600
    before = copy.stat().st_mtime_ns
    Store.open(old).close()
    assert copy.stat().st_mtime_ns == before, "the second time there is nothing to do"


def test_only_the_missing_steps_are_taken(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "MIGRATIONS", (add_colour,))
    Store.open(old).close()
    monkeypatch.setattr(migrations, "MIGRATIONS", (stumble, rebuild_prompts))
    Store.open(old).close()
    assert version(old) == 3
    assert Path(f"{old}.v2.bak").exists()


def test_the_copy_holds_what_is_only_in_the_log_yet(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store.open(old) as store:
        filled(store, "still in the log")
        monkeypatch.setattr(migrations, "MIGRATIONS", (add_colour,))
        Store.open(old).close()
    monkeypatch.setattr(migrations, "MIGRATIONS", ())
    with Store.open(Path(f"{old}.v1.bak")) as copy:
        assert [row.name for row in copy.studies()] == ["first", "still in the log"]


def test_a_failing_step_changes_nothing(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "MIGRATIONS", (stumble,))
    with pytest.raises(StoreError, match="the step failed"):
        Store.open(old)
    assert version(old) == 1
    assert not has_colour(old)


def test_read_only_does_not_upgrade(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "MIGRATIONS", (add_colour,))
    empty = old.with_name("empty.db")
    empty.touch()
    with pytest.raises(StoreError, match=r"empty\.db is empty; run a study in it first"):
        Store.open(empty, read_only=True)
    with pytest.raises(StoreError, match=r"run or resume a study in it, .*\.v1\.bak"):
        Store.open(old, read_only=True)
    assert version(old) == 1


def test_the_script_says_what_the_tables_say() -> None:
    assert schema.SCRIPT.read_text(encoding="utf-8") == schema.script(), (
        "write it anew: python -c 'from promptopt.store import schema; schema.SCRIPT.write_text(schema.script())'"
    )

"""Links and sessions: good once, for one study, for a while, and not after they were revoked."""

import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from promptopt.errors import DataError
from promptopt.store import passes
from promptopt.store.store import Store
from promptopt.testing.stores import filled


@pytest.fixture
def store(tmp_path: Path) -> Store:
    opened = Store.open(tmp_path / "s.db")
    filled(opened)
    filled(opened, "second")
    return opened


def test_a_link_is_exchanged_once_for_a_session_of_its_name_and_study(store: Store) -> None:
    link = store.invite(2, "Ann")
    assert store.session(link) is None, "a link is no session"
    assert store.exchange(1, link) is None, "and none of another study's"
    session = store.exchange(2, link)
    assert session is not None
    found = store.session(session)
    assert found is not None
    assert (found.study_id, found.labeller) == (2, "Ann")
    assert store.exchange(2, link) is None
    assert store.exchange(2, session) is None, "a session is no link"


def test_they_expire_together(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def at(second: float) -> None:
        monkeypatch.setattr(passes, "time", SimpleNamespace(time=lambda: second))

    at(100)
    link, other = (store.invite(1, "Ann", lasts_s=60) for _ in range(2))
    at(159)
    session = store.exchange(1, link)
    assert session is not None
    assert store.session(session) is not None
    at(161)
    assert store.session(session) is None
    assert store.exchange(1, other) is None


def test_revoking_ends_all_that_somebody_has_in_a_study_and_nothing_else(store: Store) -> None:
    sessions = [
        store.exchange(study, store.invite(study, who)) or "" for study, who in ((1, "Ann"), (1, "Bob"), (2, "Ann"))
    ]
    open_link = store.invite(1, "Ann")
    assert store.revoke(1, "Ann") == 2
    assert [store.session(s) is not None for s in sessions] == [False, True, True]
    assert store.exchange(1, open_link) is None
    assert store.revoke(1, "Ann") == 0


def test_no_token_stands_in_the_file(store: Store, tmp_path: Path) -> None:
    link = store.invite(1, "Ann")
    session = store.exchange(1, link) or ""
    with closing(sqlite3.connect(tmp_path / "s.db")) as raw:
        said = repr(raw.execute("SELECT * FROM passes").fetchall())
    assert "Ann" in said
    assert link not in said
    assert session not in said


@pytest.mark.parametrize(
    "name", ["", " Ann", "Ann ", "a\u202eb", "x" * 41, "fake:", "the outputs", "<b>", "a\nb", "_x"]
)
def test_names_that_could_deceive_are_refused(store: Store, name: str) -> None:
    with pytest.raises(DataError, match="will not do"):
        store.invite(1, name)


@pytest.mark.parametrize("name", ["A", "Ann", "José O'Neill", "ann-2", "李雷", "J. R."])
def test_names_of_people_are_not(store: Store, name: str) -> None:
    assert store.exchange(1, store.invite(1, name))

"""The store file of every release still opens. Made with ``filled`` of promptopt.testing.stores, see tests/stores."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from promptopt.budget import Spend
from promptopt.store.store import Store
from promptopt.testing.stores import DATASET, METRIC, PROMPTS, filled, outcome_rows, score_rows

FILES = sorted((Path(__file__).parent.parent / "stores").glob("v*.db"))


def schema(path: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as raw:
        rows = raw.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
    return [(name, "".join((sql or "").split())) for name, sql in rows]


@pytest.mark.parametrize("released", FILES, ids=lambda path: path.stem)
def test_it_opens_and_becomes_the_newest(released: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    shutil.copyfile(released, path)
    rows = outcome_rows(1)
    keys = [row.request_key for row in rows]
    with Store.open(path) as store, Store.open(tmp_path / "new.db") as new:
        assert store.examples(e.id for e in DATASET.train) == {e.id: e for e in DATASET.train}
        assert store.prompts(p.id for p in PROMPTS) == {p.id: p for p in PROMPTS}
        assert store.find_outcomes(keys) == {row.request_key: row for row in rows}
        assert store.scores(keys, METRIC) == {score.request_key: score for score in score_rows(rows)}
        assert store.spend(1) == Spend(calls=8, tokens=84, usd=3.5)
        assert store.trial_scores(1)[0].n == 6
        assert store.dump(1) == new.dump(filled(new))
    assert schema(path) == schema(tmp_path / "new.db")


def test_a_file_is_kept() -> None:
    assert FILES
    assert all(path.stat().st_size < 100_000 for path in FILES)

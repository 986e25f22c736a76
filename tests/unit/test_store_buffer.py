from dataclasses import replace
from pathlib import Path

import pytest

from promptopt.errors import StoreError
from promptopt.store.buffer import OutcomeBuffer
from promptopt.store.store import Store
from promptopt.testing.stores import METRIC, PROMPTS, filled, outcome_rows, score_rows


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "s.db")


def test_it_flushes_by_age(store: Store) -> None:
    rows = outcome_rows(filled(store), PROMPTS[1])
    keys = [row.request_key for row in rows]
    clock = Clock()
    buffer = OutcomeBuffer(store, clock)
    buffer.tick()
    for row, score in zip(rows[:3], score_rows(rows), strict=False):
        buffer.add(row, score)
        buffer.tick()
        clock.now += 0.02
    assert (len(buffer), store.find_outcomes(keys)) == (3, {})
    buffer.tick()
    assert (len(buffer), list(store.find_outcomes(keys))) == (0, keys[:3])
    assert len(store.scores(keys, METRIC)) == 3
    clock.now += 60
    buffer.add(rows[3])
    buffer.tick()
    assert len(buffer) == 1, "age counts from the oldest row that is here"


def test_it_flushes_by_number(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = outcome_rows(filled(store), PROMPTS[1])
    monkeypatch.setattr("promptopt.store.buffer.MAX_ROWS", 3)
    buffer = OutcomeBuffer(store, Clock())
    sizes = []
    for row in rows[:4]:
        buffer.add(row)
        buffer.tick()
        sizes.append(len(buffer))
    assert sizes == [1, 2, 0, 1]


def test_what_is_known_otherwise_is_told(store: Store) -> None:
    rows = outcome_rows(filled(store))
    buffer = OutcomeBuffer(store)
    buffer.add(replace(rows[0], output="another"))
    buffer.add(replace(rows[1], attempts=3))
    buffer.add(replace(rows[2], status="truncated"))
    buffer.flush()
    assert buffer.dropped == {rows[0].request_key, rows[2].request_key}


def test_what_could_not_be_stored_stays(store: Store) -> None:
    filled(store)
    buffer = OutcomeBuffer(store, Clock())
    row = replace(outcome_rows(1, PROMPTS[1])[0], example_id="unknown")
    buffer.add(row)
    with pytest.raises(StoreError):
        buffer.flush()
    assert len(buffer) == 1
    assert store.find_outcomes([row.request_key]) == {}

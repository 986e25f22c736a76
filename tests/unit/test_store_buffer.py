from pathlib import Path

import pytest

from promptopt.errors import StoreError
from promptopt.store.buffer import OutcomeBuffer
from promptopt.store.rows import ConsumedRow
from promptopt.store.store import Store
from promptopt.testing.stores import METRIC, PROMPTS, consumed_rows, filled, outcome_rows, score_rows


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "s.db")


def test_it_flushes_by_age(store: Store) -> None:
    study_id = filled(store)
    rows = outcome_rows(study_id, PROMPTS[1])
    keys = [row.request_key for row in rows]
    clock = Clock()
    buffer = OutcomeBuffer(store, clock)
    buffer.tick()
    for row, score, use in zip(rows[:3], score_rows(rows), consumed_rows(study_id, "2", rows), strict=False):
        buffer.add(row, score, use)
        clock.now += 0.02
    assert (len(buffer), store.find_outcomes(keys)) == (3, {})
    buffer.tick()
    assert (len(buffer), list(store.find_outcomes(keys))) == (0, keys[:3])
    assert len(store.scores(keys, METRIC)) == len(store.consumed(study_id, "2")) == 3
    clock.now += 60
    buffer.add(rows[3])
    assert len(buffer) == 1, "age counts from the oldest row that is here"


def test_it_flushes_by_number(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    study_id = filled(store)
    monkeypatch.setattr("promptopt.store.buffer.MAX_ROWS", 3)
    buffer = OutcomeBuffer(store, Clock())
    sizes = []
    for use in consumed_rows(study_id, "2", outcome_rows(study_id)[:4]):
        buffer.add(None, consumed=use)
        sizes.append(len(buffer))
    assert sizes == [1, 2, 0, 1]


def test_what_could_not_be_stored_stays(store: Store) -> None:
    study_id = filled(store)
    buffer = OutcomeBuffer(store, Clock())
    row = outcome_rows(study_id, PROMPTS[1])[0]
    buffer.add(row, None, ConsumedRow(study_id, "5", row.request_key))
    with pytest.raises(StoreError):
        buffer.flush()
    assert len(buffer) == 1
    assert store.find_outcomes([row.request_key]) == {}

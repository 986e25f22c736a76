"""Duels in the store: who gets which pair, verdicts as events, taking back, catch trials, and twenty people at once."""

import sqlite3
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from promptopt.errors import DataError, StoreError
from promptopt.store.rows import AskRow, DuelRow, Shown, Vote
from promptopt.store.store import Store
from promptopt.testing.stores import DATASET, PROMPTS, filled, outcome_rows

LEFT, RIGHT = PROMPTS[0].id, PROMPTS[1].id


def duel(name: str, number: int = 1, place: int = 0, quorum: int = 1) -> DuelRow:
    return DuelRow(name, "1", number, place, LEFT, RIGHT, DATASET.train[0].id, quorum)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    opened = Store.open(tmp_path / "s.db")
    filled(opened)
    rows = [
        replace(row, request_key=f"r{row.request_key}", output="right answer") for row in outcome_rows(1, PROMPTS[1])
    ]
    opened.add_outcomes(rows, [], [])
    return opened


def open_(store: Store, *rows: DuelRow) -> None:
    store.open_duels(1, rows)
    for row in rows:
        store.show_outputs(row.id, f"{LEFT}-0", f"r{RIGHT}-0")


def say(store: Store, who: str, verdict: str = "left") -> Shown:
    shown = store.next_duel(1, who)
    assert shown is not None
    store.record_verdict(shown.duel_id, who, verdict)  # type: ignore[arg-type]
    return shown


def test_a_duel_is_served_once_its_outputs_are_there(store: Store) -> None:
    store.open_duels(1, [duel("d0")])
    assert store.next_duel(1, "ann") is None
    assert store.duels(1)[0].state == "asked"
    open_(store, duel("d0"))
    shown = store.next_duel(1, "ann")
    assert shown is not None
    assert {shown.left, shown.right} == {"apple 0", "right answer"}
    assert shown.inputs == DATASET.train[0].inputs
    assert shown.expires > time.time()


def test_pairs_come_in_order_and_nobody_gets_the_pair_of_another(store: Store) -> None:
    open_(store, duel("d1", 1, 1), duel("d0", 1, 0), duel("e0", 4, 0))
    first, second, third = (store.next_duel(1, who) for who in ("ann", "bob", "cem"))
    assert [shown.duel_id for shown in (first, second, third) if shown] == ["d0", "d1", "e0"]
    assert store.next_duel(1, "dan") is None
    again = store.next_duel(1, "ann")
    assert again is not None
    assert again.duel_id == "d0", "the same person keeps the pair until something is said"


def test_an_expired_lease_gives_the_pair_to_another_and_still_takes_the_first_ones_verdict(store: Store) -> None:
    open_(store, duel("d0"))
    assert store.next_duel(1, "ann", lease_s=-1)
    other = store.next_duel(1, "bob")
    assert other is not None
    store.record_verdict("d0", "ann", "left")
    store.record_verdict("d0", "bob", "left")
    assert {p.labeller for p in store.preferences(1)} == {"ann", "bob"}, "no label is lost"


def test_a_quorum_wants_as_many_different_people(store: Store) -> None:
    open_(store, duel("d0", quorum=2))
    assert store.next_duel(1, "ann")
    assert store.next_duel(1, "bob")
    assert store.next_duel(1, "cem") is None
    store.record_verdict("d0", "ann", "left")
    assert store.next_duel(1, "ann") is None
    assert store.duels(1)[0].state == "open"
    store.record_verdict("d0", "bob", "tie")
    assert store.duels(1)[0].state == "settled"
    assert store.labelling(1).by_labeller == {"ann": 1, "bob": 1}


def test_sides_are_drawn_and_verdicts_are_turned_back(store: Store) -> None:
    open_(store, *(duel(f"d{n}", 1, n) for n in range(24)))
    lefts = []
    for _ in range(24):
        shown = store.next_duel(1, "ann", catch=False)
        assert shown is not None
        lefts.append(shown.left)
        store.record_verdict(shown.duel_id, "ann", "left" if shown.left == "apple 0" else "right")
    assert 4 < lefts.count("apple 0") < 20, "both sides are used"
    preferences = store.preferences(1)
    assert {p.verdict for p in preferences} == {"left"}, "apple 0 is always the answer of the duel's left prompt"
    assert {p.shown_first for p in preferences} == {LEFT, RIGHT}


def test_the_same_form_twice_counts_once_and_a_pair_never_shown_is_refused(store: Store) -> None:
    open_(store, duel("d0"), duel("d1", 1, 1))
    shown = say(store, "ann", "tie")
    first = store.preferences(1)
    assert store.record_verdict(shown.duel_id, "ann", "left") == first[0].id
    assert store.preferences(1) == first
    with pytest.raises(DataError, match="was not shown to bob"):
        store.record_verdict("d1", "bob", "left")
    with pytest.raises(DataError, match="must be one of left, right"):
        store.record_verdict("d1", "bob", "best")  # type: ignore[arg-type]


def test_taking_back_is_an_event_and_the_pair_comes_again_on_the_same_sides(store: Store) -> None:
    open_(store, duel("d0"), duel("d1", 1, 1))
    shown = say(store, "ann", "left")
    before = store.newest_event()
    on_screen = store.next_duel(1, "ann")
    assert on_screen is not None
    assert store.take_back(1, "ann") == "d0"
    assert store.preferences(1) == []
    assert len(store.preferences(1, before)) == 1, "what was valid then is still known"
    assert store.newest_event() == before + 1
    again = store.next_duel(1, "ann")
    assert again is not None
    assert (again.duel_id, again.left) == ("d0", shown.left)
    store.record_verdict("d0", "ann", "right")
    assert [p.duel_id for p in [store.next_duel(1, "ann")] if p] == [on_screen.duel_id]
    assert len({p.id for p in (*store.preferences(1, before), *store.preferences(1))}) == 2, "a new verdict, a new id"


def test_there_is_nothing_to_take_back_before_the_first_verdict(store: Store) -> None:
    open_(store, duel("d0"))
    assert store.take_back(1, "ann") is None


def test_one_of_ten_is_a_catch_trial_on_the_other_sides(store: Store) -> None:
    open_(store, *(duel(f"d{n}", 1, n) for n in range(20)))
    first: dict[str, str] = {}
    for _ in range(10):
        shown = say(store, "ann")
        first[shown.duel_id] = shown.left
    caught = store.next_duel(1, "ann")
    assert caught is not None
    assert caught.duel_id in first
    assert caught.left != first[caught.duel_id]
    store.record_verdict(caught.duel_id, "ann", "right")
    catches = [p for p in store.preferences(1) if p.catch]
    assert len(catches) == 1
    following = store.next_duel(1, "ann")
    assert following is not None
    assert following.duel_id not in first
    assert store.labelling(1).given == 10


def test_a_catch_trial_waits_until_another_pair_is_open_and_comes_once(store: Store) -> None:
    open_(store, *(duel(f"d{n:02}", 1, n) for n in range(10)))
    for _ in range(10):
        say(store, "ann")
    assert store.next_duel(1, "ann") is None, "a search that has ended asks for nothing more"
    open_(store, *(duel(f"e{n:02}", 2, n) for n in range(12)))
    assert say(store, "ann").duel_id == "d00", "the oldest"
    assert [say(store, "ann").duel_id for _ in range(10)] == [f"e{n:02}" for n in range(10)]
    assert say(store, "ann").duel_id == "d01"
    assert store.take_back(1, "ann") == "d01"
    assert say(store, "ann").duel_id == "d01", "taken back, it is asked again"
    assert say(store, "ann").duel_id == "e10"
    assert [p.catch for p in store.preferences(1)].count(True) == 2


def test_votes_of_judges_settle_duels_that_want_nobody_and_may_be_audited(store: Store) -> None:
    open_(store, duel("d0", quorum=0))
    assert store.next_duel(1, "ann", audit=True) is None
    vote = Vote("d0", "judge", "right", "model", detail={"orders": ["right", "right"]})
    store.record_votes([vote, replace(vote, verdict="left")])
    assert [(p.verdict, p.source, p.detail["orders"]) for p in store.preferences(1)] == [
        ("right", "model", ["right", "right"])
    ], "the first vote stays"
    assert store.duels(1)[0].state == "settled"
    assert store.next_duel(1, "ann") is None
    shown = store.next_duel(1, "ann", audit=True)
    assert shown is not None
    store.record_verdict("d0", "ann", "left")
    assert store.take_back(1, "ann") == "d0"
    assert store.duels(1)[0].state == "settled"


def test_equal_or_missing_outputs_need_nobody(store: Store) -> None:
    store.open_duels(1, [duel("d0"), duel("d1", 1, 1)])
    store.record_votes([Vote("d0", "the outputs", "skip", "outputs"), Vote("d1", "the outputs", "tie", "outputs")])
    store.show_outputs("d1", f"{LEFT}-0", f"{LEFT}-0")
    assert [row.state for row in store.duels(1)] == ["settled", "settled"]
    assert store.next_duel(1, "ann") is None


def test_closed_duels_are_served_no_more_but_a_late_verdict_is_kept(store: Store) -> None:
    open_(store, duel("d0", quorum=2), duel("d1", 1, 1))
    assert store.next_duel(1, "ann")
    store.close_duels(1)
    assert store.next_duel(1, "bob") is None
    store.record_verdict("d0", "ann", "left")
    assert [row.state for row in store.duels(1)] == ["settled", "settled"]
    assert len(store.preferences(1)) == 1


def test_a_study_with_duels_is_not_deleted(store: Store) -> None:
    open_(store, duel("d0"))
    with pytest.raises(StoreError, match="labels"):
        store.delete_study("first")


def test_the_last_recommendation_is_the_outlook(store: Store) -> None:
    payload = {"ranking": [LEFT, RIGHT], "chances": [0.8, 0.2], "may_stop": False}
    store.open_asks(1, [AskRow(5, "5", "recommend", "r5", payload=payload)])
    assert store.outlook(1) == payload


def test_twenty_people_at_once_get_different_pairs_and_lose_nothing(store: Store, tmp_path: Path) -> None:
    n_people, n_duels = 20, 200
    open_(store, *(duel(f"d{n:03}", 1, n) for n in range(n_duels)))
    faults: list[BaseException] = []

    def work(who: str) -> None:
        try:
            # Half of them have a connection of their own, as other processes would.
            mine = store if int(who[1:]) % 2 else Store.open(tmp_path / "s.db")
            while (shown := mine.next_duel(1, who, catch=False)) is not None:
                mine.record_verdict(shown.duel_id, who, "left")
        except BaseException as error:  # noqa: BLE001  # a thread's fault would go unseen
            faults.append(error)

    threads = [threading.Thread(target=work, args=(f"p{n}",)) for n in range(n_people)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert not faults
    preferences = store.preferences(1)
    assert len(preferences) == n_duels
    with closing(sqlite3.connect(tmp_path / "s.db")) as raw:
        per_duel = Counter(row[0] for row in raw.execute("SELECT duel FROM preferences"))
    assert set(per_duel.values()) == {1}
    assert {row.state for row in store.duels(1)} == {"settled"}


def test_events_are_numbered_as_they_happened_for_all_that_write(store: Store) -> None:
    open_(store, *(duel(f"d{n:02}", 1, n, quorum=3) for n in range(20)))
    seen: list[int] = []

    def label(who: str) -> None:
        for _ in range(20):
            if shown := store.next_duel(1, who, catch=False):
                store.record_verdict(shown.duel_id, who, "tie")
                seen.append(len(store.preferences(1, store.newest_event())))

    threads = [threading.Thread(target=label, args=(who,)) for who in ("ann", "bob", "cem")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(store.preferences(1)) == 60
    assert store.preferences(1, 30) == [p for p in store.preferences(1) if p in store.preferences(1, 30)]
    assert len(store.preferences(1, 30)) == 30

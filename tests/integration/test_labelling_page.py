"""The labelling page over HTTP: pairs, verdicts, undo, several people, and where it listens."""

import json
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from promptopt.errors import ConfigError
from promptopt.store.rows import Vote
from promptopt.store.store import Store
from promptopt.web.server import Address, serving
from tests.web.client import Browser
from tests.web.stage import NAME, PAIRS, TASK, recommend, stage


def given(path: Path) -> list[tuple[str, str, str]]:
    with Store.open(path) as store:
        return [(p.labeller, p.verdict, p.remark) for p in store.preferences(1)]


def test_a_verdict_is_kept_and_the_next_pair_comes_with_the_answer(ann: Browser, path: Path) -> None:
    first = ann.pair()
    assert first["pair"]["inputs"][0]["plain"] == ["question 0"]
    reply = ann.say("tie", first, remark="both are short", millis=1_200)
    assert reply.status == 200
    assert reply.data["pair"]["inputs"][0]["plain"] == ["question 1"]
    assert given(path) == [("Ann", "tie", "both are short")]


def test_nothing_tells_which_prompt_is_which(ann: Browser) -> None:
    page = json.dumps([ann.pair(), ann.ask("GET", "/standing").data, ann.ask("GET", "/task").data])
    with Store.open(ann.path) as store:
        for duel in store.duels(ann.study_id):
            assert duel.left_id not in page
            assert duel.right_id not in page


def test_undo_brings_the_pair_again(ann: Browser, path: Path) -> None:
    first = ann.pair()
    after = ann.say("left", first).data
    undone = ann.ask("POST", "/undo", {"form": after["form"], "pair": after["pair"]["id"]})
    assert undone.data["pair"]["id"] == first["pair"]["id"]
    assert undone.data["pair"]["answers"] == first["pair"]["answers"], "on the same sides"
    assert given(path) == []
    again = ann.ask("POST", "/undo", {"form": undone.data["form"], "pair": undone.data["pair"]["id"]})
    assert (again.status, again.data["done"]) == (200, False)


def test_two_people_get_different_pairs_unless_the_quorum_wants_both(ann: Browser, tmp_path: Path) -> None:
    bob = Browser(ann.path, ann.port, ann.study_id).join("Bob")
    assert ann.pair()["pair"]["id"] != bob.pair()["pair"]["id"]
    other = tmp_path / "two.db"
    two = stage(other, PAIRS[:1], quorum=2)
    with serving(str(other), (two, NAME), Address(port=0)) as taken:
        both = [Browser(other, taken.port, two).join(name) for name in ("Ann", "Bob", "Cem")]
        seen = [person.pair()["pair"] for person in both]
        assert seen[0]["id"] == seen[1]["id"]
        assert seen[2] is None
        assert both[2].pair()["open"] == 1
        assert {both[0].say("tie").status, both[1].say("tie").status} == {200}
        standing = both[0].ask("GET", "/standing").data
        assert (standing["given"], standing["agreed"], standing["shared"]) == (2, 1, 1)


def test_the_standing_follows_the_search(ann: Browser, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promptopt.web.desk.REST", 0)
    assert ann.ask("GET", "/standing").data["p_best"] is None
    recommend(path, ann.study_id, 0.93, may_stop=True)
    ann.say("left")
    standing = ann.ask("GET", "/standing").data
    assert (standing["p_best"], standing["may_stop"], standing["stop_at"]) == (0.93, True, 0.9)
    assert (standing["given"], standing["mine"]["n"]) == (1, 1)
    assert ann.ask("GET", "/task").data == {"task": TASK, "criteria": ""}


def test_differences_only_of_the_pair_on_screen(ann: Browser) -> None:
    pair = ann.pair()["pair"]
    found = ann.ask("GET", f"/differences?pair={pair['id']}")
    assert found.status == 200
    assert {json.dumps(side) for side in found.data} == {'[["ins", "left"], " 0"]', '[["ins", "right"], " 0"]'}
    assert ann.ask("GET", "/differences?pair=replies00007").status == 409


def test_a_finished_study_takes_nothing_back_and_says_that_it_is_done(ann: Browser, path: Path) -> None:
    after = ann.say("left").data
    with Store.open(path) as store:
        store.close_duels(ann.study_id)
        store.update_study(ann.study_id, state="finished")
        undo = ann.ask("POST", "/undo", {"form": after["form"], "pair": after["pair"]["id"]})
        assert undo.status == 409
        assert len(store.preferences(ann.study_id)) == 1
    assert ann.say("right", after).status == 200, "no label is lost"
    assert ann.pair()["state"] == "finished"


def test_pairs_that_a_judge_decided_come_where_the_study_has_a_judge_model(tmp_path: Path) -> None:
    path = tmp_path / "judged.db"
    study_id = stage(path, PAIRS[:2], quorum=0)
    with closing(sqlite3.connect(path)) as raw:
        raw.execute('UPDATE studies SET config = replace(config, \'"model":null\', \'"model":"fake:"\')')
        raw.commit()
    with Store.open(path) as store:
        store.record_votes([Vote(duel.id, "fake:", "left", "model") for duel in store.duels(study_id)])
    with serving(str(path), (study_id, NAME), Address(port=0)) as taken:
        assert Browser(path, taken.port, study_id).join("Ann").pair()["pair"] is not None


def test_twenty_people_at_once_get_no_error_and_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "many.db"
    study_id = stage(path, [(f"question {n}", "a", "b") for n in range(100)])
    statuses: list[int] = []
    with serving(str(path), (study_id, NAME), Address(port=0)) as taken:
        people = [Browser(path, taken.port, study_id).join(f"p{n}") for n in range(20)]

        def work(person: Browser) -> None:
            screen = person.pair()
            while screen["pair"]:
                reply = person.say("left", screen)
                statuses.append(reply.status)
                screen = reply.data

        threads = [threading.Thread(target=work, args=(person,)) for person in people]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=120)
    assert set(statuses) == {200}
    with Store.open(path) as store:
        said = [p for p in store.preferences(study_id) if not p.catch]
        assert len(said) == 100
        assert len({p.example_id for p in said}) <= 100
        assert {duel.state for duel in store.duels(study_id)} == {"settled"}


def test_where_it_cannot_listen_it_says_so(path: Path, study_id: int, port: int) -> None:
    with pytest.raises(ConfigError, match="choose others: --host and --port"), serving(str(path), (study_id, NAME),
                                                                                 Address(port=port)):  # fmt: skip
        pass
    with pytest.raises(ConfigError, match="say with --url"), serving(str(path), (study_id, NAME), Address("0.0.0.0")):
        pass
    with (
        pytest.raises(ConfigError, match="expected an address"),
        serving(str(path), (study_id, NAME), Address(url="label.example")),
    ):
        pass


def test_behind_a_proxy_its_address_counts_too_and_the_cookie_is_for_https_only(path: Path, study_id: int) -> None:
    url = "https://label.example"
    with serving(str(path), (study_id, NAME), Address(port=0, url=url)) as taken:
        assert taken.base == url
        with Store.open(path) as store:
            link = store.invite(study_id, "Ann")
        reply = Browser(path, taken.port, study_id).ask(
            "POST", "/join", {"token": link}, Host="label.example", Origin=url
        )
        assert reply.status == 200
        assert "Secure" in reply.headers["Set-Cookie"]

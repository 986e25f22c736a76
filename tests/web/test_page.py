"""The labelling page in headless Chromium: sessions by keyboard, a kill in the middle, several people."""

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from promptopt import api
from promptopt.config import read_spec
from promptopt.duel import Verdict
from promptopt.store.rows import Shown
from promptopt.store.store import Store
from tests.waiting import wait_for
from tests.web.conftest import Enter
from tests.web.hands import READY, press, said, texts, three
from tests.web.stage import TASK, recommend

STUDY = """
[task]
data = "sentiment"
[model]
task = "simulated:additive?seed=3"
[judge]
by = ["human"]
[strategy]
name = "dts"
settings = {{ duels = 30, pool = 6, least = 30, ahead = 0, stop_at = 2.0, stop_regret = 0.0, grow_every = 0 }}
[budget]
evaluations = 400
[study]
name = "long"
store = "{store}"
"""

IS_AWAY = "() => fetch('/static/label.js', {cache: 'no-store'}).then(() => false, () => true)"

pytestmark = [
    pytest.mark.web,
    # Playwright leaves its event loop to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


# -- a whole session, with a kill in the middle


def label(folder: Path, port: int) -> tuple["subprocess.Popen[bytes]", str]:
    """Start ``promptopt label`` and return it with the link that it prints."""
    command = [sys.executable, "-m", "promptopt", "label", "study.toml", "--invite", "Ann", "--port", str(port)]
    with (folder / "said.txt").open("wb") as out:
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=out)
    said = folder / "said.txt"
    wait_for(lambda: process.poll() is not None or "Ctrl-C" in said.read_text())
    links = [line for line in said.read_text().splitlines() if line.startswith("Ann: ")]
    assert links, said.read_text()
    return process, links[0].removeprefix("Ann: ")


def opinion(left: str, right: str) -> Verdict:
    return "left" if left < right else "right"


def test_thirty_duels_by_keyboard_with_a_kill_in_the_middle(
    enter: Enter, path: Path, tmp_path: Path, kept_port: int
) -> None:
    (tmp_path / "study.toml").write_text(STUDY.format(store=path))
    process, link = label(tmp_path, kept_port)
    pressed: list[str] = []
    try:
        page = enter(f"http://127.0.0.1:{kept_port}", 1, "Ann", link)
        while True:
            page.wait_for_function("() => document.querySelector('#main').dataset.pair || "
                                   "document.querySelector('#rest-title').textContent.startsWith('Done')")  # fmt: skip
            if page.is_visible("#rest"):
                break
            pressed.append(opinion(*texts(page)))
            page.wait_for_timeout(220)
            shown = page.get_attribute("#main", "data-pair")
            if len(pressed) == 16:
                process.send_signal(signal.SIGKILL)
                process.wait(timeout=20)
                wait_for(lambda: bool(page.evaluate(IS_AWAY)))  # its own process ends a moment after its parent
                page.keyboard.press({"left": "1", "right": "2"}[pressed[-1]])
                page.wait_for_selector("#offline:visible")
                assert page.get_attribute("#main", "data-pair") == shown
                process, _ = label(tmp_path, kept_port)
            else:
                page.keyboard.press({"left": "1", "right": "2"}[pressed[-1]])
            page.wait_for_function("before => document.querySelector('#main').dataset.pair !== before", arg=shown)
        assert page.inner_text("#rest-title") == "Done. Thank you!"
        wait_for(lambda: "Ctrl-C ends it" in (tmp_path / "said.txt").read_text())
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait(timeout=20)
    labels = said(path, "long")
    assert len(labels) == len(pressed) >= 30, "no label is lost, and none counts twice"
    assert dump(path) == dump(undisturbed(path, tmp_path)), "the same pairs in the same order"


def undisturbed(path: Path, folder: Path) -> Path:
    """Run the same study with the same opinions, without a page and without a kill."""
    other = folder / "other.db"
    (folder / "other.toml").write_text(STUDY.format(store=other))
    with api.open_study(read_spec(folder / "other.toml")) as study:

        def answer() -> bool:
            shown: Shown | None = study.store.next_duel(1, "Ann")
            if shown is not None:
                study.store.record_verdict(shown.duel_id, "Ann", opinion(shown.left.strip(), shown.right.strip()))
            return True

        study.wait_for_people(answer)
        assert study.run().state == "finished"
    return other


def dump(path: Path) -> str:
    with Store.open(path) as store:
        row = store.study("long")
        assert row is not None
        return store.dump(row.id)


# -- what the keys do


def test_every_key_gives_its_verdict_and_undo_takes_it_back(enter: Enter, served: Any, path: Path) -> None:
    base, study_id = served(three(7))
    page = enter(base, study_id, "Ann")
    for key in "12tbs":
        press(page, key)
    verdicts = [verdict for _, verdict in said(path)]
    assert {"tie", "both_bad", "skip"} < set(verdicts)
    assert len(verdicts) == 5
    sixth = page.get_attribute("#main", "data-pair")
    press(page, "u")
    assert "Taken back" in page.inner_text("#said")
    assert len(said(path)) == 4
    press(page, "1")
    assert page.get_attribute("#main", "data-pair") == sixth
    for _ in range(5):
        press(page, "u")
    assert said(path) == []
    page.keyboard.press("u")
    page.wait_for_function("() => document.querySelector('#said').textContent.includes('nothing to take back')")


def test_keys_are_found_by_their_place_where_letters_or_digits_are_others(
    enter: Enter, served: Any, path: Path
) -> None:
    base, study_id = served(three(3))
    page = enter(base, study_id, "Ann")
    for key, code, verdicts in (("&", "Digit1", ("left", "right")), ("\u0435", "KeyT", ("tie",))):
        page.wait_for_timeout(220)
        before = page.get_attribute("#main", "data-pair")
        page.evaluate("init => document.dispatchEvent(new KeyboardEvent('keydown', init))", {"key": key, "code": code})
        page.wait_for_function("before => document.querySelector('#main').dataset.pair !== before", arg=before)
        assert said(path)[-1][1] in verdicts


def test_the_left_key_prefers_what_stands_on_the_left(enter: Enter, served: Any, path: Path) -> None:
    base, study_id = served(three(6))
    page = enter(base, study_id, "Ann")
    expected = []
    for key in "121212":
        chosen = texts(page)[int(key) - 1]
        expected.append("left" if chosen.startswith("alpha") else "right")
        press(page, key)
    assert [verdict for _, verdict in said(path)] == expected


def test_a_remark_is_typed_in_peace_and_goes_with_the_verdict(enter: Enter, served: Any, path: Path) -> None:
    base, study_id = served(three(2))
    page = enter(base, study_id, "Ann")
    page.keyboard.press("r")
    page.keyboard.type("1 but shorter, t b s u")
    assert said(path) == []
    page.keyboard.press("Enter")
    press(page, "t")
    with Store.open(path) as store:
        assert [p.remark for p in store.preferences(study_id)] == ["1 but shorter, t b s u"]
    assert page.input_value("#remark") == ""


def test_keys_can_be_switched_off_and_a_key_held_down_counts_once(enter: Enter, served: Any, path: Path) -> None:
    base, study_id = served(three(3))
    page = enter(base, study_id, "Ann")
    page.click("#help")
    page.keyboard.press("1")
    page.uncheck("#keys-on")
    page.click("#close")
    page.wait_for_timeout(250)
    page.keyboard.press("1")
    page.reload()
    page.wait_for_selector(READY)
    page.wait_for_timeout(250)
    page.keyboard.press("t")
    assert said(path) == []
    page.click("#help")
    page.check("#keys-on")
    page.click("#close")
    page.wait_for_timeout(250)
    before = page.get_attribute("#main", "data-pair")
    for _ in range(8):
        page.keyboard.down("t")
    page.wait_for_function("before => document.querySelector('#main').dataset.pair !== before", arg=before)
    page.wait_for_timeout(250)
    page.keyboard.down("t")
    page.wait_for_timeout(250)
    assert len(said(path)) == 1


def test_differences_and_the_text_as_written(enter: Enter, served: Any) -> None:
    base, study_id = served([("q", "the **fast** way", "the **slow** way")])
    page = enter(base, study_id, "Ann")
    assert sorted(texts(page)) == ["the fast way", "the slow way"]
    page.click("[data-view=plain]")
    assert sorted(texts(page)) == ["the **fast** way", "the **slow** way"]
    page.keyboard.press("d")
    page.wait_for_selector("#answer-1 ins")
    assert sorted(page.inner_text(f"#answer-{n} ins") for n in (1, 2)) == ["**fast**", "**slow**"]
    page.keyboard.press("d")
    assert sorted(texts(page)) == ["the fast way", "the slow way"]


def test_the_standing_and_that_one_may_stop_are_shown(
    enter: Enter, served: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promptopt.web.desk.REST", 0)  # the page asks once a pair
    base, study_id = served(three(3))
    recommend(path, study_id, 0.93, may_stop=True)
    page = enter(base, study_id, "Ann")
    page.wait_for_selector("#enough:visible")
    assert "You can stop now" in page.inner_text("#enough")
    assert page.inner_text("#p-best") == "93 %"
    assert page.inner_text("#task") == TASK
    press(page, "t")
    page.wait_for_function("() => document.querySelector('#given').textContent === '1'")


# -- several people


def test_two_people_at_once_share_the_work(enter: Enter, served: Any, path: Path) -> None:
    base, study_id = served(three(6))
    pages = [enter(base, study_id, name) for name in ("Ann", "Bob")]
    shown = [page.get_attribute("#main", "data-pair") for page in pages]
    assert shown[0] != shown[1]
    for _ in range(3):
        for page in pages:
            press(page, "t")
    assert sorted(said(path)) == [("Ann", "tie")] * 3 + [("Bob", "tie")] * 3
    assert all(page.is_visible("#rest") for page in pages)


def test_a_second_window_of_one_person_counts_no_pair_twice(enter: Enter, served: Any, path: Path) -> None:
    base, study_id = served(three(4))
    page = enter(base, study_id, "Ann")
    other = page.context.new_page()
    other.goto(base)
    other.wait_for_selector(READY)
    press(page, "t")
    press(other, "b")
    assert "answered already" in other.inner_text("#said")
    assert said(path) == [("Ann", "tie")]
    press(other, "b")
    assert len(said(path)) == 2


def test_a_new_pair_appears_by_itself(enter: Enter, served: Any, path: Path) -> None:
    base, study_id = served(three(1))
    page = enter(base, study_id, "Ann")
    with Store.open(path) as store:
        row = store.duels(study_id)[0]
        press(page, "t")
        assert "is paused" in page.inner_text("#rest-title"), "no process runs the search"
        store.acquire_lease(study_id)
        page.wait_for_function("() => document.querySelector('#rest-title').textContent.includes('being prepared')")
        store.open_duels(study_id, [replace(row, id="later", number=2, state="open")])
    page.wait_for_selector("#pair:visible")


def test_somebody_who_is_revoked_is_told(enter: Enter, served: Any, path: Path) -> None:
    base, study_id = served(three(2))
    page = enter(base, study_id, "Ann")
    with Store.open(path) as store:
        store.revoke(study_id, "Ann")
    page.wait_for_timeout(220)
    page.keyboard.press("1")
    page.wait_for_selector("#rest:visible")
    assert page.inner_text("#rest-title") == "Signed out"
    assert said(path) == []

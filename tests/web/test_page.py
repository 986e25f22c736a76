"""The labelling page in headless Chromium: sessions by keyboard, a kill, several people, a phone, hostile answers."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from promptopt import api
from promptopt.config import read_spec
from promptopt.duel import Verdict
from promptopt.store.rows import Shown
from promptopt.store.store import Store
from promptopt.web.markup import TAGS
from promptopt.web.server import Address, serving
from tests.conftest import require_package
from tests.web.stage import NAME, TASK, recommend, stage

CHROMIUM = os.environ.get("PROMPTOPT_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync")  # fmt: skip
READY = "#main[aria-busy=false]"
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
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

pytestmark = [
    pytest.mark.web,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (apt-get install chromium)"),
    # Playwright leaves its event loop to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

Enter = Callable[..., Any]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    require_package("playwright")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s.db"


@pytest.fixture
def enter(chromium: Any, path: Path) -> Iterator[Enter]:
    """Open the page as somebody, in a browser of their own; what goes wrong in it fails the test."""
    faults: list[str] = []
    contexts = []

    def entered(base: str, study_id: int, name: str, link: str = "", **context: Any) -> Any:
        if not link:
            with Store.open(path) as store:
                link = f"{base}/join#{store.invite(study_id, name)}"
        contexts.append(chromium.new_context(**context))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda dialog: (faults.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.on("console", lambda line: faults.append(line.text) if "Content Security" in line.text else None)
        page.on("request", lambda request: faults.append(request.url) if not request.url.startswith(base) else None)
        page.goto(link)
        page.click("#start")
        page.wait_for_selector(READY)
        return page

    yield entered
    for context in contexts:
        context.close()
    assert not faults


@pytest.fixture
def served(path: Path) -> Iterator[Callable[..., tuple[str, int]]]:
    """Serve a staged study while the test runs."""
    from contextlib import ExitStack

    with ExitStack() as stack:

        def start(pairs: Any, **options: Any) -> tuple[str, int]:
            study_id = stage(path, pairs, **options)
            return stack.enter_context(serving(str(path), (study_id, NAME), Address(port=0))).base, study_id

        yield start


def texts(page: Any) -> list[str]:
    return [str(page.inner_text(f"#answer-{n}")) for n in (1, 2)]


def press(page: Any, key: str) -> None:
    """Press a key, as somebody does who has looked at the pair, and wait for the next."""
    page.wait_for_timeout(220)
    before = page.get_attribute("#main", "data-pair")
    page.keyboard.press(key)
    page.wait_for_function("before => document.querySelector('#main').dataset.pair !== before", arg=before)
    page.wait_for_selector(READY)


def said(path: Path, study: str = NAME) -> list[tuple[str, str]]:
    with Store.open(path) as store:
        row = store.study(study)
        assert row is not None
        return [(p.labeller, p.verdict) for p in store.preferences(row.id) if p.source == "human"]


def three(n: int = 3) -> list[tuple[str, str, str]]:
    return [(f"question {k}", f"alpha {k}", f"beta {k}") for k in range(n)]


# -- a whole session, with a kill in the middle


def free_port() -> int:
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


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


def wait_for(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def opinion(left: str, right: str) -> Verdict:
    return "left" if left < right else "right"


def test_thirty_duels_by_keyboard_with_a_kill_in_the_middle(enter: Enter, path: Path, tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(STUDY.format(store=path))
    port = free_port()
    process, link = label(tmp_path, port)
    pressed: list[str] = []
    try:
        page = enter(f"http://127.0.0.1:{port}", 1, "Ann", link)
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
                page.keyboard.press({"left": "1", "right": "2"}[pressed[-1]])
                page.wait_for_selector("#offline:visible")
                assert page.get_attribute("#main", "data-pair") == shown
                process, _ = label(tmp_path, port)
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
    for _ in range(8):
        page.keyboard.down("t")
    page.wait_for_timeout(500)
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


def test_the_standing_and_that_one_may_stop_are_shown(enter: Enter, served: Any, path: Path) -> None:
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
        assert "being prepared" in page.inner_text("#rest-title")
        from dataclasses import replace

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


def test_a_link_that_was_used_says_so(enter: Enter, served: Any, path: Path, chromium: Any) -> None:
    base, study_id = served(three(2))
    with Store.open(path) as store:
        link = f"{base}/join#{store.invite(study_id, 'Ann')}"
    page = enter(base, study_id, "Ann", link)
    assert "#" not in page.url
    stranger = chromium.new_context().new_page()
    stranger.goto(link)
    stranger.click("#start")
    stranger.wait_for_selector("#error:visible")
    assert "used already" in stranger.inner_text("#error")
    stranger.goto(base)
    assert "open the link" in stranger.inner_text("#text")
    stranger.context.close()


# -- hostile answers

HOSTILE = [
    "<script>document.title='owned'; alert(1)</script>",
    "<img src=x onerror=\"document.title='owned'\"> <svg onload=alert(1)> <iframe srcdoc='<script>alert(1)</script>'>",
    "[click](javascript:alert(1)) ![x](https://evil.example/p.png) <a href='//evil.example'>go</a> <https://evil.example>",
    "</div></article></main><style>*{display:none}</style><base href='//evil.example'>",
    "x" * 50_000,
    "safe \u202e)1 rewsna( \u2066 isolated \u2069 \u200b\ufeff end",
    '{"__proto__": {"polluted": 1}, "html": "<b onmouseover=alert(1)>"}',
    "```html\n</code></pre><script>alert(1)</script>\n```",
    "\ud800 half \0 nul \x1b[31m red \x07",
    "| <script>alert(1)</script> | b |\n|---|---|\n| <img src=x onerror=alert(1)> | `</td>` |",
    "# " * 200 + "\n" + "> " * 300 + "\n" + "- " * 300,
    "שלום (left) עולם\n\n\u200fright to left paragraph",
]


@pytest.mark.parametrize("context", [{}, PHONE], ids=["desktop", "phone"])
def test_hostile_answers_are_text(enter: Enter, served: Any, context: Any) -> None:
    base, study_id = served([(text or "q", text, HOSTILE[-n - 1] + " ") for n, text in enumerate(HOSTILE)])
    page = enter(base, study_id, "Ann", **context)
    seen = 0
    while page.is_visible("#pair"):
        seen += 1
        for view in ("formatted", "plain", "differences"):
            page.click(f"[data-view={view}]")
            page.wait_for_timeout(60)
            inside = page.evaluate("[...document.querySelectorAll('.text *')].map(e => e.localName)")
            assert set(inside) <= TAGS | {"span"}
            attributes = page.evaluate(
                "[...document.querySelectorAll('.text *')].flatMap(e => [...e.attributes].map(a => a.name))"
            )
            assert set(attributes) <= {"tabindex", "title", "class"}
        assert page.title() == "Which answer is better?"
        assert page.evaluate("document.scripts.length") == 1
        assert page.evaluate("({}).polluted") is None
        assert page.is_visible("[data-verdict=left]")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing pushes the page aside"
        press(page, "t")
    assert seen == len(HOSTILE) + 1, "one of them came twice, to measure consistency"


def test_a_direction_trick_stays_where_it_is_and_is_named(enter: Enter, served: Any) -> None:
    base, study_id = served([("q", "say \u202eno", "say yes")])
    page = enter(base, study_id, "Ann")
    assert "say U+202Eno" in texts(page)


# -- phone, dark and light, accessibility


def test_on_a_phone_everything_is_in_reach_and_taps_label(enter: Enter, served: Any, path: Path) -> None:
    base, study_id = served([(f"a long question {n} " * 20, "word " * 200, "word " * 250) for n in range(2)])
    page = enter(base, study_id, "Ann", **PHONE)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for button in page.query_selector_all("[data-verdict]"):
        box = button.bounding_box()
        assert box is not None
        assert box["height"] >= 40
        assert box["y"] + box["height"] <= 844, "the choices stay on screen"
    page.tap("[data-verdict=both_bad]")
    page.wait_for_function("() => document.querySelector('#said').textContent.includes('Saved')")
    page.tap("#undo")
    page.wait_for_function("() => document.querySelector('#said').textContent.includes('Taken back')")
    page.tap("[data-verdict=tie]")
    page.wait_for_function("() => document.querySelector('#said').textContent.includes('tie')")
    assert said(path) == [("Ann", "tie")]


CONTRASTS = """() => {
  const rgb = (text) => { const m = text.match(/[\\d.]+/g).map(Number); return m.length > 3 ? m : [...m, 1]; };
  const part = (c) => { c /= 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
  const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  const behind = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor);
    if (c[3] === 1) return c; } return [255, 255, 255, 1]; };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !e.checkVisibility() || ["SCRIPT", "NOSCRIPT"].includes(e.tagName)) continue;
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), walker.currentNode.data.trim().slice(0, 40)]);
  }
  return found;
}"""
RICH = "# Title\n\n**bold** and `code`\n\n> quoted\n\n```\nfenced\n```\n\n| a | b |\n|-|-|\n| 1 | \u202e |"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_the_contrast_of_wcag_aa(enter: Enter, served: Any, path: Path, scheme: str) -> None:
    base, study_id = served([("q", RICH, RICH + " more"), ("q2", "", "b")])
    recommend(path, study_id, 0.95, may_stop=True)
    page = enter(base, study_id, "Ann", color_scheme=scheme)
    page.wait_for_selector("#enough:visible")
    found = page.evaluate(CONTRASTS)
    page.keyboard.press("d")
    page.wait_for_selector("ins")
    found += page.evaluate(CONTRASTS)
    press(page, "t")
    page.evaluate("document.querySelector('#about').showModal()")
    found += page.evaluate(CONTRASTS)
    assert len(found) > 60
    assert min(found)[0] >= 4.5, min(found)


def test_every_control_has_a_name_and_is_reached_by_tab(enter: Enter, served: Any) -> None:
    base, study_id = served(three(1))
    page = enter(base, study_id, "Ann")
    assert page.get_attribute("html", "lang") == "en"
    reached = set()
    for _ in range(20):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("(document.activeElement.innerText || document.activeElement.id).trim()"))
    for name in ("Jump to the answers", "Help", "Formatted", "As written", "remark"):
        assert name in reached
    for verdict in ("left", "right", "tie", "both_bad", "skip"):
        assert page.inner_text(f"[data-verdict={verdict}]").strip() in reached
    assert page.evaluate("document.querySelectorAll('h1').length") == 1
    assert page.evaluate("document.querySelector('#remark').labels.length") == 1

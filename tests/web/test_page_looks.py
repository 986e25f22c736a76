"""The labelling page in headless Chromium: hostile answers, a phone, contrast, names for everything."""

from pathlib import Path
from typing import Any

import pytest

from promptopt.store.store import Store
from promptopt.web.markup import TAGS
from tests.web.conftest import Enter
from tests.web.hands import PHONE, press, said, texts, three
from tests.web.stage import recommend

pytestmark = [
    pytest.mark.web,
    # Playwright leaves its event loop to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


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
            if view == "differences":  # which the server works out, while the others are there already
                page.wait_for_function("() => document.querySelector('#view-note').textContent")
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
    for address in ("nowhere", "join"):
        page.goto(f"{base}/{address}")
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

"""Make docs/labelling-*.png from a made-up study, in headless Chromium: python docs/make_labelling_pictures.py"""

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))

from promptopt.store.rows import Vote
from promptopt.store.store import Store
from promptopt.web.server import Address, serving
from tests.web.conftest import FLAGS
from tests.web.hands import PHONE, READY
from tests.web.stage import NAME, recommend, stage

STEPS = """Thanks for asking! You can return the lamp **within 30 days**, as long as it is unused.

1. Open *My orders* and choose **Return an item**.
2. Print the label, or show the code at the shop.
3. The money is back on your card in about five days.

If the lamp arrived broken, we pay for the way back too."""
TABLE = """Returns are accepted for 30 days. Use the form:

```
https://shop.example/returns
```

| Item | Days | Fee |
|---|---|---|
| Lamps | 30 | none |
| Bulbs | 14 | 2.50 |"""
QUESTION = "Can I send back the lamp I bought three weeks ago? It does not fit my desk."
WIDE = {"viewport": {"width": 1280, "height": 800}}
PICTURES = {"desktop": WIDE, "dark": {**WIDE, "color_scheme": "dark"}, "phone": {**PHONE, "device_scale_factor": 2}}


def take(browser: Browser, base: str, link: str, name: str) -> None:
    context = browser.new_context(**PICTURES[name])
    page = context.new_page()
    page.goto(f"{base}/join#{link}")
    page.click("#start")
    page.wait_for_selector(READY)
    page.wait_for_function("() => document.querySelector('#p-best').textContent")
    page.mouse.move(1, 1)
    page.screenshot(path=DOCS / f"labelling-{name}.png")
    context.close()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s.db"
        study_id = stage(path, [(QUESTION, STEPS, TABLE), *((f"question {n}", "a", "b") for n in range(14))], quorum=2)
        recommend(path, study_id, 0.74)
        with Store.open(path) as store:
            said = [Vote(duel.id, "Bob", "left") for duel in store.duels(study_id)[1:]]
            said += [Vote(vote.duel_id, "Ann", "left" if n % 5 else "right") for n, vote in enumerate(said[:9])]
            store.record_votes(said)
            links = {name: store.invite(study_id, "Ann") for name in PICTURES}
        with serving(str(path), (study_id, NAME), Address(port=0)) as taken, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(FLAGS))
            for name, link in links.items():
                take(browser, taken.base, link, name)
            browser.close()


if __name__ == "__main__":
    main()

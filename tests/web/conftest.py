"""Headless Chromium for the tests of pages: a browser a module, and a person's window at the page."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from promptopt.store.store import Store
from promptopt.web.server import Address, serving
from tests.conftest import require_package
from tests.web.hands import READY
from tests.web.stage import NAME, stage

CHROMIUM = os.environ.get("PROMPTOPT_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync")  # fmt: skip

Enter = Callable[..., Any]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium (apt-get install chromium)")
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
    with ExitStack() as stack:

        def start(pairs: Any, **options: Any) -> tuple[str, int]:
            study_id = stage(path, pairs, **options)
            return stack.enter_context(serving(str(path), (study_id, NAME), Address(port=0))).base, study_id

        yield start

"""What a labeller does at the page, and what the store then holds."""

from pathlib import Path
from typing import Any

from promptopt.store.store import Store
from tests.web.stage import NAME

READY = "#main[aria-busy=false]"
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


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

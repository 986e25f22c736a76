"""Study files: each wrong one gets one sentence that names the file and the key."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from promptopt.budget import Budget
from promptopt.config import (
    DEFAULT_EVALUATIONS,
    ModelSpec,
    StrategySpec,
    StudySpec,
    TaskSpec,
    read_spec,
    spec_from_json,
)
from promptopt.errors import ConfigError, UnknownNameError
from promptopt.guards import Rules
from promptopt.ids import canonical_json

FULL = """
[task]
data = "reviews.csv"
prompt = "Judge: {text}"
metric = "exact-match"
columns = { target = "label", input = "text" }
max_tokens = 8
scoring = "likelihood"
mode = "completion"
editable = ["instruction", "demos"]
name = "reviews"
description = "Judge reviews."

[model]
task = "http://localhost:8000/v1#small"
optimizer = "http://localhost:8000/v1#large"
options = { concurrency = 8, completion = false, timeout_s = 2.5, key_variable = "KEY", body = { top_p = 0.9 } }
price = [0.15, 1]

[strategy]
name = "apo"
profile = "paper"
settings = { width = 4, parts = ["a", "b"] }

[budget]
evaluations = 100
calls = 900
usd = 1
seconds = 60.5

[guards]
urls = false
growth = 6
copied_words = 12

[study]
name = "mine"
seed = 7
store = "other.db"
cache = "off"
"""

SPEC = StudySpec(
    task=TaskSpec(
        data="reviews.csv",
        prompt="Judge: {text}",
        metric="exact-match",
        columns={"target": "label", "input": "text"},
        max_tokens=8,
        scoring="likelihood",
        mode="completion",
        editable=("instruction", "demos"),
        name="reviews",
        description="Judge reviews.",
    ),
    model=ModelSpec(
        task="http://localhost:8000/v1#small",
        optimizer="http://localhost:8000/v1#large",
        options={
            "concurrency": "8",
            "completion": "False",
            "timeout_s": "2.5",
            "key_variable": "KEY",
            "body": '{"top_p": 0.9}',
        },
        price=(0.15, 1),
    ),
    strategy=StrategySpec("apo", "paper", {"width": 4, "parts": ["a", "b"]}),
    budget=Budget(evaluations=100, calls=900, usd=1, seconds=60.5),
    name="mine",
    seed=7,
    store="other.db",
    cache="off",
    guards=Rules(urls=False, growth=6, copied_words=12),
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "study.toml"


def read(file: Path, text: str) -> StudySpec:
    file.write_text(text, encoding="utf-8")
    return read_spec(file)


def test_every_key_arrives(file: Path) -> None:
    assert read(file, FULL) == SPEC


def test_an_empty_file_is_all_defaults(file: Path) -> None:
    assert read(file, "") == StudySpec()


def test_a_budget_without_a_plan_keeps_the_default_plan(file: Path) -> None:
    assert read(file, "[budget]\ncalls = 50").budget == Budget(evaluations=DEFAULT_EVALUATIONS, calls=50)


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ("", "pes"),
        ("[strategy]\nsettings = { duels = 30 }", "pes"),
        ("[strategy]\nname = 'btl'", "btl"),
        ("[task]\nrubric = 'Polite.'", "irace"),
    ],
)
def test_where_somebody_judges_the_usual_strategy_compares(file: Path, more: str, name: str) -> None:
    assert read(file, f"[judge]\nby = ['http://localhost/v1']\n{more}").strategy.name == name


@pytest.mark.parametrize("spec", [StudySpec(), SPEC])
def test_a_spec_survives_the_store(spec: StudySpec) -> None:
    import json

    assert spec_from_json(json.loads(canonical_json(asdict(spec)))) == spec


NOT_SO: dict[str, tuple[str, str]] = {
    "not TOML": ("[task\n", "not a readable TOML file"),
    "key twice": ('[task]\ndata = "a"\ndata = "b"\n', "not a readable TOML file"),
    "unknown section": ("[taks]\n", "did you mean task?"),
    "key outside a section": ("task = 1\n", r"task must be a section, written \[task\]"),
    "budget as a number": ("budget = 300\n", r"written \[budget\]"),
    "unknown key": ("[budget]\nevaluation = 5\n", "did you mean evaluations?"),
    "key of another section": ("[study]\nmetric = 'f1'\n", r"key in \[study\]"),
    "text for a number": ("[budget]\ncalls = 'many'\n", r"\[budget\] calls = 'many' must be a whole number"),
    "fraction for a whole number": ("[budget]\ncalls = 1.5\n", r"\[budget\] calls = 1.5 must be a whole number"),
    "truth for a number": ("[study]\nseed = true\n", r"\[study\] seed = True must be a whole number"),
    "truth for money": ("[budget]\nusd = true\n", r"\[budget\] usd = True must be a number"),
    "number for text": ("[task]\nprompt = 3\n", r"\[task\] prompt = 3 must be text"),
    "date for text": ("[study]\nname = 2026-01-01\n", r"\[study\] name = .* must be text"),
    "text for a list": ("[task]\neditable = 'demos'\n", r"\[task\] editable = 'demos' must be a list of texts"),
    "list of numbers": ("[task]\neditable = [1]\n", r"\[task\] editable = \[1\] must be a list of texts"),
    "columns of numbers": ("[task]\ncolumns = { target = 2 }\n", r"\[task\] columns = .* must be a table of texts"),
    "one price": ("[model]\nprice = [0.1]\n", r"\[model\] price = \[0.1\] must be two numbers"),
    "prices in words": ("[model]\nprice = ['a', 'b']\n", r"\[model\] price = .* must be two numbers"),
    "options as a list": ("[model]\noptions = []\n", r"\[model\] options = \[\] must be a table"),
    "settings as text": ("[strategy]\nsettings = 'width=4'\n", r"\[strategy\] settings = .* must be a table"),
    "plan of zero": ("[budget]\nevaluations = 0\n", "evaluations = 0 must be a whole number above 0"),
    "cap below zero": ("[budget]\ncalls = -4\n", "calls = -4 must be a number above 0"),
    "cap that is no number": ("[budget]\nusd = nan\n", "usd = nan must be a number above 0"),
    "cap without end": ("[budget]\nseconds = inf\n", "seconds = inf must be a number above 0"),
    "unknown cache mode": ("[study]\ncache = 'maybe'\n", "cache = 'maybe' must be on or off"),
}


@pytest.mark.parametrize("case", NOT_SO)
def test_a_wrong_file_gets_one_sentence_that_names_file_and_key(file: Path, case: str) -> None:
    text, said = NOT_SO[case]
    with pytest.raises(ConfigError, match=said) as raised:
        read(file, text)
    message = str(raised.value)
    assert str(file) in message
    assert "\n" not in message
    assert raised.value.exit_code == 2


@pytest.mark.parametrize("text", ["[taks]\n", "[task]\ndat = 'x'\n"])
def test_unknown_names_are_told_as_such(file: Path, text: str) -> None:
    with pytest.raises(UnknownNameError):
        read(file, text)


def test_a_file_that_cannot_be_read_is_said(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"study.toml: there is no such study file"):
        read_spec(file)
    with pytest.raises(ConfigError, match="not a readable TOML file"):
        read_spec(file.parent)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not a readable TOML file"):
        read_spec(file)


def test_a_byte_order_mark_is_no_fault(file: Path) -> None:
    file.write_text("\ufeff[study]\nname = 'marked'\n", encoding="utf-8")
    assert read_spec(file).name == "marked"


@pytest.mark.parametrize("change", [{"cache": "maybe"}])
def test_a_spec_from_python_is_checked_too(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="on or off"):
        StudySpec(**change)

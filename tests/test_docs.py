"""What the documentation says in code is run as it stands, but for the model's address."""

import contextlib
import csv
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

import promptopt
from promptopt.config import _KEYS
from promptopt.report import list_studies
from promptopt_cli.app import app, main

ROOT = Path(__file__).resolve().parent.parent
MODEL = "simulated:additive"
ADDRESS = re.compile(r"https?://(localhost:8000|api\.openai\.com)/v1(#[\w./-]+)?")
PAGES = sorted(page.relative_to(ROOT).as_posix() for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return [ADDRESS.sub(MODEL, block) for block in re.findall(rf"```{language}\n(.*?)```", text, re.S)]


def indented(page: str) -> list[str]:
    found = re.findall(r"^    (promptopt .*)$", (ROOT / page).read_text(encoding="utf-8"), re.M)
    return [ADDRESS.sub(MODEL, line) for line in found]


def anchors(page: Path) -> list[str]:
    """The names that links give the headings of a page."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]


@pytest.fixture(autouse=True)
def _data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Path("reviews.csv").open("w", newline="", encoding="utf-8") as file:
        rows = [[f"review number {n}", ("positive", "negative")[n % 2]] for n in range(300)]
        csv.writer(file).writerows([["text", "label"], *rows])
    Path("tickets").mkdir()
    for split in ("train", "dev", "test"):
        rows = (f'{{"text": "{split} ticket {n}", "label": "{("new", "old")[n % 2]}"}}\n' for n in range(60))
        Path("tickets", f"{split}.jsonl").write_text("".join(rows))
    Path("prompt.txt").write_text("Is this positive or negative? {text}")
    Path("messages.json").write_text('[{"role": "user", "content": "Positive? {text}"}]')
    Path("replies.jsonl").write_text("".join(f'{{"message": "message number {n}"}}\n' for n in range(30)))
    Path("study.toml").write_text(blocks("docs/tasks.md", "toml")[0])


def commands() -> list[str]:
    lines = [line for block in blocks("README.md", "sh") for line in block.strip().splitlines()]
    for page in ("tasks", "labelling", "guards", "howto"):
        lines += indented(f"docs/{page}.md")
    return [line for line in lines if line.startswith("promptopt optimize")]


@pytest.mark.parametrize("command", commands())
def test_a_command_of_the_documentation_runs(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(command) + ([] if ".toml" in command or "--model" in command else ["--model", MODEL])
    monkeypatch.setattr(sys, "argv", [*words, *([] if "--evaluations" in command else ["-n", "40"]), "--estimate"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 0


@pytest.mark.parametrize("command", [line for line in indented("docs/labelling.md") if " label " in line])
def test_a_command_for_people_has_the_options_that_it_names(command: str) -> None:
    label = typer.main.get_command(app).commands["label"]  # type: ignore[attr-defined]
    assert label.make_context("label", shlex.split(command)[2:]).params["study"] == "replies"


@pytest.mark.parametrize("page", ["README.md", "docs/api.md"])
def test_the_first_example_in_python_runs(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(blocks(page, "python")[0], {})
    assert re.match("Better by|Worse by|No reliable improvement", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("page", "number"),
    [("docs/api.md", 1), ("docs/api.md", 2), ("docs/api.md", 3), ("docs/guards.md", 0), ("docs/howto.md", 0)],
)
def test_a_further_example_in_python_runs(page: str, number: int) -> None:
    names: dict[str, Any] = {"promptopt": promptopt}
    exec(blocks(page, "python")[number], names)
    assert list_studies("promptopt.db")[0]["state"] == "finished"


def test_a_strategy_can_be_driven_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {"call_my_model": lambda messages: ("even", "odd")[len(messages[-1].content) % 2]}
    exec(blocks("docs/api.md", "python")[4], names)
    assert names["left"] < 60
    assert capsys.readouterr().out.strip() == names["best"].instruction


def test_every_key_of_a_study_file_is_told() -> None:
    rows = re.findall(r"^\| `\[(\w+)\]` \| (.*) \|$", (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8"), re.M)
    told = {section: set(re.findall(r"`(\w+)`", keys)) for section, keys in rows}
    known = {section: set(keys) for section, keys in _KEYS.items()}
    switches = {name for name, kind in _KEYS["guards"].items() if kind == "true or false"}
    assert told == {**known, "guards": known["guards"] - switches}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    here = ROOT / page
    for link in re.findall(r"\]\(((?!https?:)[^)\s]+)\)", here.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        there = here.parent / path if path else here
        assert there.exists(), link
        assert not anchor or anchor in anchors(there), link


def test_the_pages_of_the_strategies_say_what_the_code_says() -> None:
    script = ROOT / "docs" / "make_strategies.py"
    ran = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_strategy_of_the_documentation_keeps_the_contract(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code, test = blocks("docs/api.md", "python")[5:]
    Path("greedy_of_docs.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    module = ModuleType("greedy_of_docs")
    monkeypatch.setitem(sys.modules, "greedy_of_docs", module)
    module.__dict__["__file__"] = "greedy_of_docs.py"
    exec(compile(code, "greedy_of_docs.py", "exec"), module.__dict__)
    names = dict(module.__dict__)
    exec(test, names)
    suite = names["TestGreedy"]()
    checks = [name for name in dir(suite) if name.startswith("test_")]
    assert len(checks) > 10
    for name in checks:
        with contextlib.suppress(pytest.skip.Exception):
            getattr(suite, name)()


def test_the_house_names_every_file_of_the_core_and_no_other() -> None:
    table = re.findall(r"^\| \d .*$", (ROOT / "docs/architecture.md").read_text(encoding="utf-8"), re.M)
    named = re.findall(r"`(\w+(?:\.py|/))`", "\n".join(table))
    files = [*(ROOT / "promptopt").glob("*.py"), *(file.parent for file in (ROOT / "promptopt").glob("*/__init__.py"))]
    there = {file.name if file.is_file() else f"{file.name}/" for file in files} - {"__init__.py", "__main__.py"}
    assert sorted(named) == sorted(there)

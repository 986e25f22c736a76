"""What people see in a narrow terminal and in a pipe: words, numbers and commands stay whole."""

import io
import sys
from typing import Any

import pytest

from promptopt_cli import show
from promptopt_cli.front import show_front

WORDS = "a sentence of many words that goes on for longer than sixty columns and is broken somewhere"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def narrow(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make a terminal of 60 columns standard output; called in tests, since pytest sets its own between them."""
    terminal = Terminal()
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")  # else rich takes 80 columns
    monkeypatch.setattr(sys, "stdout", terminal)
    return terminal


def study(state: str, sentence: str) -> dict[str, Any]:
    created = "2026-11-26T15:02:00.000Z"
    return {
        "name": "reviews-irace-3f2a",
        "state": state,
        "created": created,
        "sentence": sentence,
        "from_python": False,
    }


def test_a_study_from_python_goes_on_by_its_script() -> None:
    for state in ("paused", "interrupted"):
        told = show.stand({**study(state, "Not finished."), "from_python": True}, "other.db")
        assert told.endswith("o on with: its Python script, run again")


def test_a_sentence_is_broken_between_words_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = narrow(monkeypatch)
    show.say(show.console(), WORDS)
    lines = terminal.getvalue().splitlines()
    assert len(lines) == 2
    assert " ".join(line.strip() for line in lines) == WORDS


def test_a_sentence_is_one_line_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    show.say(show.console(), f"{WORDS} {WORDS}")
    assert capsys.readouterr().out == f"{WORDS} {WORDS}\n"


def test_short_cells_are_not_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = narrow(monkeypatch)
    row = {
        "name": "past-tense",
        "metric": "multiple-choice",
        "train": 140,
        "dev": 80,
        "test": 320,
        "description": WORDS,
    }
    show.table([row], tuple(row))
    shown = terminal.getvalue()
    assert "past-tense" in shown
    assert "multiple-choice" in shown


def test_no_number_of_the_front_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    point = {"number": 12, "prompt_id": "5db14bc87deb", "operator": "rephrase", "tokens": 1234.0, "read": 1240.0,
             "mean": 0.5, "standard_error": 0.151, "n_valid": 12, "dev": 0.583, "is_front": True}  # fmt: skip
    terminal = narrow(monkeypatch)
    show_front([point])
    shown = terminal.getvalue()
    assert "…" not in shown
    assert all(number in shown for number in ("5db14bc8", "1234", "1240", "0.500", "0.296", "0.583"))


@pytest.mark.parametrize(
    ("state", "sentence", "says"),
    [
        ("paused", "Not finished: stopped by Ctrl-C.", "Go on with: promptopt resume reviews-irace-3f2a"),
        ("interrupted", "", "go on with: promptopt resume reviews-irace-3f2a"),
        ("waiting", "Not finished: 3 duels wait.", "Give verdicts with: promptopt label reviews-irace-3f2a"),
        ("finished", "Better by 5 points.", "Better by 5 points."),
        ("paused", "", ""),  # an evaluation
    ],
)
def test_how_a_study_goes_on(state: str, sentence: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = show.stand(study(state, sentence), "other.db")
    assert told.startswith(sentence)
    assert says in told
    assert ("--store other.db" in told) == (bool(says) and state != "finished")
    terminal = narrow(monkeypatch)
    show.studies([study(state, sentence)], "other.db")
    assert "…" not in terminal.getvalue()

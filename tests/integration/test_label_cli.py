"""Labelling on the command line: in the terminal, by files from elsewhere, and everything that must be refused."""

import csv
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

import promptopt
from promptopt.backends.base import Reply, Request
from promptopt.backends.simulated import SimulatedBackend
from promptopt.store.store import Store
from promptopt_cli.app import main


class Ran(NamedTuple):
    code: int
    out: str
    err: str


Cli = Callable[..., Ran]
START = ("optimize", "sentiment", "--model", "simulated:additive", "-n", "160", "--judge", "human", "--study", "h",
         "--set", "duels=8", "--set", "pool=5", "--set", "least=30")  # fmt: skip


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    monkeypatch.chdir(tmp_path)

    def run(*words: str, keys: str = "") -> Ran:
        monkeypatch.setattr(sys, "argv", ["promptopt", *words])
        monkeypatch.setattr(sys, "stdin", io.StringIO(keys))
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return Ran(int(stop.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def waiting(cli: Cli) -> Cli:
    ran = cli(*START)
    assert ran.code == 3, ran.err
    assert "promptopt label h" in ran.err
    return cli


def preferences(source: str = "human") -> list[tuple[str, str, str]]:
    with Store.open("promptopt.db", create=False) as store:
        return [(p.labeller, p.verdict, p.remark) for p in store.preferences(1) if p.source == source]


def test_a_session_in_the_terminal_ends_the_study(waiting: Cli) -> None:
    ran = waiting("label", "h", "--terminal", "--name", "ann", keys="r too long\n1\nt\nb\ns\n" + "1\n" * 20)
    assert ran.code == 0, ran.err
    assert "person    ann" in ran.out
    assert "pairs open" in ran.out
    said = preferences()
    assert said[0][0] == "ann"
    assert [remark for _, _, remark in said if remark] == ["too long"]
    assert {"tie", "both_bad", "skip"} <= {verdict for _, verdict, _ in said}


def test_undo_stop_and_unknown_keys(waiting: Cli) -> None:
    ran = waiting("label", "h", "--terminal", "--name", "ann", keys="u\nwhat\n1\nu\n2\nq\n")
    assert ran.code == 3
    assert "nothing to take back" in ran.out
    assert "Stopped; nothing is lost" in ran.err
    assert len(preferences()) == 1
    again = waiting("label", "h", "--terminal", "--name", "ann", keys="")
    assert again.code == 3, "the end of the input stops, too"


def test_hostile_answers_cannot_steer_the_terminal(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = SimulatedBackend.answer

    def hostile(self: SimulatedBackend, request: Request) -> Reply:
        reply = answer(self, request)
        tail = len(request.messages[-1].content)
        return Reply("ok", f"\x1b[2J\u202e{reply.text}\x07{tail}", reply.usage)

    monkeypatch.setattr(SimulatedBackend, "answer", hostile)
    cli(*START)
    ran = cli("label", "h", "--terminal", "--name", "ann", keys="1\nq\n")
    assert not {"\x1b", "\u202e", "\x07"} & set(ran.out)
    assert "[2J" in ran.out


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_labels_go_out_are_filled_in_and_come_back(waiting: Cli, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"pairs.{suffix}"
    assert "3 pairs" in waiting("label", "h", "--export", str(path)).out
    rows = read(path)
    assert [row["verdict"] for row in rows] == [""] * 3
    assert all(row["left"] != row["right"] for row in rows)
    for row, verdict in zip(rows, ("left", "Both bad", ""), strict=True):
        row |= {"verdict": verdict, "labeller": "bob" if verdict else "", "remark": "=1+1" if verdict else ""}
    write(path, rows)
    assert "2 new verdicts" in waiting("label", "h", "--import", str(path)).out
    assert "0 new verdicts" in waiting("label", "h", "--import", str(path)).out, "the same file again changes nothing"
    assert sorted(verdict for _, verdict, _ in preferences())[0] == "both_bad"
    assert {who for who, _, _ in preferences()} == {"bob"}
    waiting("label", "h", "--export", str(path))
    back = {row["duel"]: row for row in read(path)}
    assert back[rows[0]["duel"]]["verdict"] == "left", "on the same sides as before"
    assert back[rows[0]["duel"]]["remark"].removeprefix("'") == "=1+1"
    if suffix == "csv":
        assert "'=1+1" in path.read_text(), "no spreadsheet runs it"
    ran = waiting("resume", "h")
    assert ran.code == 3
    assert len(preferences()) == 2


def read(path: Path) -> list[dict[str, str]]:
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write(path: Path, rows: list[dict[str, str]]) -> None:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("x.csv", "duel,verdict\nnothing,left\n", "x.csv, line 2: the study has no duel 'nothing'"),
        ("x.csv", "a,b\n1,2\n", "x.csv, line 1: there is no column 'duel'"),
        ("x.jsonl", "{\n", "x.jsonl, line 1: this is not JSON"),
        ("x.jsonl", "[]\n", "x.jsonl, line 1: this is no JSON object"),
        ("x.csv", 'duel,verdict\n"{duel},left\n', "x.csv, line 2: this is not CSV (unexpected end of data)"),
        (
            "x.csv",
            "duel;verdict;labeller\n{duel};left;the outputs\n",
            "x.csv, line 2: The name 'the outputs' will not do",
        ),
        ("x.csv", "duel,verdict,labeller\n{duel},left,a\x1bb\n", "x.csv, line 2: The name 'a\\x1bb' will not do"),
        ("x.jsonl", "[" * 100_000, "x.jsonl, line 1: this is not JSON"),
        ("x.txt", "", "labels go into files of the kinds .csv and .jsonl"),
        ("missing.csv", None, "missing.csv: the file cannot be read"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(waiting: Cli, tmp_path: Path, name: str, text: str, said: str) -> None:
    if text is not None:
        waiting("label", "h", "--export", "pairs.jsonl")
        (tmp_path / name).write_text(text.replace("{duel}", read(Path("pairs.jsonl"))[0]["duel"]))
    ran = waiting("label", "h", "--import", str(tmp_path / name))
    assert ran.code == 2
    assert said in ran.err
    assert preferences() == []


def test_files_with_huge_cells_line_ends_of_all_kinds_and_semicolons_come_back(waiting: Cli, tmp_path: Path) -> None:
    waiting("label", "h", "--export", str(tmp_path / "x.jsonl"))
    first, second, third = (row["duel"] for row in read(tmp_path / "x.jsonl"))
    (tmp_path / "huge.csv").write_text(f"duel,verdict,left\n{first},tie,{'x' * 200_000}\n")
    (tmp_path / "semi.csv").write_text(f"duel;verdict;remark\r\n{second};skip;a, b\r\n")
    row = {"duel": third, "verdict": "left", "remark": "one\u2028two\x85three\rfour"}
    (tmp_path / "ends.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\r\n", newline="")
    for name in ("huge.csv", "semi.csv", "ends.jsonl"):
        assert waiting("label", "h", "--import", str(tmp_path / name), "--name", "ann").out.startswith("1 new verdicts")
    assert {(verdict, remark) for _, verdict, remark in preferences()} >= {("tie", ""), ("skip", "a, b")}
    assert row["remark"] in [remark for _, _, remark in preferences()]


def test_a_wrong_verdict_in_a_file_takes_nothing_in(waiting: Cli, tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    waiting("label", "h", "--export", str(path))
    rows = read(path)
    rows[0]["verdict"], rows[1]["verdict"] = "left", "best"
    write(path, rows)
    ran = waiting("label", "h", "--import", str(path), "--name", "ann")
    assert ran.code == 2
    assert "line 3: verdict 'best' must be one of left, right" in ran.err
    assert preferences() == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("label", "nobody", "--terminal"), "no study named 'nobody'"),
        (("label", "h", "--terminal", "--name", "the outputs"), "The name 'the outputs' will not do"),
        (("label", "nobody"), "no study named 'nobody'"),
        (("label", "h", "--store", "none.db"), "none.db: there is no such store"),
        (("label", "h", "--invite", " Ann", "--port", "0"), "The name ' Ann' will not do"),
        (("label", "h", "--url", "label.example"), "expected an address such as https://label.example.org"),
        (("label", "h", "--host", "0.0.0.0"), "say with --url how people reach it"),
        (("label", "none.toml"), "none.toml: there is no such study file"),
        ((*START[:-6], "--judge", "nonsense", "--study", "j"), "two models"),
        (("optimize", "sentiment", "--judge", "nonsense:x", "--study", "j"), "no kind of backend named 'nonsense'"),
        (("optimize", "sentiment", "--strategy", "btl", "--embed", "x", "--study", "j"), "must be hash, st:NAME"),
    ],
)
def test_a_wrong_command_is_one_sentence(waiting: Cli, words: tuple[str, ...], said: str) -> None:
    if "two models" in said:
        words = (*words, "--judge", "simulated:flat", "--judge", "simulated:additive")
    ran = waiting(*words)
    assert ran.code == 2
    assert said in ran.err


@pytest.mark.parametrize("words", [(), ("--terminal",), ("--audit",)])
def test_a_study_that_asks_nobody_is_refused(cli: Cli, words: tuple[str, ...]) -> None:
    cli("optimize", "sentiment", "--model", "simulated:additive", "-n", "20", "--strategy", "random", "--study", "m")
    ran = cli("label", "m", *words)
    assert (ran.code, ran.err) == (2, "promptopt: The study 'm' asks nobody; make one with --judge human.\n")
    exported = cli("label", "m", "--export", "pairs.csv")
    assert exported.code == 2
    assert "has no pairs to write" in exported.err
    assert not Path("pairs.csv").exists()


@pytest.mark.parametrize("words", ["--terminal", "--audit"])
def test_a_study_made_from_python_cannot_be_run_in_the_terminal(cli: Cli, words: str) -> None:
    rows = [{"message": f"message {n}"} for n in range(30)]
    promptopt.optimize(rows, prompt="Answer.", metric="none", judge="human", model="simulated:additive", name="h")
    ran = cli("label", "h", words)
    assert ran.code == 2
    assert "The study 'h' was made from Python, whose script alone can run it" in ran.err


def test_a_judge_model_is_audited_by_hand(cli: Cli) -> None:
    ran = cli("optimize", "sentiment", "--model", "simulated:additive", "-n", "60",
              "--judge", "simulated:additive?seed=1",
              "--study", "m", "--set", "duels=6", "--set", "pool=4")  # fmt: skip
    assert "judge     simulated:additive?seed=1" in ran.out
    assert "no person has checked it" in ran.out
    audit = cli("label", "m", "--audit", "--name", "ann", keys="1\n" * 30)
    assert audit.code == 0, audit.err
    assert len(preferences()) > 0

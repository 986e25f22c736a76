"""The command line as people use it: the main job, its output for machines, and one sentence for every bad input."""

import csv
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from promptopt.backends.base import Reply, Request
from promptopt.backends.simulated import SimulatedBackend
from promptopt_cli.app import main

MODEL = "simulated:additive?seed=3"
COLOURS = ("red", "green", "blue")


class Ran(NamedTuple):
    code: int
    out: str
    err: str


Cli = Callable[..., Ran]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["promptopt", *words])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return Ran(int(stop.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def data(tmp_path: Path) -> str:
    path = tmp_path / "items.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows([f"item number {i}", COLOURS[i % 3]] for i in range(600))
    return str(path)


@pytest.fixture
def study(cli: Cli, data: str) -> str:
    ran = cli("optimize", "--data", data, "--prompt", "Name the colour: {text}", "--model", MODEL, "--study", "colours",
              "-n", "150", "--json")  # fmt: skip
    assert ran.code == 0, ran.err
    return "colours"


def test_optimize_shows_the_verdict_both_prompts_and_the_cost(cli: Cli, data: str) -> None:
    ran = cli("optimize", "--data", data, "--prompt", "Name the colour: {text}", "--model", MODEL, "-n", "150")
    assert ran.code == 0
    assert "held-out examples" in ran.out or "keep your prompt" in ran.out
    assert "step by step" in ran.out
    assert "search evaluations" in ran.out
    assert "promptopt export items-irace-" in ran.out


def test_optimize_json_is_json_and_nothing_else(cli: Cli, data: str) -> None:
    ran = cli("optimize", "--data", data, "--prompt", "Colour?", "--model", MODEL, "-n", "150", "--json")
    result = json.loads(ran.out)
    assert result["state"] == "finished"
    assert result["verdict"]["word"] in ("better", "no reliable improvement", "worse")
    assert result["spend"]["calls"] > 0


def test_a_study_file_and_the_command_line_say_the_same(cli: Cli, data: str, tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text(
        f'[task]\ndata = "{data}"\nprompt = "Colour?"\n[model]\ntask = "{MODEL}"\n[budget]\nevaluations = 150\n'
    )
    from_file = json.loads(cli("optimize", str(file), "--json").out)
    from_line = cli("optimize", "--data", data, "--prompt", "Colour?", "--model", MODEL, "-n", "150", "--json").out
    assert json.loads(from_line)["name"] == from_file["name"]


def test_a_strategy_follows_another_from_a_file_as_from_the_command_line(cli: Cli, data: str, tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text(
        f'[task]\ndata = "{data}"\nprompt = "Colour?"\n[model]\ntask = "{MODEL}"\n[budget]\nevaluations = 150\n'
        '[strategy]\nname = "random"\nthen = "irace"\nshare = 0.4\nsettings = { rows = 10, then.block = 4 }\n'
    )
    from_file = json.loads(cli("optimize", str(file), "--json").out)
    words = ("--strategy", "random", "--set", "rows=10", "--then", "irace", "--set", "then.block=4", "--share", "0.4")
    shared = ("optimize", "--data", data, "--prompt", "Colour?", "--model", MODEL, "-n", "150", "--json")
    from_line = json.loads(cli(*shared, *words).out)
    assert from_line["name"] == from_file["name"]
    assert from_line["name"].startswith("items-random-then-irace-")
    assert json.loads(cli("resume", from_line["name"], "--json").out)["verdict"] == from_line["verdict"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--then", "irase"), "no strategy named 'irase'; did you mean irace"),
        (("--then", "irace", "--share", "1"), "share = 1.0 must be between 0 and 1"),
        (("--share", "0.3"), "name a second one with then"),
        (("--then", "random", "--set", "then.rowz=3"), "no setting of random named 'rowz'; did you mean rows"),
        (("--set", "then.rows=3"), "no setting of irace named 'then.rows'"),
    ],
)
def test_a_wrong_second_strategy_is_refused(cli: Cli, data: str, words: tuple[str, ...], said: str) -> None:
    ran = cli("optimize", "--data", data, "--prompt", "Colour?", "--model", MODEL, *words)
    assert ran.code == 2
    assert said in " ".join(ran.err.split())


def test_estimate_spends_nothing_and_leaves_no_study(cli: Cli, data: str) -> None:
    ran = cli("optimize", "--data", data, "--prompt", "Colour?", "--model", MODEL, "--estimate", "--json")
    assert json.loads(ran.out)["calls"] > 0
    assert cli("studies", "list").code == 2


def test_studies_list_show_best_diff_and_delete(cli: Cli, study: str) -> None:
    assert study in cli("studies", "list").out
    shown = json.loads(cli("studies", "show", study, "--json").out)
    assert shown["trials_list"][0]["mean"] >= shown["trials_list"][-1]["mean"]
    assert "trials on search rows" in cli("studies", "show", study).out
    assert "{text}" in cli("studies", "best", study).out
    assert "seed" in cli("studies", "diff", study).out
    assert cli("studies", "delete", study).code == 2
    assert cli("studies", "delete", study, "--yes").code == 0
    assert study not in cli("studies", "list").out


@pytest.mark.parametrize("form", ["text", "json", "openai"])
def test_export_gives_the_prompt(cli: Cli, study: str, form: str) -> None:
    ran = cli("export", study, "--form", form)
    assert ran.code == 0
    assert "text}" in ran.out
    if form != "text":
        assert json.loads(ran.out)


def test_resume_goes_on_from_the_store_alone(cli: Cli, data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = SimulatedBackend.answer
    made: list[object] = []

    def interrupted(self: SimulatedBackend, request: Request) -> Reply:
        made.append(request)
        if len(made) == 40:
            raise KeyboardInterrupt
        return answer(self, request)

    with monkeypatch.context() as patched:
        patched.setattr(SimulatedBackend, "answer", interrupted)
        words = ("optimize", "--data", data, "--prompt", "Colour?", "--model", MODEL, "--study", "stopped", "-n", "150")
        paused = cli(*words, "--max-calls", "1300")
    assert paused.code == 130
    assert "promptopt resume stopped" in paused.err
    assert "not proved" in cli("export", "stopped").err
    assert "no cap on usd" in cli("resume", "stopped", "--add", "usd=1").err
    resumed = json.loads(cli("resume", "stopped", "--add", "calls=500", "--json").out)
    assert resumed["state"] == "finished"
    assert resumed["spend"]["calls"] < len(made) + 1600
    late = cli("resume", "stopped", "--add", "calls=500")
    assert (late.code, "--fork stopped" in late.err) == (2, True)


def test_another_store_is_said_wherever_a_command_is_suggested(cli: Cli, data: str) -> None:
    words = ("optimize", "--data", data, "--prompt", "Colour?", "--model", MODEL, "--study", "my study", "-n", "150")
    assert "promptopt export 'my study' --store 'an other.db'" in cli(*words, "--store", "an other.db").out
    assert "promptopt resume 'my study' --store b.db" in cli(*words, "--max-calls", "1090", "--store", "b.db").err


def test_calls_that_fail_are_no_success(cli: Cli, data: str) -> None:
    ran = cli("optimize", "--data", data, "--prompt", "Colour?", "--model", MODEL + "&server_error=1", "-n", "150")
    assert (ran.code, "Paused" in ran.err) == (1, True)
    assert ".." not in ran.out + ran.err


@pytest.mark.parametrize("model", [MODEL, "simulated:flat", "simulated:additive?seed=5"])
def test_choices_that_may_be_luck_are_not_sold_as_reasons(cli: Cli, data: str, model: str) -> None:
    words = ("optimize", "--data", data, "--prompt", "Colour?", "-n", "150", "--model", model)
    shown = cli(*words).out
    changes = [effect for effect in json.loads(cli(*words, "--json").out)["effects"] if effect["against"]]
    assert ("what the changes are worth" in shown) == bool(changes)
    clear = any(effect["low"] * effect["high"] > 0 for effect in changes)
    assert ("None of these is certain by itself" in shown) == (bool(changes) and not clear)


def test_numpy_gets_one_thread(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    cli("tasks")
    assert os.environ["OPENBLAS_NUM_THREADS"] == "1"
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")
    cli("tasks")
    assert os.environ["OPENBLAS_NUM_THREADS"] == "3"


def test_a_cap_that_is_reached_is_no_failure_and_says_what_is_kept_for_the_proof(cli: Cli, data: str) -> None:
    ran = cli("optimize", "--data", data, "--prompt", "Colour?", "--model", MODEL, "-n", "150", "--max-calls", "1090")
    assert ran.code == 0
    assert "the budget of calls is spent, but for what the proof needs (up to 1080 calls)" in ran.err


def test_ctrl_c_before_a_study_runs_is_answered_in_one_sentence(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("promptopt.api.open_study", interrupted)
    ran = cli("optimize", "sentiment", "--model", MODEL)
    assert (ran.code, ran.out) == (130, "")
    assert ran.err == "promptopt: stopped; the same command goes on where it stood.\n"


def test_the_one_comparison_is_shown_with_its_p_value_and_what_a_call_takes(cli: Cli, data: str) -> None:
    ran = cli("optimize", "--data", data, "--prompt", "Colour?", "--model", MODEL, "-n", "150", "--price", "1,2", "-y")
    test, call = (next(li for li in ran.out.splitlines() if li.startswith(word)) for word in ("test ", "a call "))
    assert "; p = " in test
    assert "better on" in test
    assert "tokens read" in call
    assert "$" in call


def test_nothing_scored_is_shown_as_nothing(cli: Cli, data: str, tmp_path: Path) -> None:
    few = tmp_path / "few.csv"
    few.write_text("".join(Path(data).read_text().splitlines(keepends=True)[:61]))
    ran = cli("evaluate", "--data", str(few), "--prompt", "Colour: {text}", "--model", MODEL + "&refused=1")
    assert re.search(r": - \(95 % interval 0.000 to 1.000\), 0 valid of \d\d", ran.out), ran.err
    ran = cli("evaluate", "--data", data, "--prompt", "Colour: {text}", "--model", MODEL + "&refused=1")
    assert (ran.code, ran.out) == (1, "")
    assert "none of the first 40 calls brought an answer" in ran.err


def test_evaluate_under_a_cap_says_so_in_one_sentence(cli: Cli, data: str) -> None:
    ran = cli("evaluate", "--data", data, "--prompt", "Colour: {text}", "--model", MODEL, "--max-calls", "5")
    assert ran.code == 1
    assert "what came in is stored" in ran.err


def test_evaluate_scores_one_prompt(cli: Cli, data: str) -> None:
    ran = cli("evaluate", "--data", data, "--prompt", "Colour: {text}", "--model", MODEL, "--split", "dev", "--json")
    figures = json.loads(ran.out)
    assert 0 < figures["mean"] < 1
    assert figures["low"] < figures["mean"] < figures["high"]
    assert len(figures["outcomes"]) == figures["n"]


def test_evaluate_takes_the_options_of_the_model(cli: Cli, data: str) -> None:
    words = ("evaluate", "--data", data, "--prompt", "Colour: {text}", "--model", MODEL, "--json")
    assert json.loads(cli(*words, "--model-option", "refused=0.5").out)["n_valid"] < 90
    assert "no option of simulated:" in cli(*words, "--model-option", "refusd=1").err


def test_strategies_tasks_and_models_list_what_there_is(cli: Cli) -> None:
    assert {"apo", "irace", "opro", "random"} <= {row["name"] for row in json.loads(cli("strategies", "--json").out)}
    assert "setting" in cli("strategies", "irace").out
    assert "sentiment" in cli("tasks").out
    listed = cli("models", "list").out
    assert all(kind in listed for kind in ("embedded:", "http://", "openai:", "litellm:", "simulated:"))


def test_whether_there_is_a_vllm_command(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    for command, state in ((f"{sys.executable} serve", "good"), ("no-such-vllm serve", "absent")):
        monkeypatch.setenv("PROMPTOPT_VLLM_COMMAND", command)
        (listed,) = (
            row for row in json.loads(cli("models", "list", "--json").out) if row["address"].startswith("vllm:")
        )
        assert (command in listed["state"]) == (state == "good")
        checks = json.loads(cli("doctor", "--model", MODEL, "--json").out)
        assert checks[0]["check"] == "promptopt"
        assert [check["state"] for check in checks if check["check"] == "vllm:"] == [state]


@pytest.mark.parametrize(
    "words",
    [(), ("optimize",), ("resume",), ("evaluate",), ("export",), ("strategies",), ("tasks",), ("doctor",),
     ("studies", "list"), ("studies", "show"), ("studies", "best"), ("studies", "diff"), ("studies", "delete"),
     ("models", "list"), ("models", "pull"), ("vllm", "start"), ("vllm", "status"), ("vllm", "stop"), ("label",),
     ("studies",), ("models",), ("vllm",)],
)  # fmt: skip
def test_every_help_ends_with_an_example(cli: Cli, words: tuple[str, ...]) -> None:
    ran = cli(*words, "--help")
    assert ran == cli(*words, "-h")
    assert ran.code == 0
    assert "Example" in ran.out.strip().split("\n\n")[-1]
    assert not [line for line in ran.out.splitlines()[1:] if line.endswith("...")], (
        "what a command does is said in a line that fits"
    )


BAD = {
    "no data": (("optimize",), "there is no data"),
    "missing file": (("optimize", "--data", "none.csv"), "none.csv"),
    "unknown ready task": (("optimize", "sentimant"), "did you mean sentiment"),
    "unknown strategy": (("optimize", "DATA", "--strategy", "iracy"), "did you mean irace"),
    "unknown profile": (("optimize", "DATA", "--profile", "fast"), "profile"),
    "unknown setting": (("optimize", "DATA", "--set", "wdth=4"), "wdth"),
    "setting without value": (("optimize", "DATA", "--set", "width"), "name=value"),
    "unknown model": (("optimize", "DATA", "--model", "embeded:"), "did you mean embedded"),
    "unknown metric": (("optimize", "DATA", "--metric", "exact"), "exact-match"),
    "metric that does not fit": (("optimize", "DATA", "--metric", "numeric"), "numeric"),
    "rubric without a judge": (("optimize", "DATA", "--rubric", "It is polite."), "name one with --judge"),
    "rubric by people": (("optimize", "DATA", "--rubric", "Polite.", "--judge", "human"), "name one with --judge"),
    "empty rubric": (("optimize", "DATA", "--metric", "rubric", "--judge", MODEL), "The rubric is empty"),
    "blank rubric": (("optimize", "DATA", "--metric", "rubric", "--rubric", " ", "--judge", MODEL), "rubric is empty"),
    "missing rubric file": (("optimize", "DATA", "--rubric", "none.md", "--judge", MODEL), "none.md"),
    "one level": (("optimize", "DATA", "--level", "good", "--judge", MODEL), "name 2 to 10"),
    "rubric of another metric": (("optimize", "DATA", "--metric", "f1", "--rubric", "Polite."), "takes no rubric"),
    "evaluate without a judge": (("evaluate", "DATA", "--rubric", "Polite."), "name one with --judge"),
    "negative penalty": (("optimize", "DATA", "--length-penalty", "-2"), "must be 0 or more"),
    "penalty without scores": (
        ("optimize", "DATA", "--metric", "none", "--judge", "human", "--length-penalty", "2"), "taken off scores"),
    "unknown placeholder": (("optimize", "DATA", "--prompt", "Colour of {txt}?"), "{txt}"),
    "unknown part": (("optimize", "DATA", "--part", "intro"), "intro"),
    "unknown column": (("optimize", "DATA", "--column", "target=colour"), "colour"),
    "budget of zero": (("optimize", "DATA", "-n", "0"), "above 0"),
    "money without a price": (("optimize", "DATA", "--model", "http://127.0.0.1:9/v1#m", "--max-usd", "1"), "--price"),
    "no vllm": (("optimize", "DATA", "--model", "vllm:m", "--model-option", "command=no-vllm"), "There is no no-vllm"),
    "no model file": (("optimize", "DATA", "--model", "embedded:/none.gguf"), "/none.gguf"),
    "unknown study": (("studies", "show", "nothing"), "there is no such store"),
    "foreign store": (("studies", "list", "--store", "foreign.db"), "foreign.db"),
    "bad study file": (("optimize", "bad.toml"), "bad.toml"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_sentence_and_exit_code_2(cli: Cli, data: str, case: str, tmp_path: Path) -> None:
    (tmp_path / "foreign.db").write_bytes(b"not a database at all")
    (tmp_path / "bad.toml").write_text("[task\n")
    words, said = BAD[case]
    given = [data if word == "DATA" else word for word in words]
    if "optimize" in words and "--model" not in words and len(words) > 2:
        given += ["--model", MODEL]
    if "DATA" in words and "--prompt" not in words:
        given += ["--prompt", "Colour of {text}?"]
    ran = cli(*given)
    assert said in ran.err
    assert "Traceback" not in ran.err
    assert ran.err.count("\n") == 1, ran.err
    assert ran.code == 2


def test_guards_are_switched_by_option_and_by_file(cli: Cli, data: str, tmp_path: Path) -> None:
    words = ("optimize", "--data", data, "--prompt", "Name the colour: {text}", "--model", MODEL, "-n", "40", "--json")
    assert cli(*words, "--study", "one", "--guard", "urls=off", "--guard", "max_tokens=50").code == 0
    shown = json.loads(cli("studies", "show", "one", "--json").out)
    assert shown["refused_list"] == []
    again = cli(*words, "--study", "one")
    assert (again.code, "other settings (guards)" in again.err) == (2, True)
    for bad, said in (
        ("url=off", "did you mean urls"),
        ("urls=perhaps", "must be true or false"),
        ("growth=0", "least 1"),
    ):
        ran = cli(*words, "--study", "two", "--guard", bad)
        assert ran.code == 2
        assert said in ran.err.lower(), ran.err
    file = tmp_path / "study.toml"
    head = f'[task]\ndata = {json.dumps(data)}\nprompt = "Name the colour: {{text}}"\n[model]\ntask = "{MODEL}"\n'
    file.write_text(head + "[guards]\nlanguage = false\ncopied_words = 12\n", encoding="utf-8")
    assert cli("optimize", str(file), "-n", "40", "--study", "three", "--json").code == 0
    file.write_text(head + '[guards]\nlanguage = "no"\n', encoding="utf-8")
    wrong = cli("optimize", str(file), "--study", "four")
    assert (wrong.code, "[guards] language = 'no' must be true or false" in wrong.err) == (2, True)


def test_a_suite_of_tasks_shares_one_system_text(cli: Cli, tmp_path: Path) -> None:
    words = ("--model", "simulated:additive", "--strategy", "sprig-beam", "-n", "200", "--study", "both")
    ran = cli("optimize", "--task", "plural", "--task", "antonym", *words)
    assert ran.code == 0, ran.err
    assert re.search("640 held-out examples of 2 tasks|n = 640 of 2 tasks", " ".join(ran.out.split()))
    assert re.search(r"^plural +0\.\d+ +0\.\d+ +[+-]\d+\.\d points", ran.out, re.MULTILINE)
    (tmp_path / "both.toml").write_text('[task]\ntasks = ["plural", "antonym"]\n[strategy]\nname = "sprig-beam"\n')
    again = cli("optimize", "both.toml", *words[:2], *words[4:])
    assert again.code == 0, again.err  # the same study, which is finished
    assert cli("resume", "both").code == 0
    sent = json.loads(cli("export", "both", "--form", "openai").out)
    assert [message["role"] for message in sent["messages"]] == ["system"]
    assert cli("evaluate", "--task", "plural", "--task", "antonym", *words[:2]).code == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("plural", "--task", "antonym"), "two sources, plural and --task antonym"),
        (("--task", "plural", "--task", "plural"), "two tasks are called plural"),
        (("--task", "plural", "--task", "antonym", "--prompt", "Do it."), "prompt belongs to one task"),
        (("--task", "plural", "--task", "antonym", "--strategy", "irace"), "--strategy sprig-beam or sprig-ga"),
    ],
)
def test_what_does_not_make_a_suite_is_said_in_a_sentence(cli: Cli, words: tuple[str, ...], says: str) -> None:
    ran = cli("optimize", *words, "--model", "simulated:additive")
    assert (ran.code, says in ran.err) == (2, True), ran.err

"""What a terminal or a pipe may be: closed, or of few characters; real processes, as pytest has streams of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from promptopt.store.store import Store
from tests.integration.fault_server import FaultServer, answer, failure
from tests.toy import dump, run, toy_spec

WORDS = (sys.executable, "-m", "promptopt")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("terminal") / "s.db"
    run(toy_spec(path))
    return path


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_closed_stream_is_no_fault(store: Path, tmp_path: Path, closed: str) -> None:
    other = tmp_path / "new.db"
    optimize = f"optimize plural --model simulated:additive -n 40 --study new --store {other}"
    for words in (f"studies list --store {store}", f"studies show toy --store {store}", optimize):
        ran = shell(f"{' '.join(WORDS)} {words} {closed}")
        assert (ran.returncode, ran.stderr) == (0, "")
    with Store.open(other) as opened:
        row = opened.study("new")
    assert row is not None
    assert row.state == "finished"


def test_few_characters_show_what_they_can_and_garble_nothing_that_is_used_elsewhere(
    store: Path, tmp_path: Path
) -> None:
    shown = shell(f"{' '.join(WORDS)} studies show toy --store {store}", PYTHONIOENCODING="ascii")
    assert (shown.returncode, "? 1.96 se" in shown.stdout) == (0, True), shown.stderr
    other = tmp_path / "s.db"
    data = tmp_path / "d.csv"
    data.write_text("text,label\n" + "".join(f"row {i},{'ab'[i % 2]}\n" for i in range(200)), encoding="utf-8")
    words = f"--data {data} --model simulated:flat -n 40 --store {other} --study toy"
    made = shell(f"{' '.join(WORDS)} optimize {words} --prompt 'Größe? {{text}}'")
    assert made.returncode == 0, made.stderr
    text = shell(f"{' '.join(WORDS)} export toy --store {other}", PYTHONIOENCODING="ascii")
    assert (text.returncode, text.stdout) == (2, "")
    assert "PYTHONIOENCODING=utf-8" in text.stderr
    plain = shell(f"{' '.join(WORDS)} export toy --form json --store {other}", PYTHONIOENCODING="ascii")
    assert "Größe" in json.dumps(json.loads(plain.stdout), ensure_ascii=False)


def test_a_fault_of_ours_is_told_even_where_nothing_can_be_written(store: Path, tmp_path: Path) -> None:
    program = (
        "import sys, tempfile, promptopt.report\n"
        "promptopt.report.list_studies = lambda path: 1 / 0\n"
        f"tempfile.tempdir = {str(tmp_path / 'gone')!r}\n"
        f"sys.argv = ['promptopt', 'studies', 'list', '--store', {str(store)!r}]\n"
        "from promptopt_cli.app import main; main()"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "a fault of ours (ZeroDivisionError: division by zero)" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("words", ["studies show toy", "studies list --json", "export toy"])
def test_a_reader_who_has_seen_enough_is_no_failure(store: Path, words: str) -> None:
    ran = shell(f"{' '.join(WORDS)} {words} --store {store} | true; exit ${{PIPESTATUS[0]}}")
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_model_that_stops_a_study_is_no_end_of_it(tmp_path: Path) -> None:
    data, words = tmp_path / "d.csv", " ".join(WORDS)
    data.write_text("text,label\n" + "".join(f"row {i},{'ab'[i % 2]}\n" for i in range(200)), encoding="utf-8")
    with FaultServer(lambda text, attempt: answer("a")) as server:
        server.script = lambda text, attempt: failure(401) if len(server.calls) > 60 else answer("a")
        made = shell(
            f"{words} optimize {data} --prompt a? --model {server.url} -n 90 --study late --store {tmp_path}/s.db"
        )
        assert made.returncode == 1
        assert "go on with: promptopt resume late --store" in made.stderr
        server.script = lambda text, attempt: answer("a")
        ran = shell(f"{words} resume late --store {tmp_path}/s.db")
    assert ran.returncode == 0, ran.stderr


def test_showing_changes_nothing(store: Path) -> None:
    before = dump(store)
    shell(f"{' '.join(WORDS)} studies show toy --store {store}")
    assert dump(store) == before

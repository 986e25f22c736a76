"""Score against prompt tokens: who is on the front, what a study's table says, and both forms of it."""

import csv
import io
from pathlib import Path

import pytest

from promptopt.errors import UnknownNameError
from promptopt.front import Point, front_of, study_front
from promptopt.store.store import Store
from promptopt_cli.front import COLUMNS, show_front, write_csv
from tests.toy import run, toy_spec, toy_task


def point(number: int, tokens: float, mean: float, n: int = 10) -> Point:
    return Point(number, f"p{number}", "edit", tokens, tokens + 20, mean, 0.1, n)


def test_the_front_of_a_worked_table() -> None:
    points = [point(0, 10, 0.5), point(1, 20, 0.5), point(2, 20, 0.7), point(3, 30, 0.6), point(4, 40, 0.9)]
    assert front_of(points) == {0, 2, 4}


def test_equals_stand_on_the_front_together() -> None:
    assert front_of([point(0, 10, 0.5), point(1, 10, 0.5)]) == {0, 1}


def test_a_lucky_few_rows_beat_nobody_and_are_not_on_it() -> None:
    assert front_of([point(0, 10, 1.0, n=4), point(1, 20, 0.6, n=10), point(2, 15, 0.6, n=5)]) == {2}
    assert front_of([point(0, 10, 0.0, n=0)]) == frozenset()
    assert front_of([]) == frozenset()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("front") / "toy.db"
    run(toy_spec(path, "random"))
    return path


def test_the_table_of_a_study_agrees_with_its_trials(store: Path) -> None:
    points = study_front(str(store), "toy")
    task = toy_task()
    with Store.open(store, create=False) as opened:
        scores = {row.number: row for row in opened.trial_scores(1)}
        prompts = opened.prompts([point["prompt_id"] for point in points])
        finalists = {f["id"]: f["dev"]["mean"] for f in opened.study("toy").summary["finalists"]}  # type: ignore[union-attr]
    assert len(points) == len(scores) > 5
    assert [point["tokens"] for point in points] == sorted(point["tokens"] for point in points)
    for told in points:
        assert told["tokens"] == task.prompt_tokens(prompts[told["prompt_id"]])
        assert (told["mean"], told["n_valid"]) == (scores[told["number"]].mean, scores[told["number"]].n_valid)
        assert told["read"] > told["tokens"] / 2, "what the model counts, inputs and all"
        assert told["dev"] == finalists.get(told["prompt_id"])
    front = [told for told in points if told["is_front"]]
    assert front
    assert [told["mean"] for told in front] == sorted(told["mean"] for told in front)


def test_the_table_and_the_csv_show_every_candidate(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    points = study_front(str(store), "toy")
    show_front(points)
    shown = capsys.readouterr().out
    assert all(told["prompt_id"][:8] in shown for told in points)
    assert shown.count("\n*") == sum(told["is_front"] for told in points) + 1, "and the remark"
    file = io.StringIO()
    write_csv(points, file)
    rows = list(csv.DictReader(io.StringIO(file.getvalue())))
    assert tuple(rows[0]) == COLUMNS
    assert [float(row["mean"]) for row in rows] == [told["mean"] for told in points]
    assert [row["is_front"] == "1" for row in rows] == [told["is_front"] for told in points]


def test_no_study_and_no_candidate(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UnknownNameError, match="tooy"):
        study_front(str(store), "tooy")
    show_front([])
    assert "No candidate has a score" in capsys.readouterr().out

"""The Python door: what it takes, and what it refuses rather than ignore."""

import pickle
import threading
from pathlib import Path
from typing import Any

import pytest

import promptopt
from promptopt.config import DEFAULT_EVALUATIONS
from promptopt.errors import ConfigError, StudyBusyError, UnknownNameError
from promptopt.metrics import CallableMetric, Rubric, open_metric
from promptopt.store.store import Store
from promptopt_cli.commands.optimize import resume
from tests.toy import toy_task

ROWS = [{"input": f"item number {i}", "target": ("red", "green")[i % 2]} for i in range(120)]


def optimize(tmp_path: Path, data: Any = ROWS, **options: Any) -> promptopt.Result:
    settings = {"prompt": "Colour?", "model": "simulated:additive", "budget": 40, "store": str(tmp_path / "s.db")}
    return promptopt.optimize(data, **{**settings, **options})


def test_caps_alone_make_a_study_of_the_usual_length(tmp_path: Path) -> None:
    result = optimize(tmp_path, budget=promptopt.Budget(calls=2_000))
    assert 40 < result.evaluations <= DEFAULT_EVALUATIONS
    assert result.spend.calls <= 2_000


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"bugdet": 100}, "no option of optimize named 'bugdet'; did you mean budget"),
        ({"evaluations": 100}, "no option of optimize named 'evaluations'"),
        ({"budget": "100"}, "budget = '100' must be a whole number"),
        ({"budget": True}, "budget = True must be a whole number"),
        ({"model": None}, "model = None must be text"),
        ({"seed": "1"}, "seed = '1' must be a whole number"),
        ({"columns": ["text"]}, r"columns = \['text'\] must be names with their values"),
        ({"share": "half", "then": "irace"}, "share = 'half' must be a number between 0 and 1"),
        ({"levels": "bad to good"}, "must be several texts"),
        ({"strategy": "irace", "judge": "human"}, "irace compares no answers .* human would never be asked"),
    ],
)
def test_what_it_does_not_know_is_refused(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        optimize(tmp_path, **options)


def test_what_is_left_out_may_be_none(tmp_path: Path) -> None:
    given = {"name": None, "optimizer": None, "then": None, "rubric": None, "store": tmp_path / "s.db"}
    assert optimize(tmp_path, **given).name == optimize(tmp_path).name


def test_judges_change_the_usual_strategy_unless_they_grade(tmp_path: Path) -> None:
    assert optimize(tmp_path, judge="metric").name.startswith("rows-pes-")
    graded = optimize(tmp_path, metric=Rubric("It is a colour."), judge="simulated:flat?seed=1")
    assert graded.name.startswith("rows-irace-")
    assert graded.task.rubrics


def half(output: str, example: promptopt.Example) -> float:
    return 0.5


@pytest.mark.parametrize("metric", [half, open_metric("exact-match", fold_case=False)])
def test_a_metric_of_python_scores_a_file(tmp_path: Path, metric: Any) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("input,target\n" + "".join(f"{row['input']},{row['target']}\n" for row in ROWS))
    done = optimize(tmp_path, file, metric=metric, name="mine")
    assert done.task.metric.key == (CallableMetric(half, "half") if metric is half else metric).key
    with pytest.raises(ConfigError, match=r"'mine' was made from Python; run the same script again"):
        resume("mine", store=str(tmp_path / "s.db"))


def test_results_and_errors_come_back_from_other_processes(tmp_path: Path) -> None:
    done = optimize(tmp_path)
    assert pickle.loads(pickle.dumps(done)).to_json() == done.to_json()
    unknown = UnknownNameError("split", "tset", ["train", "dev", "test"])
    assert str(pickle.loads(pickle.dumps(unknown))) == str(unknown)
    assert str(unknown) == "There is no split named 'tset'; did you mean test?"


def test_a_split_that_is_none_is_refused(tmp_path: Path) -> None:
    spec = promptopt.StudySpec(model=promptopt.ModelSpec("simulated:additive"), store=str(tmp_path / "s.db"))
    with pytest.raises(UnknownNameError, match="no split named 'tset'; did you mean test"):
        promptopt.evaluate(spec, "tset", task=toy_task())  # type: ignore[arg-type]


def test_rows_may_come_by_split(tmp_path: Path) -> None:
    done = optimize(tmp_path, {"train": ROWS[:40], "dev": ROWS[40:60], "test": ROWS[60:]})
    assert [len(done.task.dataset.split(split)) for split in ("train", "dev", "test")] == [40, 20, 60]


def test_a_task_brings_its_own_prompt_and_metric(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="prompt: a Task brings its own"):
        optimize(tmp_path, toy_task())
    with pytest.raises(UnknownNameError, match="promt"):
        promptopt.optimize(toy_task(), promt="x")  # type: ignore[call-arg]
    done = promptopt.optimize(toy_task(), model="simulated:additive", budget=40, store=str(tmp_path / "s.db"))
    assert done.state == "finished"


def test_two_threads_that_start_one_study_at_once_run_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both_have_looked, create = threading.Barrier(2), Store.create_study

    def create_together(store: Store, row: Any) -> int:
        both_have_looked.wait(timeout=60)
        return create(store, row)

    monkeypatch.setattr(Store, "create_study", create_together)
    ends: list[promptopt.Result | StudyBusyError] = []

    def run() -> None:
        try:
            ends.append(optimize(tmp_path))
        except StudyBusyError as busy:
            ends.append(busy)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    done = [end for end in ends if isinstance(end, promptopt.Result)]
    assert len(ends) == 2
    assert done
    assert {end.name for end in done} == {done[0].name}
    assert {end.spend.calls for end in done} == {done[0].spend.calls}, "what one has paid the other does not pay again"

"""Studies whose metric is a rubric: a judge behind HTTP grades, critiques read its remarks, nothing is asked twice."""

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import promptopt
from promptopt import api, plugins
from promptopt.budget import Budget
from promptopt.config import JudgeSpec, ModelSpec, StrategySpec, StudySpec
from promptopt.errors import ConfigError, StudyMismatchError
from promptopt.metrics import Rubric
from promptopt.result import Progress, Result
from promptopt.store.store import Store
from promptopt.suite import Suite
from promptopt.task import Task
from tests.integration.fault_server import USAGE, Act, FaultServer, answer
from tests.toy import Same, dump, run, toy_spec, toy_task

TRUE = Rubric("The answer names the colour of the reference.", ("wrong", "right"))
REMARK = "It names another colour than the reference."
REWRITE = "Name the colour of the item, one word."


def judge(text: str, _attempt: int) -> Act:
    """Give what equals the reference the best level, say what else lacks, and write one prompt for all critiques."""
    if "Reference answer\n" not in text:
        return answer(f"<critique>too vague</critique><prompt>{REWRITE}</prompt>")
    target, output = (
        text.split(f"{head} answer\n" if head else "\n\nAnswer\n")[1].split("\n\n")[0] for head in ("Reference", "")
    )
    if "The levels:" not in text:
        return answer(REMARK)
    wanted = "right" if target.strip() == output.strip() else "wrong"
    lines = text.split("The levels:\n")[1].split("\n\n")[0].split("\n")
    return answer(next(line[0] for line in lines if line.endswith(wanted)))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with FaultServer(judge) as served:
        yield served


def judged_task() -> Task:
    return replace(toy_task(60, 20, 60), metric=TRUE)


def judged_spec(store: Path, server: FaultServer, strategy: str = "random", **changes: object) -> StudySpec:
    made = toy_spec(
        store, strategy, judge=JudgeSpec((server.url,), options={"concurrency": "1"}), budget=Budget(evaluations=60)
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def graded(server: FaultServer) -> int:
    return sum("The levels:" in text for text, _ in server.calls)


def test_a_judge_that_knows_the_truth_makes_the_study_that_the_metric_makes(
    tmp_path: Path, server: FaultServer
) -> None:
    by_judge = run(judged_spec(tmp_path / "judge.db", server), judged_task())
    by_metric = run(
        toy_spec(tmp_path / "metric.db", "random", budget=Budget(evaluations=60)), replace(judged_task(), metric=Same())
    )
    assert by_judge.prompt == by_metric.prompt
    assert by_judge.proof is not None
    assert by_metric.proof is not None
    assert [f.dev.scores for f in by_judge.proof.finalists] == [f.dev.scores for f in by_metric.proof.finalists]
    assert by_judge.verdict == by_metric.verdict


def test_the_audit_stands_beside_the_result(tmp_path: Path, server: FaultServer) -> None:
    told = run(judged_spec(tmp_path / "s.db", server), judged_task()).to_json()
    audit = told["judging"]["grades"]
    assert audit["judge"].startswith("http://127.0.0.1")
    assert audit["n"] > 60
    assert (audit["unread"], audit["gap"], audit["first_place"]) == (0.0, 0.0, 0.0)


def test_all_calls_are_paid_from_one_budget_and_survive_in_the_store(tmp_path: Path, server: FaultServer) -> None:
    result = run(judged_spec(tmp_path / "s.db", server), judged_task())
    with Store.open(tmp_path / "s.db", create=False) as store:
        stored = store.spend(1)
    assert graded(server) > 2 * 60
    assert result.spend.calls == stored.calls == graded(server) + graded(server) // 2
    assert (result.spend.tokens, stored.tokens) == (stored.tokens, result.spend.tokens)


def write_spec(store: Path, server: FaultServer) -> StudySpec:
    spec = replace(judged_spec(store, server), strategy=StrategySpec("apo", settings={"rounds": 2}))
    return replace(spec, model=ModelSpec(spec.model.task, server.url), budget=Budget(evaluations=120))


def test_the_judges_remark_reaches_the_critiques(tmp_path: Path, server: FaultServer) -> None:
    run(write_spec(tmp_path / "s.db", server), judged_task())
    critiques = [text for text, _ in server.calls if "Right answer:" in text]
    assert critiques
    assert all(f"Remark: The judge's level is 1 of 2: wrong. {REMARK}" in text for text in critiques)
    remarks = [text for text, _ in server.calls if "The levels:" not in text and "Reference answer\n" in text]
    held_out = {e.inputs["input"] for e in (*judged_task().dataset.dev, *judged_task().dataset.test)}
    assert remarks
    assert not any(f"input: {shown}\n" in text for text in remarks for shown in held_out), "nobody reads these"


def test_a_search_that_writes_nothing_asks_for_no_remark(tmp_path: Path, server: FaultServer) -> None:
    run(judged_spec(tmp_path / "s.db", server), judged_task())
    assert all("The levels:" in text for text, _ in server.calls)


class Stop:
    """Stops a study at the n-th time that it tells how it goes."""

    def __init__(self, n: int) -> None:
        self.left = n

    def __call__(self, _progress: Progress) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def test_a_study_stopped_again_and_again_repeats_no_call_and_ends_in_the_same_journal(
    tmp_path: Path, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promptopt.study.PROGRESS_S", 0.0)
    run(write_spec(tmp_path / "whole.db", server), judged_task())
    whole = Counter(text for text, _ in server.calls)
    server.calls.clear()
    stops = 0
    for n in (30, 50, 70, 90, 110, 130, 10_000_000):
        spec = write_spec(tmp_path / "cut.db", server)
        with api.open_study(spec, task=judged_task(), observer=Stop(n)) as study:
            result = study.run()
        stops += result.cause == "interrupt"
    assert (result.state, stops) == ("finished", 6)
    repeated = Counter(text for text, _ in server.calls) - whole
    assert repeated.total() <= 2 * stops, "at most what was in flight"
    assert dump(tmp_path / "cut.db") == dump(tmp_path / "whole.db")


def test_resuming_a_finished_study_asks_nothing(tmp_path: Path, server: FaultServer) -> None:
    first = run(write_spec(tmp_path / "s.db", server), judged_task())
    journal, n = dump(tmp_path / "s.db"), len(server.calls)
    again: Result = run(write_spec(tmp_path / "s.db", server), judged_task())
    assert len(server.calls) == n
    assert dump(tmp_path / "s.db") == journal
    assert json.dumps(again.to_json()["finalists"]) == json.dumps(first.to_json()["finalists"])


def test_a_suite_may_mix_rubrics_and_other_metrics(tmp_path: Path, server: FaultServer) -> None:
    rubric, plain = judged_task(), replace(toy_task(60, 20, 60), name="plain")
    suite = Suite((rubric, plain))
    assert suite.rubrics == (TRUE,)
    result = run(judged_spec(tmp_path / "s.db", server, "sprig-beam"), suite)
    assert result.proof is not None
    dev = result.proof.finalists[0].dev
    assert dev.of_task("toy").n_valid == dev.of_task("plain").n_valid == 20


def test_without_a_judge_model_it_is_refused(tmp_path: Path) -> None:
    for by in ((), ("human",), ("metric",)):
        spec = toy_spec(tmp_path / "s.db", "random", judge=JudgeSpec(by))
        with pytest.raises(ConfigError, match=r"The metric of task toy is a rubric.*name one with --judge"):
            run(spec, judged_task())


def test_another_judge_or_rubric_is_another_study(tmp_path: Path, server: FaultServer) -> None:
    run(judged_spec(tmp_path / "s.db", server), judged_task())
    with pytest.raises(StudyMismatchError, match=r"made with other settings \(metric"):
        run(judged_spec(tmp_path / "s.db", server), replace(judged_task(), metric=Rubric("Other.")))
    with (
        FaultServer(judge, models=("other",)) as second,
        pytest.raises(StudyMismatchError, match=r"other settings \(judge model"),
    ):
        run(judged_spec(tmp_path / "s.db", second), judged_task())


def test_a_preview_counts_the_judges_calls(tmp_path: Path, server: FaultServer) -> None:
    with api.open_study(judged_spec(tmp_path / "s.db", server), task=judged_task()) as study:
        told = api.preview(study)
        assert told["judge_calls"] == 2 * told["search_evaluations"]
        assert told["calls"] == 3 * told["search_evaluations"] + told["proof_calls"]
        assert told["proof_calls"] % 3 == 0
    with api.open_study(write_spec(tmp_path / "t.db", server), task=judged_task()) as study:
        told = api.preview(study)
        assert told["judge_calls"] == 3 * told["search_evaluations"]


ROWS = [{"mail": f"mail number {n}", "answer": f"reply {n}"} for n in range(200)]


def test_from_python_by_words_or_by_an_object(tmp_path: Path, server: FaultServer) -> None:
    common = {"prompt": "Answer it: {mail}", "model": server.url, "judge": server.url, "strategy": "random"}
    metrics: list[dict[str, object]] = [
        {"metric": "rubric", "rubric": TRUE.text, "levels": TRUE.levels},
        {"rubric": TRUE.text, "levels": list(TRUE.levels)},
        {"metric": TRUE},
    ]
    told = [
        promptopt.optimize(ROWS, **common, **metric, budget=30, store=str(tmp_path / f"{n}.db"))  # type: ignore[arg-type]
        for n, metric in enumerate(metrics)
    ]
    assert {result.task.metric for result in told} == {TRUE}
    assert len({result.to_json()["sentence"] for result in told}) == 1
    assert told[0].task.dataset.fields == ("mail",), "the target is a reference answer and no input"


def test_rows_without_right_answers_can_be_graded(tmp_path: Path, server: FaultServer) -> None:
    task = plugins.load_task([{"mail": f"mail number {n}"} for n in range(200)], prompt="Answer.", metric=TRUE)
    assert task.dataset.train[0].target == ""
    assert task.dataset.fields == ("mail",)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"levels": "bad"}, "levels = 'bad' must be several texts"),
        ({"rubric": 3}, "rubric = 3 must be text"),
        ({"length_penalty": "2"}, "length_penalty = '2' must be a number"),
        ({"length_penalty": -2}, "must be 0 or more"),
    ],
)
def test_a_wrong_option_in_python_is_a_sentence(options: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        promptopt.optimize(ROWS, prompt="Answer: {mail}", **options)  # type: ignore[arg-type]


def test_money_counts_the_judge_by_its_own_price(tmp_path: Path, server: FaultServer) -> None:
    spec = judged_spec(tmp_path / "s.db", server, budget=Budget(evaluations=60, usd=5.0))
    with pytest.raises(ConfigError, match=r"the price of http://.* is not known.*--judge-price"):
        run(spec, judged_task())
    result = run(replace(spec, judge=replace(spec.judge, price=(1.0, 0.0))), judged_task())
    n_read = 10 * graded(server)
    assert result.spend.usd == pytest.approx(n_read / 1e6)


def test_a_server_that_tells_log_probabilities_grades_between_the_levels(tmp_path: Path, server: FaultServer) -> None:
    def likely(text: str, attempt: int) -> Act:
        letter = judge(text, attempt).body["choices"][0]["text"]
        other = "B" if letter == "A" else "A"
        top = [{"token": letter, "logprob": math.log(0.8)}, {"token": other, "logprob": math.log(0.2)}]
        choice = {
            "message": {"content": letter},
            "finish_reason": "stop",
            "logprobs": {"content": [{"top_logprobs": top}]},
        }
        return Act(body={"choices": [choice], "usage": USAGE})

    server.script = likely
    spec = judged_spec(tmp_path / "s.db", server, judge=JudgeSpec((server.url,), options={"likelihood": "true"}))
    result = run(spec, judged_task())
    assert result.proof is not None
    scores = {round(score, 4) for finalist in result.proof.finalists for score in finalist.dev.scores.values()}
    assert scores == {0.2, 0.8}
    assert all(body["max_tokens"] == 1 for body in server.bodies)

"""Going on beyond the end: more of a cap, failures asked again, and what is only shown again."""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from promptopt import api
from promptopt.backends.base import Reply, Request
from promptopt.backends.simulated import SimulatedBackend
from promptopt.budget import Budget
from promptopt.config import ModelSpec, StudySpec, TaskSpec
from promptopt.errors import ConfigError
from promptopt.report import list_studies
from promptopt.result import Result
from promptopt.store.rows import AskRow, StudyRow
from promptopt.store.store import Store
from tests.integration.test_duel_study import human, opened, run_and_label
from tests.toy import dump, run, toy_spec, toy_task

CAPPED = Budget(evaluations=240, calls=560)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "studies.db"


def extended(spec: StudySpec, more: Budget, *, retry_failed: bool = False) -> Result:
    with api.open_study(spec, task=toy_task()) as study:
        study.extend(more, retry_failed=retry_failed)
        return study.run()


def row_of(store: Path) -> StudyRow:
    with Store.open(store) as held:
        row = held.study("toy")
    assert row is not None
    return row


def searched(store: Path) -> list[tuple[str, str, str]]:
    """The asks of the search with their answers."""
    with Store.open(store) as held:
        return [(ask.path, ask.fingerprint, ask.digest) for ask in held.journal(1) if ask.path[0].isdecimal()]


def first_proof(store: Path) -> list[AskRow]:
    with Store.open(store) as held:
        return [ask for ask in held.journal(1) if ask.path.startswith("proof/")]


def test_a_search_that_ended_under_a_cap_goes_on_as_if_there_had_been_none(store: Path) -> None:
    capped = run(toy_spec(store, budget=CAPPED))
    before, proof = searched(store), first_proof(store)
    assert capped.evaluations < 200
    whole = store.with_name("whole.db")
    run(toy_spec(whole))
    more = extended(toy_spec(store, budget=CAPPED), Budget(calls=1_000))
    assert (more.state, more.reason) == ("finished", "the search ended")
    assert searched(store)[: len(before) - 1] == before[:-1], "but for the ask that the cap left open"
    assert searched(store) == searched(whole)
    assert first_proof(store) == proof, "what came before stays as it was"
    assert more.earlier == (capped.verdict,)
    assert more.test_use == 2
    assert more.search_spend.calls < more.spend.calls <= 1_560


def test_going_on_may_be_interrupted_and_capped_again(store: Path) -> None:
    run(toy_spec(store, budget=CAPPED))
    with api.open_study(toy_spec(store, budget=CAPPED), task=toy_task()) as study:
        study.extend(Budget(calls=30))
        held = study.setup.budget
    assert row_of(store).state == "paused"
    again = run(toy_spec(store, budget=held))
    assert "budget of calls is spent" in again.reason
    assert again.spend.calls <= 590
    last = extended(toy_spec(store, budget=held), Budget(calls=2_000))
    assert (last.state, len(last.earlier)) == ("finished", 2)
    with Store.open(store) as opened_store:
        assert opened_store.spend(1).calls == last.spend.calls


def test_a_search_that_ended_by_itself_does_not_go_on(store: Path) -> None:
    spec = toy_spec(store, budget=Budget(evaluations=240, calls=5_000))
    run(spec)
    with pytest.raises(ConfigError, match=r"'toy' ended by itself.*--fork toy"):
        extended(spec, Budget(calls=100))
    assert row_of(store).budget["calls"] == 5_000


def test_a_cap_that_there_is_not_cannot_be_raised(store: Path) -> None:
    run(toy_spec(store, budget=CAPPED))
    with pytest.raises(ConfigError, match="no cap on usd"):
        extended(toy_spec(store, budget=CAPPED), Budget(usd=1.0))
    assert row_of(store).state == "finished"


def failing(monkeypatch: pytest.MonkeyPatch, first: int) -> list[str]:
    """Let every eighth call from one on fail; return all that is asked."""
    asked: list[str] = []
    answer = SimulatedBackend.answer

    def answered(self: SimulatedBackend, request: Request) -> Reply:
        asked.append(str(request))
        fails = first <= len(asked) and len(asked) % 8 == 0
        return Reply("failed", error="The line is broken.") if fails else answer(self, request)

    monkeypatch.setattr(SimulatedBackend, "answer", answered)
    return asked


@pytest.mark.parametrize("from_call", [0, 240])
def test_what_failed_in_the_proof_is_asked_again_and_nothing_else(
    store: Path, monkeypatch: pytest.MonkeyPatch, from_call: int
) -> None:
    spec = toy_spec(store, min_valid=0.5)
    with monkeypatch.context() as patched:
        failing(patched, from_call)
        broken = run(spec)
    assert broken.proof is not None
    search, missing = searched(store), sum(e.n - e.n_valid for e in broken.proof.evaluations)
    assert missing > 10
    asked = failing(monkeypatch, 10**9)
    mended = extended(spec, Budget(), retry_failed=True)
    assert mended.proof is not None
    assert all(e.n == e.n_valid for e in mended.proof.evaluations)
    assert searched(store) == search, "another answer would be another search"
    assert mended.earlier == (broken.verdict,)
    assert missing <= len(asked) <= missing + 240, "another choice on dev is compared on test anew"
    done = dump(store)
    assert extended(spec, Budget(), retry_failed=True).verdict == mended.verdict
    assert dump(store) == done, "with nothing left that failed there is no further round"


def test_an_evaluation_asks_again_for_what_failed_and_for_nothing_else(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = StudySpec(model=ModelSpec("simulated:additive?seed=3"), store=str(store), min_valid=0.5)
    with monkeypatch.context() as patched:
        failing(patched, 0)
        broken = api.evaluate(spec, task=toy_task()).evaluation
    assert broken.n_valid == 35
    asked = failing(monkeypatch, 10**9)
    assert api.evaluate(spec, task=toy_task()).evaluation.n_valid == 40
    assert len(asked) == 5
    assert api.evaluate(spec, task=toy_task()).evaluation.n_valid == 40
    assert len(asked) == 5


def test_showing_a_finished_study_again_changes_nothing_of_it(store: Path) -> None:
    run(toy_spec(store))
    before = row_of(store)
    with Store.open(store) as held:
        spent = held.spend(1)
    shown = run(toy_spec(store))
    with Store.open(store) as held:
        assert held.spend(1) == shown.spend == spent
    assert row_of(store) == before


def test_a_killed_study_is_interrupted_and_not_running(store: Path, tmp_path: Path) -> None:
    model = "simulated:additive?seed=3&latency_ms=50&concurrency=1"
    log = tmp_path / "calls.log"
    child = subprocess.Popen([sys.executable, "tests/toy.py", str(store), str(log), "random", model])
    try:
        while not (log.exists() and log.read_bytes()):
            assert child.poll() is None, "the child ended before its first call"
            time.sleep(0.01)
        assert [line["state"] for line in list_studies(str(store))] == ["running"]
    finally:
        child.kill()
        child.wait()
    assert [line["state"] for line in list_studies(str(store))] == ["interrupted"]


def test_more_labels_open_the_pairs_that_the_end_had_closed(store: Path) -> None:
    spec = human(store, budget=Budget(evaluations=240, labels=4))
    assert run_and_label(spec)[0].state == "finished"
    with opened(spec) as study:
        study.extend(Budget(labels=3))
        spec = replace(spec, budget=study.setup.budget)
    result, _ = run_and_label(spec)
    assert result.state == "finished"
    assert result.judging["verdicts"]["human"] == 7


def test_an_evaluation_is_no_search_to_go_on_with(store: Path) -> None:
    from promptopt.report import study_spec

    spec = StudySpec(task=TaskSpec("plural"), model=ModelSpec("simulated:additive"), store=str(store))
    api.evaluate(spec)
    (line,) = list_studies(str(store))
    assert line["state"] == "finished"
    with pytest.raises(ConfigError, match="is an evaluation and no search"):
        study_spec(str(store), line["name"])

"""The loop as a whole, on the simulated model: proof, resuming, caps, failures and everything that must be refused."""

import re
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import pytest

from promptopt import api
from promptopt.ask import Evaluate, Recommend, Search
from promptopt.backends.base import Reply
from promptopt.backends.simulated import SimulatedBackend
from promptopt.budget import Budget
from promptopt.config import ModelSpec, StrategySpec, StudySpec
from promptopt.errors import ConfigError, ReplayError, StrategyError, StudyBusyError, StudyMismatchError
from promptopt.evaluation import Status
from promptopt.example import Example
from promptopt.metric import Score
from promptopt.prompt import Candidate, Demo
from promptopt.result import Progress, Result
from promptopt.store.store import Store
from promptopt.strategy import Context
from promptopt.study import Study
from tests.toy import Same, dump, run, toy_spec, toy_task


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "studies.db"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every prompt text that the simulated model is asked, in order."""
    asked: list[str] = []
    answer = SimulatedBackend.answer

    def counted(self: SimulatedBackend, request: object) -> Reply:
        asked.append(str(request))
        return answer(self, request)  # type: ignore[arg-type]

    monkeypatch.setattr(SimulatedBackend, "answer", counted)
    return asked


def test_a_study_finds_and_proves_a_better_prompt(store: Path) -> None:
    result = run(toy_spec(store), toy_task(n_test=300))
    assert result.state == "finished"
    assert result.proof is not None
    assert result.proof.verdict.word == "better"
    assert result.prompt != result.seed
    assert [f.role for f in result.proof.finalists[:3]] == ["seed", "empty instruction", "step by step"]


def test_without_headroom_the_seed_is_returned_and_that_is_said(store: Path) -> None:
    result = run(toy_spec(store, model="simulated:flat?seed=5"), toy_task(n_test=300))
    assert result.prompt == result.seed
    assert "keep your prompt" in result.verdict or "the seed prompt won" in result.verdict


def test_few_examples_are_not_measured_but_still_chosen(store: Path) -> None:
    result = run(toy_spec(store), toy_task(n_train=40, n_dev=0, n_test=0))
    assert result.proof is not None
    assert result.proof.verdict.word == "not measured"
    assert "examples" in result.verdict


@pytest.mark.parametrize(
    ("n_test", "said"), [(0, "no test split"), (49, "below 50 nothing is decided"), (60, "will hardly show"), (120, "")]
)
def test_a_small_test_split_is_pointed_out_before_the_start(store: Path, n_test: int, said: str) -> None:
    with api.open_study(toy_spec(store), task=toy_task(n_test=n_test)) as study:
        assert said in " ".join(api.preview(study)["notes"])
        assert bool(api.preview(study)["notes"]) == bool(said)


def test_the_same_command_again_makes_no_call(store: Path, calls: list[str]) -> None:
    first = run(toy_spec(store))
    made = len(calls)
    again = run(toy_spec(store))
    assert len(calls) == made
    assert again.to_json()["verdict"] == first.to_json()["verdict"]
    assert again.spend.calls == first.spend.calls == made
    assert 0 < again.search_spend.calls == first.search_spend.calls < made
    assert again.reason == first.reason


def test_a_second_study_shares_outcomes_and_gets_the_same_answer(store: Path, calls: list[str]) -> None:
    first = run(toy_spec(store))
    made = len(calls)
    second = run(toy_spec(store, name="again"))
    assert len(calls) == made
    assert second.prompt == first.prompt
    assert second.test_use == 2
    assert second.evaluations == first.evaluations


def test_cache_off_uses_no_other_studys_outcomes(store: Path, calls: list[str]) -> None:
    run(toy_spec(store))
    made = len(calls)
    run(toy_spec(store, name="alone", cache="off"))
    assert len(calls) == 2 * made


def test_other_settings_under_the_same_name_are_refused(store: Path) -> None:
    run(toy_spec(store))
    with pytest.raises(StudyMismatchError, match=r"'toy'.*other settings \(seed\).*--fork"):
        run(toy_spec(store, seed=4))


def test_caps_are_no_part_of_the_settings(store: Path) -> None:
    run(toy_spec(store))
    capped = toy_spec(store, budget=Budget(evaluations=240, calls=100_000))
    assert run(capped).state == "finished"


def test_a_fork_starts_from_the_best_prompts(store: Path) -> None:
    first = run(toy_spec(store))
    with api.open_study(toy_spec(store, name="fork"), task=toy_task(), fork_of="toy") as study:
        assert first.prompt in study.setup.task.seeds
        assert study.run().state == "finished"
    assert run(toy_spec(store, name="fork")).state == "finished", "a fork goes on without being told that it is one"


def test_money_is_charged_whatever_the_address_looks_like(store: Path) -> None:
    spec = toy_spec(store, model="simulated:additive?seed=3&concurrency=4")
    priced = replace(spec, model=ModelSpec(spec.model.task, price=(1.0, 1.0)))
    result = run(priced)
    assert result.spend.usd == pytest.approx(result.spend.tokens / 1e6)


def test_two_processes_cannot_work_on_one_study(store: Path, tmp_path: Path) -> None:
    model = "simulated:additive?seed=3&latency_ms=50&concurrency=1"
    log = tmp_path / "calls.log"
    child = subprocess.Popen([sys.executable, "tests/toy.py", str(store), str(log), "random", model])
    try:
        while not (log.exists() and log.read_bytes()):
            assert child.poll() is None, "the child ended before its first call"
            time.sleep(0.01)
        with pytest.raises(StudyBusyError, match="toy"):
            run(toy_spec(store, "random", model))
    finally:
        child.kill()
        child.wait()
    assert interrupted(toy_spec(store, "random", model), after=20).state == "paused"


@pytest.mark.parametrize("cap", [480, 560, 700])
def test_calls_never_pass_their_cap(store: Path, calls: list[str], cap: int) -> None:
    result = run(toy_spec(store, budget=Budget(evaluations=240, calls=cap)))
    assert len(calls) <= cap
    assert result.spend.calls == len(calls)
    assert result.state in ("finished", "paused")


def test_a_cap_that_leaves_nothing_for_the_search_is_refused(store: Path) -> None:
    with pytest.raises(ConfigError, match=r"calls = 30 leaves nothing.*440"):
        run(toy_spec(store, budget=Budget(evaluations=240, calls=30)))


def test_a_study_finished_under_a_cap_does_not_search_again_under_a_higher_one(store: Path, calls: list[str]) -> None:
    capped = run(toy_spec(store, budget=Budget(evaluations=240, calls=560)))
    assert capped.state == "finished"
    made = len(calls)
    again = run(toy_spec(store, budget=Budget(evaluations=240, calls=5_000)))
    assert again.prompt == capped.prompt
    assert len(calls) == made


def test_an_interrupted_study_ends_like_one_that_was_not(store: Path) -> None:
    assert interrupted(toy_spec(store), after=60).state == "paused"
    assert run(toy_spec(store)).state == "finished"
    whole = store.with_name("whole.db")
    run(toy_spec(whole))
    assert dump(store) == dump(whole)


def test_an_interrupted_study_of_two_strategies_ends_like_one_that_was_not(store: Path) -> None:
    both = StrategySpec("demos", settings={"then.block": 4, "most": 4}, then="irace", share=0.4)
    for after in (30, 200):  # once in either of them
        assert interrupted(replace(toy_spec(store), strategy=both), after=after).state == "paused"
    assert run(replace(toy_spec(store), strategy=both)).state == "finished"
    whole = store.with_name("whole.db")
    run(replace(toy_spec(whole), strategy=both))
    assert dump(store) == dump(whole)
    with pytest.raises(StudyMismatchError, match=r"other settings \(strategy settings\)"):
        run(replace(toy_spec(store), strategy=replace(both, share=0.5)))


def test_a_study_records_the_version_of_the_library_that_its_strategy_draws_on(store: Path) -> None:
    both = StrategySpec("random", then="tpe")
    with api.open_study(replace(toy_spec(store), strategy=both), task=toy_task()) as study:
        assert study.row.versions["optuna"] == version("optuna")
        assert study.row.versions["random-then-tpe"] == "1, 1"


def interrupted(spec: StudySpec, after: int, phase: str = "search") -> Result:
    def stop(progress: Progress) -> None:
        if progress.phase == phase and progress.done > after:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("promptopt.study.PROGRESS_S", 0.0)  # a quick study is over before a tenth of a second
        with api.open_study(spec, task=toy_task(), observer=stop) as study:
            return study.run()


def test_ctrl_c_leaves_a_paused_study_that_goes_on(store: Path) -> None:
    spec = toy_spec(store, model="simulated:additive?seed=3&latency_ms=5&concurrency=4")
    assert interrupted(spec, after=60).state == "paused"
    with Store.open(store) as opened:
        row = opened.study("toy")
        assert row is not None
        assert row.state == "paused"
    assert run(spec).state == "finished"


def test_a_failing_model_pauses_and_loses_nothing(store: Path) -> None:
    broken = run(toy_spec(store, model="simulated:additive?seed=3&server_error=0.9"))
    assert broken.state == "paused"
    assert "failed" in broken.reason


def test_a_model_that_declines_everything_proves_nothing(store: Path) -> None:
    result = run(toy_spec(store, model="simulated:additive?seed=3&refused=1"))
    assert (result.state, result.spend.calls, result.proof) == ("paused", 40, None)
    assert "none of the first 40 calls brought an answer" in result.reason


def test_failures_are_missing_data_and_no_wrong_answers(store: Path) -> None:
    result = run(toy_spec(store, model="simulated:additive?seed=3&refused=0.04"), toy_task(n_test=300))
    assert result.proof is not None
    assert result.proof.seed_test is not None
    statuses: list[Status] = [outcome.status for outcome in result.proof.seed_test.outcomes]
    assert "refused" in statuses
    assert result.proof.seed_test.n_valid == len(statuses) - statuses.count("refused")


@dataclass(frozen=True)
class Picky(Same):
    """A metric that raises on some rows: one in so many."""

    one_in: int = 20

    def score(self, output: str, example: Example) -> Score:
        if int(example.inputs["input"].split()[-1]) % self.one_in == 0:
            raise ValueError("what a row")
        return super().score(output, example)


def test_what_the_metric_cannot_score_is_missing_and_replayed_as_such(store: Path) -> None:
    task = replace(toy_task(), metric=Picky())
    first = run(toy_spec(store), task)
    assert first.proof is not None
    assert first.proof.seed_test is not None
    assert (first.state, first.proof.seed_test.n, first.proof.seed_test.n_valid) == ("finished", 120, 114)
    assert first.unscored > 6
    again = run(toy_spec(store), task)
    assert (again.verdict, again.unscored) == (first.verdict, first.unscored)


def test_a_metric_that_cannot_score_one_in_four_pauses_and_names_a_row(store: Path) -> None:
    paused = run(toy_spec(store), replace(toy_task(), metric=Picky(one_in=4)))
    assert (paused.state, paused.cause) == ("paused", "failures")
    assert "outputs could not be scored" in paused.reason
    assert re.search(r"raised ValueError: what a row \(example \w{8}.*its row begins 'item number \d+'$", paused.reason)
    assert run(toy_spec(store, min_valid=0.5), replace(toy_task(), metric=Picky(one_in=4))).state == "finished"


def test_an_edited_strategy_is_caught_at_the_first_other_ask(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(toy_spec(store), after=60)
    begin = Study._begin

    def edited(self: Study) -> None:
        self.setup = replace(self.setup, strategy=Edited())
        begin(self)

    monkeypatch.setattr(Study, "_begin", edited)
    with pytest.raises(ReplayError, match=r"Ask 0 .*--fork"):
        run(toy_spec(store))


def test_a_finished_study_keeps_its_result_whatever_happens_when_it_is_shown_again(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(toy_spec(store))
    monkeypatch.setattr(Study, "_search", lambda study: study.setup.strategy.none)
    with pytest.raises(AttributeError):
        run(toy_spec(store))
    monkeypatch.setattr(Study, "_search", lambda study: raise_interrupt())
    assert run(toy_spec(store)).state == "paused"
    with Store.open(store) as opened:
        row = opened.study("toy")
    assert row is not None
    assert (row.state, row.summary["sentence"]) == ("finished", first.verdict)


def raise_interrupt() -> str:
    raise KeyboardInterrupt


def test_a_proof_that_goes_on_later_is_charged_apart_from_the_search(store: Path) -> None:
    whole = run(toy_spec(store, name="whole", cache="off"))
    spec = toy_spec(store, model="simulated:additive?seed=3&latency_ms=5&concurrency=4", cache="off")
    cut = interrupted(spec, after=50, phase="dev")
    assert (cut.state, cut.search_spend.calls) == ("paused", whole.search_spend.calls)
    assert cut.spend.calls > cut.search_spend.calls
    again = run(spec)
    assert (again.search_spend.calls, again.reason) == (whole.search_spend.calls, whole.reason)


class Edited:
    name, version, needs, control, profiles = "irace", "1", frozenset[str](), False, {}

    def search(self, context: Context) -> Search[None]:
        seed = Candidate(context.seeds[0])
        yield from Evaluate([seed], context.search[:2])
        yield from Recommend((seed,))


def test_a_strategy_without_its_services_is_refused_at_the_start(store: Path) -> None:
    with api.open_study(toy_spec(store), task=toy_task()) as study, pytest.raises(ConfigError, match="needs write"):
        replace(study.setup, strategy=replace_needs(), optimizer_model=None)


def replace_needs() -> Edited:
    edited = Edited()
    edited.needs = frozenset({"write"})  # type: ignore[misc]
    return edited


class Cheat(Edited):
    """Scores a row on a prompt that shows it, or one that is not for training."""

    def __init__(self, *, shown: bool) -> None:
        self.shown = shown

    def search(self, context: Context) -> Search[None]:
        row = context.pool[0] if self.shown else Example({"input": "from elsewhere"}, "red", ("red", "green", "blue"))
        yield from Evaluate([Candidate(context.seeds[0].replace(demos=(Demo.of(row),)))], [row])


@pytest.mark.parametrize(("shown", "said"), [(True, "a row that it shows"), (False, "outside the training rows")])
def test_no_prompt_is_scored_on_what_it_shows_or_must_not_see(store: Path, shown: bool, said: str) -> None:
    with api.open_study(toy_spec(store), task=toy_task()) as study:
        study.setup = replace(study.setup, strategy=Cheat(shown=shown))
        with pytest.raises(StrategyError, match=said):
            study.run()


def test_apo_and_opro_run_with_the_scripted_optimizer_model(store: Path) -> None:
    for name in ("apo", "opro"):
        spec = toy_spec(store, name=name)
        result = run(replace(spec, strategy=StrategySpec(name)))
        assert result.state == "finished"
        assert result.trials > 1


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")

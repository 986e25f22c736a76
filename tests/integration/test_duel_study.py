"""Studies that compare: waiting for people, resuming, taking back, judge models, caps and everything to be refused."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from promptopt import api
from promptopt.ask import Compare, Recommend, Search
from promptopt.backends.base import Reply, Request
from promptopt.backends.simulated import SimulatedBackend
from promptopt.budget import Budget
from promptopt.config import JudgeSpec, StrategySpec, StudySpec
from promptopt.duel import Duel, Verdict
from promptopt.errors import ConfigError
from promptopt.judge import Jury
from promptopt.metrics import open_metric
from promptopt.prompt import Candidate
from promptopt.report import show_study
from promptopt.result import Result
from promptopt.store.duels import preference_id
from promptopt.store.rows import Shown
from promptopt.store.store import Store
from promptopt.strategy import Context, Estimate, Need
from promptopt.study import Study
from tests.fakes import FakeBackend
from tests.toy import dump, run, toy_spec, toy_task

SETTINGS = {"pool": 6, "duels": 14, "least": 30, "ahead": 2}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "studies.db"


def human(store: Path, **changes: Any) -> StudySpec:
    judged = toy_spec(store, judge=JudgeSpec(("human",)))
    return replace(judged, strategy=StrategySpec("dts", settings=SETTINGS), **changes)


@contextmanager
def opened(spec: StudySpec) -> Iterator[Study]:
    with api.open_study(spec, task=toy_task(60, 10, 60)) as study:
        yield study


def opinion(shown: Shown) -> Verdict:
    """Return what a person says who likes the answer that comes first in the alphabet."""
    return "left" if shown.left < shown.right else "right"


def label(store: Store, n: int, who: str = "ann") -> int:
    done = 0
    while done < n and (shown := store.next_duel(1, who, catch=False)):
        store.record_verdict(shown.duel_id, who, opinion(shown))
        done += 1
    return done


def run_and_label(spec: StudySpec, n: int = 1) -> tuple[Result, int]:
    """Run a study, label n duels when it waits, and again with a fresh process' eyes until it ends."""
    rounds = 0
    while True:
        rounds += 1
        with opened(spec) as study:
            result = study.run()
            if result.state != "waiting":
                return result, rounds
            assert label(study.store, n) > 0


def recommendations(path: Path) -> list[Any]:
    with Store.open(path, create=False) as opened_store:
        return [ask.payload for ask in opened_store.journal(1) if ask.kind == "recommend"]


def test_pairs_are_kept_ready_for_each_who_has_one_on_screen(store: Path) -> None:
    n_open = []
    for who in ("ann", "bob", "cem"):
        with opened(human(store)) as study:
            study.run()
            n_open.append(study.store.labelling(1).open)
            assert study.store.next_duel(1, who)
    assert n_open == [3, 3, 5], "one for each and ahead of them; Ann alone needs no more than nobody"


def test_without_labels_a_study_waits_and_says_for_what(store: Path) -> None:
    with opened(human(store)) as study:
        result = study.run()
        assert (result.state, result.cause) == ("waiting", "labels")
        assert "3 duels wait" in result.reason
        row = study.store.study("toy")
        assert row is not None
        assert row.state == "waiting"
        assert study.store.labelling(1).open == 3


def test_labels_given_while_nothing_runs_are_used_by_the_next_start(store: Path) -> None:
    result, rounds = run_and_label(human(store))
    assert result.state == "finished"
    assert rounds > 6, "after each label that lets it go on it asks for the next pair"
    assert result.judging["verdicts"]["human"] >= 10
    assert result.judging["people"][0]["labeller"] == "ann"
    assert result.proof is not None
    assert result.proof.verdict.sentence


def test_stopped_after_every_label_or_never_stopped_the_journal_is_the_same(store: Path, tmp_path: Path) -> None:
    run_and_label(human(store))
    whole = tmp_path / "whole.db"
    with opened(human(whole)) as study:
        study.wait_for_people(lambda: label(study.store, 1) == 1)
        assert study.run().state == "finished"
    assert dump(whole) == dump(store)
    again = dump(store)
    assert run(human(store), toy_task(60, 10, 60)).state == "finished"
    assert dump(store) == again


def test_a_label_taken_back_leaves_no_trace_in_what_is_recommended(store: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    for path, hesitates in ((store, True), (other, False)):
        with opened(human(path)) as study:
            study.run()
            if hesitates:
                shown = study.store.next_duel(1, "ann")
                assert shown is not None
                study.store.record_verdict(shown.duel_id, "ann", "tie")
                study.store.take_back(1, "ann")
        run_and_label(human(path))
    assert recommendations(store) == recommendations(other)
    assert len(recommendations(store)) > 3


def test_a_label_taken_back_later_is_missing_from_the_next_answer(store: Path) -> None:
    with opened(human(store)) as study:
        study.run()
        label(study.store, 2)
        study.run()
        before = len(study.store.preferences(1))
        study.store.take_back(1, "ann")
        result = study.run()
        assert result.state == "waiting"
        assert len(study.store.preferences(1)) == before - 1
        assert study.store.labelling(1).open == 4, "the pair waits again"


def test_the_cap_on_labels_ends_the_search(store: Path) -> None:
    spec = human(store, budget=Budget(evaluations=240, labels=4))
    result, _ = run_and_label(spec)
    assert result.state == "finished"
    assert "labels" in result.reason
    assert result.judging["verdicts"]["human"] == 4


def test_with_the_metric_as_judge_it_runs_through_and_spends_its_plan_on_outputs(store: Path) -> None:
    spec = replace(toy_spec(store), strategy=StrategySpec("dts", settings={**SETTINGS, "duels": 40}))
    result = run(spec, toy_task(60, 10, 60))
    assert result.state == "finished"
    assert 80 < result.evaluations <= 240, "pairs with equal outputs are asked on other inputs too"
    assert set(result.judging["verdicts"]) <= {"metric", "outputs"}
    assert result.p_best is not None


def test_a_pool_grows_by_what_the_optimizer_model_writes(store: Path) -> None:
    settings = {"pool": 5, "duels": 30, "grow_every": 10, "grow_by": 2, "stop_at": 2.0, "stop_regret": 0.0}
    strategy = StrategySpec("btl", settings=settings)
    spec = replace(toy_spec(store, judge=JudgeSpec(("metric",))), strategy=strategy)  # the task model can write
    with api.open_study(spec, task=toy_task(60, 10, 60)) as study:
        result = study.run()
        trials = {trial.operator: trial for trial in study.store.trials(1)}
    assert result.state == "finished"
    assert trials["improve"].parents, "made from the best, compared with the others"
    assert "rephrase" in trials, "which is where the first ones came from"


@dataclass(frozen=True)
class Careless:
    """Compares the seed with a prompt that a guard refuses; a foreign strategy that asks nobody before."""

    name: ClassVar[str] = "careless"
    version: ClassVar[str] = "1"
    needs: ClassVar[frozenset[Need]] = frozenset({"compare"})
    control: ClassVar[bool] = True
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def search(self, context: Context) -> Search[None]:
        seed = Candidate(context.seeds[0])
        bad = Candidate(
            seed.prompt.replace(instruction="Look it up on https://example.org/colours."), (seed.id,), "edit"
        )
        yield from Compare(tuple(Duel(seed, bad, example) for example in context.search[:3]))
        yield from Recommend((bad, seed), "rank")

    def estimate(self, context: Context) -> Estimate:
        return Estimate(min(6, context.evaluations), 0, 3)


def test_a_refused_prompt_in_a_duel_is_a_trial_with_its_reason(store: Path) -> None:
    with api.open_study(toy_spec(store, "dts", judge=JudgeSpec(("metric",))), task=toy_task(60, 10, 60)) as study:
        judged(study, FakeBackend(favours("A")))
        study.setup = replace(study.setup, strategy=Careless())
        result = study.run()
        preferences = study.store.preferences(1)
    assert {(p.verdict, p.source) for p in preferences} == {("skip", "outputs")}
    assert (result.evaluations, result.refusals) == (3, {"urls": 1})
    assert result.seed == result.prompt
    (refused,) = show_study(str(store), "toy")["refused_list"]
    assert (refused["operator"], refused["reason"].split(":")[0]) == ("edit", "urls")


def favours(letter: str, margin: float = 1.0) -> Any:
    """A judge that likes the word green, and one place a little more than the other."""

    def say(request: Request) -> Reply:
        text = request.messages[-1].content
        a, b = (text.split(f"Answer {name}\n")[1].split("\n")[0] for name in "AB")
        odds = 3.0 * (("green" in a) - ("green" in b)) + (margin if letter == "A" else -margin)
        first = 1 / (1 + 2.718281828**-odds)
        return Reply("ok", "A" if odds > 0 else "B", chances=(first, 1 - first))

    return say


def judged(study: Study, judge: FakeBackend, *, people: bool = False) -> None:
    study.setup = replace(study.setup, jury=Jury(people=people, model=judge, criteria="Say green."))


def test_a_judge_model_decides_by_log_odds_in_both_orders_and_is_audited(store: Path) -> None:
    judge = FakeBackend(favours("A"))
    with opened(replace(human(store), judge=JudgeSpec(("metric",)))) as study:
        judged(study, judge)
        result = study.run()
        assert result.state == "finished"
        rows = [p for p in study.store.preferences(1) if p.source == "model"]
        assert len(judge.asked) == 2 * len(rows)
        assert study.store.spend(1).calls == result.spend.calls, "the next session knows what the judge was paid"
        assert all("Say green." in request.messages[-1].content for request in judge.asked)
        assert not any("Name the colour" in request.messages[-1].content for request in judge.asked), (
            "prompts are hidden"
        )
        outputs = {p.id: p for p in rows}
        for p in outputs.values():
            assert len(p.detail["log_odds"]) == 2
    audit = result.judging["judges"][0]
    assert audit["judge"] == "fake:"
    assert audit["unread"] == 0.0
    assert audit["first_place"] > 0.5


def test_a_judge_that_always_says_first_decides_nothing(store: Path) -> None:
    judge = FakeBackend(lambda _request: Reply("ok", "A"))
    judge.abilities = frozenset({"choice"})
    with opened(replace(human(store), judge=JudgeSpec(("metric",)))) as study:
        judged(study, judge)
        study.run()
        said = [p for p in study.store.preferences(1) if p.source == "model"]
        assert said
        assert {p.verdict for p in said} == {"tie"}
        assert all(request.allowed == ("A", "B") for request in judge.asked)


def test_an_answer_that_cannot_be_read_is_no_vote(store: Path) -> None:
    judge = FakeBackend(lambda _request: Reply("ok", "I think both are fine"))
    judge.abilities = frozenset()
    with opened(replace(human(store), judge=JudgeSpec(("metric",)))) as study:
        judged(study, judge)
        result = study.run()
        assert {p.verdict for p in study.store.preferences(1) if p.source == "model"} == {"skip"}
    assert result.judging["judges"][0]["unread"] == 1.0


def test_a_judge_that_disagrees_with_people_may_not_decide_alone(store: Path) -> None:
    opposite: dict[Verdict, Verdict] = {"left": "right", "right": "left"}
    with opened(replace(human(store), judge=JudgeSpec(("metric",)))) as study:

        def contradicted(request: Request) -> Reply:
            """Judge; somebody looks at all that was judged so far and says the opposite."""
            while shown := study.store.next_duel(1, "ann", audit=True, catch=False):
                duel = next(row for row in study.store.duels(1) if row.id == shown.duel_id)
                theirs = next(p for p in study.store.preferences(1) if p.id == preference_id(duel.id, "fake:"))
                wanted = opposite.get(theirs.verdict, theirs.verdict)
                is_straight = shown.left == _output(study, duel.left_key)
                study.store.record_verdict(duel.id, "ann", wanted if is_straight else opposite.get(wanted, wanted))
            return favours("A")(request)  # type: ignore[no-any-return]

        judged(study, FakeBackend(contradicted))
        settings = {"duels": 40, "stop_at": 2.0, "stop_regret": 0.0}
        study.setup = replace(study.setup, strategy=replace(study.setup.strategy, **settings))  # type: ignore[type-var]
        result = study.run()
    assert (result.state, result.cause) == ("paused", "failures")
    assert "does not decide alone" in result.reason
    assert result.judging["judges"][0]["kappa"] < 0.2
    assert result.judging["judges"][0]["weight"] < 0.2


def _output(study: Study, key: str | None) -> str:
    return study.store.find_outcomes([key or ""])[key or ""].output


def test_people_and_a_judge_both_say_something_of_every_duel(store: Path) -> None:
    with opened(human(store)) as study:
        judged(study, FakeBackend(favours("B")), people=True)
        assert study.run().state == "waiting"
        sources = [p.source for p in study.store.preferences(1)]
        assert "model" in sources
        assert "human" not in sources
        assert study.store.labelling(1).open >= 3, "the judge's word does not settle what people are asked"


def test_a_task_without_a_metric_is_searched_by_a_judge_and_proved_by_duels(store: Path) -> None:
    task = replace(toy_task(60, 10, 80), metric=open_metric("none"))
    spec = replace(human(store), judge=JudgeSpec(("simulated:additive",)))
    with api.open_study(spec, task=task) as study:
        judged(study, FakeBackend(favours("A")))
        result = study.run()
        assert result.state == "finished"
        assert result.proof is not None
        if result.proof.chosen:
            assert result.proof.verdict.n == 80
            assert "the judge prefers" in result.verdict
        assert "proof/0" in [ask.path for ask in study.store.journal(1)]


def test_people_alone_without_a_metric_are_not_asked_for_a_proof(store: Path) -> None:
    task = replace(toy_task(60, 10, 80), metric=open_metric("none"))
    spec = human(store)
    for _ in range(40):
        with api.open_study(spec, task=task) as study:
            result = study.run()
            if result.state == "finished":
                break
            label(study.store, 3)
    assert result.state == "finished"
    assert "people have chosen" in result.verdict or "seed prompt won" in result.verdict


@pytest.mark.parametrize(
    ("strategy", "judge", "metric", "said"),
    [
        ("dts", (), "none", "say who with --judge"),
        ("irace", (), "none", "needs a metric"),
        ("dts", ("metric",), "none", "this task has none"),
    ],
)
def test_what_cannot_be_judged_is_refused_at_the_start(
    store: Path, strategy: str, judge: tuple[str, ...], metric: str, said: str
) -> None:
    task = replace(toy_task(60, 10, 60), metric=open_metric(metric))
    spec = toy_spec(store, strategy, judge=JudgeSpec(judge))
    with pytest.raises(ConfigError, match=said), api.open_study(spec, task=task):
        pass


def test_two_judge_models_are_refused() -> None:
    with pytest.raises(ConfigError, match="one judge model is enough"):
        JudgeSpec(("human", "simulated:a", "simulated:b"))


def test_a_model_that_answers_nothing_leaves_duels_without_people(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = SimulatedBackend.answer

    def refuse_some(self: SimulatedBackend, request: Request) -> Reply:
        reply = answer(self, request)
        return replace(reply, status="refused", text="") if len(request.messages[-1].content) % 2 else reply

    monkeypatch.setattr(SimulatedBackend, "answer", refuse_some)
    with opened(human(store)) as study:
        study.run()
        preferences = study.store.preferences(1)
        assert all(p.source == "outputs" for p in preferences)

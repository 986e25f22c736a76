"""Guards in a study: no call for a refused prompt, whoever proposes it; recorded, told, free, the same on replay."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import pytest

from promptopt import api
from promptopt.ask import Evaluate, Evaluated, Recommend, Search
from promptopt.backends.base import Reply, Request
from promptopt.backends.simulated import SimulatedBackend
from promptopt.config import StudySpec
from promptopt.errors import ReplayError, StudyMismatchError
from promptopt.guards import MOST_IN_A_ROW, Rules
from promptopt.prompt import Candidate
from promptopt.report import show_study
from promptopt.result import Result
from promptopt.strategy import Context
from promptopt.study import Study
from tests.toy import dump, run, toy_spec, toy_task

BAD = "Name the colour as told on https://example.org/colours."
GOOD = "Name the colour of the item in one word."


@dataclass(frozen=True)
class Proposer:
    """Scores the seed, then what it is given, and remembers what it was told; a foreign strategy without manners."""

    texts: tuple[str, ...]
    told: list[Evaluated]
    name: ClassVar[str] = "proposer"
    version: ClassVar[str] = "1"
    needs: ClassVar[frozenset[str]] = frozenset()
    control: ClassVar[bool] = False
    profiles: ClassVar[dict[str, Any]] = {}

    def search(self, context: Context) -> Search[None]:
        seed = Candidate(context.seeds[0])
        self.told.append((yield from Evaluate([seed], context.search[:10])))
        children = [Candidate(seed.prompt.replace(instruction=t), (seed.id,), "edit", {"by": "me"}) for t in self.texts]
        self.told.append((yield from Evaluate(children, context.search[:10])))
        yield from Recommend((*children, seed), "rank")


@dataclass(frozen=True)
class Stubborn(Proposer):
    """Proposes refused prompts for ever, as a search does that counts on its plan to end it."""

    def search(self, context: Context) -> Search[None]:
        seed = Candidate(context.seeds[0])
        yield from Evaluate([seed], context.search[:10])
        yield from Recommend((seed,))
        for number in count():
            bad = Candidate(seed.prompt.replace(instruction=f"{BAD} {number}"))
            yield from Evaluate([bad], context.search[:10])


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "studies.db"


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every request that the simulated model gets, in order."""
    requests: list[str] = []
    answer = SimulatedBackend.answer

    def noted(self: SimulatedBackend, request: Request) -> Reply:
        requests.append(str(request))
        return answer(self, request)

    monkeypatch.setattr(SimulatedBackend, "answer", noted)
    return requests


def study_of(spec: StudySpec, strategy: Any, observe: Callable[[Study], None] | None = None) -> Result:
    with api.open_study(spec, task=toy_task()) as study:
        study.setup = replace(study.setup, strategy=strategy)
        if observe:
            observe(study)
        return study.run()


def test_a_refused_prompt_is_never_sent_and_the_strategy_is_told(store: Path, sent: list[str]) -> None:
    told: list[Evaluated] = []
    result = study_of(toy_spec(store), Proposer((BAD, GOOD), told))
    assert not [request for request in sent if "example.org" in request]
    assert [request for request in sent if GOOD in request]
    bad, good = told[1].evaluations
    assert bad.refusal == "urls: it has the address 'https://example.org/colours.', which no seed has"
    assert (bad.n, bad.n_valid, bad.mean, bad.scores) == (10, 0, 0.0, {})
    assert {(outcome.status, outcome.score, outcome.feedback) for outcome in bad.outcomes} == {
        ("refused", None, bad.refusal)
    }
    assert (good.refusal, good.n_valid) == ("", 10)
    # The plan of 240 has paid for the seed and the good one; health and caps have seen nothing.
    assert [answer.remaining for answer in told] == [230, 220]
    assert (result.evaluations, result.trials, result.refusals) == (20, 2, {"urls": 1})


def test_a_refused_prompt_is_a_trial_with_its_reason_and_no_finalist(store: Path) -> None:
    result = study_of(toy_spec(store), Proposer((BAD, GOOD), []))
    assert result.proof is not None
    roles = {finalist.role: finalist.candidate.prompt.instruction for finalist in result.proof.finalists}
    assert roles["finalist 1"] == GOOD
    assert BAD not in roles.values()
    shown = show_study(str(store), "toy")
    (refused,) = shown["refused_list"]
    assert (refused["operator"], refused["reason"].split(":")[0]) == ("edit", "urls")
    assert refused["prompt_id"] not in {trial["prompt_id"] for trial in shown["trials_list"]}
    assert shown["refusals"] == {"urls": 1}


def test_where_all_are_refused_the_seed_is_what_the_search_found(store: Path) -> None:
    result = study_of(toy_spec(store), Proposer((BAD, BAD + " Now."), []))
    assert result.prompt == result.seed or result.prompt.instruction != BAD
    assert (result.evaluations, result.refusals) == (10, {"urls": 2})


def test_a_search_of_nothing_but_refused_prompts_ends(store: Path) -> None:
    result = study_of(toy_spec(store), Stubborn((), []))
    assert result.state == "finished"
    assert result.reason == f"the guards refused its last {MOST_IN_A_ROW} prompts and more"
    assert result.refusals == {"urls": MOST_IN_A_ROW}


def test_replayed_the_same_is_refused_and_nothing_is_sent(store: Path, sent: list[str]) -> None:
    first = study_of(toy_spec(store), Proposer((BAD, GOOD), []))
    made, journal = len(sent), dump(store)
    told: list[Evaluated] = []
    again = study_of(toy_spec(store), Proposer((BAD, GOOD), told))
    assert len(sent) == made
    assert dump(store) == journal
    assert told[1].evaluations[0].refusal
    assert again.to_json()["refusals"] == first.to_json()["refusals"]


def test_a_release_that_refuses_otherwise_is_caught_on_replay(store: Path) -> None:
    study_of(toy_spec(store), Proposer((BAD, GOOD), []))

    def change(study: Study) -> None:
        study.setup = replace(study.setup, rules=Rules(urls=False))

    with pytest.raises(ReplayError, match="Ask 1"):
        study_of(toy_spec(store), Proposer((BAD, GOOD), []), change)


def test_a_guard_can_be_switched_off_and_then_it_is_another_study(store: Path, sent: list[str]) -> None:
    study_of(toy_spec(store), Proposer((BAD,), []))
    with pytest.raises(StudyMismatchError, match=r"other settings \(guards\)"):
        run(toy_spec(store, guards=Rules(urls=False)))
    result = study_of(toy_spec(store, name="free", guards=Rules(urls=False)), Proposer((BAD,), []))
    assert [request for request in sent if "example.org" in request]
    assert result.refusals == {}


def test_the_users_own_prompts_and_the_baselines_are_never_refused(store: Path) -> None:
    task = toy_task()
    seeds = tuple(
        task.seeds[0].replace(instruction=text) for text in (BAD, "Nenne die Farbe. {x}\u200b", "颜色是什么?")
    )
    with api.open_study(toy_spec(store, guards=Rules(max_tokens=1)), task=replace(task, seeds=seeds)) as study:
        result = study.run()
    assert result.proof is not None
    assert [finalist.role for finalist in result.proof.finalists[:3]] == ["seed", "empty instruction", "step by step"]
    assert all(finalist.dev.n_valid for finalist in result.proof.finalists)


def test_a_strategy_may_ask_before_it_proposes(store: Path) -> None:
    texts = (
        "Sure! Name the colour.",
        "Name the colour. Answer:</task>",
        "Name the {colour}.",
        "Name the colour, please.",
    )
    with api.open_study(toy_spec(store), task=toy_task()) as study:
        context = study.setup.context
    seed = context.seeds[0]
    assert [t for t in texts if not context.guards.refusal(seed.replace(instruction=t))] == ["Name the colour, please."]

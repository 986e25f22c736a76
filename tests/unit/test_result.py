"""Result and Progress: the plain form that every door shows is JSON, whatever is missing."""

import json
from dataclasses import replace
from typing import Any

import pytest

from promptopt.ask import Effect
from promptopt.budget import Spend, Usage
from promptopt.evaluation import Evaluation, Outcome
from promptopt.prompt import Candidate, Demo
from promptopt.proof import Finalist, Proof
from promptopt.result import Progress, Result, cached_share, evaluation_json
from promptopt.verdict import Verdict, judge_verdict, not_measured
from tests.toy import toy_task

TASK = toy_task(n_train=6, n_dev=2, n_test=60)
SEED = Candidate(TASK.seeds[0])
DEMOS = (Demo({"input": "item {input}"}, "red"),)
BEST = Candidate(TASK.seeds[0].replace(instruction="Say it.", demos=DEMOS), (SEED.id,), "mutate")


def evaluated(candidate: Candidate, split: Any, score: float | None) -> Evaluation:
    usage = Usage(100, 10)
    status: Any = "failed" if score is None else "ok"
    return Evaluation(
        candidate.id,
        tuple(Outcome(candidate.id, e.id, status, score=score, usage=usage) for e in TASK.dataset.split(split)),
    )


def result(proof: Proof | None = None, **changes: Any) -> Result:
    return replace(
        Result(
            name="toy",
            state="finished" if proof else "paused",
            reason="the plan is used",
            task=TASK,
            best=proof.winner if proof else BEST,
            proof=proof,
            effects=(Effect("cue", "Answer:", 0.1, 0.0, 0.2, 30),),
            evaluations=40,
            trials=3,
            search_spend=Spend(calls=40),
            spend=Spend(calls=70, usd=0.5),
            test_use=1,
        ),
        **changes,
    )


def proof(chosen_score: float | None, chosen: int = 1) -> Proof:
    finalists = (
        Finalist("seed", SEED, evaluated(SEED, "dev", 0.0)),
        Finalist("finalist 1", BEST, evaluated(BEST, "dev", 1.0)),
    )
    seed_test, test = evaluated(SEED, "test", 0.0), evaluated((SEED, BEST)[chosen], "test", chosen_score)
    return Proof(finalists, chosen, judge_verdict(seed_test, test), seed_test, test)


def plain(found: Result) -> dict[str, Any]:
    """As a strict reader of JSON would get it."""
    text = json.dumps(found.to_json(), allow_nan=False)
    data: dict[str, Any] = json.loads(text)
    return data


def test_a_finished_study_in_full() -> None:
    data = plain(result(proof(1.0)))
    assert (data["state"], data["chosen"], data["verdict"]["word"]) == ("finished", "finalist 1", "better")
    assert data["sentence"] == data["verdict"]["sentence"]
    assert [f["role"] for f in data["finalists"]] == ["seed", "finalist 1"]
    assert data["test"]["chosen"]["mean"] == 1.0
    assert data["best"]["id"] == BEST.id
    assert data["best"]["n_demos"] == 1
    assert (data["spend"]["calls"], data["search"]["calls"]) == (70, 40)
    assert data["effects"][0]["choice"] == "cue"


@pytest.mark.parametrize("score", [0.0, None])
def test_what_is_not_proved_is_not_recommended(score: float | None) -> None:
    found = result(proof(score))
    assert found.prompt == found.seed == SEED.prompt
    assert plain(found)["best"]["id"] == SEED.id


def test_without_a_test_split_the_choice_on_dev_is_what_there_is() -> None:
    finalists = proof(1.0).finalists
    verdict = not_measured(finalists[0].dev, finalists[1].dev)
    found = result(Proof(finalists, 1, verdict))
    assert found.prompt == BEST.prompt
    data = plain(found)
    assert data["test"] == {}
    assert data["verdict"]["word"] == "not measured"


@pytest.mark.parametrize(("score", "kept"), [(1.0, BEST), (None, SEED)])
def test_a_test_split_too_small_to_decide_does_not_undo_the_choice(score: float | None, kept: Candidate) -> None:
    full = proof(score)
    assert full.seed_test
    assert full.chosen_test
    few = [Evaluation(e.prompt_id, e.outcomes[:20]) for e in (full.seed_test, full.chosen_test)]
    found = result(Proof(full.finalists, 1, judge_verdict(*few), *few))
    assert plain(found)["verdict"]["word"] == "not measured"
    assert found.prompt == kept.prompt


def test_the_seed_itself_may_be_chosen() -> None:
    data = plain(result(proof(0.0, chosen=0)))
    assert data["chosen"] == "seed"
    assert data["verdict"]["difference"] is None


def test_a_paused_study_shows_what_it_would_recommend() -> None:
    data = plain(result())
    assert data["sentence"] == "Not finished: the plan is used."
    assert data["best"]["id"] == BEST.id
    assert "verdict" not in data


def test_prompts_are_shown_with_their_slots_as_fields() -> None:
    (message,) = plain(result())["best"]["messages"]
    assert message["role"] == "user"
    assert message["content"].startswith("Say it.\n\nItem: item {{input}}\nred\n\n")
    assert message["content"].endswith("Item: {input}")


def test_a_verdict_is_kept_whole() -> None:
    verdict = proof(1.0).verdict
    assert isinstance(verdict, Verdict)
    assert len(plain(result(proof(1.0)))["verdict"]["fixed"]) == 60


@pytest.mark.parametrize(("score", "n_valid", "error"), [(1.0, 2, 0.0), (None, 0, None)])
def test_figures_of_an_evaluation_are_numbers_or_null(score: float | None, n_valid: int, error: float | None) -> None:
    figures = evaluation_json(evaluated(SEED, "dev", score))
    assert figures["standard_error"] == error
    assert (figures["n_valid"], figures["n"]) == (n_valid, 2)
    assert (figures["prompt_tokens"], figures["completion_tokens"]) == (100.0, 10.0)
    assert evaluation_json(Evaluation("none", ()))["prompt_tokens"] == 0


def test_four_right_answers_are_no_certainty() -> None:
    four = Evaluation(BEST.id, evaluated(BEST, "test", 1.0).outcomes[:4])
    interval = Progress("search", 4, 100, 1, four, Spend(), calls_per_s=4.0).best_interval
    assert interval is not None
    assert (round(interval.low, 2), interval.high) == (0.51, 1.0)
    assert Progress("search", 0, 100, 0, None, Spend(), calls_per_s=0.0).best_interval is None


def test_the_share_of_prompts_that_the_server_had_cached() -> None:
    def used(name: str, *cached: int) -> Evaluation:
        outcomes = (Outcome("p", f"{name}{i}", "ok", usage=Usage(100, 1, tokens)) for i, tokens in enumerate(cached))
        return Evaluation("p", tuple(outcomes))

    assert cached_share([used("a", 0, 80), used("b", 40)]) == 0.4
    assert cached_share([used("a", 0, 80), used("a", 0, 80)]) == 0.4, "seen twice, it counts once"
    assert cached_share([used("a", 0, 0)]) is None
    assert plain(result(proof(1.0), cached_share=0.4))["cached_share"] == 0.4
    found = proof(0.0, chosen=0)
    assert [evaluation.n for evaluation in found.evaluations] == [2, 2, 60, 60]


def test_the_time_left_is_at_the_present_pace() -> None:
    progress = Progress("search", 40, 100, 3, None, Spend(), calls_per_s=4.0)
    assert progress.seconds_left == 15
    assert replace(progress, calls_per_s=0.0).seconds_left is None


def test_a_result_is_shown_in_a_line() -> None:
    assert repr(result(proof(1.0))).startswith("<Result of the study toy, finished. Better by 100 points")

"""The length penalty: what it takes off, which prompt it returns, and that the verdict stays in plain score."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from promptopt import api
from promptopt.ask import Evaluate, Evaluated
from promptopt.config import StudySpec, read_spec
from promptopt.errors import ConfigError
from promptopt.evaluation import Evaluation, Outcome, paired
from promptopt.layout import chat_layout
from promptopt.metrics import open_metric
from promptopt.objective import Objective, shorter_first
from promptopt.prompt import Candidate, Demo, Prompt
from promptopt.proof import Proof, prove
from promptopt.suite import Suite
from promptopt.verdict import choose
from promptopt_strategies.history import Entry
from promptopt_strategies.objective import Objective as PlumObjective
from tests.toy import run, toy_spec, toy_task

TWO_POINTS = Objective(2.0)


def evaluation(name: str, scores: Sequence[float | None]) -> Evaluation:
    outcomes = (Outcome(name, str(i), "ok" if s is not None else "failed", score=s) for i, s in enumerate(scores))
    return Evaluation(name, tuple(outcomes))


def candidate(text: str) -> Candidate:
    return Candidate(Prompt.of(text, chat_layout({"input": "Item"})))


def test_a_hundred_tokens_take_the_penalty_off_every_score() -> None:
    long = TWO_POINTS.priced([evaluation("a", [1.0, 0.0, None])], [150])[0]
    assert long.mean == pytest.approx(0.5 - 0.03)
    assert long.scores == {"0": pytest.approx(0.97), "1": pytest.approx(-0.03)}
    assert [o.score for o in long.outcomes] == [1.0, 0.0, None], "what is right or wrong stays so"
    assert [o.value for o in long.outcomes] == [pytest.approx(0.97), pytest.approx(-0.03), None]
    assert (long.n_valid, long.n) == (2, 3)


def test_a_penalty_of_nothing_changes_nothing() -> None:
    seen = evaluation("a", [1.0, 0.25, None])
    assert Objective().priced([seen], [500]) == (seen,)
    assert seen.scores == {"0": 1.0, "1": 0.25}


def test_pairs_of_scores_differ_by_what_the_lengths_differ() -> None:
    left, right = TWO_POINTS.priced([evaluation("a", [1.0, 0.0]), evaluation("b", [1.0, 0.0])], [100, 200])
    assert [a - b for a, b in paired(left, right)] == pytest.approx([0.02, 0.02])


def test_the_length_of_a_prompt_is_what_every_request_has() -> None:
    task = toy_task()
    seed = task.seeds[0]
    assert task.prompt_tokens(seed) == -(-len("Name the colour of the item.\n\nItem: ") // 4)
    shown = seed.replace(demos=(Demo({"input": "item number 2000"}, "blue"),))
    assert task.prompt_tokens(shown) > task.prompt_tokens(seed)
    suite = Suite((task,))
    assert suite.prompt_tokens(suite.seeds[0]) == task.prompt_tokens(seed)


def test_ties_go_to_the_shorter_prompt_and_those_with_the_seed_to_the_seed() -> None:
    half = [evaluation(name, [1.0, 0.0]) for name in "abc"]
    assert choose([evaluation("s", [0.0, 0.0]), *half], [5, 30, 10, 10]) == 2
    assert choose([evaluation("s", [1.0, 0.0]), *half], [50, 30, 10, 10]) == 0
    assert choose([evaluation("s", [0.0, 0.0]), *half, evaluation("d", [1.0, 1.0])], [5, 30, 10, 10, 99]) == 4


def test_a_ranking_puts_the_shorter_of_equals_first_and_leaves_the_others() -> None:
    short, middle, long = (candidate("x" * n) for n in (4, 40, 400))
    lengths = toy_task().prompt_tokens
    assert shorter_first([long, middle, short], [(0.5, 10)] * 3, lengths) == [short, middle, long]
    assert shorter_first([long, middle, short], [(0.5, 10), (0.5, 9), (0.5, 9)], lengths) == [long, short, middle]


def proof_of(objective: Objective, chosen: str, scores: tuple[Sequence[float], Sequence[float]]) -> Proof:
    """Prove a candidate against the seed; both answer dev and test as given, over and over."""
    task = toy_task(n_dev=60, n_test=120)
    candidates = {"seed": candidate("Name the colour. " * 20), "finalist 1": candidate(chosen)}
    search = prove(candidates, task, objective)
    by_id = {entrant.id: pattern for entrant, pattern in zip(candidates.values(), scores, strict=True)}
    ask = next(search)
    while True:
        assert isinstance(ask, Evaluate)
        answers = tuple(
            Evaluation(
                c.id,
                tuple(
                    Outcome(c.id, e.id, "ok", score=by_id[c.id][i % len(by_id[c.id])])
                    for i, e in enumerate(ask.examples)
                ),
            )
            for c in ask.candidates
        )
        try:
            ask = search.send(Evaluated(answers, 0))
        except StopIteration as stop:
            proof: Proof = stop.value
            return proof


ALIKE = ([1.0, 0.0, 1.0], [1.0, 0.0, 1.0])


def test_a_shorter_prompt_that_scores_the_same_wins_by_the_objective_and_the_verdict_says_both() -> None:
    proof = proof_of(Objective(10), "Name it.", ALIKE)
    assert proof.winner == proof.finalists[1].candidate
    assert proof.verdict.word == "no reliable improvement"
    assert "keep your prompt" not in proof.verdict.sentence
    assert proof.verdict.sentence.startswith("No reliable improvement (difference +0.0 points, ")
    assert "score less 10 points per 100 prompt tokens" in proof.verdict.sentence
    assert proof.verdict.sentence.endswith("so it is returned.")
    assert proof.verdict.objective is not None
    assert proof.verdict.objective.interval.low > 0


def test_without_a_penalty_the_same_prompt_leaves_the_seed() -> None:
    proof = proof_of(Objective(), "Name it.", ALIKE)
    assert proof.winner == proof.finalists[0].candidate
    assert proof.verdict.objective is None


def test_a_tiny_penalty_proves_nothing_that_the_scores_leave_open() -> None:
    proof = proof_of(Objective(0.01), "Name it.", ALIKE)
    assert proof.chosen == 1
    assert proof.winner == proof.finalists[0].candidate
    assert proof.verdict.sentence.endswith("so the seed is returned.")


def test_a_gain_that_its_length_eats_up_is_not_chosen_or_not_returned() -> None:
    longer = "Name the colour. " * 200
    better = ([1.0, 0.0] * 3, [1.0, 0.0, 1.0, 1.0, 1.0, 0.0])
    assert proof_of(Objective(), longer, better).winner != proof_of(Objective(5), longer, better).winner
    dear = proof_of(Objective(5), longer, better)
    assert dear.winner == dear.finalists[0].candidate
    assert dear.verdict.sentence.endswith("The objective was score less 5 points per 100 prompt tokens.")


@pytest.mark.parametrize("penalty", [-1.0, float("nan"), float("inf")])
def test_a_penalty_below_zero_is_refused_in_one_sentence(penalty: float) -> None:
    with pytest.raises(ConfigError, match=r"length_penalty = .* must be 0 or more"):
        StudySpec(length_penalty=penalty)


def test_a_study_file_names_it(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text('[task]\ndata = "sentiment"\n[study]\nlength_penalty = 1.5\n')
    assert read_spec(file).length_penalty == 1.5
    file.write_text("[study]\nlength_penalty = -1\n")
    with pytest.raises(ConfigError, match=r"study.toml: length_penalty = -1 must be 0 or more"):
        read_spec(file)


def test_a_task_without_scores_has_nothing_to_take_it_off(tmp_path: Path) -> None:
    from dataclasses import replace

    from promptopt.config import JudgeSpec

    task = replace(toy_task(), metric=open_metric("none"))
    spec = toy_spec(tmp_path / "s.db", "dts", judge=JudgeSpec(("human",)), length_penalty=2.0)
    with pytest.raises(ConfigError, match="taken off scores"), api.open_study(spec, task=task):
        pass


def test_right_and_wrong_do_not_depend_on_the_length() -> None:
    seen = TWO_POINTS.priced([evaluation("a", [1.0, 0.0, None])], [150])[0]
    assert Entry("text", candidate("text"), seen).missed == ("1",)
    assert PlumObjective({}).points(seen) == pytest.approx(47)


def test_a_search_with_a_penalty_is_told_the_objective_and_the_result_the_score(tmp_path: Path) -> None:
    plain = run(toy_spec(tmp_path / "plain.db", "random"))
    dear = run(toy_spec(tmp_path / "dear.db", "random", length_penalty=30.0))
    task = toy_task()
    assert task.prompt_tokens(dear.prompt) < task.prompt_tokens(plain.prompt)
    told = dear.to_json()
    assert told["objective"] == "score less 30 points per 100 prompt tokens"
    for finalist in told["finalists"]:
        assert finalist["objective"] == pytest.approx(finalist["dev"]["mean"] - 0.3 * finalist["tokens"] / 100)
        assert 0 <= finalist["dev"]["mean"] <= 1
    assert "score less 30 points" in told["sentence"]
    again = run(toy_spec(tmp_path / "dear.db", "random", length_penalty=30.0))
    assert again.to_json()["sentence"] == told["sentence"]

"""The verdict: its words, its sentence, and how often luck wins."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from promptopt.evaluation import Evaluation, Outcome
from promptopt.example import Example
from promptopt.verdict import choose, judge_verdict, not_measured, per_class

ROOT = Path(__file__).parents[2]


def evaluation(prompt_id: str, scores: list[float | None]) -> Evaluation:
    outcomes = [Outcome(prompt_id, str(i), "failed" if s is None else "ok", score=s) for i, s in enumerate(scores)]
    return Evaluation(prompt_id, tuple(outcomes))


def two(wins: int, losses: int, n: int) -> tuple[Evaluation, Evaluation]:
    rest = n - wins - losses
    before = [0.0] * wins + [1.0] * losses + [1.0] * rest
    return evaluation("seed", before), evaluation("winner", [1.0] * wins + [0.0] * losses + [1.0] * rest)


def test_better() -> None:
    verdict = judge_verdict(*two(105, 12, 300))
    assert verdict.word == "better"
    assert verdict.sentence == "Better by 31 points (95 % interval 25 to 37) on 300 held-out examples."
    assert (verdict.n_valid, verdict.n) == (300, 300)
    assert verdict.fixed == tuple(str(i) for i in range(105))
    assert verdict.broken == tuple(str(i) for i in range(105, 117))


def test_no_reliable_improvement() -> None:
    verdict = judge_verdict(*two(13, 10, 300))
    assert verdict.word == "no reliable improvement"
    assert verdict.sentence == (
        "No reliable improvement: keep your prompt (difference +1.0 points, interval -2.3 to 4.4, n = 300)."
    )


def test_worse() -> None:
    verdict = judge_verdict(*two(12, 48, 300))
    assert verdict.word == "worse"
    assert verdict.sentence == (
        "Worse by 12 points (95 % interval 7.2 to 17) on 300 held-out examples: keep your prompt."
    )


def test_too_few_examples_are_not_measured_and_the_needed_number_is_told() -> None:
    verdict = judge_verdict(*two(6, 2, 24))
    assert verdict.word == "not measured"
    assert verdict.sentence.startswith(
        "Not measured: 24 held-out examples are too few (difference +16.7 points, interval "
    )
    assert verdict.sentence.endswith("; about 1,200 examples would be needed to see a difference of 5 points.")


@pytest.mark.parametrize(
    ("pair", "is_open"),
    [
        (two(6, 2, 24), True),
        (two(2, 6, 24), False),
        (two(13, 10, 300), False),
        ((evaluation("seed", [0.0] * 24), evaluation("winner", [1.0] * 12 + [None] * 12)), False),
    ],
)
def test_only_too_few_examples_leave_it_open(pair: tuple[Evaluation, Evaluation], is_open: bool) -> None:
    assert judge_verdict(*pair).is_open == is_open


def test_no_test_split_is_not_measured() -> None:
    verdict = not_measured(*two(6, 2, 24))
    assert verdict.word == "not measured"
    assert verdict.sentence == (
        "Not measured: no held-out examples; about 1,200 examples would be needed to see a difference of 5 points."
    )
    nothing = not_measured(evaluation("seed", []), evaluation("winner", []))
    assert nothing.sentence.endswith("about 630 examples would be needed to see a difference of 5 points.")


def test_equal_answers_promise_nothing() -> None:
    verdict = judge_verdict(*two(0, 0, 300))
    assert verdict.sentence == (
        "No reliable improvement: keep your prompt (difference +0.0 points, interval -1.3 to 1.3, n = 300)."
    )


def test_the_seed_itself_won() -> None:
    seed, _ = two(1, 1, 80)
    verdict = judge_verdict(seed, seed)
    assert (verdict.word, verdict.difference) == ("no reliable improvement", None)
    assert verdict.sentence == "No reliable improvement: the seed prompt won."


def test_a_seed_that_got_no_answers_has_won_nothing() -> None:
    seed = evaluation("seed", [None] * 240)
    verdict = judge_verdict(seed, seed)
    assert (verdict.word, verdict.n_valid) == ("not measured", 0)
    assert verdict.sentence == "Not measured: only 0 of 240 held-out examples were answered."


def test_failed_calls_are_left_out_pair_by_pair() -> None:
    seed = evaluation("seed", [None] * 10 + [0.0] * 60 + [1.0] * 30)
    winner = evaluation("winner", [1.0] * 70 + [None] * 5 + [1.0] * 25)
    verdict = judge_verdict(seed, winner)
    assert (verdict.n_valid, verdict.n) == (85, 100)
    assert "on 85 of 100 held-out examples" in verdict.sentence


def test_many_failures_decide_nothing() -> None:
    seed = evaluation("seed", [0.0] * 300)
    winner = evaluation("winner", [None] * 100 + [1.0] * 200)
    verdict = judge_verdict(seed, winner)
    assert verdict.word == "not measured"
    assert verdict.sentence == "Not measured: only 200 of 300 held-out examples were answered by both prompts."


def test_a_bound_that_is_not_zero_does_not_read_zero() -> None:
    verdict = judge_verdict(*two(72, 48, 480))
    assert verdict.word == "better"
    assert verdict.sentence == "Better by 5 points (95 % interval 0.5 to 10) on 480 held-out examples."


def test_choose_takes_the_best_on_common_examples_and_the_earlier_of_equals() -> None:
    seed, same, best = (
        evaluation(name, scores) for name, scores in (("a", [1, 0, 1]), ("b", [0, 1, 1]), ("c", [1, 1, 1]))
    )
    assert choose([seed, same]) == 0
    assert choose([seed, same, best]) == 2
    # c is best by its own mean, but not on the examples that all answered.
    rows = [1.0] * 8 + [0.0, 0.0]
    assert choose([evaluation("a", rows), evaluation("b", [*rows[:8], None, None])]) == 0


def test_choose_passes_over_a_prompt_that_often_gets_no_answer() -> None:
    seed = evaluation("a", [0.0] * 5 + [1.0] * 5)
    rare = evaluation("b", [1.0] * 4 + [None] * 6)
    assert choose([seed, rare]) == 0
    assert choose([evaluation("a", [None]), evaluation("b", [None])]) == 0


def test_per_class() -> None:
    examples = [Example({"input": str(i)}, "ham" if i < 6 else "spam") for i in range(10)]
    scores = [1.0, 1.0, 1.0, 1.0, 1.0, None, 0.0, 0.0, 1.0, 0.0]
    outcomes = [Outcome("p", e.id, "ok", score=s) for e, s in zip(examples, scores, strict=True)]
    ham, spam = per_class(Evaluation("p", tuple(outcomes)), examples)
    assert (ham.label, ham.mean, ham.n_valid, ham.n) == ("ham", 1.0, 5, 6)
    assert (spam.label, spam.mean, spam.n_valid, spam.n) == ("spam", 0.25, 4, 4)
    assert spam.interval.low < 0.25 < spam.interval.high


def test_per_class_of_open_answers_is_empty() -> None:
    examples = [Example({"input": str(i)}, f"answer {i}") for i in range(40)]
    outcomes = tuple(Outcome("p", e.id, "ok", score=1.0) for e in examples)
    assert per_class(Evaluation("p", outcomes), examples) == ()


@pytest.fixture(scope="module")
def null_studies() -> ModuleType:
    spec = importlib.util.spec_from_file_location("null_studies", ROOT / "benchmarks" / "null_studies.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["null_studies"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("discordance", [0.1, 0.3])
def test_luck_seldom_wins(null_studies: ModuleType, discordance: float) -> None:
    tally = null_studies.simulate(null_studies.Setting(discordance), 100)
    assert tally.better <= 7
    assert tally.covered >= 0.88 * tally.compared


def test_a_planted_gain_is_found(null_studies: ModuleType) -> None:
    tally = null_studies.simulate(null_studies.Setting(0.3, null_studies.PLANTED), 40)
    assert tally.better >= 32


@pytest.mark.parametrize(("discordance", "difference"), [(0.1, 0.0), (0.2, 0.0), (0.3, 0.0), (0.2, 0.15), (0.3, 0.15)])
def test_the_interval_covers_93_to_97_percent(null_studies: ModuleType, discordance: float, difference: float) -> None:
    assert 0.93 <= null_studies.coverage(50, discordance, difference) <= 0.97

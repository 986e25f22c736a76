"""The objective of Plum: "faithful means" of the algorithm notes, section 4i, line 3, and its golden value."""

import math

import pytest

from promptopt.evaluation import Evaluation, Outcome
from promptopt_strategies.objective import Objective
from tests.plum import NAMES, each_profile, settings


def answers(outputs: list[tuple[str, str]]) -> tuple[Evaluation, dict[str, str]]:
    """Return the evaluation of (target, output) pairs, and the targets by example."""
    told = [Outcome("p", str(n), "ok", output, float(output == target)) for n, (target, output) in enumerate(outputs)]
    return Evaluation("p", tuple(told)), {str(n): target for n, (target, _) in enumerate(outputs)}


def test_plum_4i_03_the_objective_of_constant_and_of_random_answers() -> None:
    halves = [("yes", "yes"), ("no", "no"), ("yes", "no"), ("no", "yes")] * 25
    evaluation, targets = answers(halves)
    assert Objective(targets, ("yes", "no"), 10.0).points(evaluation) == pytest.approx(56.9315, abs=5e-5)
    constant, targets = answers([(target, "yes") for target, _ in halves])
    assert Objective(targets, ("yes", "no"), 10.0).points(constant) == 50.0


def test_plum_8_1_golden_value_of_the_entropy_bonus() -> None:
    evaluation, targets = answers([("yes", "yes"), ("no", "no")] * 50)
    bonus = Objective(targets, ("yes", "no"), 10.0).points(evaluation) - 100
    assert round(bonus, 4) == 6.9315


def test_plum_4i_03_accuracy_is_balanced_and_outputs_without_a_label_earn_no_bonus() -> None:
    rare, targets = answers([("yes", "yes")] * 9 + [("no", "yes")])
    assert Objective(targets, ("yes", "no"), 10.0).points(rare) == 50.0
    babble, targets = answers([("yes", "no"), ("no", "yes")] + [("yes", "well")] * 98)
    assert Objective(targets, ("yes", "no"), 10.0).points(babble) == pytest.approx(0.02 * 10 * math.log(2))


@each_profile
@pytest.mark.parametrize("name", NAMES)
def test_plum_4i_03_alpha_is_ten_as_published_and_the_bonus_is_off_for_generation(name: str, profile: str) -> None:
    strategy = settings(name, profile)
    assert strategy.entropy == (0.0 if profile == "recommended" else 10.0)
    evaluation, targets = answers([("yes", "yes"), ("no", "maybe")])
    assert Objective(targets, (), strategy.entropy).points(evaluation) == 50.0

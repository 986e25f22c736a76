"""The one posterior: strengths, ties, reliabilities and side biases, and what it says of stopping."""

import math
import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from promptopt.duel import Preference, Source, Verdict
from promptopt.ranking import copeland, fit_strengths, look_out, normals
from promptopt.votes import judge_weight

IDS = ("a", "b", "c", "d")


def said(
    left: str,
    right: str,
    verdict: Verdict,
    labeller: str = "ann",
    source: Source = "human",
    *,
    first: str = "",
    n: int = 1,
    example: str = "e",
) -> list[Preference]:
    return [
        Preference(
            f"{left}{right}{labeller}{k}", left, right, f"{example}{k}", verdict, labeller, source, shown_first=first
        )
        for k in range(n)
    ]


LADDER = {key: 2.0 * place for place, key in enumerate("abcde")}


def noisy(
    rng: random.Random, labeller: str, utilities: dict[str, float], n: int, *, side: float = 0.0, sign: int = 1
) -> list[Preference]:
    found = []
    for k in range(n):
        left, right = rng.sample(sorted(utilities), 2)
        first = rng.choice((left, right))
        lean = side if first == left else -side
        chance = 1 / (1 + math.exp(-sign * (utilities[left] - utilities[right]) - lean))
        verdict: Verdict = "left" if rng.random() < chance else "right"
        found.append(Preference(f"{labeller}{k}", left, right, f"e{k}", verdict, labeller, shown_first=first))
    return found


def test_who_wins_is_stronger_and_sides_do_not_matter() -> None:
    straight = fit_strengths([*said("a", "b", "left", n=6), *said("b", "c", "left", n=6)], IDS[:3])
    turned = fit_strengths([*said("b", "a", "right", n=6), *said("c", "b", "right", n=6)], IDS[:3])
    assert straight.utilities[0] > straight.utilities[1] > straight.utilities[2]
    assert straight.utilities == pytest.approx(turned.utilities, abs=1e-9)
    assert look_out(straight, random.Random(0)).order == (0, 1, 2)


def test_the_mode_is_where_the_slope_of_the_posterior_is_zero() -> None:
    preferences = [*said("a", "b", "left", n=3), *said("a", "b", "right"), *said("a", "b", "tie", n=2)]
    fit = fit_strengths(preferences, IDS[:2], spread=2.0)
    gap = fit.labellers["ann"].reliability * (fit.utilities[0] - fit.utilities[1])
    odds = math.exp(gap / 2), math.exp(-gap / 2), fit.tie
    p_left, p_right = odds[0] / sum(odds), odds[1] / sum(odds)
    slope = fit.labellers["ann"].reliability * (3 * 0.5 - 1 * 0.5 - 6 * (p_left - p_right) / 2)
    assert slope == pytest.approx(fit.utilities[0] / 4, abs=1e-4)


def test_ties_draw_together_and_more_of_them_mean_that_ties_are_common() -> None:
    won = fit_strengths(said("a", "b", "left", n=4), IDS[:2])
    tied = fit_strengths([*said("a", "b", "left", n=4), *said("a", "b", "tie", n=12)], IDS[:2])
    assert 0 < tied.utilities[0] - tied.utilities[1] < won.utilities[0] - won.utilities[1]
    assert tied.tie > won.tie


def test_both_bad_counts_as_a_tie_and_skips_catch_trials_and_equal_outputs_say_nothing() -> None:
    base = said("a", "b", "left", n=4)
    none = [
        *said("a", "b", "skip", "bob"),
        *said("b", "a", "tie", "the outputs", "outputs"),
        Preference("x", "a", "b", "e", "right", "ann", catch=True),
    ]
    assert fit_strengths([*base, *none], IDS).utilities.tolist() == fit_strengths(base, IDS).utilities.tolist()
    bad, tie = ([*base, *said("a", "b", v, n=3, example="f")] for v in ("both_bad", "tie"))  # type: ignore[arg-type]
    assert fit_strengths(bad, IDS).utilities.tolist() == fit_strengths(tie, IDS).utilities.tolist()


def test_a_preference_that_is_taken_back_leaves_no_trace() -> None:
    kept = said("a", "b", "left", n=5)
    given = [*kept, *said("b", "c", "left", "bob", n=2)]
    assert fit_strengths(given, IDS).utilities.tolist() != fit_strengths(kept, IDS).utilities.tolist()
    after = fit_strengths([p for p in given if p.labeller != "bob"], IDS)
    never = fit_strengths(kept, IDS)
    assert after.utilities.tolist() == never.utilities.tolist()
    assert after.labellers == never.labellers


def test_an_adversary_and_a_side_bias_are_found_out() -> None:
    rng = random.Random(5)
    preferences = [
        *noisy(rng, "ann", LADDER, 60),
        *noisy(rng, "bob", LADDER, 60, side=1.5),
        *noisy(rng, "eve", LADDER, 40, sign=-1),
    ]
    fit = fit_strengths(preferences, list(LADDER))
    assert fit.labellers["eve"].reliability < 0 < fit.labellers["ann"].reliability
    assert fit.labellers["bob"].side > 0.5
    assert abs(fit.labellers["ann"].side) < fit.labellers["bob"].side
    assert look_out(fit, random.Random(0)).order == (4, 3, 2, 1, 0)


def test_somebody_who_prefers_the_worse_is_suspected_and_then_believed_turned_round() -> None:
    rng = random.Random(3)
    people = [p for who in ("ann", "bob", "cem") for p in noisy(rng, who, LADDER, 12)]
    fit = fit_strengths([*people, *noisy(rng, "eve", LADDER, 12, sign=-1)], list(LADDER))
    assert fit.labellers["eve"].reliability < -0.5
    assert min(fit.labellers[who].reliability for who in ("ann", "bob", "cem")) > 0
    assert look_out(fit, random.Random(0)).order[0] == 4


def test_of_two_who_disagree_about_everything_neither_is_believed() -> None:
    rng = random.Random(3)
    ann, eve = noisy(rng, "ann", LADDER, 40), noisy(rng, "eve", LADDER, 40, sign=-1)
    both = look_out(fit_strengths([*ann, *eve], list(LADDER)), random.Random(0))
    assert both.p_best < 0.5
    assert look_out(fit_strengths(ann, list(LADDER)), random.Random(0)).p_best > 0.8


def test_a_metric_is_never_suspected_and_beside_it_one_person_is() -> None:
    rng = random.Random(3)
    exact = [replace(p, source="metric") for p in noisy(rng, "metric", LADDER, 20)]
    fit = fit_strengths([*exact, *noisy(rng, "eve", LADDER, 20, sign=-1)], list(LADDER))
    assert fit.labellers["metric"].reliability > 0 > fit.labellers["eve"].reliability
    assert look_out(fit, random.Random(0)).order[0] == 4


def test_noise_is_not_taken_for_reliability() -> None:
    ids = [f"p{n:02}" for n in range(30)]
    reliabilities = []
    for seed in range(10):
        rng = random.Random(seed)
        people = [noisy(rng, who, dict.fromkeys(ids, 0.0), 30) for who in ("ann", "bob")]
        fit = fit_strengths([preference for given in people for preference in given], ids)
        reliabilities += [labeller.reliability for labeller in fit.labellers.values()]
    assert max(reliabilities) < 1.1, "whoever says anything at random is not better than the average person"


def test_a_judge_counts_as_much_as_it_agrees_with_people() -> None:
    people = [*said("a", "b", "left", n=10), *said("c", "d", "right", n=10)]
    friend = [*said("a", "b", "left", "judge", "model", n=10), *said("c", "d", "right", "judge", "model", n=10)]
    foe = [*said("b", "a", "left", "judge", "model", n=10), *said("c", "d", "left", "judge", "model", n=10)]
    assert judge_weight([*people, *friend], "judge") > 0.8
    assert judge_weight([*people, *foe], "judge") == 0.0
    assert judge_weight(friend, "judge") == 1.0, "nobody to measure against"
    assert judge_weight([*people, *said("a", "c", "left", "judge", "model")], "judge") == 0.5
    fit = fit_strengths([*people, *foe], IDS)
    assert fit.utilities[0] > fit.utilities[1]
    assert fit.labellers["judge"].reliability == 0.0


def test_features_carry_what_is_learned_to_prompts_that_never_met() -> None:
    rows = np.array([[1.0, 0.0], [-1.0, 0.0], [0.9, 0.1], [-0.9, 0.1]])
    fit = fit_strengths(said("a", "b", "left", n=8), IDS, rows)
    assert fit.utilities[2] > fit.utilities[3]
    table = fit_strengths(said("a", "b", "left", n=8), IDS)
    assert table.utilities[2] == table.utilities[3] == 0.0


def test_uncertainty_shrinks_with_duels_and_chances_are_probabilities() -> None:
    few, many = (fit_strengths(said("a", "b", "left", n=n) + said("b", "a", "left", n=n), IDS[:2]) for n in (2, 20))
    assert many.spread(0, 1) < few.spread(0, 1)
    outlook = look_out(fit_strengths(said("a", "b", "left", n=30), IDS[:2]), random.Random(1))
    assert outlook.p_best > 0.99
    assert sum(outlook.chances) == pytest.approx(1.0)
    assert outlook.regret < 0.05


def test_chances_are_calibrated() -> None:
    hits, claimed = 0, 0.0
    for seed in range(150):
        rng = random.Random(seed)
        utilities = {key: 1.5 * float(normals(rng, (1,))[0]) for key in "abcdef"}
        fit = fit_strengths(noisy(rng, "ann", utilities, 40), sorted(utilities))
        outlook = look_out(fit, random.Random(seed))
        claimed += outlook.p_best
        hits += sorted(utilities)[outlook.order[0]] == max(utilities, key=lambda k: utilities[k])
    assert abs(hits - claimed) < 3 * math.sqrt(150 * 0.25)
    assert hits > 75


def test_no_preferences_are_no_opinion() -> None:
    fit = fit_strengths([], IDS)
    assert fit.utilities.tolist() == [0.0] * 4
    assert max(look_out(fit, random.Random(0)).chances) < 0.5


def test_copeland_counts_majorities() -> None:
    wins = np.array([[0, 3, 2], [1, 0, 1], [2, 5, 0]], dtype=float)
    assert copeland(wins).tolist() == [0.75, 0.0, 0.75]


def test_normal_numbers_are_normal_and_the_same_everywhere() -> None:
    drawn = normals(random.Random(3), (20_001,))
    assert abs(float(drawn.mean())) < 0.02
    assert float(drawn.std()) == pytest.approx(1.0, abs=0.02)
    expected: Sequence[float] = normals(random.Random(3), (20_001,))[:3].tolist()
    assert drawn[:3].tolist() == expected


def test_the_posterior_is_the_mean_and_the_covariance_of_its_readings() -> None:
    preferences = [*said("a", "b", "left", n=5), *said("b", "c", "left", n=4), *said("a", "b", "right", "bob", n=4)]
    strengths = fit_strengths(preferences, IDS)
    chances = np.array([reading.chance for reading in strengths.readings])
    assert chances.sum() == pytest.approx(1.0)
    assert len(chances) == 3, "nobody, ann or bob prefers the worse"
    assert strengths.utilities == pytest.approx(sum(r.chance * r.utilities for r in strengths.readings))
    rng, drawn = random.Random(3), []
    for reading in strengths.readings:
        drawn.append(reading.draw(rng, round(200_000 * reading.chance)))
    assert np.cov(np.concatenate(drawn).T) == pytest.approx(strengths.covariance, abs=0.05)
    assert strengths.labellers == strengths.readings[int(chances.argmax())].labellers

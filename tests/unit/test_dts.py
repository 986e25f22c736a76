"""Double Thompson sampling: the right orientation, its bounds, and counts against strengths."""

import random
from collections import Counter

import numpy as np
import pytest

from promptopt.duel import Preference
from promptopt.ranking import fit_strengths
from promptopt.registry import configure
from promptopt.testing.simulation import sample_context, simulate
from promptopt_strategies.arena import draw_beta
from promptopt_strategies.dts import DTS, bounds, choose_by_counts, choose_by_strengths, copeland_upper


def test_the_challenger_is_the_one_that_beats_the_first_not_the_one_it_beats() -> None:
    wins = np.zeros((3, 3))
    wins[0, 1], wins[1, 0] = 12, 10  # 0 is ahead of 1 by a little
    wins[0, 2], wins[2, 0] = 40, 1  # and of 2 by far
    wins[1, 2], wins[2, 1] = 20, 20
    seconds = Counter()
    for seed in range(200):
        first, second = choose_by_counts(random.Random(seed), wins, [0, 1, 2], alpha=0.51)
        if first == 0:
            seconds[second] += 1
    assert seconds.total() > 100
    assert seconds[1] == seconds.total(), "the transposed row would choose 2"


def test_an_arm_that_is_surely_worse_is_no_challenger_and_never_the_first() -> None:
    wins = np.zeros((3, 3))
    for strong in (0, 1):
        wins[strong, 2], wins[2, strong] = 200, 0
    upper, lower = bounds(wins, 0.51)
    assert lower[2, 0] < upper[2, 0] < 0.5
    assert copeland_upper(upper, np.array([0, 1, 2])) == {0, 1}
    chosen = {choose_by_counts(random.Random(seed), wins, [0, 1, 2], 0.51) for seed in range(50)}
    assert chosen == {(0, 1), (1, 0)}


def test_bounds_are_those_of_the_paper() -> None:
    wins = np.array([[0, 3], [1, 0]], dtype=float)
    upper, lower = bounds(wins, 0.51)
    width = np.sqrt(0.51 * np.log(5) / 4)
    assert upper[0, 1] == pytest.approx(0.75 + width)
    assert lower[0, 1] == pytest.approx(0.75 - width)
    unseen, _ = bounds(np.zeros((2, 2)), 0.51)
    assert unseen.tolist() == [[0.5, 1.0], [1.0, 0.5]]


def test_beta_draws_have_the_mean_of_their_distribution() -> None:
    draws = [draw_beta(random.Random(n), 7, 2) for n in range(4000)]
    assert sum(draws) / len(draws) == pytest.approx(8 / 11, abs=0.01)
    assert sum(draw_beta(random.Random(n), 0, 0) for n in range(4000)) / 4000 == pytest.approx(0.5, abs=0.02)


def test_with_strengths_both_prompts_are_drawn_afresh_and_differ() -> None:
    preferences = [Preference(str(n), "a", "b", "e", "left", "ann") for n in range(6)]
    strengths = fit_strengths(preferences, ["a", "b", "c"])
    pairs = Counter(choose_by_strengths(random.Random(n), strengths, [0, 1, 2], set()) for n in range(300))
    assert all(first != second for first, second in pairs)
    firsts = Counter[int]()
    for (first, _), n in pairs.items():
        firsts[first] += n
    assert firsts[0] > firsts[1], "who has won is chosen more often"
    assert firsts[2] > 50, "who has not been seen is tried"
    assert choose_by_strengths(random.Random(0), strengths, [0, 1], {frozenset((0, 1))})[0] in (0, 1)


@pytest.mark.parametrize("belief", ["strengths", "counts"])
def test_both_beliefs_find_the_better_of_few_prompts(belief: str) -> None:
    settings = {"pool": 4, "belief": belief, "duels": 80, "grow_every": 0, "stop_at": 2.0, "stop_regret": 0.0}
    context = sample_context(400)
    simulation = simulate(configure("dts", settings=settings), context, lambda c, e: float(int(c.id, 16) % 97) / 97)
    candidates = {c.id: c for a in simulation.recommendations for c in a.ranking}
    assert simulation.best.id == max(candidates, key=lambda key: int(key, 16) % 97)


def test_it_stops_when_it_is_sure_and_says_so() -> None:
    settings = {"pool": 3, "duels": 300, "grow_every": 0, "least": 10}
    simulation = simulate(
        configure("dts", settings=settings), sample_context(900), lambda c, e: float(int(c.id, 16) % 7)
    )
    last = simulation.recommendations[-1]
    assert last.may_stop
    assert last.p_best is not None
    assert last.p_best > 0.9 or (last.regret is not None and last.regret < 0.05)
    assert simulation.evaluations < 300
    assert not any(r.may_stop for r in simulation.recommendations[:-1])


def test_growth_lets_new_prompts_in_and_drops_the_dominated() -> None:
    settings = {"pool": 5, "duels": 120, "grow_every": 20, "grow_by": 2, "stop_at": 2.0, "stop_regret": 0.0}
    context = sample_context(800)
    simulation = simulate(configure("dts", settings=settings), context, lambda c, e: float(int(c.id, 16) % 97) / 97)
    compared = [
        {c.id for d in ask.duels for c in (d.left, d.right)} for ask in simulation.asks if ask.kind == "compare"
    ]
    early, late = set().union(*compared[:6]), set().union(*compared[-6:])
    assert late - early, "prompts came that were not there before"
    assert early - late, "and others are not asked about any more"
    assert DTS().grow_every > 0

"""Predictive entropy search: what a verdict tells of the best prompt, and that it asks for the one that tells most."""

import math
import random
from collections import Counter
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from promptopt.duel import Preference
from promptopt.ranking import Reading, Strengths, fit_strengths
from promptopt.registry import configure
from promptopt.testing.simulation import sample_context, simulate
from promptopt.votes import Labeller
from promptopt_strategies.pes import Worlds, best_of, draw_worlds, information, pairs_among


def reading(chance: float = 1.0, **reliability: float) -> Reading:
    labellers = {name: Labeller(name, "human", said, 0.0, 10) for name, said in reliability.items()}
    return Reading(chance, np.zeros(3), np.eye(3), labellers, 0.1)


def verdicts(gap: float, tie: float = 0.1) -> list[float]:
    odds = [math.exp(gap / 2), tie, math.exp(-gap / 2)]
    return [o / sum(odds) for o in odds]


def uncertain(rows: list[list[float]]) -> float:
    """The entropy of the mean of some distributions."""
    return -sum(p * math.log(p) for p in (sum(column) / len(rows) for column in zip(*rows, strict=True)))


def test_what_a_verdict_tells_is_the_mutual_information_of_verdict_and_best_prompt() -> None:
    utilities = np.array([[2.0, 0.0, 1.0], [0.5, 1.0, 0.0], [3.0, 2.0, -1.0], [0.0, 0.5, 2.0]])
    worlds = Worlds(utilities, ((4, reading()),))
    best = best_of(worlds, [0, 1, 2])
    assert best.tolist() == [0, 1, 0, 2]
    pairs = list(combinations(range(3), 2))
    for (i, j), told in zip(pairs, information(worlds, best, pairs), strict=True):
        said = [verdicts(row[i] - row[j]) for row in utilities]
        known = 0.5 * uncertain([said[0], said[2]]) + 0.25 * uncertain([said[1]]) + 0.25 * uncertain([said[3]])
        assert told == pytest.approx(uncertain(said) - known, abs=1e-9)
        assert 0 < told < math.log(3), "no more than there is to be told"


def test_a_duel_between_prompts_whose_order_is_known_tells_nothing_of_the_best() -> None:
    rng = np.random.default_rng(0)
    doubt = rng.choice([-2.0, 2.0], size=200)
    utilities = np.stack([doubt, -doubt, np.full(200, -9.0), np.full(200, -30.0)], axis=1)
    worlds = Worlds(utilities, ((200, reading()),))
    told = dict(zip([(0, 1), (2, 3)], information(worlds, best_of(worlds, range(4)), [(0, 1), (2, 3)]), strict=True))
    assert told[0, 1] > 0.5, "most of one bit, which is .69 nats"
    assert told[2, 3] == pytest.approx(0.0, abs=1e-9)


def test_a_verdict_of_who_says_nothing_tells_nothing_and_one_who_is_sometimes_on_the_wrong_side_tells_less() -> None:
    utilities = np.array([[2.0, 0.0, -9.0], [0.0, 2.0, -9.0]] * 50)

    def told(*readings: tuple[int, Reading]) -> float:
        worlds = Worlds(utilities, readings)
        return float(information(worlds, best_of(worlds, range(3)), [(0, 1)])[0])

    assert told((100, reading(ann=0.0))) == pytest.approx(0.0, abs=1e-12)
    assert told((100, reading(ann=1.0, bob=0.0))) == pytest.approx(told((100, reading(ann=1.0))) / 2)
    assert told((100, reading(ann=-1.0))) == pytest.approx(told((100, reading(ann=1.0)))), "known to say the opposite"
    assert told((50, reading(ann=1.0)), (50, reading(ann=-1.0))) == pytest.approx(0.0, abs=1e-12), "or perhaps"


def test_the_next_verdict_is_expected_of_each_labeller_as_often_as_so_far_and_on_both_sides() -> None:
    ann, bob = Labeller("ann", "human", 1.2, 0.5, 30), Labeller("bob", "human", -0.4, 0.0, 10)
    honest = Reading(0.75, np.zeros(2), np.eye(2), {"ann": ann, "bob": bob}, 0.1)
    turned = replace(honest, labellers={"ann": replace(ann, reliability=-1.0), "bob": bob})
    voters = list(Worlds(np.zeros((4, 2)), ((3, honest), (1, turned))).voters())
    assert [voter.share for voter in voters] == [0.375, 0.375, 0.125, 0.125]
    assert [voter.side[0] for voter in voters] == [0.5, -0.5, 0.0, 0.0]
    assert voters[0].reliability.tolist() == [1.2, 1.2, 1.2, -1.0]
    nobody = list(Worlds(np.zeros((4, 2)), ((4, replace(honest, labellers={})),)).voters())
    assert [voter.share for voter in nobody] == [1.0]
    assert voters[0].tie.tolist() == [0.1] * 4


def test_draws_are_of_each_reading_as_often_as_it_is_probable() -> None:
    likely = Reading(0.8, np.array([5.0, 0.0]), np.eye(2) * 0.01, {}, 0.1)
    other = Reading(0.2, np.array([0.0, 5.0]), np.eye(2) * 0.01, {}, 0.1)
    never = replace(other, chance=1e-9)
    strengths = Strengths(("a", "b"), np.zeros(2), np.eye(2), {}, 0.1, 9, (likely, other, never))
    worlds = draw_worlds(random.Random(0), strengths, 100)
    assert Counter(best_of(worlds, [0, 1]).tolist()) == {0: 80, 1: 20}
    assert [n for n, _ in worlds.readings] == [80, 20]


def test_pairs_are_made_of_the_live_prompts_that_are_the_best_most_often() -> None:
    best = np.array([4, 4, 4, 2, 2, 0])
    assert pairs_among(best, [0, 1, 2, 4], 3) == [(4, 2), (4, 0), (2, 0)]
    assert pairs_among(best, [0, 1, 2, 4], 2) == [(4, 2)]
    assert len(pairs_among(best, range(5), 30)) == 10


def searched(**settings: object) -> "list[set[frozenset[str]]]":
    fixed = {"grow_every": 0, "stop_at": 2.0, "stop_regret": 0.0, "pool": 4, "duels": 80, **settings}
    simulation = simulate(configure("pes", settings=fixed), sample_context(400), lambda c, e: float(int(c.id, 16) % 97))
    asked = [
        [frozenset((d.left.id, d.right.id)) for d in ask.duels] for ask in simulation.asks if ask.kind == "compare"
    ]
    assert all(len(set(pairs)) == len(pairs) for pairs in asked), "no pair twice at a time"
    return [set(pairs) for pairs in asked]


def test_several_pairs_are_asked_at_a_time_and_all_of_them_differ() -> None:
    assert {len(pairs) for pairs in searched(ahead=2, duels=30)} <= {1, 2, 3}
    assert max(len(pairs) for pairs in searched(ahead=2, duels=30)) == 3
    assert all(len(pairs) == 1 for pairs in searched(ahead=0, duels=30))
    assert all(len(pairs) <= 1 for pairs in searched(ahead=2, duels=9, pool=2)), "where there is only one"


def test_it_finds_the_best_of_few_prompts() -> None:
    fixed = {"grow_every": 0, "stop_at": 2.0, "stop_regret": 0.0, "pool": 6, "duels": 60}
    simulation = simulate(configure("pes", settings=fixed), sample_context(400), lambda c, e: float(int(c.id, 16) % 97))
    candidates = {c.id: c for a in simulation.recommendations for c in a.ranking}
    assert simulation.best.id == max(candidates, key=lambda key: int(key, 16) % 97)


def test_two_people_who_contradict_each_other_are_not_asked_about_the_same_two_again() -> None:
    preferences = [
        *(Preference(f"a{k}", "a", "b", f"e{k}", "left", "ann") for k in range(6)),
        *(Preference(f"b{k}", "a", "b", f"e{k}", "right", "bob") for k in range(6)),
    ]
    strengths = fit_strengths(preferences, ["a", "b", "c", "d"])
    assert len([r for r in strengths.readings if r.chance > 0.2]) >= 2
    worlds = draw_worlds(random.Random(1), strengths, 400)
    best = best_of(worlds, range(4))
    pairs = pairs_among(best, range(4), 4)
    told = dict(zip(pairs, information(worlds, best, pairs), strict=True))
    again = next(pair for pair in pairs if set(pair) == {0, 1})
    assert told[again] < max(told.values()), "the same duel once more would only repeat that they disagree"

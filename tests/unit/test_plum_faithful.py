"""Plum does what "faithful means" of the algorithm notes, section 4i, says; one test a line, in every profile.

Line 3, the objective, is tested in test_objective.py; lines 5, 6 and 8 in test_plum_populations.py.
"""

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from promptopt.ask import Recommend
from promptopt.example import Example
from promptopt.landscape import Landscape
from promptopt.prompt import Candidate
from promptopt.testing.simulation import Scorer, simulate
from promptopt_strategies.phrase_edits import Draft, Phrasing, library_of
from promptopt_strategies.plum import Plum, Walk
from promptopt_strategies.plum_sa import PlumSA
from promptopt_strategies.plum_tabu import PlumTabu
from promptopt_strategies.wording import rewordings
from tests.plum import (
    NAMES,
    PHRASES,
    begun,
    better_without,
    context,
    each_profile,
    equal,
    evaluates,
    neighbours,
    phrases_of,
    run,
    scored,
    seed_is_best,
    settings,
)

EDITING = ("plum-hc", "plum-sa", "plum-ga", "plum-tabu")


def explains(base: Phrasing, child: Phrasing, more: tuple[str, ...]) -> str | None:
    """Return the one edit that makes the child of the base, found by trying them all; None if there is none."""
    old, new = list(base.phrases), list(child.phrases)
    for at, phrase in enumerate(old):
        if old[:at] + old[at + 1 :] == new:
            return "delete" if Counter(child.pool) - Counter(base.pool) == Counter([phrase]) else None
    for at, phrase in enumerate(new):
        if new[:at] + new[at + 1 :] == old and phrase in (*base.pool, *more):
            return "add" if child.pool == base.pool or Counter(base.pool) - Counter(child.pool) == {phrase: 1} else None
    changed = [at for at, pair in enumerate(zip(old, new, strict=False)) if pair[0] != pair[1]]
    if len(old) != len(new) or child.pool != base.pool:
        return None
    if len(changed) == 2 and [new[at] for at in changed] == [old[at] for at in reversed(changed)]:
        return "swap"
    return "paraphrase" if len(changed) == 1 and new[changed[0]] in rewordings(old[changed[0]]) else None


@pytest.mark.parametrize("name", EDITING)
@each_profile
def test_plum_4i_01_neighbours_differ_from_the_base_by_exactly_l_edits(name: str, profile: str) -> None:
    strategy = settings(name, profile, neighbours=40)
    for candidate in scored(run(strategy, Landscape()))[1:]:
        assert len(candidate.operator.split("+")) == strategy.edits
    walk = begun(settings(name, profile, neighbours=40, edits=1))
    base = replace(walk.incumbent, pool=("Think twice. ", "Think twice. ", "Look again. "))
    made = neighbours(walk, base)
    found = [explains(base, child, walk.editor.library if strategy.library else ()) for child in made]
    assert [child.candidate.operator for child in made] == found
    assert set(found) == {"delete", "swap", "paraphrase", "add"}


@each_profile
@pytest.mark.parametrize("name", NAMES)
def test_plum_4i_01_add_only_reinserts_what_was_deleted_or_the_library_has(name: str, profile: str) -> None:
    library = {text.strip() for text in library_of(context())} if profile == "recommended" else set[str]()
    known = {other for phrase in (*PHRASES, *library) for other in closure(phrase)}
    for candidate in scored(run(settings(name, profile), Landscape())):
        assert set(phrases_of(candidate)) <= known


def closure(phrase: str, depth: int = 4) -> set[str]:
    """Return what a phrase becomes by up to so many rewordings."""
    found = {phrase}
    for _ in range(depth):
        found |= {other for one in found for other in rewordings(one)}
    return found


@each_profile
def test_plum_4i_02_the_delete_pool_changes_only_on_acceptance(profile: str) -> None:
    strategy = settings("plum-hc", profile, library=0, edits=1, neighbours=40)
    refused = scored(run(strategy, equal))
    assert {"delete", "swap", "paraphrase"} == {candidate.operator for candidate in refused[1:]}  # no add: empty pool
    accepted = scored(run(strategy, better_without("Be brief.")))
    added = [candidate for candidate in accepted if candidate.operator == "add"]
    assert added
    assert {frozenset(phrases_of(c)) for c in added if c.parents[0] != accepted[0].id} == {frozenset(PHRASES)}


def test_plum_4i_02_the_delete_pool_is_a_multiset() -> None:
    draft = Draft(("a. ", "a. ", "b. ")).deleted(0).deleted(0)
    assert (draft.phrases, draft.pool) == (("b. ",), ("a. ", "a. "))
    again = draft.added(1, "a. ")
    assert (again.phrases, again.pool) == (("b. ", "a. "), ("a. ",))
    assert again.edits == ("delete", "delete", "add")


@each_profile
def test_plum_4i_04_hill_climbing_accepts_only_strict_improvement(profile: str) -> None:
    strategy = settings("plum-hc", profile, neighbours=40)
    still = scored(run(strategy, equal))
    assert {candidate.parents for candidate in still[1:]} == {(still[0].id,)}
    climbed = scored(run(strategy, better_without("Be brief.")))
    parents = {parent for candidate in climbed for parent in candidate.parents}
    assert len(parents) == 2
    assert all(
        candidate.id not in parents or "Be brief." not in candidate.prompt.instruction for candidate in climbed[1:]
    )


@each_profile
def test_plum_8_1_golden_values_of_annealing(profile: str) -> None:
    strategy: PlumSA = settings("plum-sa", profile)
    assert [round(strategy.chance(-1, i), 3) for i in (1, 5, 10, 15, 20)] == [0.885, 0.762, 0.478, 0.134, 0.004]


@each_profile
def test_plum_4i_04_annealing_accepts_by_the_metropolis_rule(profile: str) -> None:
    strategy: PlumSA = settings("plum-sa", profile)
    for iteration, gain in ((1, -1), (5, -5), (10, -1), (20, -1), (3, 0), (3, 2)):
        draws = random.Random(iteration)
        share = sum(draws.random() < strategy.chance(gain, iteration) for _ in range(10_000)) / 10_000
        expected = min(1.0, math.exp(gain / (10 * math.exp(-iteration / 5))))
        assert abs(share - expected) < 0.02
    worse = scored(run(settings("plum-sa", profile, temperature=1e9), seed_is_best))
    assert len({parent for candidate in worse for parent in candidate.parents}) > 1


@each_profile
def test_plum_4i_07_a_tabu_text_is_let_in_with_probability_one_half(profile: str) -> None:
    strategy: PlumTabu = settings("plum-tabu", profile)
    assert (strategy.tenure, strategy.aspiration) == (5, 0.5)
    walk = begun(strategy)
    one, other = neighbours(walk, walk.incumbent)[:2]
    chance = random.Random(0)
    admitted = sum(len(strategy.admit([one, other], {one.id}, chance)) - 1 for _ in range(10_000))
    assert abs(admitted / 10_000 - 0.5) < 0.02


@each_profile
def test_plum_4i_07_the_best_of_the_last_five_iterations_are_tabu(
    profile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bests: list[str] = []
    refused: list[str] = []
    plain_score, plain_admit = Walk.score, PlumTabu.admit

    def watched_score(self: Walk, phrasings: list[Phrasing]) -> Iterator[Any]:
        best_first = yield from plain_score(self, phrasings)
        bests.extend(phrasing.id for phrasing in best_first[:1])
        return best_first

    def watched_admit(self: PlumTabu, made: list[Phrasing], tabu: Any, rng: random.Random) -> list[Phrasing]:
        assert list(tabu) == bests[-5:]
        admitted = plain_admit(self, made, tabu, rng)
        refused.extend({phrasing.id for phrasing in made} - {phrasing.id for phrasing in admitted})
        assert not {phrasing.id for phrasing in admitted} & set(bests[-5:])
        return admitted

    monkeypatch.setattr(Walk, "score", watched_score)
    monkeypatch.setattr(PlumTabu, "admit", watched_admit)
    changes = {"aspiration": 0, "library": 0, "edits": 1, "patience": 30, "neighbours": 20, "requests": 0}
    run(settings("plum-tabu", profile, **changes), Landscape())
    assert refused


@each_profile
def test_plum_4i_07_only_recommended_moves_on_to_a_worse_neighbour(profile: str) -> None:
    candidates = scored(run(settings("plum-tabu", profile), seed_is_best))
    moved = any(candidate.parents[0] != candidates[0].id for candidate in candidates[1:])
    assert moved == (profile == "recommended")


@each_profile
@pytest.mark.parametrize("name", NAMES)
def test_plum_4i_09_the_search_stops_after_p_iterations_without_improvement(
    name: str, profile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    walks: list[Walk] = []
    goes_on = Walk.goes_on

    def watched(self: Walk) -> bool:
        walks.append(self)
        return goes_on(self)

    monkeypatch.setattr(Walk, "goes_on", watched)
    patience = {"paper": 7, "reference-code": 2}.get(profile, 3)
    strategy = settings(name, profile, requests=0, **({"patience": 3} if profile == "recommended" else {}))
    assert strategy.patience == patience
    simulate(strategy, context(200_000), equal)
    assert walks[-1].idle == patience + 1  # it starts at 1 and stops above P
    assert walks[-1].iteration == patience + 1  # that is, after P iterations


@each_profile
def test_plum_4i_10_the_incumbent_is_reported_as_published_and_the_best_as_recommended(profile: str) -> None:
    simulation = run(settings("plum-sa", profile, temperature=1e9), seed_is_best)
    last = simulation.recommendations[-1]
    if profile == "recommended":
        assert (last.ranking[0].operator, last.basis) == ("seed", "mean")
    else:
        assert last.ranking[0].operator != "seed"
        assert last.basis == "rank"  # the flag: it is no order of scores
        assert last.ranking[1].operator == "seed"


def improving() -> Callable[[Candidate, Example], float]:
    """Return a scorer by which everything new is a little better than all before."""
    known: dict[str, float] = {}
    return lambda candidate, _example: known.setdefault(candidate.id, len(known) / 100_000)


@pytest.mark.parametrize(("profile", "iterations"), [("paper", 20), ("reference-code", 9)])
def test_plum_4i_11_the_budget_counts_requests_of_a_batch_of_rows(profile: str, iterations: int) -> None:
    strategy = settings("plum-hc", profile)
    assert (strategy.requests, strategy.batch) == (1000, {"paper": 20, "reference-code": 4}[profile])
    simulation = simulate(strategy, context(200_000), improving())
    # 96 rows are 5 requests of 20 or 24 of 4; the seed takes as many, and the last iteration may begin at 999.
    assert len(evaluates(simulation)) - 1 == iterations
    assert simulation.evaluations <= strategy.estimate(context(200_000)).evaluations <= 21_000


@each_profile
@pytest.mark.parametrize("name", NAMES)
def test_every_profile_ends_within_plan_and_estimate_and_recommends(name: str, profile: str) -> None:
    strategy: Plum = settings(name, profile)
    failing: Scorer = lambda _candidate, _example: None  # noqa: E731
    for plan in (1, 40, 600):
        for scorer in (Landscape(), equal, failing):
            simulation = simulate(strategy, context(plan), scorer)
            assert not simulation.overspent
            assert simulation.evaluations <= strategy.estimate(context(plan)).evaluations <= plan
            assert isinstance(simulation.simple_asks[1], Recommend)

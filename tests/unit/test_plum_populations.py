"""Plum with a population: "faithful means" of the algorithm notes, section 4i, lines 5, 6 and 8, in every profile."""

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from promptopt.ask import Evaluate
from promptopt.landscape import Landscape
from promptopt.prompt import Candidate
from promptopt.testing.answers import answer_from, drive
from promptopt_strategies.objective import Objective
from promptopt_strategies.phrase_edits import Phrasing, splice
from promptopt_strategies.plum import Walk
from promptopt_strategies.plum_ga import PlumGA
from promptopt_strategies.plum_gac import PlumGAC
from promptopt_strategies.plum_harmony import PlumHarmony, segment
from tests.plum import (
    PHRASES,
    SEED,
    begun,
    context,
    each_profile,
    equal,
    neighbours,
    phrases_of,
    run,
    score,
    scored,
    settings,
)


@each_profile
def test_plum_4i_05_one_mutant_joins_the_archive_in_each_iteration(profile: str) -> None:
    strategy = settings("plum-ga", profile, block=0, final=0, rows=20, iterations=8, patience=8)
    simulation = run(strategy, Landscape())
    archive = {context().seeds[0].id}
    for ask, answer in simulation.exchanges:
        if isinstance(ask, Evaluate) and ask.candidates[0].parents:
            parents = {c.parents[0] for c in ask.candidates}
            assert len(parents) == 1
            assert parents <= archive
            objective = Objective.of(context(), strategy.entropy)
            points = {e.prompt_id: round(objective.points(e), 9) for e in answer.evaluations}
            archive.add(min(points, key=lambda key: (-points[key], key)))


@each_profile
def test_plum_4i_05_the_best_of_k_draws_with_replacement_is_the_parent(profile: str) -> None:
    strategy: PlumGA = settings("plum-ga", profile)
    walk = begun(strategy)
    archive = [walk.incumbent, *neighbours(walk, walk.incumbent)]
    score(walk, archive[1:], lambda candidate, _: archive_score(archive, candidate))
    wins = Counter(walk.tournament(archive, strategy.tournament, random.Random(n)).id for n in range(2000))
    best = walk.order(archive)[0]
    n = len(archive)
    assert abs(wins[best.id] / 2000 - (1 - (1 - 1 / n) ** strategy.tournament)) < 0.04
    assert strategy.tournament == {"paper": 5, "reference-code": 3, "recommended": 5}[profile]


def archive_score(archive: list[Phrasing], candidate: Candidate) -> float:
    return [phrasing.id for phrasing in archive].index(candidate.id) / 100


@each_profile
def test_plum_4i_06_children_are_spliced_at_an_index_of_both_parents(profile: str) -> None:
    walk = begun(settings("plum-gac", profile))
    one, other = neighbours(walk, walk.incumbent)[:2]
    for seed in range(50):
        draft = splice(one, other, random.Random(seed))
        assert draft is not None
        cuts = range(1, min(len(one.phrases), len(other.phrases)))
        assert draft.phrases in [(*one.phrases[:at], *other.phrases[at:]) for at in cuts]
    assert splice(one, replace(other, phrases=other.phrases[:1]), random.Random(0)) is None


@each_profile
def test_plum_4i_06_a_child_has_no_phrase_outside_its_parents(profile: str) -> None:
    strategy = settings("plum-gac", profile, offspring=6)
    known = {c.id: c for c in scored(run(strategy, Landscape()))}
    crossed = [candidate for candidate in known.values() if candidate.operator == "cross"]
    assert crossed
    for child in crossed:
        own = {phrase for parent in child.parents for phrase in phrases_of(known[parent])}
        assert set(phrases_of(child)) <= own


@each_profile
def test_plum_4i_06_the_population_is_never_larger_than_set(profile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    truncate = PlumGAC.truncate

    def watched(self: PlumGAC, walk: Walk, phrasings: Any) -> list[Phrasing]:
        kept = truncate(self, walk, phrasings)
        assert kept == walk.order(phrasings)[: len(kept)]
        sizes.append(len(kept))
        return kept

    monkeypatch.setattr(PlumGAC, "truncate", watched)
    run(settings("plum-gac", profile), Landscape())
    assert set(sizes) == {10}


def test_plum_4i_06_the_released_defaults_cross_nothing() -> None:
    candidates = scored(run(settings("plum-gac", "reference-code"), Landscape()))
    assert len(candidates) > 5
    assert all(candidate.operator != "cross" for candidate in candidates)


def test_plum_4i_08_segments_cover_all_phrases_exactly_once() -> None:
    for n in range(40):
        parts = [segment(range(n), number, 5) for number in range(5)]  # type: ignore[arg-type]  # numbers as phrases
        assert [phrase for part in parts for phrase in part] == list(range(n))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


@each_profile
def test_plum_4i_08_the_memory_holds_the_ten_best(profile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    memories: list[list[Phrasing]] = []
    improvise = PlumHarmony._improvise

    def watched(self: PlumHarmony, walk: Walk, memory: list[Phrasing]) -> Any:
        assert memory == walk.order(walk.known.values())[:10]
        memories.append(memory)
        return improvise(self, walk, memory)

    monkeypatch.setattr(PlumHarmony, "_improvise", watched)
    strategy = settings("plum-harmony", profile, iterations=12, patience=12)
    assert strategy.memory == 10
    run(strategy, Landscape(), text=" ".join([SEED] * 4))
    assert max(map(len, memories)) == 10


def harmonies(profile: str, keep: float, adjust: float, text: str = SEED) -> tuple[Walk, list[Phrasing]]:
    strategy: PlumHarmony = settings("plum-harmony", profile, keep=keep, adjust=adjust, neighbours=40)
    walk = begun(strategy, text=text)
    return walk, drive(strategy._improvise(walk, [walk.incumbent]), answer_from(equal))[0]


@each_profile
def test_plum_4i_08_a_segment_is_kept_paraphrased_or_edited_once(profile: str) -> None:
    strategy: PlumHarmony = settings("plum-harmony", profile)
    assert (strategy.segments, strategy.keep, strategy.adjust) == (5, 0.4, 0.5)
    text = " ".join([SEED] * 5)  # six phrases a segment, so that each can be edited in any way
    _, kept = harmonies(profile, 1, 0, text)
    assert [len(h.phrases) for h in kept] == ([25] if profile == "reference-code" else [])  # else equal to the seed
    _, adjusted = harmonies(profile, 1, 1, text)
    assert {h.candidate.operator for h in adjusted} == {"paraphrase" + "+paraphrase" * 4}
    _, edited = harmonies(profile, 0, 0, text)
    assert {len(h.candidate.operator.split("+")) for h in edited} == {5}
    assert {"delete", "swap", "paraphrase"} <= {edit for h in edited for edit in h.candidate.operator.split("+")}


def test_plum_4i_08_the_released_code_loses_the_last_phrase_of_each_segment() -> None:
    twenty = " ".join(f"Word {letter}." for letter in "abcdefghijklmnopqrst")
    _, made = harmonies("reference-code", 1, 0, twenty)
    assert [len(harmony.phrases) for harmony in made] == [15]
    assert harmonies("reference-code", 1, 0, " ".join(PHRASES[:5]))[1] == []  # nothing is left of five phrases


@each_profile
def test_plum_4i_08_deletions_of_every_segment_are_remembered(profile: str) -> None:
    _, made = harmonies(profile, 0, 0, " ".join([SEED] * 5))
    counts = [(h.candidate.operator.split("+").count("delete"), len(h.pool)) for h in made]
    assert any(deleted > 1 for deleted, _ in counts)
    assert all((pool <= 1) if profile == "reference-code" else pool == deleted for deleted, pool in counts)

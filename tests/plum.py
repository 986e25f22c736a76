"""Plum in tests: a seed with one phrase a sentence, so that the phrases of a prompt can be read off its text."""

from dataclasses import replace
from typing import Any

import pytest

from promptopt.ask import Evaluate
from promptopt.example import Example
from promptopt.landscape import Landscape
from promptopt.layout import chat_layout
from promptopt.phrase import cut
from promptopt.prompt import Candidate, Prompt, distinct
from promptopt.registry import configure
from promptopt.strategy import Context
from promptopt.testing.answers import answer_from, drive
from promptopt.testing.simulation import Scorer, Simulation, sample_context, simulate
from promptopt_strategies.phrase_edits import Phrasing
from promptopt_strategies.plum import Plum, Walk, open_walk

PROFILES = ("paper", "reference-code", "recommended")
NAMES = ("plum-hc", "plum-sa", "plum-ga", "plum-gac", "plum-tabu", "plum-harmony")
SEED = "Read the text. Name the kind. Write the label. Judge the tone. Mind the topic. Be brief."
PHRASES = tuple(f"{sentence}." for sentence in SEED.removesuffix(".").split(". "))

each_profile = pytest.mark.parametrize("profile", PROFILES)


def settings(name: str, profile: str, **changes: object) -> Any:
    return configure(name, profile, changes)


def context(evaluations: int = 20_000, text: str = SEED, **changes: Any) -> Context:
    seed = Prompt.of(text, chat_layout({"input": "Note"}))
    return replace(sample_context(evaluations, ("instruction",)), seeds=(seed,), **changes)


def run(strategy: Plum, scorer: Landscape | Scorer, text: str = SEED) -> Simulation:
    """Drive a strategy with a plan that does not cut it short: as published, one candidate takes 96 rows."""
    return simulate(strategy, context(1_500 if strategy.block else 20_000, text), scorer)


def equal(_candidate: Candidate, _example: Example) -> float:
    return 0.5


def better_without(phrase: str) -> Scorer:
    return lambda candidate, _example: float(phrase not in candidate.prompt.instruction)


def phrases_of(candidate: Candidate) -> tuple[str, ...]:
    return tuple(piece.strip() for piece in cut(candidate.prompt.instruction, "sentence"))


def scored(simulation: Simulation) -> list[Candidate]:
    """Return every candidate that was scored, once, in the order of coming."""
    return list(distinct(c for ask in evaluates(simulation) for c in ask.candidates))


def evaluates(simulation: Simulation) -> list[Evaluate]:
    return [ask for ask in simulation.simple_asks if isinstance(ask, Evaluate)]


def begun(strategy: Plum, scorer: Scorer = equal, text: str = SEED) -> Walk:
    """Return the walk of a strategy, the seed scored."""
    walk, _ = drive(open_walk(strategy, context(text=text)), answer_from(scorer))
    return walk


def score(walk: Walk, phrasings: list[Phrasing], scorer: Scorer) -> list[Phrasing]:
    return drive(walk.score(phrasings), answer_from(scorer))[0]


def neighbours(walk: Walk, base: Phrasing, *place: object) -> list[Phrasing]:
    return drive(walk.neighbours(base, *place), answer_from(equal))[0]


def seed_is_best(candidate: Candidate, _example: Example) -> float:
    return float(candidate.prompt.instruction == SEED)

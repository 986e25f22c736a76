"""What the tests of SPRIG share: its strategies with small settings, made-up scores, and a suite."""

import math
from dataclasses import replace
from functools import cache
from typing import Any

from promptopt.ask import Evaluate
from promptopt.example import Dataset, Example
from promptopt.ids import content_hash
from promptopt.layout import chat_layout
from promptopt.prompt import Candidate, Prompt
from promptopt.registry import configure
from promptopt.strategy import Context
from promptopt.suite import Suite
from promptopt.task import Task
from promptopt.testing.simulation import Simulation, sample_context, simulate
from promptopt_strategies.assembly import Assembly, Frame
from promptopt_strategies.corpus import Component, load_corpus
from promptopt_strategies.sprig_beam import SprigBeam
from promptopt_strategies.sprig_ga import SprigGA
from tests.toy import Same

PROFILES = ("paper", "reference-code", "recommended")
AS_PUBLISHED = ("paper", "reference-code")
BREEDING = {"paper": 12_000, "reference-code": 12_000, "recommended": 3_000}  # plans of several generations
CORPUS = load_corpus()
FRAME = Frame(Prompt.of("Do it.", chat_layout({"input": "Input"})), "system")


def assembly(*texts: str) -> Assembly:
    return Assembly(FRAME, tuple(Component(text, "style") for text in texts))


def beam(profile: str, **changes: object) -> SprigBeam:
    strategy = configure("sprig-beam", profile, changes)
    assert isinstance(strategy, SprigBeam)
    return strategy


def genetic(profile: str, **changes: object) -> SprigGA:
    small = {"pretrain": 60, "generations": 3} if profile in AS_PUBLISHED else {}
    strategy = configure("sprig-ga", profile, {**small, **changes})
    assert isinstance(strategy, SprigGA)
    return strategy


def by_text(candidate: Candidate, example: Example) -> float:
    """Give every component a worth of its own."""
    luck = int(content_hash(candidate.id, example.id)[:8], 16) / 0xFFFFFFFF
    return float(luck < _chance(candidate.prompt.system))


@cache
def _chance(system: str) -> float:
    worth = sum(int(content_hash(text)[:4], 16) / 0xFFFF - 0.4 for text in system.split(". "))
    return 1 / (1 + math.exp(-worth))


def evaluates(simulation: Simulation, purpose: str | None = None) -> list[Evaluate]:
    asks = [ask for ask in simulation.simple_asks if isinstance(ask, Evaluate)]
    return [ask for ask in asks if purpose in (None, ask.purpose)]


def run(strategy: SprigBeam | SprigGA, plan: int = 20_000, **changes: Any) -> Simulation:
    return simulate(strategy, replace(sample_context(plan), **changes), by_text)


@cache
def bred(profile: str) -> Simulation:
    """Return a search by ``sprig-ga`` that several tests look at, each from its side."""
    return run(genetic(profile), plan=BREEDING[profile])


def suite_context(plan: int, n_tasks: int = 3) -> Context:
    tasks = []
    for number in range(n_tasks):
        rows = tuple(Example({"input": f"row {n} of {number}"}, "yes") for n in range(30 * (number + 1)))
        seed = Prompt.of(f"Task {number}.", chat_layout({"input": "Input"}))
        tasks.append(Task(f"t{number}", "", Dataset(f"t{number}", rows), Same(), (seed,)))
    made = Suite(tasks)
    data = made.dataset
    return Context("all", made.seeds, data.pool, data.search, plan, fields=made.fields, editable=made.editable)


def by_suite(candidate: Candidate, example: Example) -> float:
    return float(int(content_hash(candidate.prompt.system, example.id)[:2], 16) % 2)

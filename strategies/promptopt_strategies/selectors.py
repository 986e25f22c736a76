"""Selectors by name, as settings call them, all with the same terms.

``sequential_elimination`` is the one to take (docs/measured.md). Those ``as_coded`` do what the released code of
ProTeGi does, including what it spends.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from promptopt.ask import Search
from promptopt.example import Example
from promptopt.prompt import Candidate
from promptopt.selection import (
    Drop,
    Ranking,
    race,
    safe_race,
    sequential_elimination,
    successive_halving,
    successive_rejects,
    ucb,
    ucb_e,
    uniform,
)
from promptopt.selection_as_coded import (
    sampled_rejects_as_coded,
    successive_halving_as_coded,
    successive_rejects_as_coded,
    ucb_as_coded,
    uniform_as_coded,
)

Selector = Literal[
    "uniform",
    "ucb",
    "ucb_e",
    "successive_rejects",
    "successive_halving",
    "sequential_elimination",
    "race",
    "safe_race",
    "uniform_as_coded",
    "ucb_as_coded",
    "ucb_e_as_coded",
    "successive_rejects_as_coded",
    "sampled_rejects_as_coded",
    "successive_halving_as_coded",
]


@dataclass(frozen=True)
class Terms:
    """On what terms a selector works.

    Args:
        budget: Pulls at most; the forms as coded may pass it.
        keep: How many candidates are wanted.
        c: Exploration.
        rng: Draws what the forms as coded leave to chance.
    """

    budget: int
    keep: int
    c: float
    rng: random.Random


SELECTORS: Mapping[Selector, Callable[[Sequence[Candidate], Sequence[Example], Terms], Search[Ranking]]]
SELECTORS = MappingProxyType(
    {
        "uniform": lambda pool, rows, t: uniform(pool, rows, budget=t.budget),
        "ucb": lambda pool, rows, t: ucb(pool, rows, budget=t.budget, c=t.c),
        "ucb_e": lambda pool, rows, t: ucb_e(pool, rows, budget=t.budget, c=t.c),
        "successive_rejects": lambda pool, rows, t: successive_rejects(pool, rows, budget=t.budget, keep=t.keep),
        "successive_halving": lambda pool, rows, t: successive_halving(pool, rows, budget=t.budget, keep=t.keep),
        "sequential_elimination": lambda pool, rows, t: sequential_elimination(
            pool, rows, budget=t.budget, keep=t.keep
        ),
        "race": lambda pool, rows, t: race(pool, rows, budget=t.budget, drop=Drop(keep=t.keep)),
        "safe_race": lambda pool, rows, t: safe_race(pool, rows, budget=t.budget, keep=t.keep),
        "uniform_as_coded": lambda pool, rows, t: uniform_as_coded(pool, rows, budget=t.budget, rng=t.rng),
        "ucb_as_coded": lambda pool, rows, t: ucb_as_coded(pool, rows, c=t.c, rng=t.rng),
        "ucb_e_as_coded": lambda pool, rows, t: ucb_as_coded(pool, rows, c=t.c, rng=t.rng, error=True),
        "successive_rejects_as_coded": lambda pool, rows, t: successive_rejects_as_coded(
            pool, rows, budget=t.budget, keep=t.keep, rng=t.rng
        ),
        "sampled_rejects_as_coded": lambda pool, rows, t: sampled_rejects_as_coded(
            pool, rows, budget=t.budget, keep=t.keep, rng=t.rng
        ),
        "successive_halving_as_coded": lambda pool, rows, t: successive_halving_as_coded(
            pool, rows, budget=t.budget, rng=t.rng
        ),
    }
)

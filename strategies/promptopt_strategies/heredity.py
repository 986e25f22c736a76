"""Heredity: random lists of components, and the actions by which a child's list comes from its parents'.

Every action takes what it draws from one random stream; those that need a writer ask for one or make do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from types import MappingProxyType
from typing import Literal

from promptopt.ask import Search
from promptopt.statistics import draw_standard_normal
from promptopt.strategy import Context
from promptopt_strategies.corpus import Component
from promptopt_strategies.ranker import Ranker
from promptopt_strategies.rewording import reword_component, write_components

Action = Literal["crossover", "swap", "delete", "add", "merge", "rephrase", "useless"]
Listed = tuple[Component, ...]

# The chance of each action; the rest is crossover: 0.815 with all of these.
ACTIONS: Mapping[Action, float] = MappingProxyType(
    {"swap": 0.05, "delete": 0.05, "add": 0.025, "merge": 0.025, "rephrase": 0.025, "useless": 0.01}
)
MERGED = (2, 5)  # how many components a merge takes
ADDED = (1, 2)  # how many an addition brings
LENGTH_DECAY = -0.8  # a random list has each length L with weight L^-0.8
SHORTLIST = 20  # the components, best or worst by the ranker, that stand in for what a model would write


@dataclass(frozen=True)
class Family:
    """What the birth of a child draws on."""

    context: Context
    corpus: Listed
    ranker: Ranker
    rng: Random

    def pick(self, *, best: bool) -> Listed:
        """Return a component of the corpus from those that the ranker values most, or least."""
        sign = -1 if best else 1
        order = sorted(
            range(len(self.corpus)), key=lambda at: (sign * round(self.ranker.worth(self.corpus[at]), 9), at)
        )
        return (self.corpus[self.rng.choice(order[:SHORTLIST])],) if order else ()


def random_list(corpus: Sequence[Component], rng: Random, shortest: int, longest: int) -> Listed:
    """Return different components in random order, a short list more often than a long one.

    Args:
        corpus: What to draw from.
        rng: The random stream.
        shortest: The fewest components; the weight of none is that of one.
        longest: The most.
    """
    lengths = range(min(shortest, len(corpus)), min(longest, len(corpus)) + 1)
    length = rng.choices(lengths, [max(1, length) ** LENGTH_DECAY for length in lengths])[0]
    return tuple(rng.sample(list(corpus), length))


def draw_action(rng: Random, actions: Mapping[Action, float] = ACTIONS) -> Action:
    """Return one action with the chances of the table."""
    luck = rng.random()
    for action, chance in actions.items():
        if luck < chance:
            return action
        luck -= chance
    return "crossover"


def breed(action: Action, parent: Listed, partner: Listed, family: Family) -> Search[Listed]:
    """Return the list of a child; an action that the parent is too short for becomes a crossover."""
    if action == "add":
        return (yield from _add(parent, family))
    if action == "useless":
        return _insert(parent, (yield from _useless(parent, family)), family.rng)
    if action == "rephrase" and parent:
        return (yield from _rephrase(parent, family))
    if action == "merge" and len(parent) >= MERGED[0]:
        return (yield from _merge(parent, family))
    if action == "delete" and parent:
        at = family.rng.randrange(len(parent))
        return (*parent[:at], *parent[at + 1 :])
    if action == "swap" and len(parent) > 1:
        return _swap(parent, family.rng)
    return crossover(parent, partner, family.rng)


def crossover(left: Listed, right: Listed, rng: Random) -> Listed:
    """Return both lists together, shuffled and cut to a length about the mean of theirs, from 1 to the sum."""
    both = (*left, *right)
    if not both:
        return ()
    mean, spread = len(both) / 2, (len(both) - min(len(left), len(right))) / 4
    drawn = draw_standard_normal(rng) * spread + mean
    return tuple(rng.sample(both, len(both)))[: min(max(1, round(drawn)), len(both))]


def _swap(parent: Listed, rng: Random) -> Listed:
    first, second = rng.sample(range(len(parent)), 2)
    moved = list(parent)
    moved[first], moved[second] = moved[second], moved[first]
    return tuple(moved)


def _add(parent: Listed, family: Family) -> Search[Listed]:
    n = family.rng.randint(*ADDED)
    if "write" in family.context.answers:
        new = yield from write_components("sprig-add", parent, family.context, n)
    else:
        new = tuple(component for _ in range(n) for component in family.pick(best=True))
    return _insert(parent, new, family.rng)


def _useless(parent: Listed, family: Family) -> Search[Listed]:
    if "write" in family.context.answers:
        return (yield from write_components("sprig-useless", parent, family.context))
    return family.pick(best=False)


def _merge(parent: Listed, family: Family) -> Search[Listed]:
    """Put one component in the place of several: a model's summary of these, or the one of them that is worth most."""
    rng = family.rng
    chosen = sorted(rng.sample(range(len(parent)), min(len(parent), rng.randint(*MERGED))))
    old = tuple(parent[at] for at in chosen)
    if "write" in family.context.answers:
        new = yield from write_components("sprig-merge", old, family.context)
    else:
        new = (max(old, key=lambda component: (round(family.ranker.worth(component), 9), component.text)),)
    if not new:
        return parent
    return tuple(
        component
        for at, whole in enumerate(parent)
        for component in (new if at == chosen[0] else () if at in chosen else (whole,))
    )


def _rephrase(parent: Listed, family: Family) -> Search[Listed]:
    """Put one component in other words; where there are none, take another of its class."""
    at = family.rng.randrange(len(parent))
    found = yield from reword_component(parent[at], family.context, 1)
    if not found and "write" not in family.context.answers:
        found = tuple(c for c in family.corpus if c.kind == parent[at].kind and c not in parent)
    return (*parent[:at], family.rng.choice(found), *parent[at + 1 :]) if found else parent


def _insert(parent: Listed, new: Listed, rng: Random) -> Listed:
    grown = list(parent)
    for component in new:
        grown.insert(rng.randint(0, len(grown)), component)
    return tuple(grown)

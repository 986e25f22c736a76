"""Design: points of a space chosen to learn from, and the point that a model thinks best."""

import random
from collections.abc import Iterator, Sequence

from promptopt_strategies.effects import EffectModel
from promptopt_strategies.operators import DEMO_COUNTS, random_demos, with_level
from promptopt_strategies.space import Genome, Space

SWEEPS = 3


def balanced_points(space: Space, rng: random.Random, n: int, keep: float) -> list[Genome]:
    """Return n points in which the levels of every choice stand as equally often as can be.

    Args:
        space: Where.
        rng: The random stream.
        n: How many.
        keep: The share of points that have the seed's level of a choice; the others share the rest.
    """
    decks = [_deck(rng, n, len(choice.levels), keep) for choice in space.choices]
    return [Genome(levels, random_demos(space, rng)) for levels in zip(*decks, strict=True)]


def _deck(rng: random.Random, n: int, levels: int, keep: float) -> list[int]:
    """Return n levels, shuffled: the seed's so often, each of the others once more or less than the next."""
    others = rng.sample(range(1, levels), levels - 1)
    seeds = round(keep * n) if others else n
    deck = [0] * seeds + [others[turn % len(others)] for turn in range(n - seeds)]
    return rng.sample(deck, n)


def ideal_point(space: Space, model: EffectModel, start: Genome) -> Genome:
    """Return the best point by the model that a climb from a start reaches, one choice at a time."""
    best = start
    for _ in range(SWEEPS):
        before = best
        for number in space.free_choices:
            levels = range(len(space.choices[number].levels))
            others = [with_level(best, number, level) for level in levels if level != best.levels[number]]
            best = _better(space, model, best, others)
        best = _better(space, model, best, [Genome(best.levels, demos) for demos in _demo_sets(space, model)])
        if best == before:
            break
    return best


def _better(space: Space, model: EffectModel, best: Genome, others: Sequence[Genome]) -> Genome:
    """Return the best of these by the model; of equal ones the first, so that what is not known stays."""
    return max([best, *others], key=lambda point: round(model.predict(space.features(point)), 9))


def _demo_sets(space: Space, model: EffectModel) -> Iterator[tuple[int, ...]]:
    """Yield the demonstrations that the model likes best, for every number of them, the targets in turn."""
    if not space.max_demos:
        return

    def worth(number: int) -> float:
        return round(model.predict([space.demo_feature(number)]), 9)

    groups = [sorted(group, key=lambda number: (-worth(number), number)) for group in space.groups]
    groups.sort(key=lambda group: -worth(group[0]))
    turns = [group[turn] for turn in range(max(map(len, groups), default=0)) for group in groups if turn < len(group)]
    for wanted in DEMO_COUNTS:
        taken: list[int] = []
        for number in turns:
            if len(taken) < wanted and space.fits([*taken, number]):
                taken.append(number)
        yield tuple(taken)

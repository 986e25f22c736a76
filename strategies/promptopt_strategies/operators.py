"""Operators: random moves between complete prompts, shared by the strategies that need no optimizer model.

Every move is a function of the space, a point or two, and a random stream; it returns a point of the same space.
"""

import random
from collections.abc import Sequence

from promptopt_strategies.space import Genome, Space

DEMO_COUNTS = (0, 1, 2, 3, 4, 5, 6, 8)


def random_genome(space: Space, rng: random.Random, keep: float = 0.4) -> Genome:
    """Draw a point.

    Args:
        space: Where.
        rng: The random stream.
        keep: The chance that a choice keeps the seed's level; otherwise every other level is as likely.
    """
    levels = [
        0 if len(choice.levels) == 1 or rng.random() < keep else rng.randrange(1, len(choice.levels))
        for choice in space.choices
    ]
    return Genome(tuple(levels), random_demos(space, rng))


def random_demos(space: Space, rng: random.Random) -> tuple[int, ...]:
    """Draw demonstrations: a random number of them, the targets in turn where they are a closed set."""
    if not space.max_demos:
        return space.seed_points[0].demos
    turns = in_turn(space, rng)
    wanted = min(rng.choice(DEMO_COUNTS), space.max_demos)
    drawn: list[int] = []
    for number in turns:
        if len(drawn) < wanted and space.fits([*drawn, number]):
            drawn.append(number)
    return tuple(rng.sample(drawn, len(drawn)))


def in_turn(space: Space, rng: random.Random) -> list[int]:
    """Return the whole shelf shuffled, the targets in turn where they are a closed set."""
    groups = [rng.sample(group, len(group)) for group in space.groups]
    rng.shuffle(groups)
    return [group[turn] for turn in range(max(map(len, groups), default=0)) for group in groups if turn < len(group)]


def mutate(space: Space, rng: random.Random, genome: Genome, demo_share: float = 0.5, double: float = 0.3) -> Genome:
    """Change a point in one place or two.

    Args:
        space: Where.
        rng: The random stream.
        genome: The point.
        demo_share: The chance that a change is to the demonstrations.
        double: The chance of a second change.
    """
    for _ in range(2 if rng.random() < double else 1):
        on_demos = bool(space.max_demos) and (not space.free_choices or rng.random() < demo_share)
        genome = _change_demos(space, rng, genome) if on_demos else _change_level(space, rng, genome)
    return genome


def change_together(space: Space, rng: random.Random, genome: Genome, n: int) -> Genome:
    """Change the levels of n choices at once, the demonstrations not at all."""
    for number in rng.sample(space.free_choices, min(n, len(space.free_choices))):
        genome = _with_other_level(space, rng, genome, number)
    return genome


def crossover(rng: random.Random, left: Genome, right: Genome) -> Genome:
    """Mix two points: each level from either, the demonstrations from one of them."""
    levels = tuple(rng.choice(pair) for pair in zip(left.levels, right.levels, strict=True))
    return Genome(levels, rng.choice((left.demos, right.demos)))


def _change_level(space: Space, rng: random.Random, genome: Genome) -> Genome:
    return _with_other_level(space, rng, genome, rng.choice(space.free_choices)) if space.free_choices else genome


def _with_other_level(space: Space, rng: random.Random, genome: Genome, number: int) -> Genome:
    others = [level for level in range(len(space.choices[number].levels)) if level != genome.levels[number]]
    return with_level(genome, number, rng.choice(others))


def with_level(genome: Genome, number: int, level: int) -> Genome:
    """Return the point with another level of one choice."""
    return Genome((*genome.levels[:number], level, *genome.levels[number + 1 :]), genome.demos)


def _change_demos(space: Space, rng: random.Random, genome: Genome) -> Genome:
    moves = [_add, _replace, _drop, _swap, _shuffle] if genome.demos else [_add]
    unused = [number for number in range(len(space.shelf)) if number not in genome.demos]
    demos = tuple(rng.choice(moves)(rng, genome.demos, unused))
    return Genome(genome.levels, demos) if space.fits(demos) else Genome(genome.levels, demos[: len(genome.demos) - 1])


def _add(rng: random.Random, demos: Sequence[int], unused: Sequence[int]) -> Sequence[int]:
    if not unused:
        return demos
    at = rng.randint(0, len(demos))
    return [*demos[:at], rng.choice(unused), *demos[at:]]


def _replace(rng: random.Random, demos: Sequence[int], unused: Sequence[int]) -> Sequence[int]:
    if not unused:
        return demos
    at = rng.randrange(len(demos))
    return [*demos[:at], rng.choice(unused), *demos[at + 1 :]]


def _drop(rng: random.Random, demos: Sequence[int], _: Sequence[int]) -> Sequence[int]:
    at = rng.randrange(len(demos))
    return [*demos[:at], *demos[at + 1 :]]


def _swap(rng: random.Random, demos: Sequence[int], _: Sequence[int]) -> Sequence[int]:
    if len(demos) < 2:
        return demos
    first, second = sorted(rng.sample(range(len(demos)), 2))
    swapped = list(demos)
    swapped[first], swapped[second] = swapped[second], swapped[first]
    return swapped


def _shuffle(rng: random.Random, demos: Sequence[int], _: Sequence[int]) -> Sequence[int]:
    return rng.sample(demos, len(demos))

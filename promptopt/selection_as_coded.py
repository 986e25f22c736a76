"""The selectors of ProTeGi as its released code runs them, for the profile ``reference-code`` of ``apo``.

They differ from the papers' and from ``promptopt.selection`` in ways that cost money or quality; each says in which.

Reference: microsoft/LMOps, folder prompt_optimization, commit 4f2a9de, whose facts are told here in our own words.
"""

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from promptopt.arms import Ranking
from promptopt.ask import Evaluate, Search
from promptopt.evaluation import Evaluation, gather
from promptopt.example import Example
from promptopt.prompt import Candidate, distinct

_PHASE_LEAST = 4
_SAMPLED = 8
_COUNT_OFFSET = 0.001


@dataclass(frozen=True, slots=True)
class Batches:
    """How UCB spends as coded: so many rounds, arms a round, and examples that all arms of a round share."""

    rounds: int = 8
    arms: int = 8
    examples: int = 32

    @property
    def budget(self) -> int:
        """Pulls in all, repeated ones included; the code hands this number to its other selectors too."""
        return self.rounds * self.arms * self.examples


def uniform_as_coded(
    candidates: Iterable[Candidate], examples: Sequence[Example], *, budget: int, rng: random.Random
) -> Search[Ranking]:
    """Score all arms on one common random set of floor(budget / arms) examples: ``bf``, the code's default."""
    arms, table = distinct(candidates), _Table()
    if arms and budget >= len(arms):
        yield from table.score(arms, _draw(examples, budget // len(arms), rng))
    return table.by_mean(arms)


def ucb_as_coded(
    candidates: Iterable[Candidate],
    examples: Sequence[Example],
    *,
    rng: random.Random,
    batches: Batches = Batches(),
    c: float = 1.0,
    error: bool = False,
) -> Search[Ranking]:
    """Pull a batch of arms a round on a fresh random set of examples; t is the number of the round.

    Differs from the paper: the first batch is random; the second pulls the same arms again, since ln 1 = 0; an
    example drawn again counts as a new pull; arms beyond (rounds - 1) x arms are never pulled and rank as score 0.

    Args:
        candidates: The pool.
        examples: What the batches are drawn from.
        rng: Draws the first arms, then each set of examples.
        batches: Rounds, arms and examples.
        c: Exploration.
        error: UCB-E instead of UCB.
    """
    arms, table = distinct(candidates), _Table()
    sums, counts = [0.0] * len(arms), [0] * len(arms)
    for t in range(batches.rounds if arms else 0):
        width = min(batches.arms, len(arms))
        if t == 0:
            chosen = rng.sample(range(len(arms)), width)
        else:
            bonus = c if error else math.log(t)
            bounds = [
                (total / count if count else 0.0) + c * math.sqrt(bonus / (count + _COUNT_OFFSET))
                for total, count in zip(sums, counts, strict=True)
            ]
            # Of equal bounds the code takes the later arm.
            chosen = sorted(range(len(arms)), key=lambda i: (bounds[i], i), reverse=True)[:width]
        sample = _draw(examples, batches.examples, rng)
        means = yield from table.score([arms[i] for i in chosen], sample)
        for i, mean in zip(chosen, means, strict=True):
            sums[i] += mean * len(sample)
            counts[i] += len(sample)
    scores = {arm.id: total / count if count else 0.0 for arm, total, count in zip(arms, sums, counts, strict=True)}
    return table.ranking(sorted(arms, key=lambda arm: (-round(scores[arm.id], 9), arm.id)), "mean")


def successive_rejects_as_coded(
    candidates: Iterable[Candidate], examples: Sequence[Example], *, budget: int, keep: int, rng: random.Random
) -> Search[Ranking]:
    """Drop the worst arm of each phase by that phase's fresh random sample alone, until ``keep`` remain.

    Differs from the paper: K is the number of arms to drop, nothing accumulates, a phase has at least 4 examples,
    and the budget only sets the sizes of the phases: 36 arms spend 5,878 pulls of 2,048.
    """
    arms, table = distinct(candidates), _Table()
    alive, dropped = list(arms), list[Candidate]()
    for size in rejects_schedule_as_coded(len(arms), keep, budget):
        means = yield from table.score(alive, _draw(examples, size, rng))
        dropped.insert(0, alive.pop(means.index(min(means))))
    return table.ranking([*sorted(alive, key=lambda arm: arm.id), *dropped], "rank")


def rejects_schedule_as_coded(arms: int, keep: int, budget: int) -> tuple[int, ...]:
    """Return the examples of each of the arms - keep phases."""
    n_drops = arms - keep
    spread = 0.5 + sum(1 / i for i in range(2, n_drops + 1))
    levels = [(budget - n_drops) / (spread * (n_drops + 1 - phase)) for phase in range(1, n_drops + 1)]
    return tuple(max(_PHASE_LEAST, int(level - before)) for before, level in zip([0.0, *levels], levels, strict=False))


def sampled_rejects_as_coded(
    candidates: Iterable[Candidate],
    examples: Sequence[Example],
    *,
    budget: int,
    keep: int,
    rng: random.Random,
) -> Search[Ranking]:
    """Drop the worst of 8 random survivors at a time (``s-sr``), until ``keep`` remain."""
    arms, table = distinct(candidates), _Table()
    alive, dropped = list(arms), list[Candidate]()
    while len(alive) > keep:
        sample = _draw(examples, sampled_rejects_step(len(arms), keep, budget), rng)
        racers = rng.sample(alive, min(_SAMPLED, len(alive)))
        means = yield from table.score(racers, sample)
        worst = racers[means.index(min(means))]
        alive = [arm for arm in alive if arm.id != worst.id]
        dropped.insert(0, worst)
    return table.ranking([*sorted(alive, key=lambda arm: arm.id), *dropped], "rank")


def sampled_rejects_step(arms: int, keep: int, budget: int) -> int:
    """Return the examples of each step of ``s-sr``."""
    return math.ceil(budget / ((arms - keep) * _SAMPLED))


def successive_halving_as_coded(
    candidates: Iterable[Candidate], examples: Sequence[Example], *, budget: int, rng: random.Random
) -> Search[Ranking]:
    """Keep the arms at or above the mean of each round's fresh random sample, for ceil(log2 arms) rounds.

    Differs from the paper: the cut is the mean and not the half, nothing accumulates, it goes on when the beam is
    full, and equal arms all stay.
    """
    arms, table = distinct(candidates), _Table()
    alive, dropped = list(arms), list[Candidate]()
    rounds = math.ceil(math.log2(len(arms))) if arms else 0
    for _ in range(rounds):
        sample = _draw(examples, budget // (len(alive) * rounds), rng)
        if not sample:
            break
        means = yield from table.score(alive, sample)
        # A hair below the mean, so that equal arms do not fall to the last bit of a sum.
        cut = math.fsum(means) / len(means) - 1e-9
        leaving = [arm for arm, mean in zip(alive, means, strict=True) if mean < cut]
        alive = [arm for arm, mean in zip(alive, means, strict=True) if mean >= cut]
        dropped[:0] = sorted(leaving, key=lambda arm: arm.id)
    return table.ranking([*sorted(alive, key=lambda arm: arm.id), *dropped], "rank")


class _Table:
    """All outcomes of one selection; a pair seen again is asked for again, and costs nothing new."""

    def __init__(self) -> None:
        self.seen: dict[str, Evaluation] = {}

    def score(self, arms: Sequence[Candidate], sample: Sequence[Example]) -> Search[list[float]]:
        """Return the mean of each arm on the sample."""
        evaluations = (yield from Evaluate(arms, sample)).evaluations
        gather(self.seen, evaluations)
        return [evaluation.mean for evaluation in evaluations]

    def by_mean(self, arms: Sequence[Candidate]) -> Ranking:
        """Return the arms by their means; equal ones by id."""
        means = {arm.id: self.seen[arm.id].mean if arm.id in self.seen else 0.0 for arm in arms}
        return self.ranking(sorted(arms, key=lambda arm: (-round(means[arm.id], 9), arm.id)), "mean")

    def ranking(self, arms: Sequence[Candidate], basis: Literal["mean", "rank"]) -> Ranking:
        """Return the arms in this order."""
        evaluations = {arm.id: self.seen.get(arm.id, Evaluation(arm.id, ())) for arm in arms}
        spent = sum(e.n for e in evaluations.values() if not e.refusal)
        return Ranking(tuple(arms), evaluations, spent, basis)


def _draw(examples: Sequence[Example], size: int, rng: random.Random) -> list[Example]:
    return rng.sample(list(examples), min(len(examples), size))

"""Selectors: sub-searches that spend a budget of pulls to find the best few of a pool; the noun is Ranking.

A pull is one new pair of candidate and example. All arms draw the examples in the order given, without replacement,
so they are compared on the same ones: shuffle them first with ``context.rng``. An arm that has seen all examples
stops, and the budget is never exceeded.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from promptopt.ask import Evaluate, Search, together
from promptopt.evaluation import Evaluation, Outcome, paired
from promptopt.example import Example
from promptopt.prompt import Candidate, distinct


@dataclass(frozen=True)
class Ranking:
    """What a selector found.

    Args:
        candidates: Best first; texts that came twice stand once.
        evaluations: What each was seen to do in this selection, by prompt id.
        spent: Pulls: pairs of candidate and example that were new.
        basis: ``mean`` where the means decide the order, ``rank`` where the order of leaving does.
    """

    candidates: tuple[Candidate, ...]
    evaluations: Mapping[str, Evaluation]
    spent: int
    basis: Literal["mean", "rank"] = "mean"


def uniform(candidates: Iterable[Candidate], examples: Sequence[Example], *, budget: int) -> Search[Ranking]:
    """Score every candidate on the same floor(budget / arms) examples.

    Reference: Pryzant et al. (2023), section 2.2.2, the baseline of their selectors (``bf`` in their code).
    """
    arms = _Arms(candidates, examples, budget)
    if arms.all:
        yield from arms.pull(arms.all, budget // len(arms.all))
    return arms.ranking()


def ucb(
    candidates: Iterable[Candidate],
    examples: Sequence[Example],
    *,
    budget: int,
    c: float = 1.0,
    width: int = 8,
    step: int = 8,
) -> Search[Ranking]:
    """Pull the arms with the highest upper confidence bounds, ``width`` arms a round and ``step`` examples an arm.

    Args:
        candidates: The pool.
        examples: In the common order.
        budget: Pulls at most.
        c: Exploration; 0 is greedy once every arm has been seen.
        width: How many arms are pulled before the bounds are looked at again; 1 is the textbook.
        step: How many examples each of them sees; 1 is the textbook.

    Reference: Pryzant et al. (2023), algorithm 3; t counts pulls.
    """
    arms = _Arms(candidates, examples, budget)
    return (yield from arms.climb(lambda mean, pulls: ucb_bound(mean, pulls, max(1, arms.spent), c), width, step))


def ucb_e(
    candidates: Iterable[Candidate],
    examples: Sequence[Example],
    *,
    budget: int,
    c: float = 1.0,
    width: int = 8,
    step: int = 8,
) -> Search[Ranking]:
    """Pull as ``ucb`` does, with a bonus that does not grow with time.

    Reference: Audibert et al., COLT (2010), figure 1, in the form of Pryzant et al. (2023), section 2.2.2.
    """
    arms = _Arms(candidates, examples, budget)
    return (yield from arms.climb(lambda mean, pulls: ucb_e_bound(mean, pulls, c), width, step))


def ucb_bound(mean: float, pulls: float, t: float, c: float) -> float:
    """Return the upper confidence bound at time t >= 1; infinite for an arm without pulls."""
    return mean + c * math.sqrt(math.log(t) / pulls) if pulls else math.inf  # algorithm 3, line 4


def ucb_e_bound(mean: float, pulls: float, c: float) -> float:
    """Return the upper confidence bound of UCB-E; infinite for an arm without pulls."""
    return mean + c * math.sqrt(c / pulls) if pulls else math.inf


def successive_rejects(
    candidates: Iterable[Candidate], examples: Sequence[Example], *, budget: int, keep: int = 1
) -> Search[Ranking]:
    """Drop the arm with the lowest cumulative mean after each phase, until ``keep`` remain.

    Reference: Audibert, Bubeck and Munos, COLT (2010), figure 3; stopped at the beam as Pryzant et al. (2023) do.
    """
    arms = _Arms(candidates, examples, budget)
    alive, dropped = list(arms.all), list[Candidate]()
    for pulls in rejects_schedule(len(alive), budget):
        if len(alive) <= keep:
            break
        yield from arms.pull(alive, pulls)
        *alive, worst = arms.order(alive)
        dropped.insert(0, worst)
    return arms.ranking([*arms.order(alive), *dropped])


def rejects_schedule(arms: int, budget: int) -> tuple[int, ...]:
    """Return the cumulative pulls of a surviving arm at the end of each of the arms - 1 phases."""
    spread = 0.5 + sum(1 / i for i in range(2, arms + 1))
    return tuple(
        max(0, math.ceil((budget - arms) / (spread * (arms + 1 - phase)))) for phase in range(1, arms)
    )  # Audibert et al. (2010), figure 3: n_k


def successive_halving(
    candidates: Iterable[Candidate], examples: Sequence[Example], *, budget: int, keep: int = 1
) -> Search[Ranking]:
    """Drop the worse half after each round, by means over all rounds so far, until ``keep`` remain.

    Reference: Karnin, Koren and Somekh, ICML (2013), algorithm 1; here the rounds accumulate.
    """
    arms = _Arms(candidates, examples, budget)
    alive, dropped, seen = list(arms.all), list[Candidate](), 0
    for size, pulls in halving_schedule(len(alive), budget):
        if size <= keep:
            break
        seen += pulls
        yield from arms.pull(alive, seen)
        alive = arms.order(alive)
        stay = max(keep, math.ceil(size / 2))
        dropped[:0] = alive[stay:]
        alive = alive[:stay]
    return arms.ranking([*alive, *dropped])


def halving_schedule(arms: int, budget: int) -> tuple[tuple[int, int], ...]:
    """Return for each round how many arms it has and how many new examples each of them sees."""
    rounds, schedule = math.ceil(math.log2(arms)) if arms > 1 else 0, []
    for _ in range(rounds):
        schedule.append((arms, budget // (arms * rounds)))  # Karnin et al. (2013), algorithm 1, line 3: t_r
        arms = math.ceil(arms / 2)
    return tuple(schedule)


@dataclass(frozen=True, slots=True)
class Drop:
    """When a racer leaves: both thresholds reached against the leader, on the examples that both answered.

    Args:
        deficit: By how many points of score, summed over examples, it is behind (losses - wins for 0/1 scores).
        z: That sum over the root of the sum of squares ((losses - wins) / sqrt(losses + wins) for 0/1 scores).
        keep: The race is over when no more than this many are left.
        spared: Ids of prompts that never leave, such as the seed's.
    """

    deficit: float = 2.0
    z: float = 1.7
    keep: int = 1
    spared: frozenset[str] = frozenset()


def race(
    candidates: Iterable[Candidate],
    examples: Sequence[Example],
    *,
    budget: int,
    block: int = 5,
    drop: Drop = Drop(),
    known: Iterable[Evaluation] = (),
) -> Search[Ranking]:
    """Run all candidates side by side over blocks of examples; after each block those clearly behind leave.

    When the next block costs more than is left, the worst leave until it does not.

    Args:
        candidates: The racers.
        examples: The course, in the common order.
        budget: Pulls at most.
        block: Examples between two looks.
        drop: Who leaves.
        known: Outcomes from before; their pairs are not asked for again and cost nothing.

    Reference: Lopez-Ibanez et al., Operations Research Perspectives 3 (2016), section 2; the rule is our own.
    """
    arms = _Arms(candidates, examples, budget, known)
    alive, dropped = list(arms.all), list[Candidate]()
    for end in range(block, len(examples) + block, block):
        if len(alive) <= drop.keep:
            break
        for racer in [c for c in reversed(alive) if c.id not in drop.spared]:
            if len(alive) > max(1, drop.keep) and arms.cost(alive, end) > arms.left:
                alive.remove(racer)
                dropped.insert(0, racer)
        yield from arms.pull(alive, end)
        leader, *others = arms.order(alive)
        for racer in reversed(others):
            if len(alive) > drop.keep and _is_behind(arms.seen[racer.id], arms.seen[leader.id], drop):
                alive.remove(racer)
                dropped.insert(0, racer)
        alive = arms.order(alive)
    return arms.ranking([*alive, *dropped])


def _is_behind(racer: Evaluation, leader: Evaluation, drop: Drop) -> bool:
    gaps = [ahead - own for own, ahead in paired(racer, leader)]
    deficit, noise = math.fsum(gaps), math.sqrt(math.fsum(gap * gap for gap in gaps))
    return racer.prompt_id not in drop.spared and 0 < deficit >= drop.deficit and deficit >= drop.z * noise


class _Arms:
    """The arms of one selection: what each has seen of the common order, and what is left of the budget."""

    def __init__(
        self,
        candidates: Iterable[Candidate],
        examples: Sequence[Example],
        budget: int,
        known: Iterable[Evaluation] = (),
    ) -> None:
        self.all = distinct(candidates)
        self.left, self.spent = budget, 0
        self.seen = {arm.id: Evaluation(arm.id, ()) for arm in self.all}
        self._examples = tuple(examples)
        self._known: dict[str, dict[str, Outcome]] = {arm.id: {} for arm in self.all}
        for evaluation in known:
            if evaluation.prompt_id in self._known:
                self._known[evaluation.prompt_id].update({o.example_id: o for o in evaluation.outcomes})

    def pull(self, arms: Sequence[Candidate], level: int) -> Search[None]:
        """Show these arms the first ``level`` examples, or as many as the budget allows."""
        level = min(level, len(self._examples))
        while level > 0 and self.cost(arms, level) > self.left:
            level -= 1
        yield from self._pull([(arm, level) for arm in arms])

    def climb(self, bound: Callable[[float, int], float], width: int, step: int) -> Search[Ranking]:
        """Pull the ``width`` arms with the highest bounds again and again; of equal ones, those with fewer pulls."""

        def place(arm: Candidate) -> tuple[float, int, str]:
            seen = self.seen[arm.id]
            return -bound(seen.mean, seen.n), seen.n, arm.id

        while self.left > 0:
            levels, left = list[tuple[Candidate, int]](), self.left
            for arm in sorted(self._unfinished(), key=place)[:width]:
                have = self.seen[arm.id].n
                more = min(step, len(self._examples) - have, left)
                left -= more
                levels.append((arm, have + more))
            if not levels:
                break
            yield from self._pull(levels)
        return self.ranking()

    def cost(self, arms: Iterable[Candidate], level: int) -> int:
        """Return how many pulls it takes to show these arms the first ``level`` examples."""
        return sum(len(self._missing(arm, level)) for arm in arms)

    def order(self, arms: Iterable[Candidate]) -> list[Candidate]:
        """Return these arms by mean, best first; equal ones by id, and those without a score last."""
        seen = self.seen
        return sorted(arms, key=lambda arm: (not seen[arm.id].n_valid, -round(seen[arm.id].mean, 9), arm.id))

    def ranking(self, arms: Sequence[Candidate] | None = None) -> Ranking:
        """Return the arms in this order of rank, or by their means."""
        best_first = self.order(self.all) if arms is None else arms
        return Ranking(tuple(best_first), self.seen, self.spent, "mean" if arms is None else "rank")

    def _unfinished(self) -> list[Candidate]:
        return [arm for arm in self.all if self.seen[arm.id].n < len(self._examples)]

    def _missing(self, arm: Candidate, level: int) -> tuple[Example, ...]:
        return tuple(example for example in self._examples[:level] if example.id not in self._known[arm.id])

    def _pull(self, levels: Sequence[tuple[Candidate, int]]) -> Search[None]:
        groups: dict[tuple[Example, ...], list[Candidate]] = {}
        for arm, level in levels:
            if missing := self._missing(arm, level):
                groups.setdefault(missing, []).append(arm)
        asks = [Evaluate(arms, examples) for examples, arms in groups.items()]
        # One group is the rule; a batch of one would only lengthen the journal.
        answers = ((yield from asks[0]),) if len(asks) == 1 else (yield from together(*asks))
        for ask, answer in zip(asks, answers, strict=True):
            cost = len(ask.candidates) * len(ask.examples)
            self.left, self.spent = self.left - cost, self.spent + cost
            for evaluation in answer.evaluations:
                self._known[evaluation.prompt_id].update({o.example_id: o for o in evaluation.outcomes})
        for arm, level in levels:
            known = self._known[arm.id]
            self.seen[arm.id] = Evaluation(arm.id, tuple(known[example.id] for example in self._examples[:level]))

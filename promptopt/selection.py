"""Selectors: sub-searches that spend a budget of pulls to find the best few of a pool.

A pull is one new pair of candidate and example. All arms draw the examples in the order given, without replacement,
so they are compared on the same ones: shuffle them first with ``context.rng``. An arm that has seen all examples
stops, and the budget is never exceeded.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from promptopt.arms import Arms
from promptopt.arms import Ranking as Ranking
from promptopt.ask import Search
from promptopt.evaluation import Evaluation, paired
from promptopt.example import Example
from promptopt.prompt import Candidate
from promptopt.statistics import evidence


def uniform(candidates: Iterable[Candidate], examples: Sequence[Example], *, budget: int) -> Search[Ranking]:
    """Score every candidate on the same floor(budget / arms) examples.

    Reference: Pryzant et al. (2023), section 2.2.2, the baseline of their selectors (``bf`` in their code).
    """
    arms = Arms(candidates, examples, budget)
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
    arms = Arms(candidates, examples, budget)
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
    arms = Arms(candidates, examples, budget)
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

    The phases are planned for a single winner, so that stopping at a beam leaves some of the budget unspent.

    Reference: Audibert, Bubeck and Munos, COLT (2010), figure 3; stopped at the beam as Pryzant et al. (2023) do.
    """
    arms = Arms(candidates, examples, budget)
    return (yield from arms.eliminate(rejects_schedule(len(arms.all), budget), keep))


def rejects_schedule(arms: int, budget: int) -> tuple[int, ...]:
    """Return the cumulative pulls of a surviving arm at the end of each of the arms - 1 phases."""
    return tuple(
        max(0, math.ceil((budget - arms) / (rejects_spread(arms) * (arms + 1 - phase)))) for phase in range(1, arms)
    )  # Audibert et al. (2010), figure 3: n_k


def rejects_spread(arms: int) -> float:
    """Return what the budget is divided by, 1/2 + 1/2 + 1/3 + ... + 1/K: the log-bar of Audibert et al. (2010)."""
    return 0.5 + sum(1 / i for i in range(2, arms + 1))


def sequential_elimination(
    candidates: Iterable[Candidate], examples: Sequence[Example], *, budget: int, keep: int = 1, power: float = 1.4
) -> Search[Ranking]:
    """Drop the worst arm after each phase as ``successive_rejects`` does, with the phases planned for the beam.

    The whole budget is spent when ``keep`` remain, and the arms that stay longest get more of it: the best of our
    selectors in simple regret, on independent arms and on arms that share easy and hard examples (docs/measured.md).

    Args:
        candidates: The pool.
        examples: In the common order.
        budget: Pulls at most.
        keep: How many are wanted.
        power: How much the later phases get; 1 is successive rejects.

    Reference: Shahrampour, Noshad and Tarokh, IEEE Trans. Signal Processing 65 (2017), nonlinear sequential
        elimination; planned for more than one survivor and for a limited number of examples by us.
    """
    arms = Arms(candidates, examples, budget)
    schedule = elimination_schedule(len(arms.all), budget, keep=keep, power=power, most=len(examples))
    return (yield from arms.eliminate(schedule, keep))


def elimination_schedule(arms: int, budget: int, *, keep: int, power: float, most: int) -> tuple[int, ...]:
    """Return the cumulative pulls of a surviving arm at the end of each of the arms - keep phases.

    They are in proportion to (arms alive) ** -power, none above ``most``, and as many as the budget allows.
    """
    sizes = range(arms, keep, -1)

    def levels(scale: float) -> list[int]:
        return [min(most, int(scale * size**-power)) for size in sizes]

    def is_affordable(scale: float) -> bool:
        steps = levels(scale)
        before = [0, *steps]
        return sum((n - m) * size for n, m, size in zip(steps, before, sizes, strict=False)) <= budget

    low, high = 0.0, 1.0 + most * float(arms) ** power
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if is_affordable(middle) else (low, middle)
    return tuple(levels(low))


def successive_halving(
    candidates: Iterable[Candidate], examples: Sequence[Example], *, budget: int, keep: int = 1
) -> Search[Ranking]:
    """Drop the worse half after each round, by means over all rounds so far, until ``keep`` remain.

    Reference: Karnin, Koren and Somekh, ICML (2013), algorithm 1; here the rounds accumulate.
    """
    arms = Arms(candidates, examples, budget)
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

    Quick and not safe: of two equals one leaves in half of the races; ``safe_race`` is for when that would matter. When
    the next block costs more than is left, the worst leave until it does not.

    Args:
        candidates: The racers.
        examples: The course, in the common order.
        budget: Pulls at most.
        block: Examples between two looks.
        drop: Who leaves.
        known: Outcomes from before; their pairs are not asked for again and cost nothing.

    Reference: Lopez-Ibanez et al., Operations Research Perspectives 3 (2016), section 2; the rule is our own.
    """
    arms = Arms(candidates, examples, budget, known)
    alive, dropped, beaten = list(arms.all), list[Candidate](), set[str]()
    for end in range(block, len(examples) + block, block):
        if len(alive) <= drop.keep:
            break
        for racer in [c for c in reversed(alive) if c.id not in drop.spared]:
            if len(alive) > max(1, drop.keep) and arms.cost(alive, end) > arms.left:
                alive.remove(racer)
                dropped.insert(0, racer)
        yield from arms.pull(alive, end)
        alive = arms.standing(alive)
        for racer in alive[:0:-1]:
            if len(alive) > drop.keep and _is_behind(arms.seen[racer.id], arms.seen[alive[0].id], drop):
                alive.remove(racer)
                dropped.insert(0, racer)
                beaten.add(racer.id)
    return arms.ranking([*alive, *dropped], beaten)


def safe_race(
    candidates: Iterable[Candidate],
    examples: Sequence[Example],
    *,
    budget: int,
    block: int = 5,
    alpha: float = 0.05,
    keep: int = 1,
) -> Search[Ranking]:
    """Run all candidates side by side over blocks of examples; a racer leaves only when it is proved not the best.

    The test is valid at every look, so the race may go on or be stopped at will: whatever the candidates, a best one
    is beaten with probability ``alpha`` at most, and among equals that means any. Each racer's evidence is the wealth
    of a bet that the best of the others, chosen before the block, scores higher on it. Who is not ``beaten`` when
    budget or examples end is merely ranked.

    Args:
        candidates: The racers.
        examples: The course, which nobody has seen before; in the common order.
        budget: Pulls at most.
        block: Examples between two looks.
        alpha: The chance of an error in the whole race.
        keep: The race is over when no more than this many are left; 1 or more.

    Reference: Waudby-Smith and Ramdas, JRSS B 86 (2024), section 4; Ville (1939) for looking at any time; the share
        alpha / racers is Bonferroni's.
    """
    arms = Arms(candidates, examples, budget)
    alive, beaten = list(arms.all), list[Candidate]()
    leads: dict[str, list[float]] = {arm.id: [] for arm in arms.all}
    for start in range(0, len(examples), block):
        if len(alive) <= max(1, keep) or arms.left < len(alive):
            break
        first, second, *_ = arms.order(alive)
        yield from arms.pull(alive, start + block)
        course = examples[start : start + block]
        for racer in alive:
            rival = arms.seen[first.id if racer is not first else second.id]
            leads[racer.id] += _leads(rival, arms.seen[racer.id], course)
        alive = arms.standing(alive)
        for racer in alive[::-1]:
            if len(alive) > keep and evidence(leads[racer.id]) >= len(arms.all) / alpha:
                alive.remove(racer)
                beaten.insert(0, racer)
    return arms.ranking([*alive, *beaten], {racer.id for racer in beaten})


def _leads(rival: Evaluation, racer: Evaluation, course: Iterable[Example]) -> list[float]:
    """Return by how much the rival is ahead on each example that both answered."""
    both = rival.scores.keys() & racer.scores.keys()
    return [rival.scores[example.id] - racer.scores[example.id] for example in course if example.id in both]


def _is_behind(racer: Evaluation, leader: Evaluation, drop: Drop) -> bool:
    gaps = [ahead - own for own, ahead in paired(racer, leader)]
    deficit, noise = math.fsum(gaps), math.sqrt(math.fsum(gap * gap for gap in gaps))
    return racer.prompt_id not in drop.spared and 0 < deficit >= drop.deficit and deficit >= drop.z * noise

"""How few verdicts find the best prompt: searches by duels in made-up worlds where every prompt's utility is known.

    python benchmarks/duels.py curve          200 prompts, 150 duels: area under the curve of the recommendation
    python benchmarks/duels.py labels         30 prompts: labels until an eps-best prompt is recommended
    python benchmarks/duels.py labellers      20 and 30 prompts, 100 labels of four people, one of them an adversary

Nothing here asks a model or a person: verdicts come from a hidden utility by Bradley and Terry's law. The worlds, the
measures and the margins were written down before the runs that docs/measured.md reports.
"""

import argparse
import math
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing import Pool
from statistics import fmean, stdev
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from promptopt.ask import Ask, Compare, Compared, Embed, Embedded, Recommend
from promptopt.duel import Duel, Preference, Verdict
from promptopt.ids import content_hash
from promptopt.prompt import Candidate
from promptopt.ranking import normals
from promptopt.registry import configure
from promptopt.strategy import Context, Strategy
from promptopt.testing.simulation import sample_context
from promptopt_strategies.arena import ArenaSettings, open_arena, prompt_text

SEEDS = 200
DIMENSIONS = 16
WAVES = 64
SCALE = 2.0  # log-odds of preference for one standard deviation of utility
MOST_LABELS = 300
EPSILON = 0.05  # of the range of utility
APOHF_MARGIN = 0.05  # of the way from an average prompt to the best, that apohf may lie below btl
FIXED: dict[str, Any] = {"grow_every": 0, "stop_at": 2.0, "stop_regret": 0.0, "ahead": 0, "source": "operators"}


@dataclass(frozen=True)
class Utilities:
    """A smooth random function of features that are drawn for each prompt by the hash of its text.

    Args:
        seed: Which one.
        scale: Its standard deviation over prompts, in log-odds of preference.
    """

    seed: int
    scale: float = SCALE

    def features(self, text: str) -> "np.ndarray[Any, Any]":
        """Return a random direction, shape (DIMENSIONS,)."""
        drawn = normals(random.Random(content_hash("features", self.seed, text)), (DIMENSIONS,))
        return np.asarray(drawn / np.linalg.norm(drawn))

    def of(self, rows: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        """Return the utilities of rows of features."""
        rng = random.Random(content_hash("waves", self.seed))
        waves, heights = normals(rng, (DIMENSIONS, WAVES)), normals(rng, (WAVES,))
        shifts = np.array([2 * math.pi * rng.random() for _ in range(WAVES)])
        directions = normals(rng, (2000, DIMENSIONS))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        raw = np.cos(directions @ waves + shifts) @ heights
        return np.asarray((np.cos(rows @ waves + shifts) @ heights - raw.mean()) / raw.std() * self.scale)


@dataclass(frozen=True)
class Person:
    """Somebody who labels, with faults of their own.

    Args:
        name: Who.
        side: The log-odds by which the left of the screen is preferred.
        flips: The share of verdicts that are turned round by mistake.
        adversary: Whether all of them are turned round on purpose.
        exact: Prefers what seems better, the side included; else by Bradley and Terry's law, so that who judges two
            prompts that are close is often wrong without any mistake.
    """

    name: str
    side: float = 0.0
    flips: float = 0.0
    adversary: bool = False
    exact: bool = False

    def judge(self, rng: random.Random, gap: float, *, left_shown_first: bool) -> Verdict:
        """Return the verdict on a duel whose left prompt is better by this much."""
        side = self.side if left_shown_first else -self.side
        chance = float(gap + side > 0) if self.exact else 1 / (1 + math.exp(-gap - side))
        left = rng.random() < chance
        turned = (rng.random() < self.flips) ^ self.adversary
        return "left" if left ^ turned else "right"


EVEN = (Person("one"),)
NOISE_FREE = (Person("exact", exact=True),)
MIXED = (
    Person("ann", side=0.8, flips=0.2),
    Person("bob", side=-0.4, flips=0.2),
    Person("cem", side=0.0, flips=0.2),
    Person("dan", adversary=True),
)


# The noise of 20 % is all the noise there is in the one kind, and comes on top of Bradley and Terry's in the other.
PEOPLE = {
    "noise-free": NOISE_FREE,
    "side, 20 %, adversary": tuple(replace(person, exact=True) for person in MIXED),
    "Bradley-Terry": EVEN,
    "Bradley-Terry and these": MIXED,
}


@dataclass(frozen=True)
class Course:
    """What came of one search.

    Args:
        utilities: The true utility of what was recommended after each duel.
        best: That of the best prompt of the pool.
        worst: That of the worst.
        average: The mean of the pool.
    """

    utilities: tuple[float, ...]
    best: float
    worst: float
    average: float

    def heights(self) -> list[float]:
        """Return the way from an average prompt to the best that the recommendation has gone, after each duel."""
        return [(utility - self.average) / (self.best - self.average) for utility in self.utilities]

    def place(self) -> float:
        """Return where the last recommendation lies between the worst prompt (0) and the best (1)."""
        return (self.utilities[-1] - self.worst) / (self.best - self.worst)

    def labels_needed(self, *, for_good: bool = False) -> int:
        """Return after how many duels a prompt within EPSILON of the best is recommended; one more if never.

        Args:
            for_good: Count from when on it is so until the end: the first time may be luck.
        """
        near = self.best - EPSILON * (self.best - self.worst)
        good = [utility >= near for utility in self.utilities]
        if not for_good:
            return good.index(True) + 1 if True in good else len(good) + 1
        return len(good) - next((n for n, is_good in enumerate(reversed(good)) if not is_good), len(good)) + 1


def follow(strategy: Strategy, seed: int, people: Sequence[Person] = EVEN) -> Course:
    """Drive a search to its end in the world of a seed, the people taking turns at labelling."""
    context, world = sample_context(100_000, seed=seed), Utilities(seed)
    assert isinstance(strategy, ArenaSettings)
    texts = [prompt_text(candidate.prompt, context.fields) for candidate in pool_of(strategy, context)]
    known = dict(zip(texts, world.of(np.stack([world.features(text) for text in texts])), strict=True))
    cache: dict[str, float] = {}

    def utility(candidate: Candidate) -> float:
        if candidate.id not in cache:
            cache[candidate.id] = float(known[prompt_text(candidate.prompt, context.fields)])
        return cache[candidate.id]

    preferences: list[Preference] = []
    course: list[float] = []
    search = strategy.search(context)
    answer: Any = None
    while True:
        try:
            ask: Ask[Any] = search.send(answer)
        except StopIteration:
            break
        answer = None
        if isinstance(ask, Embed):
            answer = Embedded(tuple(tuple(world.features(text)) for text in ask.texts))
        elif isinstance(ask, Compare):
            preferences += [_verdict(d, len(preferences) + k, seed, people, utility) for k, d in enumerate(ask.duels)]
            answer = Compared(tuple(preferences), 100_000)
        elif isinstance(ask, Recommend) and preferences:
            course += [utility(ask.ranking[0])] * (len(preferences) - len(course))
    values = list(known.values())
    return Course(tuple(course), float(max(values)), float(min(values)), float(np.mean(values)))


def pool_of(strategy: ArenaSettings, context: Context) -> list[Candidate]:
    """Return the prompts that a search starts with: the same for all strategies of one pool size."""
    opening = open_arena(context, strategy, features=False)
    try:
        while True:
            next(opening)
    except StopIteration as opened:
        candidates: list[Candidate] = opened.value.candidates
        return candidates


def _verdict(
    duel: Duel, number: int, seed: int, people: Sequence[Person], utility: Callable[[Candidate], float]
) -> Preference:
    person, rng = people[number % len(people)], random.Random(content_hash("verdict", seed, number))
    left_first = rng.random() < 0.5
    verdict = person.judge(rng, utility(duel.left) - utility(duel.right), left_shown_first=left_first)
    shown = duel.left.id if left_first else duel.right.id
    return Preference(
        f"{number:05d}", duel.left.id, duel.right.id, duel.example.id, verdict, person.name, shown_first=shown
    )


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean and its 95 % interval."""
    mean, half = fmean(values), 1.96 * stdev(values) / math.sqrt(len(values))
    return mean, mean - half, mean + half


def ratio_interval(values: Sequence[float], base: Sequence[float], n: int = 4000) -> tuple[float, float, float]:
    """Return the ratio of two means over the same worlds with its 95 % interval, by resampling worlds."""
    rng = random.Random(0)
    pairs = list(zip(values, base, strict=True))
    drawn = []
    for _ in range(n):
        some = rng.choices(pairs, k=len(pairs))
        drawn.append(fmean(v for v, _ in some) / fmean(b for _, b in some))
    drawn.sort()
    return fmean(values) / fmean(base), drawn[int(0.025 * n)], drawn[int(0.975 * n) - 1]


Job = tuple[str, dict[str, Any], int, tuple[Person, ...]]


def run(job: Job) -> Course:
    """Follow one search; a child process does it."""
    name, settings, seed, people = job
    return follow(configure(name, settings={**FIXED, **settings}), seed, people)


def curve(seeds: Sequence[int], pool: Any) -> None:
    """Area under the curve of the recommendation's height at 150 duels, 200 prompts."""
    print(f"{len(seeds)} worlds, 200 prompts, 150 duels: area under the recommendation's height (1 = best at once)\n")
    names = ("random-pairs", "btl", "apohf")
    areas: dict[str, list[float]] = {}
    for name in names:
        jobs: list[Job] = [(name, {"pool": 200, "duels": 150}, seed, EVEN) for seed in seeds]
        areas[name] = [fmean(course.heights()) for course in pool.imap(run, jobs, chunksize=4)]
        print(f"{name:14s} {fmean(areas[name]):.3f}", flush=True)
    print()
    for name, base in (("btl", "random-pairs"), ("apohf", "random-pairs"), ("apohf", "btl")):
        mean, low, high = interval([a - b for a, b in zip(areas[name], areas[base], strict=True)])
        print(f"{name} less {base}: {mean:+.3f} ({low:+.3f} to {high:+.3f})")
    print(f"written down before: both above random-pairs, apohf not more than {APOHF_MARGIN} below btl")


def labels(seeds: Sequence[int], pool: Any) -> None:
    """Labels until a prompt within 5 % of the range is recommended, 30 prompts."""
    print(f"{len(seeds)} worlds, 30 prompts: labels until a prompt within {EPSILON:.0%} of the range is recommended\n")
    courses: dict[str, list[Course]] = {}
    for name in ("random-pairs", "dts", "btl", "pes"):
        jobs: list[Job] = [(name, {"pool": 30, "duels": MOST_LABELS}, seed, EVEN) for seed in seeds]
        courses[name] = list(pool.imap(run, jobs, chunksize=4))
        for for_good in (False, True):
            mine, base = (
                [float(course.labels_needed(for_good=for_good)) for course in courses[who]]
                for who in (name, "random-pairs")
            )
            ratio, low, high = ratio_interval(mine, base)
            never = sum(n > MOST_LABELS for n in mine)
            print(
                f"{name:14s} {'for good' if for_good else 'first':9s} mean {fmean(mine):6.1f}, median "
                f"{sorted(mine)[len(mine) // 2]:4.0f}, never: {never:3d}; ratio {ratio:.2f} ({low:.2f} to {high:.2f})",
                flush=True,
            )


def labellers(seeds: Sequence[int], pool: Any) -> None:
    """Where the recommendation lies between the worst prompt and the best, after 100 labels of some kinds of people."""
    print(f"{len(seeds)} worlds, 100 labels: place of the recommendation, 0 = worst, 1 = best\n")
    for name, size in (("pes", 30), ("pes", 20), ("dts", 30)):
        ends: dict[str, list[float]] = {}
        for who, people in PEOPLE.items():
            jobs: list[Job] = [(name, {"pool": size, "duels": 100}, seed, people) for seed in seeds]
            ends[who] = [course.place() for course in pool.imap(run, jobs, chunksize=4)]
            mean, low, high = interval(ends[who])
            told = f"{name}, {size} prompts; {who}: {mean:.3f} ({low:.3f} to {high:.3f})"
            if who != "noise-free":
                lost = [a - b for a, b in zip(ends[who], ends["noise-free"], strict=True)]
                told += "; less noise-free {:+.3f} ({:+.3f} to {:+.3f})".format(*interval(lost))
            print(told, flush=True)
    print(f"the bar: pes, 30 prompts, side, 20 %, adversary: the whole interval above -{EPSILON}")


def main() -> None:
    """Run one of the three measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", choices=("curve", "labels", "labellers"))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--first", type=int, default=0, help="the first seed; settings were tried on 10000 and above")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    seeds = range(given.first, given.first + given.seeds)
    with Pool(given.processes) as pool:
        {"curve": curve, "labels": labels, "labellers": labellers}[given.which](seeds, pool)


if __name__ == "__main__":
    main()

"""Rows about a whole search: the mean calls in flight against the most that the barriers of its journal allow."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from math import ceil
from statistics import median
from tempfile import TemporaryDirectory

from asyncio_client import post_all
from mock_server import MODEL, Manner, serving
from table import Options, Row
from workload import bodies, task_of

from promptopt import api
from promptopt.budget import Budget
from promptopt.config import ModelSpec, StrategySpec, StudySpec
from promptopt.store.rows import AskRow
from promptopt.store.store import Store

LATENCY_MS = 400.0
CONCURRENCY = 64
EVALUATIONS = 600
STRATEGIES = ("random", "opro", "apo", "irace")
SHARE = 0.95
BY_HAND, BY_HAND_TIMES = 20, 5


@dataclass(frozen=True)
class Course:
    """How a search went.

    Args:
        calls: New calls at each step of the journal, which is a barrier: the next ask needs this one's answer.
        wall_s: Seconds from the first ask to the last answer.
        between_s: Of these, seconds from an answer to the next ask: the strategy thinks.
    """

    calls: tuple[int, ...]
    wall_s: float
    between_s: float

    @property
    def mean(self) -> float:
        """The mean number of calls in flight."""
        return sum(self.calls) * LATENCY_MS / 1000 / self.wall_s

    @property
    def bound(self) -> float:
        """The most that it can be: a barrier with m calls takes the latency ceil(m / concurrency) times."""
        return sum(self.calls) / sum(ceil(m / CONCURRENCY) for m in self.calls)


def search(options: Options) -> list[Row]:
    """Run a whole study with each strategy, the server writing its prompts too."""
    runs: dict[str, list[Course]] = {name: [] for name in STRATEGIES}
    by_hand = []
    with serving(Manner(LATENCY_MS, writer=True)) as server:
        for _ in range(options.repetitions):
            by_hand.append(_barrier_by_hand(server.url))
            for name in STRATEGIES:
                runs[name].append(_course(server.url, name))
    return [_row(name, some, median(by_hand)) for name, some in runs.items()]


def _row(name: str, courses: list[Course], by_hand: float) -> Row:
    share = median(course.mean / course.bound for course in courses)
    between_s, wall_s = (median(getattr(course, field) for course in courses) for field in ("between_s", "wall_s"))
    course = courses[0]
    barriers = f"{sum(course.calls)} calls behind {sum(map(bool, course.calls))} barriers"
    mean = median(course.mean for course in courses)
    return Row(
        f"mean calls in flight, {name}, of their bound",
        f"{share:.3f} ({mean:.1f} of {course.bound:.1f}; {between_s:.1f} of {wall_s:.1f} s between asks)",
        f"{by_hand:.3f} by hand; {barriers}",
        f">= {SHARE}",
        share >= SHARE,
    )


def _barrier_by_hand(url: str) -> float:
    """Return the share of the bound that the hand-made client reaches behind barriers of a few calls."""
    made = bodies(BY_HAND)
    began = time.perf_counter()
    for _ in range(BY_HAND_TIMES):
        asyncio.run(post_all(url, made, BY_HAND))
    return BY_HAND_TIMES * LATENCY_MS / 1000 / (time.perf_counter() - began)


def _course(url: str, strategy: str) -> Course:
    with TemporaryDirectory() as folder:
        path = f"{folder}/store.db"
        spec = StudySpec(
            model=ModelSpec(f"{url}#{MODEL}", options={"concurrency": str(CONCURRENCY)}),
            strategy=StrategySpec(strategy),
            budget=Budget(evaluations=EVALUATIONS),
            name=strategy,
            store=path,
        )
        with api.open_study(spec, task=task_of(dev=20, train=200, test=20)) as study:
            study.run()
        with Store.open(path, create=False, read_only=True) as store:
            row = store.study(strategy)
            assert row is not None
            asks = [ask for ask in store.journal(row.id) if not ask.path.startswith("proof")]
            return Course(tuple(_new_calls(store, row.id, asks)), *_times_s(asks))


def _new_calls(store: Store, study_id: int, asks: Sequence[AskRow]) -> Iterator[int]:
    """Yield how many calls each step needed that were not made before."""
    known: set[str] = set()
    for _, step in groupby(asks, key=lambda ask: ask.number):
        calls = 0
        for ask in step:
            keys = set(store.consumed(study_id, ask.path))
            calls += len(keys - known) + len(store.texts(study_id, ask.path))
            known |= keys
        yield calls


def _times_s(asks: Sequence[AskRow]) -> tuple[float, float]:
    """Return the seconds from the first ask to the last answer, and those between an answer and the next ask."""
    opened = [datetime.fromisoformat(ask.opened).timestamp() for ask in asks]
    answered = [datetime.fromisoformat(ask.answered).timestamp() for ask in asks]
    between_s = sum(max(0.0, after - before) for before, after in zip(answered, opened[1:], strict=False))
    return max(answered) - opened[0], between_s

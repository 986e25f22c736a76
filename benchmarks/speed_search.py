"""Rows about a whole search: the mean calls in flight against the most that the barriers of its journal allow."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from math import ceil
from statistics import median
from tempfile import TemporaryDirectory

from mock_server import MODEL, Manner, serving
from table import Options, Row
from workload import task_of

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


@dataclass(frozen=True)
class Course:
    """How a search went.

    Args:
        calls: New calls at each step of the journal, which is a barrier: the next ask needs this one's answer.
        wall_s: Seconds from the first ask to the last answer.
    """

    calls: tuple[int, ...]
    wall_s: float

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
    with serving(Manner(LATENCY_MS, writer=True)) as server:
        for _ in range(options.repetitions):
            for name in STRATEGIES:
                runs[name].append(_course(server.url, name))
    return [_row(name, some) for name, some in runs.items()]


def _row(name: str, courses: list[Course]) -> Row:
    share = median(course.mean / course.bound for course in courses)
    course = courses[0]
    beside = f"bound {course.bound:.1f} by {sum(course.calls)} calls behind {sum(map(bool, course.calls))} barriers"
    ours = f"{median(course.mean for course in courses):.1f}, {share:.3f} of the bound"
    return Row(f"mean calls in flight, {name}", ours, beside, f">= {SHARE}", share >= SHARE)


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
            return Course(tuple(_new_calls(store, row.id, asks)), _wall_s(asks))


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


def _wall_s(asks: Sequence[AskRow]) -> float:
    begun, over = min(ask.opened for ask in asks), max(ask.answered for ask in asks)
    return (datetime.fromisoformat(over) - datetime.fromisoformat(begun)).total_seconds()

"""Replay: a study that is stopped at any point of its journal and resumed ends in the same journal.

The study is a real one with its store in a file; only its models are simulated.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptopt.backends.simulated import SimulatedBackend
from promptopt.budget import Budget
from promptopt.example import Dataset, Example
from promptopt.judge import Jury
from promptopt.metric import Score
from promptopt.setup import Setup
from promptopt.store.rows import StudyRow
from promptopt.store.store import Store
from promptopt.strategy import Need, Strategy
from promptopt.study import Study
from promptopt.task import Task
from promptopt.testing.simulation import sample_context

SERVED: frozenset[Need] = frozenset({"write", "compare", "embed"})  # what needs no person
NAME = "replay"
DEV_ROWS = 4  # few: the search is what is tested, and the proof only follows it


def run_whole(strategy: Strategy, folder: Path, plan: int) -> str:
    """Run a study to its end and return its journal; the folder gets a copy of the store for each stop on the way."""
    setup = _setup(strategy, plan)
    with _Watched.open(folder / "whole.db") as store:
        store.put_dataset(setup.task.dataset)
        store.put_prompts(setup.task.seeds)
        store.create_study(StudyRow(0, NAME, {}, "", 0, {}, dataset_hash=setup.task.dataset.hash))
        return _finish(store, setup)


def resume_each(strategy: Strategy, folder: Path, plan: int) -> Iterator[str]:
    """Resume the study from each stop in turn and give the journal that it ends in."""
    for path in sorted(folder.glob("stop-*.db")):
        with Store.open(path, create=False) as store:
            yield _finish(store, _setup(strategy, plan))


class _Watched(Store):
    """A store that copies its file after each commit to the journal: once its asks are open, and after each answer."""

    copies = 0

    def open_asks(self, *args: Any, **options: Any) -> None:
        super().open_asks(*args, **options)
        self._copy()

    def answer_ask(self, *args: Any, **options: Any) -> None:
        super().answer_ask(*args, **options)
        self._copy()

    def _copy(self) -> None:
        path = self.path.with_name(f"stop-{self.copies:04}.db")
        with closing(sqlite3.connect(self.path)) as source, closing(sqlite3.connect(path)) as copy:
            source.backup(copy)
        self.copies += 1


@dataclass(frozen=True, slots=True)
class _Same:
    """Right when the output is the target."""

    name: str = "same"
    key: str = "same-1"

    def score(self, output: str, example: Example) -> Score:
        return Score(float(output == example.target))

    def check(self, dataset: Dataset) -> None:
        del dataset


def _setup(strategy: Strategy, plan: int) -> Setup:
    context = sample_context(plan)
    dataset = Dataset(NAME, context.pool + context.search[DEV_ROWS:], context.search[:DEV_ROWS], ())
    task = Task(NAME, context.description, dataset, _Same(), context.seeds)
    model = SimulatedBackend(dataset.train + dataset.dev)
    return Setup(task, strategy, model, model, Budget(evaluations=plan), jury=Jury(metric=True))


def _finish(store: Store, setup: Setup) -> str:
    row = store.study(NAME)
    assert row is not None
    assert Study(store, row, setup).run().state == "finished"
    return store.dump(row.id)

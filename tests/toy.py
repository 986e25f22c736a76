"""A toy task and a study on the simulated model, for tests of the loop; also run as a child process to be killed."""

import os
import sys
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from promptopt import api, evaluator, plugins
from promptopt.backends.base import Again, K, Reply, Request, always
from promptopt.budget import Budget
from promptopt.config import ModelSpec, StrategySpec, StudySpec
from promptopt.example import Dataset, Example
from promptopt.ids import content_hash
from promptopt.layout import chat_layout
from promptopt.metric import Score
from promptopt.prompt import Prompt
from promptopt.result import Result
from promptopt.store.store import Store
from promptopt.task import Task

SMALL = Budget(evaluations=40)  # of studies on the embedded model
COLOURS = ("red", "green", "blue")
Note = Callable[[str, str], None]


@dataclass(frozen=True)
class Same:
    """Right when the output is the target."""

    name: str = "same"
    key: str = "same-1"

    def score(self, output: str, example: Example) -> Score:
        return Score(float(output.strip() == example.target), f"expected {example.target}, found {output}")

    def check(self, dataset: Dataset) -> None:
        return None


def rows(first: int, last: int) -> tuple[Example, ...]:
    return tuple(Example({"input": f"item number {i}"}, COLOURS[i % 3], COLOURS) for i in range(first, last))


def toy_task(n_train: int = 90, n_dev: int = 40, n_test: int = 120) -> Task:
    dataset = Dataset("toy", rows(0, n_train), rows(1000, 1000 + n_dev), rows(2000, 2000 + n_test))
    seed = Prompt.of("Name the colour of the item.", chat_layout({"input": "Item"}))
    return Task("toy", "Name the colour of the item.", dataset, Same(), (seed,))


def toy_spec(
    store: Path, strategy: str = "irace", model: str = "simulated:additive?seed=3", **changes: Any
) -> StudySpec:
    spec = StudySpec(
        model=ModelSpec(model),
        strategy=StrategySpec(strategy),
        budget=Budget(evaluations=240),
        name="toy",
        store=str(store),
    )
    return replace(spec, **changes)


def run(spec: StudySpec, task: Task | None = None) -> Result:
    with api.open_study(spec, task=task or toy_task()) as study:
        return study.run()


def dump(store: Path, name: str = "toy") -> str:
    with Store.open(store, create=False) as opened:
        row = opened.study(name)
        assert row is not None
        return opened.dump(row.id)


def small_plural() -> Task:
    """Return the ready task plural, cut down, for studies on the embedded model."""
    task = plugins.load_task("plural", mode="completion")
    data = task.dataset
    return replace(task, dataset=Dataset("plural", data.train[:60], data.dev[:10], data.test[:20]))


def logged(backend: Any, note: Note) -> Any:
    """Return a backend class that notes each request that is sent and each reply handed over, so a killer can count."""

    class Logged(backend):  # type: ignore[misc]  # whichever backend is named
        def run(
            self, requests: Iterable[tuple[K, Request]], again: Again = always
        ) -> Generator[tuple[K, Reply] | None, None, None]:
            def noted() -> Iterable[tuple[tuple[K, str], Request]]:
                for key, request in requests:
                    name = content_hash([[m.role, m.content] for m in request.messages])
                    note("sent", name)
                    yield (key, name), request

            for arrival in super().run(noted(), again):
                if arrival is None:
                    yield None
                    continue
                (key, name), reply = arrival
                note("done", name)
                yield key, reply

    return Logged


def noted(buffer: Any, note: Note) -> Any:
    """Return a buffer class that notes when all replies handed over before have been stored."""

    class Noted(buffer):  # type: ignore[misc]
        def flush(self) -> None:
            super().flush()
            note("kept", "all")

    return Noted


def main() -> None:
    """Run a study with logged calls: store path, log path, strategy, model."""
    from promptopt.backends import embedded, simulated

    store, log, strategy, model = sys.argv[1:]
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(what: str, name: str) -> None:
        os.write(handle, f"{what} {name}\n".encode())

    simulated.SimulatedBackend = logged(simulated.SimulatedBackend, note)  # type: ignore[misc]  # opened by address
    embedded.EmbeddedBackend = logged(embedded.EmbeddedBackend, note)  # type: ignore[misc]
    evaluator.OutcomeBuffer = noted(evaluator.OutcomeBuffer, note)  # type: ignore[misc]
    if model == "embedded:":
        run(toy_spec(Path(store), strategy, model, budget=SMALL), small_plural())
    else:
        run(toy_spec(Path(store), strategy, model))


if __name__ == "__main__":
    main()

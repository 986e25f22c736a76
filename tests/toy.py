"""A toy task and a study on the simulated model, for tests of the loop; also run as a child process to be killed."""

import os
import sys
import time
from collections.abc import Generator, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from promptopt import api
from promptopt.backends.base import K, Reply, Request
from promptopt.backends.simulated import SimulatedBackend
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

COLOURS = ("red", "green", "blue")


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


class LoggedBackend(SimulatedBackend):
    """Writes down when each request is sent and when its reply is handed over, so that a killer can count."""

    log: int = -1

    def run(self, requests: Iterable[tuple[K, Request]]) -> Generator[tuple[K, Reply] | None, None, None]:
        sent: dict[int, str] = {}

        def noted() -> Iterable[tuple[tuple[K, Request], Request]]:
            for key, request in requests:
                sent[id(request)] = content_hash([[m.role, m.content] for m in request.messages])
                self._note("sent", sent[id(request)])
                yield (key, request), request

        for arrival in super().run(noted()):
            if arrival is None:
                yield None
                continue
            (key, request), reply = arrival
            self._note("done", sent[id(request)])
            yield key, reply

    def _note(self, what: str, name: str) -> None:
        os.write(self.log, f"{what} {name} {time.monotonic():.6f}\n".encode())


def main() -> None:
    """Run the toy study with logged calls: store path, log path, strategy, model."""
    store, log, strategy, model = sys.argv[1:]
    LoggedBackend.log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    import promptopt.backends.simulated as simulated

    simulated.SimulatedBackend = LoggedBackend  # type: ignore[misc]  # the address opens the logged one
    run(toy_spec(Path(store), strategy, model))


if __name__ == "__main__":
    main()

"""False alarms of the guards: how many of the prompts that our own component library builds are refused?

python benchmarks/guards.py [FOLDER ...]: the ready tasks, and every task folder (with a card.json) below the folders.
"""

import random
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from promptopt import plugins
from promptopt.errors import PromptOptError
from promptopt.guards import Guards
from promptopt.prompt import Candidate
from promptopt.strategy import Context
from promptopt.task import Task
from promptopt_datasets.ready import ready_names
from promptopt_strategies.breeder import Breeder
from promptopt_strategies.space import Space

RANDOM, EDITS = 150, 50


def refusals(task: Task) -> Iterator[str]:
    """Yield for each of the prompts that irace and random would propose why it is refused; empty if it is not."""
    data = task.dataset
    guards = Guards(
        seeds=task.seeds, fields=task.fields, rows=data.search, pool=data.pool, description=task.description
    )
    for candidate in proposals(task):
        yield guards.refusal(candidate.prompt)


def proposals(task: Task) -> list[Candidate]:
    """Return random prompts, and edits of the seed, out of the component library."""
    context = Context(
        description=task.description,
        seeds=task.seeds,
        pool=task.dataset.pool,
        search=task.dataset.search,
        evaluations=300,
        metric=task.metric.name,
        fields=task.fields,
        choices=task.choices,
        modes=frozenset({"chat", "completion"}),
    )
    breeder, rng = Breeder(Space.of(context)), random.Random(1)
    return [*breeder.random(rng, RANDOM), *breeder.edits(rng, EDITS)]


def tasks(names: list[str]) -> Iterator[Task]:
    """Yield every task that can be loaded, laid out for chat and for completion."""
    for name in names:
        for mode in ("chat", "completion"):
            try:
                yield plugins.load_task(name, mode=mode)
            except PromptOptError as error:
                print(f"left out: {error}")
                break


def main(folders: list[str]) -> None:
    """Print how many prompts were built and how many each guard refused."""
    cards = sorted(card for folder in folders for card in Path(folder).rglob("card.json"))
    n_prompts, n_tasks, refused = 0, 0, Counter[str]()
    for task in tasks([*ready_names(), *(str(card.parent) for card in cards)]):
        reasons = list(refusals(task))
        n_tasks, n_prompts = n_tasks + 1, n_prompts + len(reasons)
        for reason in filter(None, reasons):
            refused[reason.partition(":")[0]] += 1
            print(f"{task.name}: {reason}")
    print(f"{n_prompts} prompts for {n_tasks} tasks in their layouts, refused: {dict(refused) or 'none'}")


if __name__ == "__main__":
    main(sys.argv[1:])

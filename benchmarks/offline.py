"""Which strategy searches best without an optimizer model: six tasks x five seeds on the embedded model, two plans.

Run it by hand, for hours; every study is stored and every finished cell is a line beside the store, so a stopped run
goes on where it stood. Seeds are the outer loop, so what there is so far is balanced over tasks and strategies:

    python benchmarks/offline.py run STORE.db [--tasks=A,B] [--strategies=A,B] [--plans=300,600] [--seeds=0,1,2,3,4]
    python benchmarks/offline.py report STORE.db [STORE.db ...]

One process a core, each with its own store and tasks. Tasks, seed prompts and model are those of acceptance.py; further
tasks are named as their folders in ../shared/data, with their cards' description as the seed prompt. Settings of a
strategy follow its name: irace+pairs=8+leaps=0.3. The same model on a GPU does in minutes what takes hours here:

    ... run STORE.db --model=http://127.0.0.1:8000/v1#NAME --options=server=vllm,concurrency=64
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, product
from math import isnan, nan
from pathlib import Path
from statistics import fmean

from acceptance import MODEL, SEEDS, SHARED, TASKS, mean_of, read, spec_of

from promptopt import api
from promptopt.budget import Budget
from promptopt.config import ModelSpec, StrategySpec, StudySpec, TaskSpec
from promptopt.registry import strategy_names
from promptopt.statistics import PairedDifference, paired_difference

STRATEGIES = ("irace", "factorial", "demos", "random")
PLANS = (300, 600)

Cell = tuple[str, int]  # task and seed
Row = Mapping[str, object]


def run(store: str, options: Mapping[str, str]) -> None:
    out = Path(store).with_suffix(".jsonl")
    done = {key_of(row) for row in read(out)} if out.exists() else set()
    for key in grid(options):
        if key not in done:
            row = measure(study_of(store, *key, model_of(options)), *key)
            with out.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(line(row), flush=True)


def grid(options: Mapping[str, str]) -> Iterator[tuple[int, int, str, str]]:
    """Yield seed, plan, task and strategy of every cell, seeds outermost."""
    seeds = [int(seed) for seed in split(options, "seeds", map(str, SEEDS))]
    plans = [int(plan) for plan in split(options, "plans", map(str, PLANS))]
    wanted = split(options, "strategies", STRATEGIES)
    if missing := {strategy.split("+")[0] for strategy in wanted} - set(strategy_names()):
        print(f"not installed, left out: {', '.join(sorted(missing))}", file=sys.stderr)
    installed = [strategy for strategy in wanted if strategy.split("+")[0] not in missing]
    yield from product(seeds, plans, split(options, "tasks", TASKS), installed)


def model_of(options: Mapping[str, str]) -> ModelSpec:
    if "model" not in options:
        return MODEL
    return ModelSpec(options["model"], options=dict(pair.split("=", 1) for pair in split(options, "options", ())))


def study_of(store: str, seed: int, plan: int, task: str, strategy: str, model: ModelSpec) -> StudySpec:
    name, *settings = strategy.split("+")
    return replace(
        spec_of(task, store, name, seed) if task in TASKS else StudySpec(task=task_of(task), store=store, seed=seed),
        model=model,
        strategy=StrategySpec(name, settings=dict(pair.split("=", 1) for pair in settings)),
        budget=Budget(evaluations=plan),
        name=f"{task} {strategy} {plan} {seed}",
    )


def task_of(name: str) -> TaskSpec:
    card = json.loads((SHARED / name / "card.json").read_text())
    hidden = name.startswith("ii/")  # there the card's words are not shown unless somebody asks for them
    return TaskSpec(str(SHARED / name), card["description"] if hidden else None, name=name)


def split(options: Mapping[str, str], name: str, otherwise: Iterable[str]) -> list[str]:
    return options[name].split(",") if name in options else list(otherwise)


def measure(spec: StudySpec, seed: int, plan: int, task: str, strategy: str) -> Row:
    """Run one study to its end, or the rest of it."""
    with api.open_study(spec) as study:
        result = study.run()
    assert result.proof is not None, result.reason
    assert result.proof.seed_test is not None
    assert result.proof.chosen_test is not None
    return {
        "seed": seed,
        "plan": plan,
        "task": task,
        "strategy": strategy,
        "scores": result.proof.chosen_test.scores,
        "seed_scores": result.proof.seed_test.scores,
        "verdict": result.proof.verdict.word,
        "evaluations": result.evaluations,
        "calls": result.spend.calls,
    }


def key_of(row: Row) -> tuple[object, ...]:
    return row["seed"], row["plan"], row["task"], row["strategy"]


def line(row: Row) -> str:
    name = f"{row['task']:22} {row['seed']}  {row['plan']:4} {row['strategy']:10}"
    return f"{name} seed {mean_of(row['seed_scores']):.3f}  {mean_of(row['scores']):.3f}  {row['verdict']}"


def report(paths: Sequence[str]) -> None:
    """Print, for each plan, means by task, and differences paired by task and seed, of what there is."""
    means: dict[int, dict[str, dict[Cell, float]]] = defaultdict(lambda: defaultdict(dict))
    for path in paths:
        for row in read(Path(path).with_suffix(".jsonl")):
            cell = row["task"], row["seed"]
            means[row["plan"]][row["strategy"]][cell] = mean_of(row["scores"])
            means[row["plan"]]["(seed prompt)"][cell] = mean_of(row["seed_scores"])
    for plan, found in sorted(means.items()):
        measured = {task for cells in found.values() for task, _ in cells}
        names = [*(task for task in TASKS if task in measured), *sorted(measured - TASKS.keys())]
        print(f"\n{plan} evaluations\n\n| task | {' | '.join(found)} |\n|{'---|' * (len(found) + 1)}")
        table = {name: [mean_over(cells, name) for cells in found.values()] for name in names}
        for name, shown in table.items():
            print(f"| {name} | {' | '.join(f'{mean:.3f}' for mean in shown)} |")
        everything = (fmean(mean for mean in column if not isnan(mean)) for column in zip(*table.values(), strict=True))
        print(f"| all | {' | '.join(f'{mean:.3f}' for mean in everything)} |")
        print(f"| cells | {' | '.join(str(len(cells)) for cells in found.values())} |")
        print("\n| difference, in points | over cells (95 %) | over tasks (95 %) | wins / losses |\n|---|---|---|---|")
        for left, right in combinations(found, 2):
            print(f"| {left} - {right} | {' | '.join(versus(found[left], found[right]))} |")


def mean_over(cells: Mapping[Cell, float], task: str) -> float:
    """Return the mean over the seeds; nan if the task was not measured."""
    found = [mean for (name, _), mean in cells.items() if name == task]
    return fmean(found) if found else nan


def versus(left: Mapping[Cell, float], right: Mapping[Cell, float]) -> tuple[str, str, str]:
    """Compare on common cells: each as one pair, then the mean of each task as one, since seeds share its rows."""
    common = sorted(left.keys() & right.keys())
    over_cells = paired_difference([(right[cell], left[cell]) for cell in common])
    tasks = sorted({task for task, _ in common})
    pairs = [[fmean(side[cell] for cell in common if cell[0] == task) for side in (right, left)] for task in tasks]
    over_tasks = paired_difference([(before, after) for before, after in pairs])
    return show(over_cells), show(over_tasks), f"{over_cells.wins} / {over_cells.losses}"


def show(found: PairedDifference) -> str:
    low, high = found.interval.low, found.interval.high
    return f"{100 * found.mean:+.1f} ({100 * low:+.1f} to {100 * high:+.1f}, n = {found.n})"


if __name__ == "__main__":
    arguments = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    given = dict(argument[2:].split("=", 1) for argument in sys.argv[1:] if argument.startswith("--"))
    command, *paths = arguments
    if command == "run":
        run(paths[0], given)
    else:
        report(paths)

"""Six tasks x five seeds on the embedded model: irace against random search and against seed + k random demos.

Run it by hand on idle cores; every study is stored, so a stopped run goes on where it stood:

    python benchmarks/acceptance.py run STORE.db [TASK ...]     # one process a core, each with its own store
    python benchmarks/acceptance.py report STORE.db [STORE.db ...]

The seed prompts below were fixed before any run: a ready task's own, else the card's description in one sentence.
"""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from promptopt import api
from promptopt.budget import Budget
from promptopt.config import ModelSpec, StrategySpec, StudySpec, TaskSpec
from promptopt.prompt import Demo
from promptopt.statistics import mean_interval, paired_difference
from promptopt.strategy import Context
from promptopt.task import Task

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
TASKS = {
    "sentiment": ("sentiment", None),
    "plural": ("plural", None),
    "antonym": ("antonym", None),
    "ii/sentiment": (str(SHARED / "ii/sentiment"), "Say whether a film review snippet is positive or negative."),
    "ii/antonyms": (str(SHARED / "ii/antonyms"), "Give the antonym of a word."),
    "ii/singular_to_plural": (str(SHARED / "ii/singular_to_plural"), "Give the plural of a noun."),
}
SEEDS = range(5)
EVALUATIONS = 600
DEMOS = (4, 8)
MODEL = ModelSpec("embedded:", options={"threads": "1"})


def spec_of(name: str, store: str, strategy: str, seed: int) -> StudySpec:
    data, prompt = TASKS[name]
    return StudySpec(
        task=TaskSpec(data=data, prompt=prompt, name=name),
        model=MODEL,
        strategy=StrategySpec(strategy),
        budget=Budget(evaluations=EVALUATIONS),
        name=f"{name} {strategy} {seed}",
        seed=seed,
        store=store,
    )


def with_demos(task: Task, seed: int, k: int) -> Task:
    """Return the task whose seed prompt shows k demonstrations drawn at random."""
    prompt = task.seeds[0]
    rng = Context(task.description, task.seeds, task.dataset.pool, task.dataset.search, 1, seed=seed).rng("demos", k)
    demos = tuple(Demo.of(example) for example in rng.sample(task.dataset.pool, k))
    return replace(task, seeds=(prompt.replace(demos=demos),))


def run(store: str, names: list[str]) -> None:
    out = Path(store).with_suffix(".jsonl")
    done = {(row["task"], row["seed"]) for row in read(out)} if out.exists() else set()
    for seed in SEEDS:
        for name in names:
            if (name, seed) in done:
                continue
            row = cell(store, name, seed)
            with out.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(line(row), flush=True)


def cell(store: str, name: str, seed: int) -> dict[str, object]:
    row: dict[str, object] = {"task": name, "seed": seed}
    for strategy in ("irace", "random"):
        begun = time.monotonic()
        with api.open_study(spec_of(name, store, strategy, seed)) as study:
            result = study.run()
            task = study.setup.task
        assert result.proof is not None
        assert result.proof.seed_test is not None
        assert result.proof.chosen_test is not None
        row["seed_scores"] = result.proof.seed_test.scores
        row[strategy] = {
            "scores": result.proof.chosen_test.scores,
            "verdict": result.proof.verdict.word,
            "evaluations": result.evaluations,
            "search_calls": result.search_spend.calls,
            "calls": result.spend.calls,
            "seconds": time.monotonic() - begun,
        }
    for k in DEMOS:
        measured = api.evaluate(spec_of(name, store, "irace", seed), "test", task=with_demos(task, seed, k))
        row[f"{k} demos"] = {"scores": measured.evaluation.scores}
    return row


def read(path: Path) -> list[dict[str, object]]:
    return [json.loads(text) for text in path.read_text().splitlines()]


def mean_of(scores: dict[str, float]) -> float:
    return fmean(scores.values())


def line(row: dict[str, object]) -> str:
    irace, random = row["irace"], row["random"]
    demos = "  ".join(f"{k} demos {mean_of(row[f'{k} demos']['scores']):.3f}" for k in DEMOS)
    return (
        f"{row['task']:22} {row['seed']}  seed {mean_of(row['seed_scores']):.3f}  irace {mean_of(irace['scores']):.3f} "
        f"({irace['verdict']}, {irace['calls']} calls, {irace['seconds']:.0f} s)  "
        f"random {mean_of(random['scores']):.3f} ({random['calls']} calls)  {demos}"
    )


def differences(rows: list[dict[str, object]], control: str) -> Iterator[float]:
    """Yield a difference a cell: the irace prompt's test mean minus the control's, in [-1, 1]."""
    for row in rows:
        other = row["seed_scores"] if control == "seed" else row[control]["scores"]
        yield mean_of(row["irace"]["scores"]) - mean_of(other)


def report(paths: list[str]) -> None:
    rows = [row for path in paths for row in read(Path(path).with_suffix(".jsonl"))]
    for row in rows:
        print(line(row))
    print("\nper task, pooled over search seeds (each row of test counts once a seed):")
    for name in TASKS:
        cells = [row for row in rows if row["task"] == name]
        if cells:
            pairs = [pair for row in cells for pair in _pairs(row, "seed")]
            wins = sum(row["irace"]["verdict"] == "better" for row in cells)
            print(f"  {name:22} irace - seed {_show(pairs)}   better in {wins} of {len(cells)} studies")
    print("\npooled over all cells:")
    for control in ("seed", "random", *(f"{k} demos" for k in DEMOS)):
        gaps = list(differences(rows, control))
        between = mean_interval([(gap + 1) / 2 for gap in gaps])
        pairs = [pair for row in rows for pair in _pairs(row, control)]
        print(
            f"  irace - {control:8} rows {_show(pairs)}   cells {100 * fmean(gaps):+.1f} "
            f"({200 * between.low - 100:+.1f} to {200 * between.high - 100:+.1f}, n = {len(gaps)})"
        )


def _pairs(row: dict[str, object], control: str) -> list[tuple[float, float]]:
    other = row["seed_scores"] if control == "seed" else row[control]["scores"]
    mine = row["irace"]["scores"]
    return [(other[key], mine[key]) for key in other if key in mine]


def _show(pairs: list[tuple[float, float]]) -> str:
    found = paired_difference(pairs)
    low, high = found.interval.low, found.interval.high
    return f"{100 * found.mean:+.1f} ({100 * low:+.1f} to {100 * high:+.1f}, n = {found.n})"


if __name__ == "__main__":
    command, first, *rest = sys.argv[1:]
    if command == "run":
        run(first, rest or list(TASKS))
    else:
        report([first, *rest])

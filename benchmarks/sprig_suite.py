"""SPRIG over a suite of tasks on the embedded model: what one system text, searched for all of them, gains on each.

Run it by hand; every study is stored, so a stopped run goes on where it stood:

    python benchmarks/sprig_suite.py run STORE.db [STRATEGY ...]      # sprig-beam and sprig-ga if none is named
    python benchmarks/sprig_suite.py report STORE.db [STRATEGY ...]

Tasks, instructions and scoring were fixed before any study: the raw layout without demonstrations, and answers by
likelihood, since the embedded model hardly answers a bare instruction freely. The tasks have closed sets of labels that
it can tell apart at all, on 16 dev rows; the instructions are the cards' own, but for the one whose card hides it.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

from promptopt import api
from promptopt.budget import Budget
from promptopt.config import ModelSpec, StrategySpec, StudySpec, TaskSpec
from promptopt.example import Dataset
from promptopt.report import show_study
from promptopt.suite import Suite

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
TASKS = {
    "ii/sentiment": "Say whether a film review snippet is positive or negative.",
    "cls/agnews": None,
    "cls/trec": None,
    "ni/temporal_presence": None,
    "bbh/navigate": None,
    "sprig/edos": None,
}
STRATEGIES = ("sprig-beam", "sprig-ga")
EVALUATIONS = 1200
DEV, TEST = 50, 150  # rows of each task at most, so that one study takes some 4,000 calls
SEED = 0


def suite() -> Suite:
    """Return the suite of these tasks."""
    specs = [TaskSpec(str(SHARED / name), prompt, scoring="likelihood") for name, prompt in TASKS.items()]
    tasks = [api.load_task(StudySpec(task=spec)) for spec in specs]
    return Suite([replace(task, dataset=_cut(task.dataset)) for task in tasks])


def _cut(data: Dataset) -> Dataset:
    return Dataset(data.name, data.train, data.dev[:DEV], data.test[:TEST])


def spec_of(store: str, strategy: str) -> StudySpec:
    return StudySpec(
        model=ModelSpec("embedded:", options={"threads": "1"}),
        strategy=StrategySpec(strategy),
        budget=Budget(evaluations=EVALUATIONS),
        name=f"suite {strategy} {SEED}",
        seed=SEED,
        store=store,
        min_valid=0.7,  # no label may be among the 300 likeliest words
    )


def run(store: str, strategies: list[str]) -> None:
    for strategy in strategies:
        with api.open_study(spec_of(store, strategy), task=suite()) as study:
            result = study.run()
        print(f"{strategy}: {result.verdict} ({result.spend.calls} calls)", flush=True)


def report(store: str, strategies: list[str]) -> None:
    for strategy in strategies:
        data = show_study(store, f"suite {strategy} {SEED}")
        print(f"\n{strategy}: {data['sentence']}")
        print(f"{data['evaluations']} evaluations of {data['trials']} prompts, {data['spend']['calls']} calls in all")
        print("best:", json.dumps(data["best"]["messages"][0]["content"]))
        before, after = ({row["task"]: row for row in data["test"][role]["tasks"]} for role in ("seed", "chosen"))
        for name, difference in data["verdict"]["tasks"].items():
            print(f"  {name:20} {before[name]['mean']:.3f} {after[name]['mean']:.3f}  {_points(difference)}")
        means = f"{data['test']['seed']['mean']:.3f} {data['test']['chosen']['mean']:.3f}"
        print(f"  {'macro mean':20} {means}  {_points(data['verdict']['difference'])}")
        print("  dev:", ", ".join(f"{f['role']} {f['dev']['mean']:.3f}" for f in data["finalists"]))


def _points(difference: dict[str, object]) -> str:
    interval = difference["interval"]
    return (
        f"{100 * difference['mean']:+.1f} ({100 * interval['low']:+.1f} to {100 * interval['high']:+.1f}), "
        f"n = {difference['n']}"
    )


if __name__ == "__main__":
    command, path, *names = sys.argv[1:]
    {"run": run, "report": report}[command](path, names or list(STRATEGIES))

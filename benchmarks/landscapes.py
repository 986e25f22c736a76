"""Searches on simulated landscapes, where the truth is known: additive, with strong pairs, with plateaus.

    python benchmarks/landscapes.py run OUT.jsonl [SPEC ...] [--shapes=A,B] [--plans=300,600] [--seeds=30]
    python benchmarks/landscapes.py report OUT.jsonl [CONTROL]

A SPEC is a strategy with settings: ``irace`` or ``factorial:block=1,share=0.5``. Every search is a line of OUT, so a
stopped run goes on where it stood. What counts is the true accuracy of the prompt that a search recommends; the gap is
the one between the seed and the best prompt that a climb which knows the truth finds. Models are simulated.
"""

import json
import sys
from collections import defaultdict
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from random import Random
from statistics import fmean

from promptopt.landscape import SHAPES, Landscape
from promptopt.registry import configure
from promptopt.statistics import paired_difference
from promptopt.testing.simulation import sample_context, simulate
from promptopt.testing.writer import scripted_writer
from promptopt_strategies.operators import mutate, random_genome
from promptopt_strategies.space import Space

DEFAULTS = {"shapes": "additive,pairs,plateau", "plans": "300,600,2000", "seeds": "30"}
STRATEGIES = ("random", "irace", "factorial")
CLIMB = 1500

Cell = tuple[str, int, int]  # shape, plan, seed


def run(out: Path, specs: list[str], options: dict[str, str]) -> None:
    done = {key_of(row) for row in read(out)} if out.exists() else set()
    shapes, plans = options["shapes"].split(","), [int(plan) for plan in options["plans"].split(",")]
    for seed in range(int(options["seeds"])):
        for plan in plans:
            for shape in shapes:
                for spec in specs:
                    if ((shape, plan, seed), spec) not in done:
                        row = search(shape, plan, seed, spec)
                        with out.open("a") as file:
                            file.write(json.dumps(row) + "\n")


def search(shape: str, plan: int, seed: int, spec: str) -> dict[str, object]:
    name, _, settings = spec.partition(":")
    strategy = configure(name, settings=dict(item.split("=") for item in filter(None, settings.split(","))))
    world, context = Landscape(next(s for s in SHAPES if s == shape), seed), sample_context(plan, seed=seed)
    context = replace(context, answers=frozenset({"write"}))  # by a scripted model that draws from twelve sentences
    result = simulate(strategy, context, world, scripted_writer(seed=seed))
    return {
        "shape": shape,
        "plan": plan,
        "seed": seed,
        "spec": spec,
        "accuracy": world.accuracy(result.best.prompt, context.search),
        "evaluations": result.evaluations,
    }


@lru_cache
def bounds(shape: str, seed: int) -> tuple[float, float]:
    """Return the true accuracy of the seed prompt and of the best that a climb on the truth finds."""
    world, context = Landscape(next(s for s in SHAPES if s == shape), seed), sample_context(1, seed=seed)
    rows, space, rng = context.search[:24], Space.of(context), Random(seed)
    start = [random_genome(space, rng) for _ in range(100)]
    best = max(start, key=lambda point: world.accuracy(space.prompt(point), rows))
    height = world.accuracy(space.prompt(best), rows)
    for _ in range(CLIMB):
        other = mutate(space, rng, best)
        reached = world.accuracy(space.prompt(other), rows)
        best, height = (other, reached) if reached > height else (best, height)
    return tuple(world.accuracy(prompt, context.search) for prompt in (context.seeds[0], space.prompt(best)))


def report(out: Path, control: str = "random") -> None:
    found: dict[tuple[str, int], dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for row in read(out):
        found[row["shape"], row["plan"]][row["spec"]][row["seed"]] = row["accuracy"]
    print(f"| landscape | plan | search | n | true accuracy | of the gap | minus {control} (95 %) |")
    print("|---|---|---|---|---|---|---|")
    for (shape, plan), searches in sorted(found.items()):
        for spec, scores in sorted(searches.items()):
            ends = [bounds(shape, seed) for seed in scores]
            low, high = (fmean(end) for end in zip(*ends, strict=True))
            rival = searches.get(control, {})
            lead = paired_difference([(rival[seed], score) for seed, score in scores.items() if seed in rival])
            told = f"{100 * lead.mean:+.1f} ({100 * lead.interval.low:+.1f} to {100 * lead.interval.high:+.1f})"
            mean = fmean(scores.values())
            gap = (mean - low) / (high - low)
            print(f"| {shape} | {plan} | {spec} | {len(scores)} | {mean:.3f} | {gap:.0%} | {told} |")


def read(out: Path) -> list[dict[str, object]]:
    return [json.loads(text) for text in out.read_text().splitlines()]


def key_of(row: dict[str, object]) -> tuple[Cell, str]:
    return (row["shape"], row["plan"], row["seed"]), row["spec"]


if __name__ == "__main__":
    arguments = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    given = dict(argument[2:].split("=") for argument in sys.argv[1:] if argument.startswith("--"))
    command, path, *rest = arguments
    if command == "run":
        run(Path(path), rest or list(STRATEGIES), DEFAULTS | given)
    else:
        report(Path(path), *rest)

"""How far the effects of a prompt's choices add up: on simulated landscapes and on the embedded model.

    python benchmarks/additivity.py simulated [SHAPE ...]
    python benchmarks/additivity.py embedded STORE.db [TASK ...]       # tasks of acceptance.py; resumes

A balanced design of prompts is scored in blocks of rows, as ``factorial`` does, and three things are told of it: the
standard deviations, in log-odds, of the levels' effects, of what is special about each prompt (what does not add up)
and of the rows, by empirical Bayes; and how well prompts that the model has not seen are predicted from their choices
(correlation of prediction and score over ten folds, beside the most that the noise of the scores allows).
"""

import math
import sys
from collections.abc import Callable, Sequence
from statistics import fmean

from acceptance import TASKS, spec_of

from promptopt import api
from promptopt.ask import Evaluate
from promptopt.evaluation import Evaluation
from promptopt.evaluator import Evaluator
from promptopt.example import by_hash
from promptopt.health import Health
from promptopt.landscape import SHAPES, Landscape
from promptopt.ledger import Ledger
from promptopt.strategy import Context
from promptopt.testing.simulation import World, failing_writer, landscape_scorer, sample_context
from promptopt_strategies.breeder import Breeder
from promptopt_strategies.effects import EffectModel, group_of
from promptopt_strategies.fitting import RIDGE, Record, fit_effects
from promptopt_strategies.space import Space

PROMPTS, BLOCK, BLOCKS, KEEP = 120, 6, 4, 0.3
FOLDS, ROUNDS = 10, 12

Answer = Callable[[dict[str, Evaluate]], dict[str, tuple[Evaluation, ...]]]


def records_of(context: Context, answer: Answer) -> list[Record]:
    """Score a balanced design and return what came of it."""
    breeder, rows = Breeder(Space.of(context)), by_hash(context.search, f"rows {context.seed}")
    made = breeder.balanced(context.rng("design"), PROMPTS, KEEP)
    asks = {f"additivity/{n}": Evaluate(made[n::BLOCKS], rows[n * BLOCK : (n + 1) * BLOCK]) for n in range(BLOCKS)}
    seen = [evaluation for some in answer(asks).values() for evaluation in some]
    return [
        Record(e.prompt_id, breeder.space.features(breeder.points[e.prompt_id]), e.scores) for e in seen if e.scores
    ]


def tell(name: str, records: Sequence[Record]) -> None:
    """Print a line about a design."""
    ridge = dict(RIDGE)
    for _ in range(ROUNDS):
        ridge |= penalties(fit_effects(records, ridge=ridge))
    model = fit_effects(records, ridge=ridge)
    spread = {group: 1 / math.sqrt(ridge[group]) for group in ("level", "demo", "prompt", "row")}
    means = [fmean(record.scores.values()) for record in records]
    predicted = _held_out(records, ridge)
    ceiling = _reliability(records, means)
    worst = sum(mean == 0 for mean in means) / len(means)
    print(
        f"| {name} | {len(records)} | {fmean(means):.2f} | {worst:.0%} | "
        + " | ".join(f"{spread[group]:.2f}" for group in spread)
        + f" | {_correlation(predicted, means):.2f} | {math.sqrt(max(0.0, ceiling)):.2f} |"
    )
    for effect in model.spreads()[:4]:
        low, middle, high = (100 * value for value in (effect.low, effect.estimate, effect.high))
        print(f"    {effect.choice}: {middle:.1f} points ({low:.1f} to {high:.1f})", flush=True)


def penalties(model: EffectModel) -> dict[str, float]:
    """Return the penalty of each group of columns that its own effects speak for: one over their mean square.

    Reference: MacKay, Neural Computation 4 (1992) 415, section 4.
    """
    squares: dict[str, list[float]] = {}
    for column, place in model.columns.items():
        square = float(model.weights[place] ** 2 + model.covariance[place, place])
        squares.setdefault(group_of(column), []).append(square)
    return {group: min(max(1 / fmean(some), 0.3), 30.0) for group, some in squares.items() if group != "all"}


def _held_out(records: Sequence[Record], ridge: dict[str, float]) -> list[float]:
    """Return the prediction of each prompt by a model that has not seen it."""
    predicted = [0.0] * len(records)
    for fold in range(FOLDS):
        model = fit_effects([r for n, r in enumerate(records) if n % FOLDS != fold], ridge=ridge)
        for number in range(fold, len(records), FOLDS):
            predicted[number] = model.predict(records[number].features)
    return predicted


def _reliability(records: Sequence[Record], means: Sequence[float]) -> float:
    """Return the share of the variance of the prompts' means that is not the luck of single answers."""
    noise = fmean(mean * (1 - mean) / (len(r.scores) - 1) for r, mean in zip(records, means, strict=True))
    return 1 - noise / _variance(means)


def _variance(values: Sequence[float]) -> float:
    centre = fmean(values)
    return fmean((value - centre) ** 2 for value in values)


def _correlation(left: Sequence[float], right: Sequence[float]) -> float:
    middle = fmean(left), fmean(right)
    product = fmean((a - middle[0]) * (b - middle[1]) for a, b in zip(left, right, strict=True))
    return product / math.sqrt(_variance(left) * _variance(right))


def simulated(shapes: Sequence[str]) -> None:
    for shape in SHAPES:
        if shape in shapes:
            context = sample_context(PROMPTS * BLOCK)
            world = World(landscape_scorer(Landscape(shape, 1), context.fields), failing_writer, context.evaluations)
            told = records_of(
                context, lambda asks, world=world: {p: world.answer(ask).evaluations for p, ask in asks.items()}
            )
            tell(f"simulated {shape}", told)


def embedded(store: str, tasks: Sequence[str]) -> None:
    for task in tasks:
        with api.open_study(spec_of(task, store, "factorial", 0)) as study:
            setup = study.setup
            ledger = Ledger(setup.budget, study.store.spend(study.row.id), {}, Health(setup.min_valid))
            evaluator = Evaluator(setup.task, setup.task_model, study.store, ledger, study_id=study.row.id)
            tell(task, records_of(setup.context, evaluator.answer))


if __name__ == "__main__":
    kind, *given = sys.argv[1:]
    print("| prompts of | n | mean | all wrong | levels | demos | prompts | rows | predicted | at most |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    if kind == "simulated":
        simulated(given or ["additive", "pairs", "plateau"])
    else:
        embedded(given[0], given[1:] or list(TASKS))

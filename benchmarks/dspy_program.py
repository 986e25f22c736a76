"""A DSPy program before and after, and what DSPy's own few-shot optimizers make of it, on a served model.

The ready task sentiment as a dspy.Predict.

pip install -e ".[dspy]"
python benchmarks/dspy_program.py --base http://localhost:8000/v1 --model NAME [--key KEY] [--store dspy.db]
"""

import argparse
from collections.abc import Sequence
from typing import Any, Literal

import dspy

from promptopt.example import Example
from promptopt.integrations.dspy import PromptOpt
from promptopt.plugins import load_task

ROWS = {"train": 140, "dev": 60, "test": 120}
THREADS = 8
ANY = 10_000  # DSPy would stop at ten answers that it cannot read


class Classify(dspy.Signature):  # type: ignore[misc]
    """Classify the review as positive or negative."""

    review: str = dspy.InputField()
    sentiment: Literal["positive", "negative"] = dspy.OutputField()


def same(example: Any, prediction: Any, trace: Any = None) -> bool:
    """Say whether the sentiment is right."""
    del trace
    return bool(example.sentiment == prediction.sentiment)


def rows(examples: Sequence[Example]) -> list[Any]:
    """Return DSPy's rows."""
    made = [dspy.Example(review=example.inputs["input"], sentiment=example.target) for example in examples]
    return [row.with_inputs("review") for row in made]


def beside(train: list[Any], dev: list[Any], test: list[Any]) -> None:
    """Say how DSPy's own optimizers do on the test rows; the search runs seven programs on all of dev."""
    searched = dspy.BootstrapFewShotWithRandomSearch(
        same, num_candidate_programs=4, num_threads=THREADS, max_errors=ANY
    )
    compiled = {
        "as it came": dspy.Predict(Classify),
        "LabeledFewShot, 2": dspy.LabeledFewShot(k=2).compile(dspy.Predict(Classify), trainset=train),
        "LabeledFewShot, 16": dspy.LabeledFewShot(k=16).compile(dspy.Predict(Classify), trainset=train),
        "BootstrapFewShotWithRandomSearch": searched.compile(dspy.Predict(Classify), trainset=train, valset=dev),
    }
    for name, program in compiled.items():
        told = dspy.Evaluate(devset=test, metric=same, num_threads=THREADS, max_errors=ANY)(program)
        print(f"{name}: {told.score:.1f} % of the test rows, {len(program.demos)} demonstrations", flush=True)


def main() -> None:
    """Optimize the program and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--key", default="none")
    parser.add_argument("--store", default="dspy.db")
    given = parser.parse_args()
    model = dspy.LM(
        f"openai/{given.model}", api_base=given.base, api_key=given.key, cache=False, temperature=0.0, max_tokens=40
    )
    dspy.configure(lm=model)
    dataset = load_task("sentiment").dataset
    train, dev, test = (rows(dataset.split(split)[:n]) for split, n in ROWS.items())  # type: ignore[arg-type]
    optimizer = PromptOpt(same, budget=150, store=given.store)
    better = optimizer.compile(dspy.Predict(Classify), trainset=train, valset=dev, testset=test)
    assert optimizer.result is not None
    print(optimizer.result.verdict)
    print(f"{better.signature.instructions}\n{len(better.demos)} demonstrations", flush=True)
    beside(train, dev, test)


if __name__ == "__main__":
    main()

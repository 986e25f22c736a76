"""A DSPy program before and after: the ready task sentiment as a dspy.Predict, on a served model.

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
    print(f"{better.signature.instructions}\n{len(better.demos)} demonstrations")


if __name__ == "__main__":
    main()

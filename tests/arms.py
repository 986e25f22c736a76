"""Arms and examples for tests of selectors."""

from collections.abc import Callable, Sequence

from promptopt.example import Example
from promptopt.prompt import Candidate, Prompt

EXAMPLES = [Example({"input": f"row {i}"}) for i in range(400)]
ROW = {example.id: i for i, example in enumerate(EXAMPLES)}


def arms_of(count: int) -> list[Candidate]:
    """Return candidates in the order of their ids, so that ties go to the earlier."""
    arms = [Candidate(Prompt({"instruction": f"arm {i}"})) for i in range(count)]
    return sorted(arms, key=lambda arm: arm.id)


def graded(arms: Sequence[Candidate], noise: float = 0.0) -> Callable[[Candidate, Example], float]:
    """Return scores by which each arm is worse than the one before it, on every example."""
    place = {arm.id: i for i, arm in enumerate(arms)}
    return lambda arm, example: 1 - place[arm.id] / len(arms) + noise * (ROW[example.id] % 2)

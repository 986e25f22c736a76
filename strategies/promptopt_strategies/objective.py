"""Objective: what Plum maximises, in points from 0 to 100 and a bonus for answers that are not all the same.

Of a task without a closed set of answers it is the mean score alone.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Self

from promptopt.evaluation import Evaluation, Outcome
from promptopt.metrics.choice import MultipleChoice
from promptopt.strategy import Context

READER = MultipleChoice()


@dataclass(frozen=True)
class Objective:
    """How good an evaluation is.

    Args:
        targets: The right answers by example id; balanced accuracy is the mean over their kinds.
        labels: The closed set of answers; empty if there is none, then neither balance nor bonus count.
        entropy: The weight alpha of the bonus; at 0 the objective is the plain mean.

    Reference: Prasad et al., GrIPS, EACL 2023, arXiv 2203.07281, and Pan et al., Plum, ACL 2024 (Findings), arXiv
    2311.08364, in the form of Plum's released code.
    """

    targets: Mapping[str, str]
    labels: tuple[str, ...] = ()
    entropy: float = 0.0

    @classmethod
    def of(cls, context: Context, entropy: float) -> Self:
        """Return the objective on the search examples of a context."""
        return cls({example.id: example.target for example in context.search}, context.choices, entropy)

    @cached_property
    def is_mean(self) -> bool:
        """Whether points are hundredths of the mean score."""
        return not self.labels or not self.entropy

    def points(self, evaluation: Evaluation, rows: Iterable[str] | None = None) -> float:
        """Return the points of an evaluation, or of these rows of it; 0 if none of them has a score."""
        wanted = set(evaluation.scores if rows is None else rows)
        valid = [o for o in evaluation.outcomes if o.score is not None and o.example_id in wanted]
        if not valid:
            return 0.0
        if self.is_mean:
            return 100 * _mean([outcome.value or 0.0 for outcome in valid])
        return 100 * self._balanced_accuracy(valid) + self.entropy * self._entropy(valid)

    def _balanced_accuracy(self, outcomes: Sequence[Outcome]) -> float:
        by_target: dict[str, list[float]] = defaultdict(list)
        for outcome in outcomes:
            by_target[self.targets[outcome.example_id]].append(outcome.value or 0.0)
        return _mean([_mean(scores) for scores in by_target.values()])

    def _entropy(self, outcomes: Sequence[Outcome]) -> float:
        """Return H of the labels answered, in nats, times the share of outputs that name one.

        The paper reads off the likeliest label, so there every output names one.
        """
        read = (self.targets[o.example_id] if o.score == 1 else o.output for o in outcomes)
        counts = Counter(label for text in read if (label := _label(text, self.labels)))
        named = counts.total()
        shares = [count / named for count in counts.values()]
        return -math.fsum(share * math.log(share) for share in shares) * named / len(outcomes)


@lru_cache(maxsize=4096)
def _label(text: str, labels: tuple[str, ...]) -> str | None:
    found = READER.named(text, labels)
    return READER.label(found) if found else None


def _mean(numbers: Sequence[float]) -> float:
    return math.fsum(numbers) / len(numbers)

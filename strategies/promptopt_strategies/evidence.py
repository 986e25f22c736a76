"""Evidence: every outcome that a search has seen, which is also what it has used of its plan."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from promptopt.evaluation import Evaluation, gather


@dataclass
class Evidence:
    """Every outcome that the search has seen, by prompt; that is also what it has used of its plan."""

    plan: int
    seen: dict[str, Evaluation] = field(default_factory=dict)

    def add(self, evaluations: Iterable[Evaluation]) -> None:
        """Take in evaluations; a pair that was seen before counts once, as it does in the study."""
        gather(self.seen, evaluations)

    @property
    def left(self) -> int:
        """Evaluations that the plan has left; what a guard refused has used none."""
        return self.plan - sum(evaluation.n for evaluation in self.seen.values() if not evaluation.refusal)

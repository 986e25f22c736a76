"""Tally: what the search of a study has tried so far, and what that has taken of its plan.

A prompt that a guard refused is a trial too, with the reason in its note; it takes nothing of the plan.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from promptopt.ask import Evaluate
from promptopt.evaluation import Evaluation, gather
from promptopt.guards import MOST_IN_A_ROW, Guards
from promptopt.prompt import Candidate, Prompt
from promptopt.store.rows import TrialRow
from promptopt.store.store import Store


class Tally:
    """The trials of one study.

    Args:
        store: Where they are kept.
        study_id: Whose they are.
        guards: Who refuses prompts.
        length: How long a prompt is, in tokens; kept with each trial.
    """

    def __init__(self, store: Store, study_id: int, guards: Guards, length: Callable[[Prompt], float]) -> None:
        self.trials: dict[str, TrialRow] = {}
        self.evaluations: dict[str, Evaluation] = {}
        self.consumed: set[tuple[str, str, int]] = set()
        self._store = store
        self._study_id = study_id
        self._guards = guards
        self._length = length
        self._refused_in_a_row = 0

    @property
    def refusals(self) -> Mapping[str, int]:
        """How many prompts were refused, by guard."""
        reasons = (evaluation.refusal for evaluation in self.evaluations.values() if evaluation.refusal)
        return dict(sorted(Counter(reason.partition(":")[0] for reason in reasons).items()))

    @property
    def is_stuck(self) -> bool:
        """Whether the search proposes nothing but prompts that are refused, which might go on for ever."""
        return self._refused_in_a_row >= MOST_IN_A_ROW

    def take(self, ask: Evaluate, evaluations: Sequence[Evaluation]) -> None:
        """Add what an Evaluate brought.

        Commits:
            The trials that are new, with their prompts.
        """
        self.consumed |= ask.pairs(self._guards)
        gather(self.evaluations, evaluations)
        fresh = []
        for candidate, evaluation in zip(ask.candidates, evaluations, strict=True):
            if candidate.id not in self.trials:
                self.trials[candidate.id] = self._trial(candidate, evaluation.refusal)
                fresh.append(candidate)
        self._store.put_prompts([candidate.prompt for candidate in fresh])
        self._store.put_trials(self._study_id, [self.trials[candidate.id] for candidate in fresh])
        n_refused = sum(bool(evaluation.refusal) for evaluation in evaluations)
        self._refused_in_a_row = self._refused_in_a_row + n_refused if n_refused == len(evaluations) else 0

    def _trial(self, candidate: Candidate, refusal: str) -> TrialRow:
        told = {"refused": refusal} if refusal else {"tokens": self._length(candidate.prompt)}
        return TrialRow(
            number=len(self.trials),
            prompt_id=candidate.id,
            parents=candidate.parents,
            operator=candidate.operator,
            note={**candidate.note, **told},
            state="refused" if refusal else "running",
        )

"""Trial: a candidate's life in a study.

It has a number, a state and the evaluation so far.
"""

from dataclasses import dataclass
from typing import Literal

from promptopt.evaluation import Evaluation
from promptopt.prompt import Candidate

TrialState = Literal["running", "refused", "finalist", "winner", "done"]


@dataclass(frozen=True, slots=True)
class Trial:
    """A candidate in a study.

    Args:
        number: Counted from 0 in the order in which the strategy first asked for it.
        candidate: The prompt with its origin.
        state: Where it stands; ``refused`` by a guard, before any call.
        evaluation: All its outcomes on search examples so far.
    """

    number: int
    candidate: Candidate
    state: TrialState
    evaluation: Evaluation

"""Duel and Preference: two candidates side by side on an example, and what somebody said of them.

Preferences carry who gave them, so that people and judge models can be weighed alike.
"""

from dataclasses import dataclass
from typing import Literal

from promptopt.example import Example
from promptopt.prompt import Candidate

Verdict = Literal["left", "right", "tie", "both_bad", "skip"]


@dataclass(frozen=True, slots=True)
class Duel:
    """Two candidates shown side by side on one example."""

    left: Candidate
    right: Candidate
    example: Example


@dataclass(frozen=True, slots=True)
class Preference:
    """The verdict on one duel.

    Args:
        id: Names this preference for ever; a preference taken back no longer appears.
        left_id: The prompt on the left.
        right_id: The prompt on the right.
        example_id: The example shown.
        verdict: Which was better, if any.
        labeller: The person, judge model or metric that gave it.
        remark: Free words.
        catch: Whether it was asked only to measure consistency.
    """

    id: str
    left_id: str
    right_id: str
    example_id: str
    verdict: Verdict
    labeller: str
    remark: str = ""
    catch: bool = False

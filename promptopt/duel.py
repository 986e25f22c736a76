"""Duel and Preference: two candidates side by side on an example, and what somebody said of them.

Preferences carry who gave them, so that people, judge models and metrics can be weighed alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from promptopt.example import Example
from promptopt.prompt import Candidate

Verdict = Literal["left", "right", "tie", "both_bad", "skip"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
Source = Literal["human", "model", "metric", "outputs"]

_SWAPPED: Mapping[Verdict, Verdict] = {"left": "right", "right": "left"}


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
        verdict: Which was better, if any; ``skip`` says nothing.
        labeller: The person, judge model or metric that gave it.
        source: Which of these it is; ``outputs`` where nobody had to be asked, since the two outputs are the same
            (``tie``) or one is missing (``skip``).
        remark: Free words.
        catch: Whether it was asked only to measure consistency; it is no further evidence.
        shown_first: The prompt that stood on the left of the screen, where sides were drawn; else empty.
        detail: What a judge model said in each order; for the audit, never for a decision.
    """

    id: str
    left_id: str
    right_id: str
    example_id: str
    verdict: Verdict
    labeller: str
    source: Source = "human"
    remark: str = ""
    catch: bool = False
    shown_first: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def winner_id(self) -> str | None:
        """The prompt that was preferred; None where neither was."""
        return {"left": self.left_id, "right": self.right_id}.get(self.verdict)

    @property
    def subject(self) -> tuple[str, str, str]:
        """What it is about, whatever the sides: the ids of both prompts and of the example."""
        first, second = sorted((self.left_id, self.right_id))
        return first, second, self.example_id

    @property
    def is_evidence(self) -> bool:
        """Whether it says something of which prompt is better that no other preference says."""
        return self.verdict != "skip" and self.source != "outputs" and not self.catch


def swapped(verdict: Verdict) -> Verdict:
    """Return the verdict of somebody who saw the two on the other sides."""
    return _SWAPPED.get(verdict, verdict)

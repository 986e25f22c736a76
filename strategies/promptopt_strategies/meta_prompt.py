"""MetaPrompt: what OPRO shows the optimizer model, in one of three shapes, and how a reply is read."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from promptopt.example import Example
from promptopt_strategies.history import Entry, bucket
from promptopt_strategies.place import SLOT, Place
from promptopt_strategies.writing import parse_tagged, render_template

Shape = Literal["tagged", "bracketed", "instructions_only"]

KINDS = {
    "instruction": ("an instruction", "instructions"),
    "answer_cue": ("the opening words of the answer", "opening words of an answer"),
}


@dataclass(frozen=True)
class MetaPrompt:
    """The meta-prompt of a search (section 4.2 of the paper).

    Args:
        shape: ``tagged`` for chat models, ``bracketed`` for those that take a text to complete, ``instructions_only``
            for base models: it has no exemplars.
        place: Where the texts go.
        buckets: Scores are shown as whole numbers from 0 to this.
        exemplars_first: Show the exemplars before the history.
        task: The task's description; may be empty.
    """

    shape: Shape
    place: Place
    buckets: int = 100
    exemplars_first: bool = False
    task: str = ""

    def show(self, history: Sequence[Entry], exemplars: Sequence[Example]) -> str:
        """Return the meta-prompt that shows this part of the history, worst first, and these exemplars."""
        kind, kinds = KINDS[self.place.part]
        evidence = [self._history(history), self._exemplars(exemplars)]
        if self.exemplars_first:
            evidence.reverse()
        task = f"The task: {self.task.strip()}\n\n" if self.task.strip() else ""
        return self._render("", task=task, kind=kind, kinds=kinds, evidence="\n\n".join(filter(None, evidence)))

    def read(self, reply: str) -> str:
        """Return the text that a reply proposes, in its normal form; empty if it has none."""
        return normalise(extract(reply, self.shape))

    def _history(self, history: Sequence[Entry]) -> str:
        form = "opro-instructions-only-entry" if self.shape == "instructions_only" else "opro-entry"
        scores = (bucket(entry.score, self.buckets) for entry in history)
        lines = [render_template(form, text=e.text, score=score) for e, score in zip(history, scores, strict=True)]
        if self.shape == "instructions_only" or not lines:
            return "\n\n".join(lines)
        return render_template("opro-history", buckets=self.buckets, history="\n\n".join(lines))

    def _exemplars(self, exemplars: Sequence[Example]) -> str:
        if self.shape == "instructions_only" or not exemplars:
            return ""
        lines = [self._render("-exemplar", problem=self.place.show(row), answer=row.target) for row in exemplars]
        return self._render("-exemplars", slot=SLOT, exemplars="\n\n".join(lines))

    def _render(self, which: str, **values: object) -> str:
        return render_template(f"opro-{self.shape.replace('_', '-')}{which}", buckets=self.buckets, **values)


def extract(reply: str, shape: Shape) -> str:
    """Return the text that a reply proposes; empty if it has none.

    In the tagged shape a missing opening tag means from the start and a missing closing tag to the end, so that an
    untagged reply is taken whole.
    """
    if shape == "bracketed":
        span = re.search(r"\[(.*?)\]", reply, re.DOTALL)
        return span[1] if span else ""
    if shape == "instructions_only":
        return next(iter(parse_tagged(reply, "text")), "")
    return reply.rpartition("<text>")[2].partition("</text>")[0]


def normalise(text: str) -> str:
    """Return the text without bold markers and outer space, its first letter a capital."""
    text = text.replace("**", "").strip()
    return text[0].upper() + text[1:] if len(text) > 1 else text

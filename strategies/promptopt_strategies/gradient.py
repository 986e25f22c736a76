"""Textual gradient: a critique of a prompt's errors, the edits that follow it, and paraphrases of those.

The operators by which ProTeGi expands a prompt, as sub-searches that ask for nothing but texts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from promptopt.ask import Search, together
from promptopt_strategies.writing import Error, ask_writer, count_of, parse_tagged, render_template, show_error


class Draft(NamedTuple):
    """A text that may become a child, what made it, and the critique that it follows."""

    text: str
    operator: str
    critique: str = ""


@dataclass(frozen=True)
class Author:
    """The optimizer model at work: how many texts it is asked for, and how they are sampled.

    A reply that holds more texts than were asked for is cut to that number, so that costs can be told beforehand.

    Args:
        critiques: Reasons asked for in one critique of some errors.
        edits: New versions asked for one reason.
        paraphrases: Other wordings of each text, asked for in one request.
        temperature: Of the optimizer model.
        max_tokens: Of each reply.
    """

    critiques: int
    edits: int
    paraphrases: int
    temperature: float
    max_tokens: int

    def descend(self, text: str, errors: Sequence[Error]) -> Search[list[Draft]]:
        """Ask what in a text led to these errors, and follow each reason given (figure 1 of the paper).

        Asks:
            One Write for the critique, one for each reason's edits, one for each edit's paraphrases.
        """
        shown = "\n\n".join(show_error(number, *error) for number, error in enumerate(errors, 1)) or "(none)"
        count = count_of(self.critiques, "reason")
        meta = render_template("apo-critique", instruction=text, errors=shown, count=count)
        reasons = list(filter(None, (yield from self._write_tagged(meta, "critique", "reason"))))[: self.critiques]
        return list(chain(*(yield from together(*(self._edit(text, shown, reason) for reason in reasons)))))

    def paraphrase(self, draft: Draft) -> Search[list[Draft]]:
        """Ask for the same in other words: one Write, none if there is nothing to say again."""
        if not self.paraphrases or not draft.text:
            return []
        meta = render_template("apo-paraphrase", instruction=draft.text)
        texts = yield from self._write(meta, "paraphrase", self.paraphrases)
        return [Draft(text.strip(), "paraphrase", draft.critique) for text in texts]

    def _edit(self, text: str, errors: str, critique: str) -> Search[list[Draft]]:
        """Ask for new versions without the fault that the critique names, and for paraphrases of each."""
        count = count_of(self.edits, "new version")
        meta = render_template("apo-edit", instruction=text, errors=errors, critique=critique, count=count)
        versions = (yield from self._write_tagged(meta, "edit", "task"))[: self.edits]
        edits = [Draft(version, "edit", critique) for version in versions]
        return [*edits, *chain(*(yield from together(*map(self.paraphrase, edits))))]

    def _write_tagged(self, meta: str, purpose: str, tag: str) -> Search[list[str]]:
        texts = yield from self._write(meta, purpose)
        return [span for text in texts for span in parse_tagged(text, tag)]

    def _write(self, meta: str, purpose: str, n: int = 1) -> Search[tuple[str, ...]]:
        written = yield from ask_writer(meta, purpose, n=n, temperature=self.temperature, max_tokens=self.max_tokens)
        return written.texts

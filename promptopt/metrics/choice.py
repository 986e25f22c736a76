"""MultipleChoice: right when the last choice named in the output is the target."""

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from promptopt.example import Example
from promptopt.metric import Score
from promptopt.metrics.answer import AnswerMetric, head, right_answers, wanted, whole_word

_BRACKETS = "()[]{}"


@dataclass(frozen=True)
class MultipleChoice(AnswerMetric):
    """Right when the last choice named in the output is the target or an alias.

    Labels are compared as whole words without case, brackets or a final dot, and a longer label wins over one
    inside it. A label of one letter counts in brackets, alone on its line, before punctuation, or after words
    such as "answer is"; else the article "a" would name a choice.

    Args:
        choices: The labels, for examples that bring none.
    """

    name: ClassVar[str] = "multiple-choice"

    choices: tuple[str, ...] = ()

    def score(self, output: str, example: Example) -> Score:
        """Score one output: 1 or 0."""
        right = right_answers(example)
        labels = tuple(dict.fromkeys([*(example.choices or self.choices), *right]))
        found = self.named(self.read(output), labels)
        if found is None:
            return Score(0.0, f"{wanted(right_answers(example))}, found no choice in '{head(output)}'")
        if self.label(found) in {self.label(answer) for answer in right}:
            return Score(1.0, "right")
        return Score(0.0, f"{wanted(right_answers(example))}, found '{found}' in '{head(output)}'")

    def label(self, text: str) -> str:
        """Return a label as it is compared: without brackets and final dot, case by the settings."""
        bare = self.normal(text).strip(_BRACKETS + " ")
        return bare or self.normal(text) or text

    def misfit(self, example: Example) -> str:
        """Return why this example cannot be scored, or nothing."""
        choices = example.choices or self.choices
        if not choices:
            return "multiple-choice needs to know the choices, as a field 'choices'"
        if self.label(example.target) not in {self.label(choice) for choice in choices}:
            return f"its choices are {', '.join(choices[:8])}"
        return super().misfit(example)

    def named(self, text: str, labels: tuple[str, ...]) -> str | None:
        """Return the label that stands last in a text; None if none does."""
        ordered, pattern = _compiled(tuple(label for label in labels if label.strip()), self.fold_case)
        last = None
        for match in pattern.finditer(unicodedata.normalize("NFC", text)):
            last = match
        return ordered[int((last.lastgroup or "")[1:])] if last else None


@lru_cache(maxsize=1024)
def _compiled(labels: tuple[str, ...], fold_case: bool) -> tuple[tuple[str, ...], re.Pattern[str]]:
    """Return the labels, longest first, and a pattern whose group ``c<i>`` is the i-th of them."""
    ordered = tuple(sorted(labels, key=len, reverse=True))
    groups = [f"(?P<c{i}>{_label_pattern(label, fold_case)})" for i, label in enumerate(ordered)]
    return ordered, re.compile("|".join(groups), re.MULTILINE)


def _label_pattern(label: str, fold_case: bool) -> str:
    core = label.strip().removesuffix(".").strip(_BRACKETS + " ") or label.strip()
    fold = "(?i:" if fold_case else "(?:"
    if not re.fullmatch(r"[^\W\d_]", core):
        return fold + whole_word(core) + ")"
    forms = (
        rf"{fold}[(\[{{]\s*{core}\s*[)\]}}])",
        rf"{fold}^[^\w\n]*{core}[^\w\n]*$)",
        rf"{fold}\banswer(?:\s+is)?\s*:?[\s*_\"'(]*{core}[^\w\n]*$)",
        rf"(?i:\b(?:answer|option|choice|is)\b|:)[\s*_\"'(]*{core}(?![\w'’])",
        rf"(?<![\w'’-]){core}(?=[*_\"']*(?:[.:;,)\]]|\s*$|\s[–-]\s))",
    )
    return "|".join(forms)

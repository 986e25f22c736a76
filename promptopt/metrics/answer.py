"""AnswerMetric: what all metrics share that read an answer out of an output.

How an answer is cut out, made comparable and talked about stands here once.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import ClassVar, Literal, get_args

from promptopt.errors import DataError
from promptopt.example import SPLITS, Dataset, Example
from promptopt.ids import content_hash
from promptopt.metrics.suggest import suggest_metric

Take = Literal["all", "last-line", "after-cue"]
TAKES: tuple[Take, ...] = get_args(Take)

_CUE = re.compile(r"\banswer\b[*_\s]*(?:is\b\s*:?|:|=)[*_]*|####", re.IGNORECASE)
# Thai, Lao, Khmer, Japanese and Chinese.
_UNSPACED = re.compile("[\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
_HEAD = 120


@dataclass(frozen=True)
class AnswerMetric:
    """A metric that reads an answer out of the output and compares it with the target.

    Args:
        fold_case: Compare without case.
        drop_final_dot: Drop one dot at the end before comparing.
        take: What is read: ``all`` of the output, its ``last-line``, or the line ``after-cue``, that is after the
            last "answer is", "answer:" or "####", and the last line where there is no such cue.
    """

    name: ClassVar[str]
    # To be raised whenever the code below gives other scores: it is part of the key under which scores are stored.
    version: ClassVar[int] = 1

    fold_case: bool = True
    drop_final_dot: bool = True
    take: Take = "all"

    @cached_property
    def key(self) -> str:
        """The hash of the name, the version and every setting."""
        return content_hash("metric", self.name, self.version, asdict(self))

    def check(self, dataset: Dataset) -> None:
        """Refuse targets that this metric cannot score.

        Raises:
            DataError: A target does not fit; names split, row, the reason and a metric that would fit.
        """
        for split in SPLITS:
            for row, example in enumerate(dataset.split(split), 1):
                if reason := self.misfit(example):
                    better = suggest_metric(dataset)
                    hint = f" or use the metric {better}" if better != self.name else ""
                    raise DataError(
                        f"{dataset.name}: {split} row {row} has the target '{head(example.target, 60)}', but {reason}; "
                        f"correct the row{hint}."
                    )

    def misfit(self, example: Example) -> str:
        """Return why this example cannot be scored, or nothing."""
        return "" if self.normal(example.target) else f"{self.name} needs one that is not empty"

    def normal(self, text: str) -> str:
        """Return the text as it is compared: white space runs as one space, case and final dot by the settings."""
        text = " ".join((text if text.isascii() else unicodedata.normalize("NFC", text)).split())
        if self.drop_final_dot:
            text = text.removesuffix(".").rstrip()
        return text.casefold() if self.fold_case else text

    def read(self, output: str) -> str:
        """Return the part of an output that holds the answer."""
        if self.take == "all":
            return output
        if self.take == "after-cue" and (cues := list(_CUE.finditer(output))):
            after = output[cues[-1].end() :].strip()
            if after:
                return after.splitlines()[0].strip()
        lines = [line.strip() for line in output.splitlines() if line.strip()]
        return lines[-1] if lines else ""


def right_answers(example: Example) -> tuple[str, ...]:
    """Return the target and its aliases."""
    aliases = example.meta.get("aliases")
    if not isinstance(aliases, list | tuple):
        return (example.target,)
    return (example.target, *(alias for alias in aliases if isinstance(alias, str)))


def head(text: str, limit: int = _HEAD) -> str:
    """Return the beginning of a text on one line."""
    text = " ".join(text.split())
    return text if len(text) <= limit else text[:limit].rstrip() + " ..."


def quoted(texts: Iterable[str]) -> str:
    """Return texts in quotes, joined by commas."""
    return ", ".join(f"'{head(text)}'" for text in texts)


def wanted(answers: Sequence[str]) -> str:
    """Return the words that say what was expected: the target, then its aliases."""
    target, *aliases = answers
    also = f" (or {quoted(aliases[:3])})" if aliases else ""
    return f"expected {quoted([target])}{also}"


def whole_word(text: str) -> str:
    """Return a pattern for a text that matches only where no word, number or hyphenated word goes on around it.

    Any white space matches any other. Scripts that write no spaces have no whole words to ask for.
    """
    pattern = r"\s+".join(re.escape(part) for part in unicodedata.normalize("NFC", text).split())
    if _UNSPACED.search(text):
        return pattern
    return rf"(?<!\w)(?<!\w[-'’])(?<!\d[.,])(?:{pattern})(?!\w)(?![-'’]\w)(?![.,]\d)"

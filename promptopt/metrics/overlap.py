"""F1 and RougeL: metrics that give part of the score for part of the words."""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from promptopt.errors import ConfigError
from promptopt.example import Dataset, Example
from promptopt.metric import Score
from promptopt.metrics.answer import AnswerMetric, head, right_answers, wanted

_PUNCTUATION = str.maketrans("", "", string.punctuation + "“”‘’–—…")
_ARTICLES = frozenset({"a", "an", "the"})
_WHOLE = frozenset({"yes", "no", "noanswer"})
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class F1(AnswerMetric):
    """Token F1 from 0 to 1, best over target and aliases, without punctuation and the articles a, an, the.

    Answers of yes, no and noanswer count only as a whole.
    """

    name: ClassVar[str] = "f1"

    def score(self, output: str, example: Example) -> Score:
        """Score one output with the share of tokens in common."""
        found = self.tokens(self.read(output))
        value = max(_f1(found, self.tokens(answer)) for answer in right_answers(example))
        return _graded(value, "token F1", output, example)

    def tokens(self, text: str) -> list[str]:
        """Return the words that are compared; a text of nothing but articles or signs keeps them."""
        words = self.normal(text).split()
        bare = [word.translate(_PUNCTUATION) for word in words]
        return [word for word in bare if word and word not in _ARTICLES] or words


@dataclass(frozen=True)
class RougeL(AnswerMetric):
    """Longest-common-subsequence F from 0 to 1, best over target and aliases, by the library rouge-score."""

    name: ClassVar[str] = "rouge-l"

    def score(self, output: str, example: Example) -> Score:
        """Score one output by the words in common in the same order.

        Raises:
            ConfigError: The library is not installed; says how to install it.
        """
        found = self.normal(self.read(output))
        value = max(self._rouge(self.normal(answer), found) for answer in right_answers(example))
        return _graded(value, "ROUGE-L", output, example)

    def check(self, dataset: Dataset) -> None:
        """Refuse empty targets, and refuse to start without the library.

        Raises:
            DataError: A target is empty; names split and row.
            ConfigError: The library is not installed; says how to install it.
        """
        _rouge_scorer()
        super().check(dataset)

    @staticmethod
    def _rouge(answer: str, found: str) -> float:
        if answer == found:
            # Texts without letters and digits have no words that the library could compare.
            return 1.0
        return float(_rouge_scorer()(answer, found)["rougeL"].fmeasure)


@lru_cache(maxsize=1)
def _rouge_scorer() -> Callable[[str, str], Any]:
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError:
        raise ConfigError(
            'the metric rouge-l needs the package rouge-score; install it with: pip install -e ".[rouge]"'
        ) from None

    class Words:
        """The library's own tokenizer drops every letter outside a-z; this one keeps all scripts."""

        def tokenize(self, text: str) -> list[str]:
            return _WORD.findall(text.casefold())

    scorer: Callable[[str, str], Any] = RougeScorer(["rougeL"], tokenizer=Words()).score
    return scorer


def _f1(found: Sequence[str], right: Sequence[str]) -> float:
    if found == right:
        return 1.0
    if " ".join(found) in _WHOLE or " ".join(right) in _WHOLE:
        return 0.0
    common = (Counter(found) & Counter(right)).total()
    return 2 * common / (len(found) + len(right))


def _graded(value: float, unit: str, output: str, example: Example) -> Score:
    value = min(1.0, max(0.0, value))
    if value == 1.0:
        return Score(value, "right")
    return Score(value, f"{unit} {value:.2f}: {wanted(right_answers(example))}, found '{head(output)}'")

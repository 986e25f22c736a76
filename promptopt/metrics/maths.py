"""Numeric and Math: metrics that compare values rather than their spelling."""

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from promptopt.example import Example
from promptopt.metric import Score
from promptopt.metrics.answer import AnswerMetric, Take, head, right_answers, wanted
from promptopt.metrics.suggest import numbers_in

MAX_DIGITS = 100

_BOXED = re.compile(r"\\(?:boxed|fbox)\s*(?=\{)")
_INLINE = re.compile(r"\$([^$]+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_NAME = re.compile(r"^[a-zA-Z](?:\([a-zA-Z]\))?=")
_SHORT_ROOT = re.compile(r"\\sqrt(\d)")
_SHORT_FRACTION = re.compile(r"\\frac(?:(\d)|\{([^{}]*)\})(?:(\d)|\{([^{}]*)\})")
_FRACTION = re.compile(r"(-?)\\frac\{(-?\d+)\}\{(-?\d+)\}")
_DROPPED = re.compile(
    r"\\left|\\right|\\displaystyle"
    r"|(?<!\\)\\[,;:!> ]|\^\{?\\circ\}?|\\degree|\\\$|\\?%|\\text\{[^{}]*\}$"
)
_UNWRAPPED = re.compile(r"\\(?:text|textbf|mathrm|mbox|mathbf|operatorname)\{([^{}]*)\}")
_PLAIN_NUMBER = re.compile(r"-?(?:\d+(?:\.\d+)?|\.\d+)(?:/\d+)?")


@dataclass(frozen=True)
class Numeric(AnswerMetric):
    """Right when the last number in the output equals the target's.

    Args:
        tolerance: How far apart equal numbers may be, absolutely and as a share of the larger.
    """

    name: ClassVar[str] = "numeric"

    tolerance: float = 1e-6

    def score(self, output: str, example: Example) -> Score:
        """Score one output: 1 or 0."""
        found = numbers_in(self.read(output))
        right = [number for answer in right_answers(example) for number in _target_numbers(answer)[-1:]]
        if found and any(self._agree(found[-1], number) for number in right):
            return Score(1.0, "right")
        shown = f"'{found[-1]:.12g}'" if found else "no number"
        return Score(0.0, f"{wanted(right_answers(example))}, found {shown} in '{head(output)}'")

    def misfit(self, example: Example) -> str:
        """Return why this example cannot be scored, or nothing."""
        n_numbers = len(_target_numbers(example.target))
        if n_numbers == 1:
            return ""
        return f"numeric needs one number in it and there {'is none' if n_numbers == 0 else f'are {n_numbers}'}"

    def _agree(self, found: float, right: float) -> bool:
        return math.isclose(found, right, rel_tol=self.tolerance, abs_tol=self.tolerance)


@dataclass(frozen=True)
class Math(AnswerMetric):
    """Right when the LaTeX expressions agree after normalising; integers, decimals and fractions by value.

    The answer is the last boxed expression, else the text after the last answer cue or the last line, else the
    last formula in it.
    """

    name: ClassVar[str] = "math"

    take: Take = "after-cue"

    def score(self, output: str, example: Example) -> Score:
        """Score one output: 1 or 0."""
        readings = self.readings(output)
        right = [normal_latex(answer) for answer in right_answers(example)]
        if any(_same(normal_latex(reading), answer) for reading in readings for answer in right):
            return Score(1.0, "right")
        return Score(0.0, f"{wanted(right_answers(example))}, found '{head(readings[0])}'")

    def readings(self, output: str) -> list[str]:
        """Return what may be the answer in an output, the likeliest first."""
        if (boxed := last_boxed(output)) is not None:
            return [boxed]
        line = self.read(output)
        formulas = [next(filter(None, match.groups())) for match in _INLINE.finditer(line)]
        return [line, output, *formulas[-1:]]


def last_boxed(text: str) -> str | None:
    r"""Return the content of the last ``\boxed{...}`` whose braces are balanced, or None."""
    for match in reversed(list(_BOXED.finditer(text))):
        depth = 0
        for at in range(match.end(), len(text)):
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            if depth == 0:
                return text[match.end() + 1 : at]
    return None


def normal_latex(text: str) -> str:
    """Return an expression in the one spelling that is compared."""
    text = text.strip().removesuffix(".").replace("−", "-").replace("$", " ").strip()
    text = text.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac").replace("{,}", "")
    bare = _DROPPED.sub("", text)
    text = re.sub(r"\s+", "", _UNWRAPPED.sub(r"\1", bare or text))
    text = re.sub(r"(?<=\d),(?=\d{3}(?:\D|$))(?![^(\[{]*[)\]}])", "", text)
    # An argument of one digit needs no braces: \\frac12, \\frac1{20}, \\sqrt2.
    text = _SHORT_FRACTION.sub(_braced, _SHORT_ROOT.sub(r"\\sqrt{\1}", text))
    text = _NAME.sub("", text)
    text = re.sub(r"(?<!\d)\.(?=\d)", "0.", text)
    return text.removesuffix(".")


def _braced(match: re.Match[str]) -> str:
    above, below = match[1] or match[2] or "", match[3] or match[4] or ""
    return f"\\frac{{{above}}}{{{below}}}"


def _same(found: str, right: str) -> bool:
    if found == right:
        return True
    # Longer digits than these are compared as text: Python limits the conversion.
    if max(len(found), len(right)) > MAX_DIGITS:
        return False
    value = _value(right)
    return value is not None and value == _value(found)


def _value(text: str) -> Fraction | None:
    if match := _FRACTION.fullmatch(text):
        sign, above, below = match.groups()
        return None if int(below) == 0 else Fraction(int(above), int(below)) * (-1 if sign else 1)
    if not _PLAIN_NUMBER.fullmatch(text):
        return None
    above, _, below = text.partition("/")
    return None if below and int(below) == 0 else Fraction(above) / Fraction(below or 1)


def _target_numbers(target: str) -> list[float]:
    # A worked solution may stand before its answer, as in "... #### 8".
    return numbers_in(target.rpartition("####")[2])

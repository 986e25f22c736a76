"""EffectModel: what each choice of a prompt is worth, learned from every call made so far.

A ridge-penalised logistic model of right and wrong: choices, demonstrations, how hard each row is, and what is
special about each prompt. It proposes and explains; it never decides.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from promptopt.ask import Effect
from promptopt.statistics import Z_95, draw_standard_normal
from promptopt_strategies.threads import on_one_thread

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float64]

Column = tuple[str, str]

Pair = tuple[Column, Column]

GROUPS = ("all", "row", "prompt", "demo", "pair")
ALONE = ("demo", "pair")  # what is compared with its absence and not with other levels


def group_of(column: Column) -> str:
    """Return which columns have a penalty in common with this one; the levels of all choices do."""
    return column[0] if column[0] in GROUPS else "level"


def pair_column(pair: Pair) -> Column:
    """Return the column that says that both stand together."""
    return "pair", " & ".join(f"{choice}: {level}" for choice, level in pair)


@dataclass(frozen=True)
class EffectModel:
    """The fitted model, on the log-odds scale.

    Args:
        columns: The place of each column.
        weights: The estimates, shape (d,).
        covariance: Of the estimates, shape (d, d).
        slope: How much the mean score moves per unit of log-odds.
        counts: The observations that showed each column.
        pairs: The pairs of columns that are worth something of their own together.
    """

    columns: Mapping[Column, int]
    weights: "Vector"
    covariance: "Vector"
    slope: float
    counts: Mapping[Column, int]
    pairs: tuple[Pair, ...] = ()

    def predict(self, features: Sequence[Column], prompt: str = "") -> float:
        """Return the log-odds of a right answer on an average row; for a known prompt with what is special to it."""
        shown = (("all", ""), *features, *self._pairs_in(features), ("prompt", prompt))
        return float(self.weights[[self.columns[c] for c in shown if c in self.columns]].sum())

    def _pairs_in(self, features: Sequence[Column]) -> list[Column]:
        return [pair_column(pair) for pair in self.pairs if pair[0] in features and pair[1] in features]

    @on_one_thread
    def draw(self, rng: random.Random, spread: float = 1.0) -> "EffectModel":
        """Return a model with weights drawn from their distribution (Thompson sampling)."""
        import numpy as np

        noise = [draw_standard_normal(rng) for _ in self.columns]
        return replace(self, weights=self.weights + spread * (np.linalg.cholesky(self.covariance) @ noise))

    def changes(self, seed: Sequence[Column], best: Sequence[Column]) -> tuple[Effect, ...]:
        """Return what each change from the seed to the best prompt is worth, largest first, then all together.

        The demonstrations count as one change, with their number.
        """
        old, new = _by_choice(seed), _by_choice(best)
        pairs = {choice: (old.get(choice, []), new.get(choice, [])) for choice in {**old, **new}}
        changed = {choice: (a, b) for choice, (a, b) in pairs.items() if a != b}
        effects = [self._change(choice, _title(b), b, a, _title(a)) for choice, (a, b) in changed.items()]
        effects.sort(key=lambda effect: (-abs(effect.estimate), effect.choice))
        if len(effects) < 2:
            return tuple(effects)
        whole = [[column for part in side for column in part] for side in zip(*changed.values(), strict=True)]
        whole[0] += self._pairs_in(seed)
        whole[1] += self._pairs_in(best)
        return (*effects, self._change("all together", "best", whole[1], whole[0], "seed"))

    def table(self) -> tuple[Effect, ...]:
        """Return what each level is worth against the average level of its choice, largest first.

        A demonstration is compared with its absence.
        """
        effects = [
            effect
            for choice, columns in self._choices.items()
            for effect in self._levels(columns, centred=choice not in ALONE)
        ]
        return tuple(sorted(effects, key=lambda effect: (-abs(effect.estimate), effect.choice, effect.level)))

    def spreads(self) -> tuple[Effect, ...]:
        """Return how much each choice matters: the standard deviation over its levels, largest first.

        The interval is that of the variance by the delta method; it holds 0 where all levels may be equal.
        """
        import numpy as np

        effects = []
        for choice, columns in self._choices.items():
            at = [self.columns[column] for column in columns]
            centre = np.eye(len(at)) / len(at) - 1.0 / len(at) ** 2
            pull = centre @ self.weights[at]
            variance = max(0.0, float(self.weights[at] @ pull))
            half = 2 * Z_95 * math.sqrt(max(0.0, float(pull @ self.covariance[np.ix_(at, at)] @ pull)))
            at_half = (variance - half, variance, variance + half)
            low, middle, high = (math.sqrt(max(0.0, value)) * self.slope for value in at_half)
            effects.append(Effect(choice, "", middle, low, high, sum(self.counts[column] for column in columns)))
        return tuple(sorted(effects, key=lambda effect: (-effect.estimate, effect.choice)))

    @cached_property
    def _choices(self) -> dict[str, list[Column]]:
        """The levels of each choice that has two at least, or whose only one is compared with its absence."""
        levels: dict[str, list[Column]] = {}
        for column in self.columns:
            if column[0] not in ("all", "row", "prompt"):
                levels.setdefault(column[0], []).append(column)
        return {choice: columns for choice, columns in levels.items() if len(columns) > 1 or choice in ALONE}

    def _levels(self, columns: Sequence[Column], centred: bool) -> list[Effect]:
        """Return what each level of a choice is worth, against their average if it is centred."""
        import numpy as np

        at, counts = [self.columns[column] for column in columns], [self.counts[column] for column in columns]
        contrasts = np.eye(len(at)) - np.array(counts) / sum(counts) * centred
        estimates = contrasts @ self.weights[at] * self.slope
        variances = np.einsum("ij,jk,ik->i", contrasts, self.covariance[np.ix_(at, at)], contrasts)
        halves = np.sqrt(np.maximum(variances, 0.0)) * self.slope * Z_95
        known = zip(columns, estimates.tolist(), halves.tolist(), counts, strict=True)
        return [Effect(*column, worth, worth - half, worth + half, n) for column, worth, half, n in known]

    def _change(self, choice: str, level: str, plus: Sequence[Column], minus: Sequence[Column], against: str) -> Effect:
        """Return what it is worth to have some columns instead of others."""
        import numpy as np

        contrast = np.zeros(len(self.columns))
        for columns, sign in ((plus, 1.0), (minus, -1.0)):
            for column in columns:
                if column in self.columns:
                    contrast[self.columns[column]] += sign
        estimate = float(contrast @ self.weights) * self.slope
        half = math.sqrt(max(0.0, float(contrast @ self.covariance @ contrast))) * self.slope * Z_95
        n = min((self.counts.get(column, 0) for column in plus), default=0)
        return Effect(choice, level, estimate, estimate - half, estimate + half, n, against)


def _by_choice(features: Sequence[Column]) -> dict[str, list[Column]]:
    """Return the columns of a prompt by choice; demonstrations stand with their number."""
    found: dict[str, list[Column]] = {}
    for column in features:
        found.setdefault("demos" if column[0] == "demo" else column[0], []).append(column)
    return found


def _title(columns: Sequence[Column]) -> str:
    """Return the level in words: for demonstrations their number."""
    return next((level for choice, level in columns if choice != "demo"), "none")

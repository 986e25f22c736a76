"""EffectModel: what each choice of a prompt is worth, learned from every call made so far.

A ridge-penalised logistic model of right and wrong: choices, demonstrations, how hard each row is, and what is
special about each prompt. It proposes and explains; it never decides.
"""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING

from promptopt.ask import Effect

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float64]

Column = tuple[str, str]

RIDGE: Mapping[str, float] = {"all": 0.01, "demo": 3.0}
DEFAULT_RIDGE = 1.0
NEWTON_STEPS = 8
Z_95 = 1.96


@dataclass(frozen=True, slots=True)
class Observation:
    """One score with what led to it.

    Args:
        features: The choices of the prompt.
        prompt: The prompt's id.
        row: The example's id.
        score: In [0, 1].
    """

    features: tuple[Column, ...]
    prompt: str
    row: str
    score: float


@dataclass(frozen=True)
class EffectModel:
    """The fitted model, on the log-odds scale.

    Args:
        columns: The place of each column.
        weights: The estimates, shape (d,).
        root: A square root of their covariance, shape (d, d).
        slope: How much the mean score moves per unit of log-odds.
        counts: The observations that showed each column.
    """

    columns: Mapping[Column, int]
    weights: "Vector"
    root: "Vector"
    slope: float
    counts: Mapping[Column, int]

    def predict(self, features: Sequence[Column], prompt: str = "") -> float:
        """Return the log-odds of a right answer on an average row; for a known prompt with what is special to it."""
        at = [self.columns[c] for c in (("all", ""), *features, ("prompt", prompt)) if c in self.columns]
        return float(self.weights[at].sum())

    def draw(self, rng: random.Random) -> "EffectModel":
        """Return a model with weights drawn from their distribution (Thompson sampling)."""
        normal = NormalDist()
        noise = [normal.inv_cdf(min(max(rng.random(), 1e-12), 1 - 1e-12)) for _ in self.columns]
        return replace(self, weights=self.weights + self.root @ noise)

    def changes(self, seed: Sequence[Column], best: Sequence[Column]) -> tuple[Effect, ...]:
        """Return what each change from the seed to the best prompt is worth, largest first, then all together.

        The demonstrations count as one change, with their number.
        """
        old, new = _by_choice(seed), _by_choice(best)
        pairs = {choice: (old.get(choice, []), new.get(choice, [])) for choice in {**old, **new}}
        changed = {choice: (a, b) for choice, (a, b) in pairs.items() if a != b}
        effects = [self._contrast(choice, _title(b), b, a, against=_title(a)) for choice, (a, b) in changed.items()]
        effects.sort(key=lambda effect: (-abs(effect.estimate), effect.choice))
        if len(effects) < 2:
            return tuple(effects)
        whole = [[column for part in side for column in part] for side in zip(*changed.values(), strict=True)]
        return (*effects, self._contrast("all together", "best", whole[1], whole[0], against="seed"))

    def table(self) -> tuple[Effect, ...]:
        """Return what each level is worth against the average level of its choice, largest first.

        A demonstration is compared with its absence.
        """
        levels: dict[str, list[Column]] = {}
        for column in self.columns:
            if column[0] not in ("all", "row", "prompt"):
                levels.setdefault(column[0], []).append(column)
        effects = [
            self._contrast(*column, [column], () if choice == "demo" else columns)
            for choice, columns in levels.items()
            if choice == "demo" or len(columns) > 1
            for column in columns
        ]
        return tuple(sorted(effects, key=lambda effect: (-abs(effect.estimate), effect.choice, effect.level)))

    def _contrast(
        self, choice: str, level: str, plus: Sequence[Column], minus: Sequence[Column], *, against: str = ""
    ) -> Effect:
        """Return what some columns are worth against others: all of these for a change, their average in a table."""
        import numpy as np

        contrast = np.zeros(len(self.columns))
        for column in plus:
            if column in self.columns:
                contrast[self.columns[column]] += 1.0
        total = sum(self.counts.get(column, 0) for column in minus) if not against else 0
        for column in minus:
            if column in self.columns:
                contrast[self.columns[column]] -= self.counts[column] / total if total else 1.0
        estimate = float(contrast @ self.weights) * self.slope
        half = float(np.linalg.norm(contrast @ self.root)) * self.slope * Z_95
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


def fit_effects(observations: Sequence[Observation], start: EffectModel | None = None) -> EffectModel:
    """Fit the model by Newton's method.

    Args:
        observations: At least one.
        start: An earlier model, to start from its weights.
    """
    import numpy as np

    shown = [(("all", ""), *o.features, ("row", o.row), ("prompt", o.prompt)) for o in observations]
    counts = Counter(column for row in shown for column in row)
    columns = {column: place for place, column in enumerate(sorted(counts))}
    design = np.zeros((len(shown), len(columns)))
    for place, row in enumerate(shown):
        design[place, [columns[column] for column in row]] = 1.0
    target = np.array([o.score for o in observations])
    ridge = np.array([RIDGE.get(kind, DEFAULT_RIDGE) for kind, _ in columns])
    weights = np.zeros(len(columns))
    if start is not None:
        for column, place in columns.items():
            weights[place] = start.weights[start.columns[column]] if column in start.columns else 0.0
    for _ in range(NEWTON_STEPS):
        chance = 1.0 / (1.0 + np.exp(-np.clip(design @ weights, -30.0, 30.0)))
        spread = chance * (1.0 - chance)
        information = (design * spread[:, None]).T @ design + np.diag(ridge)
        step = np.linalg.solve(information, design.T @ (target - chance) - ridge * weights)
        weights = weights + step
        if float(np.abs(step).max()) < 1e-6:
            break
    root = np.linalg.cholesky(np.linalg.inv(information))
    return EffectModel(columns, weights, root, float(spread.mean()), counts)

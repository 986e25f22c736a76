"""Fitting: the effect model from what the prompts of a search were seen to do."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Self

from promptopt_strategies.effects import Column, EffectModel, Pair, group_of, pair_column
from promptopt_strategies.threads import on_one_thread

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float64]
    Places = NDArray[np.int64]

RIDGE: Mapping[str, float] = {"all": 0.01, "demo": 3.0, "pair": 3.0, "level": 1.0, "prompt": 1.0, "row": 1.0}
PAIR_PROMPTS, PAIR_Z = 4, 2.5
NEWTON_STEPS = 8
ROUNDING = 1e-7  # of a sum of log-likelihoods


@dataclass(frozen=True, slots=True)
class Record:
    """What one prompt was seen to do.

    Args:
        prompt: The prompt's id.
        features: Its choices.
        scores: In [0, 1], by the example's id; at least one.
    """

    prompt: str
    features: tuple[Column, ...]
    scores: Mapping[str, float]


@on_one_thread
def fit_effects(
    records: Sequence[Record],
    start: EffectModel | None = None,
    ridge: Mapping[str, float] = RIDGE,
    pairs: Sequence[Pair] = (),
) -> EffectModel:
    """Fit the model by Newton's method, its steps halved until they gain.

    Rows enter by themselves and not with the choices, so their block of the information is diagonal: they are
    eliminated (a Schur complement), and no matrix has a line for each observation.

    Args:
        records: At least one, each of another prompt.
        start: An earlier model, to start from its weights.
        ridge: The penalties of the groups of columns.
        pairs: Pairs of columns that have an effect of their own together.
    """
    import numpy as np

    design = _Design.of([_paired(record, pairs) for record in records], ridge)
    weights = np.zeros(len(design.columns))
    if start is not None:
        known = [(place, start.columns[c]) for c, place in design.columns.items() if c in start.columns]
        weights[[new for new, _ in known]] = start.weights[[old for _, old in known]]
    for _ in range(NEWTON_STEPS):
        curve = design.curve(weights)
        step = curve.step()
        least = design.likelihood(weights) - ROUNDING
        while design.likelihood(weights + step) < least:
            step = step / 2
        weights = weights + step
        if float(np.abs(step).max()) < 1e-6:
            break
    return EffectModel(design.columns, weights, curve.covariance(), curve.slope, design.counts, tuple(pairs))


def _paired(record: Record, pairs: Sequence[Pair]) -> Record:
    shown = set(record.features)
    more = [pair_column(pair) for pair in pairs if shown.issuperset(pair)]
    return replace(record, features=(*record.features, *more)) if more else record


def strong_pairs(records: Sequence[Record], model: EffectModel, most: int) -> tuple[Pair, ...]:
    """Return the pairs of choices whose prompts differ most from what their choices add up to.

    What a prompt has of its own in a model without pairs is what the sum leaves over; a pair is strong where the mean
    of that, over the prompts that show both, is far from 0 for its standard error.
    """
    import numpy as np

    shows = [[f for f in record.features if f[0] != "demo"] for record in records]
    columns = sorted({column for some in shows for column in some})
    at = {column: number for number, column in enumerate(columns)}
    shown = np.zeros((len(records), len(columns)))
    for number, some in enumerate(shows):
        shown[number, [at[column] for column in some]] = 1.0
    own = np.array([model.weights[model.columns["prompt", record.prompt]] for record in records])
    own = own - own.mean()
    both, total = shown.T @ shown, shown.T @ (shown * own[:, None])
    z = np.abs(total) / np.sqrt(np.maximum(both, 1.0)) / max(float(own.std()), 1e-9)
    z[both < PAIR_PROMPTS] = 0.0
    found = [
        (-round(float(z[i, j]), 9), columns[i], columns[j])
        for i, j in zip(*np.nonzero(np.triu(z >= PAIR_Z, 1)), strict=True)
        if columns[i][0] != columns[j][0]
    ]
    return tuple((one, other) for _, one, other in sorted(found)[:most])


@dataclass(frozen=True)
class _Design:
    """The records as arrays: m prompts, n rows, k columns that are no rows.

    Args:
        columns: The place of each column in the model.
        counts: The observations that showed each column.
        shown: Which of the k columns each prompt shows, shape (m, k).
        seen: Which pairs were scored, shape (m, n).
        scores: The scores, 0 where there is none, shape (m, n).
        own: The places of the k columns.
        rows: The places of the rows.
        ridge: The penalties, by place.
    """

    columns: Mapping[Column, int]
    counts: Mapping[Column, int]
    shown: "Vector"
    seen: "Vector"
    scores: "Vector"
    own: "Places"
    rows: "Places"
    ridge: "Vector"

    @classmethod
    def of(cls, records: Sequence[Record], penalties: Mapping[str, float]) -> Self:
        import numpy as np

        counts: Counter[Column] = Counter()
        for record in records:
            shows = (("all", ""), *record.features, ("prompt", record.prompt))
            counts.update(dict.fromkeys(shows, len(record.scores)))
        counts.update(("row", row) for record in records for row in record.scores)
        columns = {column: place for place, column in enumerate(sorted(counts))}
        own = [column for column in columns if column[0] != "row"]
        rows = [column for column in columns if column[0] == "row"]
        at = {column: number for group in (own, rows) for number, column in enumerate(group)}
        shown = np.zeros((len(records), len(own)))
        seen = np.zeros((len(records), len(rows)))
        scores = np.zeros_like(seen)
        for number, record in enumerate(records):
            shown[number, [at[c] for c in (("all", ""), *record.features, ("prompt", record.prompt))]] = 1.0
            where = [at["row", row] for row in record.scores]
            seen[number, where] = 1.0
            scores[number, where] = list(record.scores.values())
        own_at, rows_at = (np.array([columns[column] for column in group]) for group in (own, rows))
        ridge = np.array([penalties.get(group_of(column), RIDGE[group_of(column)]) for column in columns])
        return cls(columns, counts, shown, seen, scores, own_at, rows_at, ridge)

    def likelihood(self, weights: "Vector") -> float:
        """Return the penalised log-likelihood of these weights."""
        import numpy as np

        height = self._height(weights)
        fit = self.seen * (self.scores * height - np.logaddexp(0.0, height))
        return float(fit.sum() - (self.ridge * weights**2).sum() / 2)

    def _height(self, weights: "Vector") -> "Vector":
        return (self.shown @ weights[self.own])[:, None] + weights[self.rows]

    def curve(self, weights: "Vector") -> "_Curve":
        """Return slope and curvature of the penalised likelihood at these weights."""
        import numpy as np

        chance = 1.0 / (1.0 + np.exp(-np.clip(self._height(weights), -30.0, 30.0)))
        spread, rest = self.seen * chance * (1.0 - chance), self.seen * (self.scores - chance)
        gradient = -self.ridge * weights
        gradient[self.own] += self.shown.T @ rest.sum(axis=1)
        gradient[self.rows] += rest.sum(axis=0)
        inner = (self.shown * spread.sum(axis=1)[:, None]).T @ self.shown + np.diag(self.ridge[self.own])
        outer = spread.sum(axis=0) + self.ridge[self.rows]
        return _Curve(self, gradient, inner, self.shown.T @ spread, outer, float(spread.sum() / self.seen.sum()))


@dataclass(frozen=True)
class _Curve:
    """The penalised likelihood around a point: its gradient, and the blocks of its information.

    Args:
        design: What it belongs to.
        gradient: Shape (k + n,).
        inner: Of the columns, shape (k, k).
        across: Of columns with rows, shape (k, n).
        outer: The diagonal of the rows, shape (n,).
        slope: The mean of p (1 - p).
    """

    design: _Design
    gradient: "Vector"
    inner: "Vector"
    across: "Vector"
    outer: "Vector"
    slope: float

    def step(self) -> "Vector":
        """Return the Newton step."""
        import numpy as np

        own, rows = self.gradient[self.design.own], self.gradient[self.design.rows]
        first = np.linalg.solve(self._complement, own - self._scaled @ rows)
        step = np.empty_like(self.gradient)
        step[self.design.own], step[self.design.rows] = first, (rows - self.across.T @ first) / self.outer
        return step

    def covariance(self) -> "Vector":
        """Return the inverse of the information."""
        import numpy as np

        own, rows = self.design.own, self.design.rows
        inner = np.linalg.inv(self._complement)
        across = -inner @ self._scaled
        whole = np.empty((len(self.gradient),) * 2)
        whole[np.ix_(own, own)], whole[np.ix_(own, rows)], whole[np.ix_(rows, own)] = inner, across, across.T
        whole[np.ix_(rows, rows)] = np.diag(1.0 / self.outer) - self._scaled.T @ across
        return whole

    @cached_property
    def _scaled(self) -> "Vector":
        return self.across / self.outer

    @cached_property
    def _complement(self) -> "Vector":
        return self.inner - self._scaled @ self.across.T

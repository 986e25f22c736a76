"""Ranker: a ridge model of component counts that foretells how good an assembly is, learned from true scores alone.

It stands in for the fine-tuned encoder of SPRIG's second form, runs on a CPU in milliseconds and says what each
component is worth.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from random import Random
from typing import TYPE_CHECKING

from promptopt.ask import Effect
from promptopt.evaluation import Evaluation
from promptopt.statistics import Z_95, draw_standard_normal
from promptopt_strategies.corpus import Component
from promptopt_strategies.threads import on_one_thread

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

Column = tuple[str, str]

NOISE = 0.2  # the variance of one score in [0, 1]; that of a 0/1 score is 0.25 at most
# The standard deviations that weights are expected to have, in score.
SPREAD: Mapping[str, float] = {"batch": 0.5, "kind": 0.03, "component": 0.06, "length": 0.03}


@dataclass(frozen=True, slots=True)
class Truth:
    """A true score.

    Args:
        prompt_id: Of what was scored.
        components: Its components.
        batch: The questions it was scored on: only scores of one batch compare directly.
        mean: The mean score.
        n: On how many questions.
    """

    prompt_id: str
    components: tuple[Component, ...]
    batch: str
    mean: float
    n: int


@dataclass(frozen=True)
class Ranker:
    """The fitted model: a score is the sum over components of a weight for each, for its class, and for one more.

    Args:
        weights: The estimates, by column.
        covariance: Of the estimates, shape (d, d), in the same order.
        tried: Each component that was scored, with how many questions it was scored on.
    """

    weights: Mapping[Column, float]
    covariance: "Matrix"
    tried: Mapping[Component, int]

    def predict(self, components: Iterable[Component]) -> float:
        """Return how much better than the bare prompt an assembly should be."""
        return sum(self.worth(component) for component in components)

    def worth(self, component: Component) -> float:
        """Return what adding a component should bring; of one that is new, what its class does."""
        own, kind, length = _columns(component)
        return self.weights.get(own, 0.0) + self.weights.get(kind, 0.0) + self.weights.get(length, 0.0)

    def level(self, batch: str) -> float:
        """Return what the bare prompt should score on the questions of a batch."""
        return self.weights["batch", batch]

    @on_one_thread
    def draw(self, rng: Random) -> "Ranker":
        """Return a ranker with weights drawn from what is known of them (Thompson sampling)."""
        noise = [draw_standard_normal(rng) for _ in self.weights]
        drawn = (self._root @ noise).tolist()
        return replace(self, weights={c: w + error for (c, w), error in zip(self.weights.items(), drawn, strict=True)})

    def effects(self) -> tuple[Effect, ...]:
        """Return what each component that was tried is worth, largest first."""
        places, effects = {column: place for place, column in enumerate(self.weights)}, []
        for component, n in self.tried.items():
            at = [places[column] for column in _columns(component)]
            estimate, half = self.worth(component), Z_95 * math.sqrt(float(self.covariance[at][:, at].sum()))
            effects.append(Effect(component.kind, component.origin, estimate, estimate - half, estimate + half, n))
        return tuple(sorted(effects, key=lambda effect: (-abs(effect.estimate), effect.level)))

    @cached_property
    def _root(self) -> "Matrix":
        import numpy as np

        return np.asarray(np.linalg.cholesky(self.covariance), dtype=np.float64)


@dataclass
class Scores:
    """The true scores of a search, and the ranker that they teach.

    Args:
        corpus: Components that the ranker may be asked about before they are tried.
        truths: Every true score.
        ranker: What they taught so far.
    """

    corpus: Sequence[Component]
    truths: list[Truth] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ranker = fit_ranker(self.truths, self.corpus)

    def add(self, components: tuple[Component, ...], batch: str, evaluation: Evaluation) -> None:
        """Note a true score; one without an answer says nothing."""
        if evaluation.n_valid:
            self.truths.append(Truth(evaluation.prompt_id, components, batch, evaluation.mean, evaluation.n_valid))

    def refit(self) -> None:
        """Teach the ranker everything true."""
        self.ranker = fit_ranker(self.truths, self.corpus)

    def standings(self, trust: float) -> dict[str, float]:
        """Return how good everything that was scored is, over the bare prompt.

        Args:
            trust: How many questions the ranker's opinion weighs; 0 for true scores alone.
        """
        sums: dict[str, list[float]] = {}
        for truth in self.truths:
            total = sums.setdefault(truth.prompt_id, [trust * self.ranker.predict(truth.components), trust])
            total[0] += truth.n * (truth.mean - self.ranker.level(truth.batch))
            total[1] += truth.n
        return {prompt_id: round(total / n, 9) for prompt_id, (total, n) in sums.items()}


@on_one_thread
def fit_ranker(truths: Sequence[Truth], corpus: Sequence[Component] = ()) -> Ranker:
    """Fit the model by ridge regression: each weight is drawn to 0 as far as its expected size says.

    Args:
        truths: What was seen.
        corpus: Components to know of before they are tried.
    """
    import numpy as np

    rows = [Counter([("batch", t.batch), *chain.from_iterable(map(_columns, t.components))]) for t in truths]
    names = {*chain.from_iterable(rows), *chain.from_iterable(map(_columns, corpus))}
    columns = {column: place for place, column in enumerate(sorted(names))}
    design = np.zeros((len(rows), len(columns)))
    for place, row in enumerate(rows):
        for column, count in row.items():
            design[place, columns[column]] = count
    weight = np.array([truth.n / NOISE for truth in truths])
    target = np.array([truth.mean for truth in truths])
    prior = np.array([SPREAD[kind] ** -2 for kind, _ in columns])
    # The level of a batch is not known, but it is surely not 0: half is where scores lie on average.
    centre = np.array([0.5 * (kind == "batch") for kind, _ in columns])
    covariance = np.linalg.inv((design * weight[:, None]).T @ design + np.diag(prior))
    tried: Counter[Component] = Counter()
    for truth in truths:
        tried.update({_plain(component): truth.n for component in truth.components})
    weights = covariance @ (design.T @ (weight * target) + prior * centre)
    return Ranker(dict(zip(columns, weights.tolist(), strict=True)), covariance, tried)


def _columns(component: Component) -> tuple[Column, ...]:
    return ("component", component.origin), ("kind", component.kind), ("length", "")


def _plain(component: Component) -> Component:
    """Return the component that a wording stands for."""
    return Component(component.origin, component.kind)

"""Credit: what each component changed in the scores of prompts that gained or lost it, and which to try next.

The table of SPRIG's beam search: a list of score differences for each component of the corpus.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from promptopt.ask import Effect
from promptopt.statistics import Z_95, Interval
from promptopt_strategies.corpus import Component

SLACK = 0.001  # keeps the logarithm's argument above 1 once there is an observation


@dataclass
class Credit:
    """Score differences by component; other wordings are credited to their source.

    Args:
        deltas: By the component's origin.
        evaluations: How many scores stand behind them.
    """

    deltas: dict[str, list[float]] = field(default_factory=dict)
    evaluations: dict[str, int] = field(default_factory=dict)

    def add(self, component: Component, delta: float, n: int) -> None:
        """Note by how much a prompt is better with the component than without it, on n examples."""
        self.deltas.setdefault(component.origin, []).append(delta)
        self.evaluations[component.origin] = self.evaluations.get(component.origin, 0) + n

    def bound(self, component: Component) -> float:
        """Return the upper confidence bound of a component; infinite while nothing is known of it."""
        found = self.deltas.get(component.origin, [])
        total = sum(map(len, self.deltas.values()))
        if not found:
            return math.inf
        return sum(found) / len(found) + math.sqrt(2 * math.log(total + SLACK) / len(found))

    def top(self, corpus: Sequence[Component], k: int) -> list[Component]:
        """Return the k components with the highest bounds, in the corpus' order if equal; all of them at the start."""
        if not self.deltas:
            return list(corpus)
        order = sorted(range(len(corpus)), key=lambda at: (-round(self.bound(corpus[at]), 9), at))
        return [corpus[at] for at in order[:k]]

    def effects(self, known: Sequence[Component]) -> tuple[Effect, ...]:
        """Return what each component was worth on average, largest first; one seen once has no error and is left out.

        Args:
            known: All components that may have been tried, for their classes.
        """
        kinds = {component.origin: component.kind for component in reversed(known)}
        effects = []
        for text, deltas in self.deltas.items():
            if len(deltas) > 1:
                mean, half = _spread(deltas)
                span = Interval(max(-1.0, mean - half), min(1.0, mean + half))
                n = self.evaluations[text]
                effects.append(Effect(kinds.get(text, "written"), text, mean, span.low, span.high, n))
        return tuple(sorted(effects, key=lambda effect: (-abs(effect.estimate), effect.level)))


def _spread(values: Sequence[float]) -> tuple[float, float]:
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, Z_95 * math.sqrt(variance / len(values))

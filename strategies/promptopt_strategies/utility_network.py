"""UtilityNetwork: a small network from features to utility, with hand-written gradients, in numpy.

It is trained on duels by the Bradley-Terry-Luce loss, always from the same first parameters, so that the same duels
give the same network. The two bonuses and ``posterior`` say how unsure its differences are.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from promptopt.ranking import normals

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

BETA_1, BETA_2 = 0.9, 0.999  # Adam's own
BITS = 20
FINER = 2  # slopes are smaller than levels and weights, and get so many bits more


@dataclass(frozen=True)
class UtilityNetwork:
    """A fully connected network with ReLU between its layers and one output.

    What is multiplied is first rounded to so few binary places that sums of products come out exactly, in any order.
    Training blows the last bit of a sum up to another network, and that bit is another on every kind of processor; so
    the same duels would lead to other pairs where a study is resumed on another machine.

    Args:
        sizes: The width of every layer, the input's first and 1 last.
        parameters: All weights and biases, layer by layer, shape (P,).
        origin: The parameters that it is measured against: utilities are the difference to what these give, and
            training is drawn towards them; None measures against nothing.
        bits: Binary places of weights and levels.
    """

    sizes: tuple[int, ...]
    parameters: "Array"
    origin: "Array | None" = None
    bits: int = BITS

    @classmethod
    def first(
        cls, rng: random.Random, sizes: Sequence[int], *, scaled: bool, centred: bool = False
    ) -> "UtilityNetwork":
        """Return the network that training starts from.

        Args:
            rng: Its random stream.
            sizes: The width of every layer.
            scaled: Divide weights by the square root of half their layer's inputs and begin with biases of 0, so that
                utilities have the size of 1; else all parameters are standard normal, as in the released code.
            centred: Measure it against itself, so that before the first duel all utilities are 0.
        """
        import numpy as np

        parts: list[Array] = []
        for inputs, outputs in pairwise(sizes):
            weights, biases = normals(rng, (inputs * outputs,)), normals(rng, (outputs,))
            parts += [weights * (2.0 / inputs) ** 0.5, biases * 0.0] if scaled else [weights, biases]
        parameters = np.concatenate(parts)
        return cls(tuple(sizes), parameters, parameters if centred else None)

    @property
    def size(self) -> int:
        """How many parameters it has."""
        return sum((inputs + 1) * outputs for inputs, outputs in pairwise(self.sizes))

    def values(self, rows: "Array") -> "Array":
        """Return the utilities of rows of features, shape (n,)."""
        import numpy as np

        if self.origin is None:
            return self._level(rows)
        return np.asarray(self._level(rows) - replace(self, parameters=self.origin)._level(rows))

    def pull_back(self, rows: "Array", slopes: "Array") -> "Array":
        """Return the gradient of the sum of slopes times utilities, shape (P,)."""
        import numpy as np

        layers, levels = self._layers(), self._forward(rows)
        back = self._rounded(slopes[:, None], FINER)
        parts: list[Array] = []
        for (weights, _), level, after in zip(reversed(layers), reversed(levels[:-1]), reversed(levels), strict=False):
            if after is not levels[-1]:
                back = back * (after > 0)
            parts = [(level.T @ back).ravel(), back.sum(axis=0), *parts]
            back = self._rounded(back @ weights.T, FINER)
        return np.concatenate(parts)

    def gradients(self, rows: "Array") -> "Array":
        """Return the gradient of each row's utility in all parameters, shape (n, P)."""
        import numpy as np

        layers, levels = self._layers(), self._forward(rows)
        back = np.ones((len(rows), 1))
        parts: list[Array] = []
        for (weights, _), level, after in zip(reversed(layers), reversed(levels[:-1]), reversed(levels), strict=False):
            if after is not levels[-1]:
                back = back * (after > 0)
            parts = [(level[:, :, None] * back[:, None, :]).reshape(len(rows), -1), back, *parts]
            back = back @ weights.T
        return np.concatenate(parts, axis=1)

    def train(
        self, rows: "Array", duels: "Duels", *, steps: int, rate: float, decay: float, epsilon: float = 1e-8
    ) -> "UtilityNetwork":
        """Return the network after so many full-batch Adam steps on the loss, starting from this one.

        Args:
            rows: The features, one a prompt.
            duels: Who beat whom.
            steps: How many.
            rate: Adam's learning rate.
            decay: The factor of the squared parameters in the loss, less those of the origin, times one half.
            epsilon: What Adam adds to the root mean square of the gradient; below it a gradient is not blown up.
        """
        import numpy as np

        if not len(duels.left):
            return self
        met = np.unique(np.concatenate([duels.left, duels.right]))
        local = Duels(np.searchsorted(met, duels.left), np.searchsorted(met, duels.right), duels.left_won, duels.weight)
        now, used = self, rows[met]
        home = np.zeros_like(self.parameters) if self.origin is None else self.origin
        ground = self._level(used) - self.values(used)
        mean, square = np.zeros_like(self.parameters), np.zeros_like(self.parameters)
        for step in range(1, steps + 1):
            gradient = now.pull_back(used, loss_slopes(now._level(used) - ground, local)) + decay * (
                now.parameters - home
            )
            mean = BETA_1 * mean + (1 - BETA_1) * gradient
            square = BETA_2 * square + (1 - BETA_2) * gradient**2
            change = (mean / (1 - BETA_1**step)) / (np.sqrt(square / (1 - BETA_2**step)) + epsilon)
            now = replace(now, parameters=now.parameters - rate * change)
        return now

    def _level(self, rows: "Array") -> "Array":
        return self._forward(rows)[-1][:, 0]

    def _layers(self) -> "list[tuple[Array, Array]]":
        layers, at, parameters = [], 0, self._rounded(self.parameters)
        for inputs, outputs in pairwise(self.sizes):
            weights = parameters[at : at + inputs * outputs].reshape(inputs, outputs)
            at += inputs * outputs
            layers.append((weights, parameters[at : at + outputs]))
            at += outputs
        return layers

    def _forward(self, rows: "Array") -> "list[Array]":
        """Return the input and what every layer gives."""
        import numpy as np

        layers, levels = self._layers(), [self._rounded(rows)]
        for number, (weights, biases) in enumerate(layers, 1):
            level = self._rounded(levels[-1] @ weights + biases)
            levels.append(level if number == len(layers) else np.maximum(level, 0.0))
        return levels

    def _rounded(self, values: "Array", finer: int = 0) -> "Array":
        import numpy as np

        grid = 2.0 ** (self.bits + finer)
        return np.asarray(np.rint(values * grid) / grid)


@dataclass(frozen=True)
class Duels:
    """Duels in numbers.

    Args:
        left: The row of the left prompt, shape (m,).
        right: The row of the right one.
        left_won: 1 where the left one was preferred, 0 where the right one was, 0.5 for a tie.
        weight: How much each counts.
    """

    left: "NDArray[np.intp]"
    right: "NDArray[np.intp]"
    left_won: "Array"
    weight: "Array"


def loss(values: "Array", duels: Duels) -> float:
    """Return the mean Bradley-Terry-Luce negative log-likelihood of duels."""
    import numpy as np

    gap = values[duels.left] - values[duels.right]
    terms = duels.left_won * np.logaddexp(0.0, -gap) + (1 - duels.left_won) * np.logaddexp(0.0, gap)
    return float((duels.weight * terms).sum() / duels.weight.sum())


def loss_slopes(values: "Array", duels: Duels) -> "Array":
    """Return the gradient of ``loss`` in the values, shape (n,)."""
    import numpy as np

    gap = values[duels.left] - values[duels.right]
    surplus = duels.weight * (0.5 * (1.0 + np.tanh(gap / 2)) - duels.left_won) / duels.weight.sum()
    n = len(values)
    return np.asarray(np.bincount(duels.left, surplus, n) - np.bincount(duels.right, surplus, n))


def exact_bonus(gram: "Array", first: int, duels: Duels, *, nu: float, ridge: float) -> "Array":
    """Return the optimism for each prompt against the first: how unsure the difference of their utilities is.

    That is ``nu * ||g(x) - g(first)||`` in the norm of the inverse of ``V = ridge I + sum of f f^T`` over the duels'
    gradient differences f. Its square is ``(|d|^2 - (F d)^T (ridge I + F F^T)^-1 (F d)) / ridge``: a system of the size
    of the duels, and no matrix of P x P. All of it is made of inner products of gradients.

    Args:
        gram: The inner products of the gradients of all prompts, shape (n, n).
        first: The first prompt.
        duels: Those so far; only who met whom counts.
        nu: How much optimism.
        ridge: The weight of what is believed before any duel.

    Reference:
        Lin et al. 2024, arXiv 2405.17346, the second arm.
    """
    import numpy as np

    covariance = posterior(gram, duels, nu=nu, ridge=ridge)
    own = np.diag(covariance)
    return np.asarray(np.sqrt(np.maximum(own - 2 * covariance[first] + own[first], 0.0)))


def diagonal_bonus(gradients: "Array", first: int, duels: Duels, *, nu: float, ridge: float) -> "Array":
    """Return the optimism as the released code has it: ``sqrt(nu * sum d_k^2 / V_kk)``, with the diagonal of V alone.

    It agrees with the exact form at nu = 1 where no two differences have a parameter in common.

    Args:
        gradients: Of every prompt's utility, shape (n, P).
        first: The first prompt.
        duels: Those so far.
        nu: How much optimism.
        ridge: The weight of what is believed before any duel.
    """
    import numpy as np

    away = gradients - gradients[first]
    history = gradients[duels.left] - gradients[duels.right]
    return np.asarray(np.sqrt(nu * (away**2 / (ridge + (history**2).sum(axis=0))).sum(axis=1)))


def posterior(gram: "Array", duels: Duels, *, nu: float, ridge: float) -> "Array":
    """Return the covariance of all utilities that belongs to the exact bonus, shape (n, n)."""
    import numpy as np

    if not len(duels.left):
        return nu**2 * gram / ridge
    met = gram[duels.left] - gram[duels.right]
    among = met[:, duels.left] - met[:, duels.right]
    return np.asarray(nu**2 * (gram - met.T @ np.linalg.solve(ridge * np.eye(len(met)) + among, met)) / ridge)

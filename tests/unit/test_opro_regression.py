"""OPRO solves linear regression with a scripted optimizer model: "faithful means", section 2i, line 10."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from promptopt_strategies.history import best_last


@dataclass(frozen=True)
class Line:
    """A pair of the linear regression demonstration; a lower loss is a higher score."""

    w: int
    b: int
    loss: float

    @property
    def score(self) -> float:
        return -self.loss


def neighbours_of_the_best(meta: str, loss: "Loss", n: int) -> list[str]:
    """Play the optimizer model: read the last pair shown, the best, and write its best unseen neighbours."""
    shown = [(int(w), int(b)) for w, b in re.findall(r"w=(-?\d+), b=(-?\d+)", meta)]
    w, b = shown[-1]
    around = [(w + dw, b + db) for dw in (-1, 0, 1) for db in (-1, 0, 1) if (w + dw, b + db) not in shown]
    return [f"I would try [{w}, {b}]" for w, b in sorted(around, key=lambda pair: loss(*pair))[:n]]


@dataclass(frozen=True)
class Loss:
    rows: Sequence[tuple[float, float]]

    def __call__(self, w: int, b: int) -> float:
        return sum((y - w * x - b) ** 2 for x, y in self.rows)


@pytest.mark.parametrize("repetition", range(5))
def test_opro_2i_10_linear_regression_converges(repetition: int) -> None:
    rng = random.Random(repetition + 1)
    loss = Loss([(x, 15 * x + 14 + rng.gauss(0, 1)) for x in range(1, 51)])
    starts = {(round(rng.uniform(10, 20)), round(rng.uniform(10, 20))) for _ in range(5)}
    history = [Line(w, b, loss(w, b)) for w, b in sorted(starts)]
    for _ in range(15):  # the paper's models take 4 to 13 steps
        shown = best_last(history, 20, float("-inf"))
        assert len({(line.w, line.b) for line in shown}) == len(shown) <= 20
        meta = "\n".join(f"w={line.w}, b={line.b}\nloss: {int(line.loss)}" for line in shown)
        pairs = [re.findall(r"\[(-?\d+), (-?\d+)\]", reply)[-1] for reply in neighbours_of_the_best(meta, loss, 8)]
        seen = {(line.w, line.b) for line in history}
        fresh = dict.fromkeys((int(w), int(b)) for w, b in pairs if (int(w), int(b)) not in seen)
        history += [Line(w, b, loss(w, b)) for w, b in fresh]
        if (15, 14) in fresh:
            break
    else:
        pytest.fail("the true pair was not proposed")

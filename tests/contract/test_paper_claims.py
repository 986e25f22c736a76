"""What the papers of apo and opro claim holds in simulated worlds: many steps beat one at equal evaluations.

Sections 8.3.3 and 8.3.4 of the algorithm notes; the optimizer model is scripted and knows nothing of what is good.
"""

from typing import Any

import pytest

from promptopt.landscape import Landscape
from promptopt.registry import configure
from promptopt.statistics import paired_difference
from promptopt.testing.simulation import sample_context, simulate
from promptopt.testing.writer import scripted_writer
from tests.contract.test_strategies import shared_edits

PLAN, WORLDS = 2000, 15
EDITS = shared_edits()


def true_accuracy(name: str, settings: dict[str, Any], world: int) -> float:
    context, landscape = sample_context(PLAN, ("instruction",), world), Landscape(seed=world)
    found = simulate(configure(name, settings=settings), context, landscape, scripted_writer(EDITS, world))
    assert found.evaluations > 0.5 * PLAN
    return landscape.accuracy(found.best.prompt, context.search)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "at_once"),
    [("opro", {"steps": 1, "samples": 60}), ("apo", {"rounds": 1, "critique_groups": 15, "successors": 60})],
)
def test_many_steps_beat_one_at_equal_evaluations(name: str, at_once: dict[str, Any]) -> None:
    pairs = [(true_accuracy(name, at_once, world), true_accuracy(name, {}, world)) for world in range(WORLDS)]
    assert paired_difference(pairs).interval.low > 0

"""Then: any strategy after any other."""

import itertools
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest

from promptopt.ask import Evaluate, Recommend, together
from promptopt.errors import ConfigError
from promptopt.landscape import Landscape
from promptopt.prompt import Candidate
from promptopt.registry import configure
from promptopt.settings import settings_of
from promptopt.strategy import Estimate, packages_of
from promptopt.testing.simulation import sample_context, simulate
from promptopt.testing.writer import scripted_writer
from promptopt.then import Then


@dataclass(frozen=True)
class Probe:
    """Scores some prompts of its own, one row at a time, and notes what it was told."""

    wanted: int = 1000
    name: ClassVar[str] = "probe"
    version: ClassVar[str] = "3"
    needs: ClassVar[frozenset[str]] = frozenset({"write"})
    control: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("numpy",)
    profiles: ClassVar[dict[str, dict[str, int]]] = {}
    told: ClassVar[list[tuple[int, int]]] = []

    def estimate(self, context):
        return Estimate(min(self.wanted, context.evaluations), writes=7)

    def search(self, context):
        seed = Candidate(context.seeds[0])
        made = [Candidate(context.seeds[0].replace(answer_cue=f"{context.seed} {n}:"), (seed.id,)) for n in range(4)]
        for row in context.search[: self.wanted // 2]:
            one, two = yield from together(Evaluate(made[:1], [row]), Evaluate(made[1:2], [row]))
            self.told.append((context.evaluations, two.remaining))
            yield Recommend(tuple(reversed(made)))
            assert one.evaluations


@pytest.fixture(autouse=True)
def _forget():
    Probe.told.clear()


def test_the_first_sees_its_share_and_is_stopped_when_it_is_used():
    simulate(Then(Probe(), Probe(), share=0.25), sample_context(40), Landscape())
    plans = [plan for plan, _ in Probe.told]
    assert plans == [10] * 5 + [30] * 15
    assert [left for _, left in Probe.told[:5]] == [8, 6, 4, 2, 0]
    assert Probe.told[-1] == (30, 0)


def test_what_the_first_leaves_is_the_seconds():
    simulate(Then(Probe(wanted=4), Probe()), sample_context(100), Landscape())
    assert [plan for plan, _ in Probe.told][:3] == [50, 50, 96]


def test_the_second_starts_from_the_first_ones_ranking_with_random_streams_of_its_own():
    result = simulate(Then(Probe(4), Probe(4)), sample_context(100), Landscape())
    first, second = result.recommendations[0], result.recommendations[-1]
    cues = [c.prompt.answer_cue for c in (*first.ranking, *second.ranking)]
    assert cues[:4] == ["0 3:", "0 2:", "0 1:", "0 0:"]
    assert not cues[4].startswith("0 ")
    assert second.ranking[0].parents == (first.ranking[0].id,)


def test_it_is_what_its_two_are_together():
    both = Then(Probe(), configure("irace"), share=0.3)
    assert (both.name, both.needs, both.control) == ("probe-then-irace", {"write"}, False)
    assert packages_of(both) == ("numpy",)
    told = settings_of(both)
    assert told["first"] == {"name": "probe", "version": "3", "wanted": 1000}
    assert told["second"]["name"] == "irace"
    assert told["share"] == 0.3
    assert both.estimate(sample_context(100)) == Estimate(100, writes=7)


@pytest.mark.parametrize("share", [0.0, 1.0, 1.5, float("nan")])
def test_a_share_that_leaves_one_of_them_nothing_is_refused(share):
    with pytest.raises(ConfigError, match="between 0 and 1"):
        Then(Probe(), Probe(), share)


NAMES = ("apo", "demos", "grid", "irace", "opro", "random", "tpe")


@pytest.mark.parametrize(("first", "second"), list(itertools.product(NAMES, NAMES)))
def test_any_strategy_may_follow_any_other(first, second):
    then = Then(configure(first), configure(second))
    context = sample_context(120)
    result = simulate(then, context, Landscape(), scripted_writer(), max_asks=2000)
    assert not result.overspent
    alone = simulate(then.first, replace(context, evaluations=60), Landscape(), scripted_writer(), max_asks=2000)
    assert [a.fingerprint() for a in result.asks[: len(alone.asks)]] == [a.fingerprint() for a in alone.asks]
    later = [ask for ask in result.asks[len(alone.asks) :] if isinstance(ask, Evaluate)]
    assert alone.best.id in {candidate.id for ask in later for candidate in ask.candidates}

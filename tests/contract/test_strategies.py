"""Every installed strategy keeps the contract, and the recommended profiles beat the control."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from promptopt.ask import Search
from promptopt.registry import configure, strategy_names
from promptopt.strategy import Context, Estimate, Need
from promptopt.testing.simulation import sample_context
from promptopt.testing.strategies import StrategyContract
from promptopt.then import Then
from promptopt_strategies.components import describe_answers, sentences


@dataclass(frozen=True)
class Chain:
    """``Then`` by the names of its two, so that the suite can write it down as JSON and make it in another process."""

    first: str
    second: str
    share: float = 0.5

    name: ClassVar[str] = "chain"
    version: ClassVar[str] = "1"
    needs: ClassVar[frozenset[Need]] = frozenset()
    control: ClassVar[bool] = True  # how good it is, is its two strategies' matter
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    @property
    def then(self) -> Then:
        return Then(configure(self.first), configure(self.second), self.share)

    def search(self, context: Context) -> Search[None]:
        return self.then.search(context)

    def estimate(self, context: Context) -> Estimate:
        return self.then.estimate(context)


def shared_edits() -> tuple[str, ...]:
    """Return the sentences that ``random`` and ``irace`` build prompts from, for the scripted optimizer model."""
    context = sample_context()
    library = sentences(context, context.seeds[0].instruction, describe_answers(context))
    return tuple(text for texts in library.values() for text in texts if text)


class WithScriptedWriter(StrategyContract):
    """Strategies that rewrite the instruction: the control may change it alone, too, out of the same sentences."""

    __test__ = False
    edits = shared_edits()
    editable = ("instruction",)
    plan_to_beat_random = 1500


class TestAPO(WithScriptedWriter):
    __test__ = True
    strategy = configure("apo")


class TestOPRO(WithScriptedWriter):
    __test__ = True
    strategy = configure("opro")
    plan_to_beat_random = 2000  # at 1,500 its lead of three points takes 60 worlds to be seen, at 2,000 it takes 30


class ComparesPairs(StrategyContract):
    """Strategies that ask for a duel at a time, so that a short plan has many asks."""

    __test__ = False
    plan_to_beat_random = 160
    plan_to_stop = 16


class TestDTS(ComparesPairs):
    __test__ = True
    strategy = configure("dts")


class TestPES(ComparesPairs):
    __test__ = True
    strategy = configure("pes")


class TestSPO(ComparesPairs):
    __test__ = True
    strategy = configure("spo")
    plan_to_beat_random = 600  # a chain, which is ahead of a pool once it has come some way


class TestBTL(ComparesPairs):
    __test__ = True
    strategy = configure("btl")


class TestAPOHF(ComparesPairs):
    __test__ = True
    strategy = configure("apohf")


class TestRandomPairs(ComparesPairs):
    __test__ = True
    strategy = configure("random-pairs")


class TestRandom(StrategyContract):
    strategy = configure("random")


class TestIRace(StrategyContract):
    strategy = configure("irace")
    plan_to_beat_random = 300  # the default plan


class EditsPhrases(StrategyContract):
    """Strategies that edit the instruction's phrases: the control changes it alone, too, with the same sentences."""

    __test__ = False
    editable = ("instruction",)
    plan_to_beat_random = 1000


class TestPlumHC(EditsPhrases):
    __test__ = True
    strategy = configure("plum-hc")


class TestPlumSA(EditsPhrases):
    __test__ = True
    strategy = configure("plum-sa")


class TestPlumGA(EditsPhrases):
    __test__ = True
    strategy = configure("plum-ga")


class TestPlumGAC(EditsPhrases):
    __test__ = True
    strategy = configure("plum-gac")


class TestPlumTabu(EditsPhrases):
    __test__ = True
    strategy = configure("plum-tabu")


class TestPlumHarmony(EditsPhrases):
    __test__ = True
    strategy = configure("plum-harmony")


class TestFactorial(StrategyContract):
    strategy = configure("factorial")


class TestSprigBeam(StrategyContract):
    """It puts the system text together, and the control changes every part but that."""

    strategy = configure("sprig-beam")
    plan_to_beat_random = 1200  # at 600 its lead of three points takes more than 30 worlds to be seen


class TestSprigGA(StrategyContract):
    """Likewise."""

    strategy = configure("sprig-ga")


class TestDemos(StrategyContract):
    strategy = configure("demos")
    editable = ("demos",)


class TestGrid(StrategyContract):
    strategy = configure("grid")


class TestTPE(StrategyContract):
    strategy = configure("tpe")
    plan_to_beat_random = 300


class TestRandomThenTPE(StrategyContract):
    strategy = Chain("random", "tpe")


class TestDemosThenIRace(StrategyContract):
    strategy = Chain("demos", "irace", 0.7)


def test_no_strategy_is_forgotten() -> None:
    suites = [cls for cls in globals().values() if isinstance(cls, type) and issubclass(cls, StrategyContract)]
    tested = {cls.strategy.name for cls in suites if hasattr(cls, "strategy")}
    assert set(strategy_names()) <= tested

"""Every installed strategy keeps the contract, and the recommended profiles beat the control."""

from promptopt.registry import configure, strategy_names
from promptopt.testing.simulation import sample_context
from promptopt.testing.strategies import StrategyContract
from promptopt_strategies.components import describe_answers, sentences


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


def test_no_strategy_is_forgotten() -> None:
    classes = [thing for thing in globals().values() if isinstance(thing, type) and issubclass(thing, StrategyContract)]
    tested = {cls.strategy.name for cls in classes if getattr(cls, "__test__", True) and cls is not StrategyContract}
    assert tested == set(strategy_names())

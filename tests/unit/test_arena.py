"""The arena of the searches by duels: how it grows by what an optimizer model writes, and what it leaves behind."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from promptopt.ask import Ask, Compare, Compared, Embed, Embedded, Evaluate, Evaluated, Write, Written
from promptopt.duel import Duel, Preference, Verdict
from promptopt.evaluation import refused
from promptopt.guards import Guards
from promptopt.prompt import Prompt
from promptopt.ranking import Strengths
from promptopt.registry import configure
from promptopt.strategy import Context, Need
from promptopt.testing.answers import drive
from promptopt.testing.simulation import sample_context
from promptopt_strategies.arena import DOMINATED, undominated

SETTINGS = {"pool": 4, "grow_every": 10, "grow_by": 2, "duels": 40, "stop_at": 2.0, "stop_regret": 0.0, "ahead": 0}


@dataclass
class World:
    """An optimizer model that writes prompts with rising numbers, and a person who likes higher ones and says why."""

    write: Callable[[int], str] = lambda n: f"<prompt>Name the kind, version {n}.</prompt>"
    n_written: int = 0

    def __post_init__(self) -> None:
        self.preferences: list[Preference] = []

    def __call__(self, ask: Ask[Any]) -> Any:
        if isinstance(ask, Write):
            self.n_written += ask.n
            numbers = range(self.n_written - ask.n + 1, self.n_written + 1)
            return Written(tuple(self.write(n) for n in numbers))
        if isinstance(ask, Compare):
            self.preferences += [self._judged(duel, n) for n, duel in enumerate(ask.duels, len(self.preferences))]
            return Compared(tuple(self.preferences), 1_000)
        if isinstance(ask, Embed):
            return Embedded(tuple((float(number_of(text)), 1.0) for text in ask.texts))
        if isinstance(ask, Evaluate):
            return Evaluated(tuple(refused(c.id, ask.examples, "made up: an odd one") for c in ask.candidates), 1_000)
        return None

    def _judged(self, duel: Duel, number: int) -> Preference:
        left, right = (number_of(c.prompt.instruction) for c in (duel.left, duel.right))
        verdict: Verdict = "left" if left > right else "right"
        said = (duel.left.id, duel.right.id, duel.example.id, verdict, "ann")
        return Preference(f"{number:04d}", *said, remark=f"remark {number}: say it shorter")


def number_of(text: str) -> int:
    found = text.split("version ")
    return int(found[1].split(".")[0]) if len(found) > 1 else 0


class NoOddOnes(Guards):
    """Refuses every other version."""

    def refusal(self, prompt: Prompt) -> str:
        """Let the seed and even versions through."""
        return "made up: an odd one" if number_of(prompt.instruction) % 2 else ""


def searched(world: World, strategy: str = "dts", guards: Guards | None = None, **settings: Any) -> list[Ask[Any]]:
    context: Context = replace(sample_context(1_000), answers=frozenset[Need]({"write"}), guards=guards or Guards())
    return drive(configure(strategy, settings={**SETTINGS, **settings}).search(context), world)[1]


def improvements(asks: Sequence[Ask[Any]]) -> list[str]:
    return [ask.messages[0].content for ask in asks if isinstance(ask, Write) and ask.purpose == "improve"]


def in_duels(asks: Sequence[Ask[Any]]) -> list[set[int]]:
    return [
        {number_of(c.prompt.instruction) for d in ask.duels for c in (d.left, d.right)}
        for ask in asks
        if isinstance(ask, Compare)
    ]


def test_the_optimizer_model_is_shown_winners_losers_and_what_people_said() -> None:
    for strategy in ("pes", "dts", "btl", "apohf"):
        first, *_, latest = improvements(searched(World(), strategy))
        winners, losers = latest.split("</current>")[:-1], latest.split("<worse>")[1:]
        assert len(winners) == 3
        assert losers
        assert min(map(number_of, winners)) > max(map(number_of, losers)), "by the posterior, and it has it right"
        assert "remark 9: say it shorter" in first
        assert "remark 29: say it shorter" in latest
        assert "remark 2:" not in latest, "the last twelve of them"


def test_new_prompts_come_after_so_many_duels_made_from_the_best_and_they_meet_the_others() -> None:
    asks = searched(World())
    assert len(improvements(asks)) == 3, "after 10, 20 and 30 duels; after the last there is nothing to grow for"
    compared = in_duels(asks)
    assert max(set().union(*compared[:10])) == 3, "three were written beside the seed"
    assert max(set().union(*compared[10:20])) == 5
    assert max(set().union(*compared[30:])) == 9
    children = [
        c for a in asks if isinstance(a, Compare) for d in a.duels for c in (d.left, d.right) if c.operator == "improve"
    ]
    assert children
    assert all(len(c.parents) == 3 for c in children)


def test_what_is_dominated_is_asked_about_no_more() -> None:
    compared = in_duels(searched(World(), duels=120, grow_every=30))
    assert 0 in set().union(*compared[:30])
    assert 0 not in set().union(*compared[-30:]), "the seed has lost to all"


def test_only_what_is_behind_with_confidence_is_dominated() -> None:
    def strengths(spread: float) -> Strengths:
        return Strengths(("a", "b", "c"), np.array([1.0, 0.0, 0.9]), np.eye(3) * spread**2 / 2, {}, 0.1, 9)

    assert undominated(strengths(1.01 / DOMINATED), [0, 2, 1]) == [0, 1, 2]
    assert undominated(strengths(0.99 / DOMINATED), [0, 2, 1]) == [0, 2]
    assert undominated(strengths(1e-9), [0, 2, 1]) == [0], "never the best itself"


def test_texts_that_a_guard_refuses_are_written_down_and_never_compared() -> None:
    asks = searched(World(), guards=NoOddOnes())
    told = {number_of(c.prompt.instruction) for a in asks if isinstance(a, Evaluate) for c in a.candidates}
    compared = set().union(*in_duels(asks))
    assert {1, 3} <= told
    assert all(n % 2 for n in told)
    assert not any(n % 2 for n in compared)
    assert max(compared) > 3


def test_a_model_that_writes_nothing_new_leaves_the_pool_as_it_is() -> None:
    for text in ("", "<prompt></prompt>", "<prompt>Name the kind of the note.</prompt>", "<reason>none"):
        world = World(lambda _, text=text: text)  # type: ignore[misc]
        asks = searched(world)
        assert set().union(set(), *in_duels(asks)) <= {0}
        assert len([ask for ask in asks if isinstance(ask, Write)]) <= 3

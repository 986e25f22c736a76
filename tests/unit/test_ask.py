"""The asks: fingerprints, together, flatten and unflatten, and the Dialogue that drives a strategy by hand."""

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from promptopt.ask import (
    Ask,
    Batch,
    Compare,
    Effect,
    Embed,
    Evaluate,
    Recommend,
    Search,
    Write,
    Written,
    flatten,
    together,
    unflatten,
)
from promptopt.duel import Duel
from promptopt.errors import StrategyError
from promptopt.layout import Message
from promptopt.prompt import Candidate
from promptopt.strategy import Context, Dialogue, Estimate, Need
from tests.toy import toy_task

TASK = toy_task()
SEED = Candidate(TASK.seeds[0])
OTHER = Candidate(TASK.seeds[0].replace(instruction="Other."))
ROWS = TASK.dataset.search
CONTEXT = Context("", TASK.seeds, TASK.dataset.pool, ROWS, evaluations=100)


def write(text: str) -> Write:
    return Write((Message("user", text),))


def rounds(name: str, n: int) -> Search[str]:
    """Ask n times, then return what came back."""
    heard = ""
    for number in range(n):
        heard += (yield from write(f"{name}{number}")).texts[0]
    return heard


def drive(search: Search[Any]) -> tuple[Any, list[list[str]]]:
    """Answer every write with its own text in brackets; return the result and the paths asked in each round."""
    asked: list[list[str]] = []
    answer: Any = None
    while True:
        try:
            ask = search.send(answer)
        except StopIteration as stop:
            return stop.value, asked
        leaves = flatten(ask, str(len(asked)))
        asked.append([path for path, _ in leaves])
        answer = unflatten(ask, str(len(asked) - 1), {path: say(leaf) for path, leaf in leaves})


def say(ask: Ask[Any]) -> Written:
    assert isinstance(ask, Write)
    return Written((f"[{ask.messages[0].content}]",))


def test_sub_searches_end_when_they_end_and_results_keep_their_order() -> None:
    result, asked = drive(together(rounds("a", 1), rounds("b", 3), rounds("c", 2)))
    assert result == ("[a0]", "[b0][b1][b2]", "[c0][c1]")
    assert asked == [["0/0", "0/1", "0/2"], ["1/1", "1/2"], ["2/1"]]


def test_batches_nest() -> None:
    def pair(name: str) -> Search[tuple[str, ...]]:
        return (yield from together(rounds(f"{name}x", 1), rounds(f"{name}y", 2)))

    result, asked = drive(together(pair("p"), rounds("q", 1), pair("r")))
    assert result == (("[px0]", "[py0][py1]"), "[q0]", ("[rx0]", "[ry0][ry1]"))
    assert asked == [["0/0/0", "0/0/1", "0/1", "0/2/0", "0/2/1"], ["1/0/1", "1/2/1"]]


def test_a_plain_ask_is_a_sub_search_too() -> None:
    result, asked = drive(together(write("hello"), rounds("b", 0)))
    assert result == (Written(("[hello]",)), "")
    assert asked == [["0/0"]]


def test_nothing_together_asks_nothing() -> None:
    assert drive(together()) == ((), [])
    assert drive(together(rounds("a", 0), rounds("b", 0))) == (("", ""), [])


def test_closing_a_batch_closes_its_sub_searches() -> None:
    closed: list[str] = []

    def search(name: str) -> Search[None]:
        try:
            yield from write(name)
        finally:
            closed.append(name)

    both = together(search("a"), search("b"))
    next(both)
    both.close()
    assert sorted(closed) == ["a", "b"]


def test_a_simple_ask_flattens_to_itself() -> None:
    ask = write("a")
    assert flatten(ask, "12") == [("12", ask)]
    assert unflatten(ask, "12", {"12": "answer"}) == "answer"


DIFFERENT: list[Ask[Any]] = [
    Evaluate([SEED], ROWS[:2]),
    Evaluate([SEED], ROWS[1::-1]),
    Evaluate([SEED, OTHER], ROWS[:2]),
    Evaluate([SEED], ROWS[:2], "race"),
    write("a"),
    Write((Message("system", "a"),)),
    Write((Message("user", "a"),), n=2),
    Write((Message("user", "a"),), temperature=0.5),
    Write((Message("user", "a"),), max_tokens=5),
    Write((Message("user", "a"),), purpose="edit"),
    Embed(("a",)),
    Compare((Duel(SEED, OTHER, ROWS[0]),)),
    Compare((Duel(OTHER, SEED, ROWS[0]),)),
    Compare((Duel(SEED, OTHER, ROWS[0]),), quorum=2),
    Recommend((SEED,)),
    Recommend((SEED,), "rank"),
    Recommend((SEED,), estimates=(0.5,)),
    Batch({"0": write("a")}),
    Batch({"0": write("a"), "1": write("a")}),
]


def test_different_asks_have_different_fingerprints_and_equal_ones_the_same() -> None:
    assert len({ask.fingerprint() for ask in DIFFERENT}) == len(DIFFERENT)
    assert Evaluate(iter([SEED]), iter(ROWS[:2])).fingerprint() == DIFFERENT[0].fingerprint()
    origin = Candidate(SEED.prompt, ("parent",), "mutate")
    assert Evaluate([origin], ROWS[:2]).fingerprint() == DIFFERENT[0].fingerprint()


def test_the_last_bit_of_an_estimate_does_not_matter_but_effects_are_told() -> None:
    effect = Effect("cue", "Answer:", 0.1, 0.0, 0.2, 30)
    one = Recommend((SEED,), estimates=(0.1 + 0.2,), effects=(effect,))
    assert one.fingerprint() == Recommend((SEED,), estimates=(0.3,)).fingerprint()
    assert one.to_json()["effects"] == [
        {"choice": "cue", "level": "Answer:", "estimate": 0.1, "low": 0.0, "high": 0.2, "n": 30, "against": ""}
    ]


@pytest.mark.parametrize(
    "numbers",
    [
        {"estimates": (0.5, float("nan"))},
        {"p_best": float("nan")},
        {"effects": (Effect("cue", "A", 0.1, -float("inf"), 1.0, 1),)},
    ],
)
def test_a_recommendation_holds_finite_numbers_and_ranks_something(numbers: dict[str, Any]) -> None:
    with pytest.raises(StrategyError, match="not finite"):
        Recommend((SEED,), **numbers)
    with pytest.raises(StrategyError, match="empty ranking"):
        Recommend(())


class TwoQuestions:
    """Asks twice, notes what it heard, and whether it was closed."""

    name: ClassVar = "two"
    version: ClassVar = "1"
    needs: ClassVar = frozenset[Need]()
    control: ClassVar = False
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.closed = False

    def search(self, context: Context) -> Search[None]:
        try:
            for text in ("first", "second"):
                self.heard.append((yield from write(text)))
        finally:
            self.closed = True

    def estimate(self, context: Context) -> Estimate:
        return Estimate(0, writes=2)


@pytest.fixture
def strategy() -> TwoQuestions:
    return TwoQuestions()


def test_a_dialogue_asks_until_it_is_told(strategy: TwoQuestions) -> None:
    dialogue = Dialogue(strategy, CONTEXT)
    first = dialogue.ask()
    assert first is not None
    assert dialogue.ask() is first, "the same one until it is answered"
    dialogue.tell("one")
    assert dialogue.ask() == write("second")
    dialogue.tell("two")
    assert dialogue.ask() is None
    assert strategy.heard == ["one", "two"]
    with pytest.raises(StrategyError, match="without an open ask"):
        dialogue.tell("three")


def test_telling_before_asking_is_refused(strategy: TwoQuestions) -> None:
    with pytest.raises(StrategyError, match="call ask"):
        Dialogue(strategy, CONTEXT).tell("one")


def test_a_closed_dialogue_asks_nothing_more(strategy: TwoQuestions) -> None:
    dialogue = Dialogue(strategy, CONTEXT)
    dialogue.ask()
    dialogue.close()
    assert strategy.closed
    assert dialogue.ask() is None
    early = Dialogue(TwoQuestions(), CONTEXT)
    early.close()
    assert early.ask() is None


def test_an_example_named_twice_is_a_fault() -> None:
    assert CONTEXT.fault(Evaluate([SEED], ROWS[:2])) == ""
    assert CONTEXT.fault(Evaluate([SEED], [ROWS[0], ROWS[0]])) == "names an example twice"


def test_chance_depends_on_seed_and_place_alone() -> None:
    def draws(seed: int, *place: object) -> list[float]:
        rng = Context("", TASK.seeds, (), ROWS, evaluations=1, seed=seed).rng(*place)
        return [rng.random() for _ in range(3)]

    assert draws(1, "race", 2) == draws(1, "race", 2)
    assert len({tuple(d) for d in (draws(1, "race", 2), draws(1, "race", 3), draws(2, "race", 2), draws(1))}) == 4

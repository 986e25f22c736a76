"""What a judge model is shown, how its answers are read in both orders, and the audit that they lead to."""

import math
from collections.abc import Sequence

import pytest

from promptopt.agreement import audit_judges, audit_people, describe, kappa, refusal
from promptopt.backends.base import Reply, Request
from promptopt.budget import Budget, Spend
from promptopt.duel import Preference, Verdict
from promptopt.example import Example
from promptopt.judge_model import JudgeModel, Opinion, Pair, weigh
from promptopt.ledger import Ledger
from tests.fakes import FakeBackend, Say

PAIR = Pair("d", Example({"question": "{left} or {0}?"}, "secret target"), "short", "a longer answer")


def opinion(say: Say, pair: Pair = PAIR, abilities: Sequence[str] = ("likelihood",)) -> tuple[Opinion, list[Request]]:
    backend = FakeBackend(say)
    backend.abilities = frozenset(abilities)
    judged = list(JudgeModel(backend, Ledger(Budget(), Spend()), "Short is good.").judge([pair]))
    assert judged[0] is not None
    return judged[0][1], backend.asked


def chances(odds_of_a: float) -> tuple[float, float]:
    p = 1 / (1 + math.exp(-odds_of_a))
    return p, 1 - p


def leaning(left_is_better: float, first_place: float) -> Say:
    """A judge that sees the left answer better by so much, and likes the first place by so much."""

    def say(request: Request) -> Reply:
        is_straight = "Answer A\nshort" in request.messages[0].content
        odds = first_place + (left_is_better if is_straight else -left_is_better)
        return Reply("ok", "A" if odds > 0 else "B", chances=chances(odds))

    return say


@pytest.mark.parametrize(("better", "verdict"), [(0.3, "left"), (-0.3, "right"), (0.0, "tie")])
def test_a_liking_for_the_first_place_cancels_in_the_log_odds(better: float, verdict: Verdict) -> None:
    said, asked = opinion(leaning(better, first_place=4.0))
    assert said.verdict == verdict
    assert said.detail["orders"] == ["left", "right"], "both orders chose the first place"
    assert len(asked) == 2
    assert all(request.choices == ("A", "B") for request in asked)


def test_the_judge_sees_input_answers_and_criteria_in_both_orders_and_nothing_else() -> None:
    _, (straight, turned) = opinion(leaning(1.0, 0.0))
    one, two = straight.messages[0].content, turned.messages[0].content
    assert "Answer A\nshort\n\nAnswer B\na longer answer" in one
    assert "Answer A\na longer answer\n\nAnswer B\nshort" in two
    for text in (one, two):
        assert "question: {left} or {0}?" in text, "braces stay braces"
        assert "Short is good." in text
        assert "secret target" not in text


def test_without_log_probabilities_only_what_both_orders_say_counts() -> None:
    always_first, _ = opinion(lambda _: Reply("ok", "A"), abilities=("choice",))
    assert always_first.verdict == "tie"

    def short(request: Request) -> Reply:
        return Reply("ok", " A. " if "Answer A\nshort" in request.messages[0].content else "(B)")

    agreed, asked = opinion(short, abilities=("choice",))
    assert agreed.verdict == "left"
    assert all(request.allowed == ("A", "B") and not request.choices for request in asked)
    assert all(not request.allowed for request in opinion(short, abilities=())[1])


@pytest.mark.parametrize("reply", [Reply("ok", "both"), Reply("refused", ""), Reply("failed"), Reply("ok", "AB")])
def test_what_cannot_be_read_in_one_order_is_no_vote(reply: Reply) -> None:
    assert weigh(PAIR, reply, Reply("ok", "A")).verdict == "skip"
    assert weigh(PAIR, Reply("ok", "A"), reply).verdict == "skip"


def test_chances_of_nothing_are_no_certainty() -> None:
    said = weigh(PAIR, Reply("ok", "A", chances=(1.0, 0.0)), Reply("ok", "A", chances=(1.0, 0.0)))
    assert said.verdict == "tie"
    assert all(math.isfinite(odds) for odds in said.detail["log_odds"])


def judged(n: int, verdict: Verdict, orders: list[str], lengths: list[int], example: str = "e") -> list[Preference]:
    detail = {"orders": orders, "lengths": lengths}
    return [
        Preference(f"{example}{k}", "a", "b", f"{example}{k}", verdict, "j", "model", detail=detail) for k in range(n)
    ]


def person(n: int, verdict: Verdict, example: str = "e", who: str = "ann", first: str = "a") -> list[Preference]:
    return [
        Preference(f"{who}{example}{k}", "a", "b", f"{example}{k}", verdict, who, shown_first=first) for k in range(n)
    ]


def test_the_audit_of_a_judge() -> None:
    preferences = [
        *judged(6, "left", ["left", "left"], [9, 4], "p"),
        *judged(2, "right", ["left", "right"], [4, 9], "q"),
        *judged(2, "skip", ["skip", "left"], [1, 1], "r"),
        *person(6, "left", "p"),
        *person(2, "left", "q"),
    ]
    audit = audit_judges(preferences)[0]
    assert (audit.n, audit.unread, audit.shared) == (10, 0.2, 8)
    assert audit.consistency == 6 / 8
    assert audit.first_place == (6 * 1 + 2 * 2) / 16
    assert audit.longer == 1.0
    assert audit.agreement == 6 / 8
    assert audit.kappa is None, "eight shared duels are too few"
    assert describe(preferences)["verdicts"] == {"human": 8, "model": 10}
    assert describe([]) == {}


def test_cohens_kappa_of_a_worked_table() -> None:
    pairs = [("a", "a")] * 20 + [("a", "b")] * 5 + [("b", "a")] * 10 + [("b", "b")] * 15
    assert kappa(pairs) == pytest.approx(0.4)
    assert kappa([("a", "a")] * 5) == 0.0


def test_a_judge_below_the_floor_is_refused_and_one_above_or_unmeasured_is_not() -> None:
    good = [*judged(8, "left", ["left", "left"], [1, 2], "p"), *judged(8, "right", ["right", "right"], [1, 2], "q")]
    same = [*person(8, "left", "p"), *person(8, "right", "q")]
    turned = [*person(8, "right", "p"), *person(8, "left", "q")]
    assert refusal(good) is None
    assert refusal([*good, *same]) is None
    assert "does not decide alone" in str(refusal([*good, *turned]))


def test_the_audit_of_people() -> None:
    catch = Preference("c", "a", "b", "p0", "right", "ann", catch=True, shown_first="b")
    preferences = [*person(4, "left", "p"), catch, *person(4, "right", "p", "bob", "b")]
    ann, bob = audit_people(preferences)
    assert (ann.n, ann.left, ann.repeats, ann.consistency) == (4, 1.0, 1, 0.0)
    assert (bob.n, bob.left, bob.shared, bob.agreement) == (4, 1.0, 4, 0.0)

"""Rubrics: what a judge is shown, how its grades are read, that nothing is asked twice and nothing unread is a zero."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from promptopt.agreement import audit_grades
from promptopt.ask import Evaluate
from promptopt.backends.base import Reply, Request
from promptopt.budget import Budget, Spend, Usage
from promptopt.errors import ConfigError, MetricError
from promptopt.evaluation import Evaluation
from promptopt.evaluator import Evaluator
from promptopt.grader import COMMENT, ORDERS, REMARK, UNREAD, Grader, Place, Work, combine, read
from promptopt.health import TooManyFailuresError
from promptopt.layout import Message
from promptopt.ledger import BudgetSpentError, Ledger
from promptopt.metrics import Rubric, open_metric
from promptopt.prompt import Candidate
from promptopt.store.rows import AskRow, ReadingRow, ScoreRow, StudyRow
from promptopt.store.store import Store
from tests.fakes import FakeBackend, Say
from tests.toy import toy_task

POLITE = Rubric("The answer is polite.", ("rude", "neutral", "polite"))
TASK = replace(toy_task(n_train=90, n_dev=4, n_test=4), metric=POLITE)
ROWS = TASK.dataset.search
SEED = Candidate(TASK.seeds[0])
USAGE = Usage(10, 1)
LISTED = "A. rude\nB. neutral\nC. polite"
TURNED = "A. polite\nB. neutral\nC. rude"
TRAIN = frozenset(example.id for example in TASK.dataset.train)


def answer(_request: Request) -> Reply:
    return Reply("ok", "Yes, please.", USAGE)


def is_remark(request: Request) -> bool:
    return request.messages[0].content.endswith(COMMENT[-1])


def letters_of(request: Request) -> dict[str, str]:
    """Return the letter of each level as this request lists them."""
    lines = request.messages[0].content.split("The levels:\n")[1].split("\n\n")[0].split("\n")
    return {text: letter for letter, text in (line.split(". ", 1) for line in lines)}


def naming(level: str, remark: str = "It lacks a thank you.") -> Say:
    """A judge that names one level, in words."""
    return lambda request: Reply("ok", remark if is_remark(request) else letters_of(request)[level], USAGE)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store.db") as opened:
        opened.put_dataset(TASK.dataset)
        yield opened


class Bench:
    """A study whose outputs a judge grades."""

    def __init__(
        self,
        store: Store,
        judge: Say,
        abilities: Sequence[str] = ("choice",),
        remarked: frozenset[str] = frozenset(),
        calls: int | None = None,
    ) -> None:
        self.store = store
        name = f"study {len(store.studies())}"
        self.id = store.create_study(StudyRow(0, name, {}, "hash", 0, {}, dataset_hash=TASK.dataset.hash))
        self.model, self.judge = FakeBackend(answer), FakeBackend(judge)
        self.judge.abilities = frozenset(abilities)
        self.ledger = Ledger(Budget(calls=calls), Spend())
        self.evaluator = Evaluator(TASK, self.model, store, self.ledger, study_id=self.id)
        self.grader = Grader(self.judge, store, self.ledger, study_id=self.id, remarked=remarked)
        self.evaluator.grade_with(self.grader)

    def ask(self, n: int, path: str = "1") -> Evaluation:
        ask = Evaluate([SEED], ROWS[:n])
        self.store.open_asks(self.id, [AskRow(0, path, ask.kind, ask.fingerprint())])
        return self.evaluator.answer({path: ask})[path][0]

    def replay(self, n: int, path: str = "1") -> Evaluation:
        return self.evaluator.recorded(path, Evaluate([SEED], ROWS[:n]))[0]


def test_a_level_is_worth_its_place_on_the_scale(store: Store) -> None:
    for level, value in (("rude", 0.0), ("neutral", 0.5), ("polite", 1.0)):
        reply = naming(level)(Request("chat", (Message("user", f"The levels:\n{LISTED}\n\n"),)))
        assert read(reply, POLITE, ORDERS[0]) == (value, "")
    assert Bench(store, naming("neutral")).ask(1).scores == {ROWS[0].id: 0.5}


def test_the_judge_sees_input_answer_reference_and_rubric_in_both_orders_and_never_the_prompt(store: Store) -> None:
    bench = Bench(store, naming("neutral"))
    bench.ask(1)
    one, two = (request.messages[0].content for request in bench.judge.asked)
    for text in (one, two):
        assert "What counts: The answer is polite." in text
        assert f"Input\ninput: {ROWS[0].inputs['input']}" in text
        assert f"Reference answer\n{ROWS[0].target}" in text
        assert "Answer\nYes, please." in text
        assert TASK.seeds[0].instruction not in text
    assert LISTED in one
    assert TURNED in two
    for request in bench.judge.asked:
        assert request.messages[0].content.startswith(request.shared[0].content)


def test_log_probabilities_where_the_backend_has_them_else_a_choice_else_words(store: Store) -> None:
    forms: dict[tuple[str, ...], Callable[[Request], bool]] = {
        ("likelihood", "choice"): lambda r: r.choices == ("A", "B", "C") and not r.allowed,
        ("choice",): lambda r: r.allowed == ("A", "B", "C") and not r.choices,
        (): lambda r: not r.allowed and not r.choices,
    }
    for abilities, is_right in forms.items():
        bench = Bench(store, naming("polite"), abilities)
        request = bench.grader._question(Place(Work("k", ROWS[0], "out", POLITE), ORDERS[0]))
        assert is_right(request), abilities


def leaning(chances: Sequence[float], first_place: float) -> Say:
    """A judge that gives the levels these chances, worst first, and likes the first letter by so much."""

    def say(request: Request) -> Reply:
        order = chances if letters_of(request)["rude"] == "A" else chances[::-1]
        raw = [c * (first_place if place == 0 else 1.0) for place, c in enumerate(order)]
        total = sum(raw)
        return Reply("ok", "A", USAGE, chances=tuple(c / total for c in raw))

    return say


@pytest.mark.parametrize("first_place", [1.0, 30.0, 1000.0])
def test_a_liking_for_the_first_letter_does_not_turn_which_output_is_better(first_place: float) -> None:
    def grade(chances: Sequence[float]) -> float:
        say = leaning(chances, first_place)
        rows = []
        for order in ORDERS:
            listed = LISTED if order == ORDERS[0] else TURNED
            request = Request("chat", (Message("user", f"The levels:\n{listed}\n\n"),))
            rows.append(ReadingRow("k", order, *read(say(request), POLITE, order)))
        return combine(rows[0], rows[1], POLITE)

    worse, even, better = grade([0.5, 0.3, 0.2]), grade([0.3, 0.4, 0.3]), grade([0.2, 0.3, 0.5])
    assert worse < even < better
    assert even == pytest.approx(0.5, abs=1e-4)
    assert worse + better == pytest.approx(1.0, abs=1e-4)


def test_without_a_liking_the_score_is_the_expected_level() -> None:
    value, chances = read(Reply("ok", "A", chances=(0.2, 0.3, 0.5)), POLITE, ORDERS[0])
    assert value == pytest.approx(0.3 * 0.5 + 0.5)
    assert chances == "[0.2,0.3,0.5]"
    turned, same = read(Reply("ok", "A", chances=(0.5, 0.3, 0.2)), POLITE, ORDERS[1])
    assert (turned, same) == (value, chances)


@pytest.mark.parametrize("reply", [Reply("ok", "both"), Reply("refused"), Reply("failed"), Reply("ok", "D")])
def test_what_cannot_be_read_is_missing_and_never_a_zero(store: Store, reply: Reply) -> None:
    bench = Bench(store, lambda request: reply if letters_of(request)["rude"] == "A" else Reply("ok", "A", USAGE))
    seen = bench.ask(1)
    assert seen.n_valid == 0
    assert {(o.status, o.score, o.output, o.feedback) for o in seen.outcomes} == {
        ("failed", None, "Yes, please.", UNREAD)
    }
    assert bench.replay(1) == seen
    audit = bench.grader.audit(TASK.rubrics)
    assert audit is not None
    assert (audit.n, audit.unread) == (1, 1.0)


def test_an_unread_grade_is_asked_for_again_by_another_ask_and_the_first_answer_stays(store: Store) -> None:
    said = iter(["mumble", "A"] + ["A", "C"] * 3)
    bench = Bench(store, lambda request: Reply("ok", next(said), USAGE))
    first = bench.ask(1)
    second = bench.ask(1, "2")
    assert (first.n_valid, second.n_valid) == (0, 1)
    assert len(bench.model.asked) == 1, "the task model's answer is not asked for again"
    assert bench.replay(1) == first
    assert bench.replay(1, "2") == second


def test_nothing_is_asked_twice_and_another_study_finds_the_grades(store: Store) -> None:
    bench = Bench(store, naming("neutral"))
    seen = bench.ask(4)
    assert len(bench.judge.asked) == 8
    again = Bench(store, naming("rude"))
    assert again.ask(4) == seen
    assert (len(again.model.asked), len(again.judge.asked)) == (0, 0)
    assert bench.replay(4) == seen


def test_a_grade_that_another_study_stored_meanwhile_is_the_one_that_holds(store: Store) -> None:
    def slow(request: Request) -> Reply:
        key = next(bench.evaluator.pairs(Evaluate([SEED], ROWS[:1]))).key
        store.add_outcomes([], [ScoreRow(key, bench.evaluator.metric_key, 1.0, "theirs")], [])
        return naming("neutral")(request)

    bench = Bench(store, slow)
    seen = bench.ask(2)
    assert seen.scores == {ROWS[0].id: 1.0, ROWS[1].id: 0.5}
    assert bench.replay(2) == seen


def test_what_a_cap_leaves_undone_goes_on_without_repeating_a_call(store: Store) -> None:
    bench = Bench(store, naming("neutral"), calls=7)
    with pytest.raises(BudgetSpentError):
        bench.ask(4)
    assert (len(bench.model.asked), len(bench.judge.asked)) == (4, 3)
    rest = Bench(store, naming("neutral"))
    assert rest.ask(4).n_valid == 4
    assert (len(rest.model.asked), len(rest.judge.asked)) == (0, 5)


def test_the_judge_is_paid_from_the_same_budget_and_the_store_keeps_it(store: Store) -> None:
    bench = Bench(store, naming("neutral"), abilities=("choice", "write"), remarked=TRAIN)
    bench.ask(3)
    assert bench.ledger.spend.calls == 3 + 6 + 3
    stored = store.spend(bench.id)
    assert (stored.calls, stored.tokens) == (12, 12 * 11)


def test_remarks_reach_the_feedback_below_the_best_level_only(store: Store) -> None:
    bench = Bench(store, naming("neutral"), ("choice", "write"), TRAIN)
    seen = bench.ask(2)
    assert [o.feedback for o in seen.outcomes] == ["The judge's level is 2 of 3: neutral. It lacks a thank you."] * 2
    assert bench.replay(2).outcomes[0].feedback == seen.outcomes[0].feedback
    plain = Bench(store, naming("neutral"), ("choice", "write"))
    assert [o.feedback for o in plain.ask(2).outcomes] == ["The judge's level is 2 of 3: neutral."] * 2
    assert plain.judge.asked == [], "readings are the same with remarks and without"


def test_levels_alone_say_what_counts_in_a_remark_too(store: Store) -> None:
    grader = Bench(store, naming("rude")).grader
    work = Work("k", ROWS[0], "out", Rubric(levels=("rude", "kind to everybody")))
    assert "What counts: kind to everybody" in grader._question(Place(work, REMARK)).messages[0].content
    assert "What counts:" not in grader._question(Place(work, ORDERS[0])).messages[0].content


def test_the_best_level_and_a_judge_that_cannot_write_bring_no_remark(store: Store) -> None:
    best = Bench(store, naming("polite"), ("choice", "write"), TRAIN)
    best.ask(2)
    assert not any(map(is_remark, best.judge.asked))
    small = Bench(store, naming("rude"), ("choice",), TRAIN)
    small.ask(3)
    assert not any(map(is_remark, small.judge.asked))


def test_a_judge_that_nobody_can_read_stops_the_study(store: Store) -> None:
    bench = Bench(store, lambda _: Reply("ok", "As a judge, I think it is fine."), abilities=())
    with pytest.raises(TooManyFailuresError, match="none of the first 40 outputs got a grade from fake:"):
        bench.ask(45)


def test_the_audit_of_grades() -> None:
    readings = [(0.2, 0.4, 10), (0.5, 0.7, 20), (0.9, 0.9, 40)]
    audit = audit_grades("judge", readings, 1)
    assert (audit.n, audit.unread) == (4, 0.25)
    assert audit.gap == pytest.approx(0.4 / 3)
    assert audit.first_place == pytest.approx(0.4 / 3)
    assert audit.longer == pytest.approx(1.0)
    nothing = audit_grades("judge", [], 2)
    assert (nothing.gap, nothing.first_place, nothing.longer, nothing.unread) == (None, None, None, 1.0)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({}, "The rubric is empty"),
        ({"text": "  "}, "The rubric is empty"),
        ({"levels": ("good",)}, "name 2 to 10"),
        ({"levels": tuple("abcdefghijk")}, "name 2 to 10"),
        ({"levels": ("bad", " ")}, "a level is empty"),
        ({"levels": ("bad", "bad ")}, "two levels are the same"),
    ],
)
def test_a_rubric_that_says_nothing_is_refused_in_one_sentence(settings: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        open_metric("rubric", **settings)
    assert "\n" not in str(caught.value)


def test_a_rubric_scores_nothing_by_itself_and_its_key_is_its_content() -> None:
    with pytest.raises(MetricError, match="A judge model has to grade"):
        POLITE.score("out", ROWS[0])
    keys = {Rubric("a").key, Rubric("b").key, Rubric("a", ("x", "y")).key, POLITE.key}
    assert len(keys) == 4
    assert math.isclose(Rubric("a").worth(1), 0.25)

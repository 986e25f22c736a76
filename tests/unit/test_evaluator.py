"""Evaluator: the cache, what counts as missing, and that an answer is what replaying will find."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from promptopt.ask import Evaluate
from promptopt.backends.base import Reply, Request
from promptopt.budget import Budget, Spend, Usage
from promptopt.errors import ConfigError, MetricError, ReplayError
from promptopt.evaluation import Evaluation
from promptopt.evaluator import CacheMode, Evaluator
from promptopt.example import Example
from promptopt.health import Health, TooManyFailuresError
from promptopt.ledger import BudgetSpentError, Ledger
from promptopt.metric import Score
from promptopt.prompt import Candidate
from promptopt.store.rows import AskRow, StudyRow
from promptopt.store.store import Store
from promptopt.task import Decoding, Task
from tests.fakes import FakeBackend, Say
from tests.toy import Same, toy_task

TASK = toy_task(n_train=90, n_dev=4, n_test=4)
ROWS = TASK.dataset.search
NO_CAPS = Budget()
SEED = Candidate(TASK.seeds[0])
OTHER = Candidate(TASK.seeds[0].replace(instruction="Another one."))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store.db") as opened:
        opened.put_dataset(TASK.dataset)
        yield opened


class Bench:
    """A study with its evaluator; each ask gets a path of its own."""

    def __init__(
        self,
        store: Store,
        say: Say,
        task: Task = TASK,
        cache: CacheMode = "on",
        budget: Budget = NO_CAPS,
        min_valid: float = 0.9,
    ) -> None:
        number = len(store.studies())
        self.store = store
        self.id = store.create_study(StudyRow(0, f"study {number}", {}, "hash", 0, {}, dataset_hash=TASK.dataset.hash))
        self.backend = FakeBackend(say)
        self.ledger = Ledger(budget, Spend(), health=Health(min_valid))
        self.evaluator = Evaluator(task, self.backend, store, self.ledger, study_id=self.id, cache=cache)

    def again(self, say: Say, min_valid: float = 0.9) -> "Bench":
        """Return the same study in a new session."""
        other = Bench(self.store, say, min_valid=min_valid)
        other.id, other.evaluator.study_id = self.id, self.id
        return other

    def ask(self, ask: Evaluate, path: str = "0") -> tuple[Evaluation, ...]:
        self.store.open_asks(self.id, [AskRow(int(path), path, ask.kind, ask.fingerprint())])
        return self.evaluator.answer({path: ask})[path]

    @property
    def n_asked(self) -> int:
        return len(self.backend.asked)


def red(request: Request) -> Reply:
    return Reply("ok", "red", Usage(10, 1))


def in_turn(*replies: Reply) -> Callable[[Request], Reply]:
    """Say these, one after the other, then the last for ever."""
    left = list(replies)
    return lambda request: left.pop(0) if len(left) > 1 else left[0]


FAILED = Reply("failed", error="The server is gone.")


def test_an_answer_has_a_score_for_each_pair_in_the_order_asked(store: Store) -> None:
    bench = Bench(store, red)
    first, second = bench.ask(Evaluate([SEED, OTHER], ROWS[:3]))
    assert (first.prompt_id, second.prompt_id) == (SEED.id, OTHER.id)
    assert [o.example_id for o in second.outcomes] == [e.id for e in ROWS[:3]]
    assert [o.score for o in first.outcomes] == [float(e.target == "red") for e in ROWS[:3]]
    assert bench.n_asked == 6
    assert first.outcomes[0].usage == Usage(10, 1)


def test_what_is_known_is_not_asked_again_in_this_study_or_another(store: Store) -> None:
    bench = Bench(store, red)
    first = bench.ask(Evaluate([SEED], ROWS[:3]))
    assert bench.ask(Evaluate([SEED, OTHER], ROWS[:4]), "1")[0].outcomes[:3] == first[0].outcomes
    assert bench.n_asked == 3 + 1 + 4
    other = Bench(store, red)
    assert other.ask(Evaluate([SEED], ROWS[:4]))[0].scores.keys() == {e.id for e in ROWS[:4]}
    assert (other.n_asked, other.ledger.spend.calls) == (0, 0)


def test_another_model_or_decoding_is_another_question(store: Store) -> None:
    Bench(store, red).ask(Evaluate([SEED], ROWS[:2]))
    longer = Bench(store, red, replace(TASK, decoding=Decoding(max_tokens=99)))
    longer.ask(Evaluate([SEED], ROWS[:2]))
    assert longer.n_asked == 2
    stranger = Bench(store, red)
    stranger.evaluator._model_key = "another model"
    stranger.ask(Evaluate([SEED], ROWS[:2]))
    assert stranger.n_asked == 2


def test_without_the_cache_a_study_uses_its_own_outcomes_only(store: Store) -> None:
    Bench(store, red).ask(Evaluate([SEED], ROWS[:3]))
    alone = Bench(store, lambda request: Reply("ok", "green"), cache="off")
    answer = alone.ask(Evaluate([SEED], ROWS[:3]))
    assert alone.n_asked == 3
    assert {o.output for o in answer[0].outcomes} == {"green"}
    assert alone.evaluator.recorded("0", Evaluate([SEED], ROWS[:3])) == answer
    alone.ask(Evaluate([SEED], ROWS[:3]), "1")
    assert alone.n_asked == 3, "its own are known"


def test_repeats_are_draws_of_their_own_and_each_is_made_once(store: Store) -> None:
    said = iter(["red", "green", "blue", "red", "green", "blue"])
    bench = Bench(store, lambda request: Reply("ok", next(said)), replace(TASK, decoding=Decoding(seed=5)))
    bench.backend.concurrency = 1
    draws = [bench.ask(Evaluate([SEED], ROWS[:2], repeat=r), str(r))[0] for r in range(3)]
    assert [[o.output for o in draw.outcomes] for draw in draws] == [
        ["red", "green"],
        ["blue", "red"],
        ["green", "blue"],
    ]
    assert [request.seed for request in bench.backend.asked] == [5, 5, 6, 6, 7, 7]
    again = [bench.ask(Evaluate([SEED], ROWS[:2], repeat=r), f"1{r}")[0] for r in range(3)]
    assert again == draws
    assert bench.n_asked == 6
    assert Evaluate([SEED], ROWS[:2]).fingerprint() != Evaluate([SEED], ROWS[:2], repeat=1).fingerprint()


@dataclass(frozen=True)
class Length(Same):
    """As many points as letters."""

    name: str = "length"
    key: str = "length-1"

    def score(self, output: str, example: Example) -> Score:
        return Score(len(output) / 10, "long")


def test_another_metric_scores_stored_outputs_without_a_call(store: Store) -> None:
    Bench(store, red).ask(Evaluate([SEED], ROWS[:3]))
    again = Bench(store, red, replace(TASK, metric=Length()))
    answer = again.ask(Evaluate([SEED], ROWS[:3]))
    assert again.n_asked == 0
    assert [(o.score, o.feedback) for o in answer[0].outcomes] == [(0.3, "long")] * 3
    keys = [pair.key for pair in again.evaluator.pairs(Evaluate([SEED], ROWS[:3]))]
    assert store.scores(keys, "same-1").keys() == store.scores(keys, "length-1").keys() == set(keys)


def test_what_a_study_with_another_metric_stored_first_is_scored_by_this_one(store: Store) -> None:
    other, ask = Bench(store, red, replace(TASK, metric=Length())), Evaluate([SEED], ROWS[:2])

    def late(_request: Request) -> Reply:
        if not other.n_asked:
            other.ask(ask)
        return Reply("ok", "something else")

    bench = Bench(store, late)
    answer = bench.ask(ask)
    assert [o.score for o in answer[0].outcomes] == [float(row.target == "red") for row in ROWS[:2]]
    assert bench.evaluator.recorded("0", ask) == answer


def test_prompts_that_render_alike_share_one_call_and_keep_their_names(store: Store) -> None:
    named = TASK.seeds[0].replace(system="Be {{brief}}."), TASK.seeds[0].replace(system="Be {{brief}}.", unused="x")
    bench = Bench(store, red)
    answer = bench.ask(Evaluate(map(Candidate, named), ROWS[:3]))
    assert named[0].id != named[1].id
    assert bench.n_asked == 3
    assert [e.prompt_id for e in answer] == [p.id for p in named]
    assert {o.prompt_id for o in answer[1].outcomes} == {named[1].id}
    assert bench.evaluator.recorded("0", Evaluate(map(Candidate, named), ROWS[:3])) == answer


def test_prompts_that_render_alike_share_a_failure_too(store: Store) -> None:
    alike = [SEED, Candidate(SEED.prompt.replace(unused="x"))]
    bench = Bench(store, in_turn(FAILED, Reply("ok", "red")), min_valid=0.0)
    answer = bench.ask(Evaluate(alike, ROWS[:2]))
    assert [[o.status for o in e.outcomes] for e in answer] == [["failed", "ok"]] * 2
    assert bench.evaluator.recorded("0", Evaluate(alike, ROWS[:2])) == answer


def test_a_failure_is_missing_and_answers_nobody_else(store: Store) -> None:
    bench = Bench(store, in_turn(Reply("ok", "red"), FAILED, Reply("ok", "red")))
    bench.backend.concurrency = 1
    (answer,) = bench.ask(Evaluate([SEED], ROWS[:3]))
    assert [o.status for o in answer.outcomes] == ["ok", "failed", "ok"]
    assert (answer.outcomes[1].score, answer.outcomes[1].feedback) == (None, "The server is gone.")
    assert answer.n_valid == 2
    (again,) = bench.ask(Evaluate([SEED], ROWS[:3]), "1")
    assert [o.status for o in again.outcomes] == ["ok"] * 3
    assert bench.n_asked == 4
    (kept,) = bench.evaluator.recorded("0", Evaluate([SEED], ROWS[:3]))
    assert [o.status for o in kept.outcomes] == ["ok", "failed", "ok"], "an answer is final"
    other = Bench(store, red)
    assert other.ask(Evaluate([SEED], ROWS[:3]))[0].n_valid == 3
    assert other.n_asked == 0


def test_the_words_of_a_failure_are_those_that_replaying_finds(store: Store) -> None:
    replies = in_turn(Reply("failed", error="First."), Reply("failed", error="Second."))
    bench = Bench(store, replies, min_valid=0.0)
    bench.ask(Evaluate([SEED], ROWS[:1]))
    live = bench.ask(Evaluate([SEED], ROWS[:1]), "1")
    assert live == bench.evaluator.recorded("1", Evaluate([SEED], ROWS[:1]))


@pytest.mark.parametrize("status", ["refused", "malformed"])
def test_refused_and_malformed_are_missing_and_not_asked_again(store: Store, status: str) -> None:
    say = lambda request: Reply(status, "no", error="Declined.")  # type: ignore[arg-type]  # noqa: E731
    bench = Bench(store, say, min_valid=0.0)
    (answer,) = bench.ask(Evaluate([SEED], ROWS[:3]))
    assert {(o.status, o.score, o.feedback) for o in answer.outcomes} == {(status, None, "Declined.")}
    bench.ask(Evaluate([SEED], ROWS[:3]), "1")
    assert bench.n_asked == 3


@pytest.mark.parametrize(("scored", "n_valid"), [(True, 3), (False, 0)])
def test_truncated_answers_count_where_the_task_says_so(store: Store, scored: bool, n_valid: int) -> None:
    task = replace(TASK, decoding=Decoding(score_truncated=scored))
    bench = Bench(store, lambda request: Reply("truncated", "re"), task)
    (answer,) = bench.ask(Evaluate([SEED], ROWS[:3]))
    assert answer.n_valid == n_valid
    assert {o.status for o in answer.outcomes} == {"truncated"}


def test_too_many_failures_stop_it_and_what_came_is_kept(store: Store) -> None:
    bench = Bench(store, in_turn(*[Reply("ok", "red")] * 7, FAILED))
    bench.backend.concurrency = 1
    with pytest.raises(TooManyFailuresError, match=r"5 of 12 calls failed.* 10% missing.*server is gone"):
        bench.ask(Evaluate([SEED], ROWS[:12]))
    again = bench.again(red)
    (answer,) = again.ask(Evaluate([SEED], ROWS[:12]))
    assert answer.n_valid == 12
    assert (bench.n_asked, again.n_asked) == (12, 5), "only those that failed are asked again"


def test_what_failed_before_fails_again_without_stopping_a_search_that_goes_on(store: Store) -> None:
    unlucky = {example.id for example in ROWS[::2]}
    questions = {SEED.prompt.template(TASK.fields).render(example) for example in ROWS[::2]}
    say = lambda request: FAILED if request.messages in questions else red(request)  # noqa: E731
    bench = Bench(store, say, min_valid=0.4)
    bench.ask(Evaluate([SEED], ROWS))
    again = bench.again(say, min_valid=0.4)
    (answer,) = again.ask(Evaluate([SEED], ROWS), "1")
    assert {outcome.example_id for outcome in answer.outcomes if outcome.score is None} == unlucky
    assert again.n_asked == len(unlucky)


def test_a_model_that_is_gone_is_noticed_at_once_and_over_asks(store: Store) -> None:
    gone = Bench(store, lambda request: FAILED)
    gone.backend.concurrency = 1
    with pytest.raises(TooManyFailuresError, match="2 of 2"):
        gone.ask(Evaluate([OTHER], ROWS[:30]))
    slowly = Bench(store, lambda request: red(request) if slowly.n_asked % 4 else FAILED)
    slowly.backend.concurrency = 1
    for path in range(0, 15, 3):
        slowly.ask(Evaluate([SEED], ROWS[path : path + 3]), str(path))
    with pytest.raises(TooManyFailuresError, match=r"[0-9]+ of [0-9]+ calls"):
        slowly.ask(Evaluate([SEED], ROWS[15:60]), "99")


def test_a_few_may_fail_by_chance_and_more_where_the_study_says_so(store: Store) -> None:
    tenth = Bench(store, in_turn(*[Reply("ok", "red")] * 9, FAILED))
    tenth.backend.concurrency = 1
    assert tenth.ask(Evaluate([SEED], ROWS[:10]))[0].n_valid == 9
    patient = Bench(store, in_turn(*[Reply("ok", "red")] * 7, FAILED), min_valid=0.0)
    patient.backend.concurrency = 1
    assert patient.ask(Evaluate([OTHER], ROWS[:10]))[0].n_valid == 7


def test_a_cap_stops_it_and_what_came_is_kept(store: Store) -> None:
    bench = Bench(store, red, budget=Budget(calls=5))
    with pytest.raises(BudgetSpentError):
        bench.ask(Evaluate([SEED], ROWS[:9]))
    richer = Bench(store, red)
    richer.ask(Evaluate([SEED], ROWS[:9]))
    assert (bench.n_asked, richer.n_asked) == (5, 4)


@dataclass(frozen=True)
class Broken(Same):
    """A metric that gives what it should not, or raises."""

    value: float | None = None

    def score(self, output: str, example: Example) -> Score:
        if self.value is None:
            raise MetricError("cannot be scored")
        return Score(self.value)


@pytest.mark.parametrize("value", [float("nan"), -0.1, 1.1])
def test_a_score_outside_0_to_1_never_gets_in(store: Store, value: float) -> None:
    bench = Bench(store, red, replace(TASK, metric=Broken(value=value)))
    (answer,) = bench.ask(Evaluate([SEED], ROWS[:1]))
    assert (answer.n, answer.n_valid) == (1, 0)
    with pytest.raises(TooManyFailuresError, match=r"2 of 2 outputs.*not from 0 to 1"):
        bench.ask(Evaluate([SEED], ROWS[1:2]), "1")


def test_an_output_that_cannot_be_scored_is_missing_and_paid_once(store: Store) -> None:
    bench = Bench(store, red, replace(TASK, metric=Broken()))
    (answer,) = bench.ask(Evaluate([SEED], ROWS[:1]))
    assert (answer.outcomes[0].status, answer.outcomes[0].score) == ("ok", None)
    assert bench.evaluator.recorded("0", Evaluate([SEED], ROWS[:1])) == (answer,)
    assert bench.ask(Evaluate([SEED], ROWS[:1]), "1") == (answer,), "a row that fails again is one row"
    assert bench.n_asked == 1
    assert store.spend(bench.id).calls == 1


@dataclass(frozen=True)
class Picky(Same):
    """A metric of somebody else's that raises on some rows."""

    rows: frozenset[str] = frozenset()

    def score(self, output: str, example: Example) -> Score:
        if example.id in self.rows:
            raise KeyError("colour")
        return super().score(output, example)


def test_a_few_outputs_that_cannot_be_scored_are_missing_and_more_pause(store: Store) -> None:
    few = Picky(rows=frozenset(row.id for row in ROWS[10:12]))
    (answer,) = Bench(store, red, replace(TASK, metric=few)).ask(Evaluate([SEED], ROWS[:40]))
    assert (answer.n, answer.n_valid) == (40, 38)
    many = Picky(key="many", rows=frozenset(row.id for row in ROWS[20:40]))
    again = Bench(store, red, replace(TASK, metric=many))
    said = (
        rf"could not be scored.*same raised KeyError: 'colour' \(example {ROWS[20].id[:4]}|its row begins 'item number"
    )
    with pytest.raises(TooManyFailuresError, match=said):
        again.ask(Evaluate([SEED], ROWS[:40]))
    assert again.n_asked == 0


def test_prompts_that_render_otherwise_than_when_answered_are_no_replay(store: Store) -> None:
    bench = Bench(store, red)
    ask = Evaluate([SEED], ROWS[:2])
    bench.ask(ask)
    bench.evaluator._model_key = "another release"
    bench.evaluator._forms.clear()
    with pytest.raises(ReplayError, match=r"Ask 0 .*--fork"):
        bench.evaluator.recorded("0", ask)


def test_asks_side_by_side_share_their_calls(store: Store) -> None:
    bench = Bench(store, red)
    asks = {"0/0": Evaluate([SEED], ROWS[:3]), "0/1": Evaluate([SEED, OTHER], ROWS[1:4])}
    store.open_asks(bench.id, [AskRow(0, path, ask.kind, ask.fingerprint()) for path, ask in asks.items()])
    seen: list[tuple[int, int]] = []
    answers = bench.evaluator.answer(asks, lambda done, total: seen.append((done, total)))
    assert bench.n_asked == 4 + 3
    assert answers["0/1"][0].outcomes[:2] == answers["0/0"][0].outcomes[1:]
    assert seen[-1] == (9, 9)
    assert seen == sorted(seen)


@pytest.mark.parametrize("n", [2, 3])
def test_requests_of_one_prompt_stand_together(store: Store, n: int) -> None:
    bench = Bench(store, red)
    bench.ask(Evaluate([SEED, OTHER], ROWS[:n]))
    assert [request.group for request in bench.backend.asked] == [SEED.id] * n + [OTHER.id] * n


def test_likelihood_wants_a_closed_set_and_a_model_that_can(store: Store) -> None:
    task = replace(TASK, decoding=Decoding(scoring="likelihood"))
    bench = Bench(store, red, task)
    bench.ask(Evaluate([SEED], ROWS[:1]))
    assert bench.backend.asked[0].choices == ("red", "green", "blue")
    weak = FakeBackend()
    weak.abilities = frozenset()
    with pytest.raises(ConfigError, match="fake: cannot do scoring = likelihood"):
        Evaluator(task, weak, store, bench.ledger, study_id=bench.id)
    rows = tuple(replace(example, choices=()) for example in ROWS)
    open_task = replace(task, dataset=replace(TASK.dataset, train=rows, dev=(), test=()))
    with pytest.raises(ConfigError, match="closed set of choices"):
        Evaluator(open_task, bench.backend, store, bench.ledger, study_id=bench.id)

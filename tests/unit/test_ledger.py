"""Ledger: every call is reserved before it is sent, so no cap is passed, and what room there is gets used."""

from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace

import pytest

from promptopt.backends.base import Again, K, Reply, Request, always
from promptopt.budget import Budget, Prices, Spend, Usage
from promptopt.errors import FatalBackendError
from promptopt.health import Health, TooManyFailuresError
from promptopt.layout import Message
from promptopt.ledger import BudgetSpentError, Ledger
from tests.fakes import FakeBackend


def requests(n: int, text: str = "one two") -> list[tuple[int, Request]]:
    return [(i, Request("chat", (Message("user", f"{text} {i}"),), max_tokens=5)) for i in range(n)]


def run(ledger: Ledger, backend: FakeBackend, n: int) -> tuple[list[int], str]:
    """Return which requests were answered, and the cap that ended it."""
    done: list[int] = []
    try:
        done.extend(arrival[0] for arrival in ledger.run(backend, requests(n)) if arrival)
    except BudgetSpentError as spent:
        return done, spent.unit
    return done, ""


def test_without_caps_all_is_answered_and_counted() -> None:
    ledger = Ledger(Budget(evaluations=1), Spend(calls=3, tokens=10))
    done, unit = run(ledger, FakeBackend(), 10)
    assert (done, unit) == (list(range(10)), "")
    assert (ledger.spend.calls, ledger.spend.tokens) == (13, 10 + 10 * 4)


@pytest.mark.parametrize("concurrency", [1, 3, 64])
def test_a_cap_of_calls_is_used_to_the_last_and_not_passed(concurrency: int) -> None:
    ledger = Ledger(Budget(calls=10), Spend(calls=3))
    backend = FakeBackend(concurrency=concurrency)
    done, unit = run(ledger, backend, 20)
    assert (len(done), len(backend.asked), unit) == (7, 7, "calls")


def test_scoring_choices_reserves_the_prompt_three_times_for_each() -> None:
    def say(request: Request) -> Reply:
        return Reply("ok", "a", Usage(3 * 12, 3))

    choices = [
        (i, Request("chat", (Message("user", "1234"),), max_tokens=1, choices=("a", "b", "c"))) for i in range(9)
    ]
    ledger = Ledger(Budget(tokens=300), Spend())
    with pytest.raises(BudgetSpentError):
        list(ledger.run(FakeBackend(say), choices))
    assert ledger.spend.tokens == 3 * 39, "a fourth may take up to 9 x (12 + 9) + 9 = 198 more"


def chatty(request: Request) -> Reply:
    """Say something, on a server whose template has 40 tokens of its own."""
    return Reply("ok", "x", Usage(43, 1))


def test_what_a_template_adds_is_reserved_in_full_until_it_has_been_seen() -> None:
    backend = FakeBackend(chatty, concurrency=8)
    backend.added_tokens = 1_000
    ledger = Ledger(Budget(tokens=2_500), Spend())
    done, unit = run(ledger, backend, 1_000)
    assert unit == "tokens"
    assert 2_500 - 44 - 66 < ledger.spend.tokens <= 2_500
    assert len(done) > 50, "the bound of a call has come down from 1,022 to 65"


def test_a_cap_that_cannot_hold_one_call_says_so_and_not_that_it_is_spent() -> None:
    backend = FakeBackend(chatty)
    backend.added_tokens = 1_000
    with pytest.raises(BudgetSpentError, match="tokens has no room for a first call, which may take up to 1,022"):
        list(Ledger(Budget(tokens=900), Spend()).run(backend, requests(3)))
    assert backend.asked == []


def test_raw_text_has_no_template() -> None:
    backend = FakeBackend(chatty)
    backend.added_tokens = 1_000
    raw = Request("completion", (Message("text", "one two three four five six seven"),), max_tokens=5)
    assert len(list(Ledger(Budget(tokens=100), Spend()).run(backend, [(0, raw)]))) == 1


def test_a_server_that_tells_no_tokens_is_charged_the_bound_under_a_cap() -> None:
    replies = [
        arrival[1]
        for arrival in Ledger(Budget(tokens=100), Spend()).run(FakeBackend(lambda _: Reply("ok", "x")), requests(2))
        if arrival
    ]
    assert [reply.usage.tokens for reply in replies] == [22, 22]


def test_a_server_that_takes_more_than_it_can_ends_it_under_a_cap() -> None:
    greedy = FakeBackend(lambda _: Reply("ok", "x", Usage(5_000, 1)), concurrency=1)
    with pytest.raises(FatalBackendError, match=r"took 5001 tokens where 22 seemed the most.*--max-calls"):
        list(Ledger(Budget(tokens=90_000), Spend()).run(greedy, requests(5)))
    assert len(greedy.asked) == 1
    assert run(Ledger(Budget(calls=90), Spend()), greedy, 5) == ([0, 1, 2, 3, 4], "")


def test_a_cap_that_is_just_enough_is_no_stop() -> None:
    assert run(Ledger(Budget(calls=10), Spend()), FakeBackend(), 10) == (list(range(10)), "")


@pytest.mark.parametrize("concurrency", [1, 64])
def test_what_was_reserved_and_not_used_is_used_after_all(concurrency: int) -> None:
    """A request may take up to 22 tokens and takes 4: of 400 tokens nearly all are used, however many are in flight."""
    ledger = Ledger(Budget(tokens=400), Spend())
    done, unit = run(ledger, FakeBackend(concurrency=concurrency), 1_000)
    assert unit == "tokens"
    assert 400 - 23 <= ledger.spend.tokens <= 400
    assert len(done) == ledger.spend.tokens // 4


def test_what_is_held_back_is_not_spent_until_it_is_released() -> None:
    ledger = Ledger(Budget(calls=10), Spend())
    ledger.hold(Spend(calls=6))
    assert len(run(ledger, FakeBackend(), 20)[0]) == 4
    ledger.hold(Spend())
    assert len(run(ledger, FakeBackend(), 20)[0]) == 6


def test_prices_are_charged_and_handed_on_so_that_the_store_keeps_them() -> None:
    ledger = Ledger(Budget(), Spend(), {"fake:": Prices(1.0, 2.0)})
    replies = [arrival[1] for arrival in ledger.run(FakeBackend(), requests(3)) if arrival]
    each = (3 * 1.0 + 1 * 2.0) / 1e6
    assert [reply.usage.cost_usd for reply in replies] == pytest.approx([each] * 3)
    assert ledger.spend.usd == pytest.approx(3 * each)


def test_a_cost_that_the_server_tells_counts_more_than_the_price() -> None:
    def dear(request: Request) -> Reply:
        return Reply("ok", "x", Usage(3, 1, cost_usd=0.25))

    ledger = Ledger(Budget(usd=0.6), Spend(), {"fake:": Prices(1.0, 2.0)})
    done, unit = run(ledger, FakeBackend(dear, concurrency=1), 9)
    assert (len(done), unit) == (3, "usd")


def test_a_cap_of_money_holds_by_the_bound_of_each_call() -> None:
    price = Prices(1.0, 1_000.0)
    ledger = Ledger(Budget(usd=0.02), Spend(), {"fake:": price})
    done, unit = run(ledger, FakeBackend(concurrency=8), 1_000)
    assert unit == "usd"
    assert 0.02 - price.cost_usd(30, 5) <= ledger.spend.usd <= 0.02
    assert len(done) > 10


def test_time_that_is_spent_stops_it() -> None:
    done, unit = run(Ledger(Budget(seconds=5), Spend(seconds=6)), FakeBackend(), 3)
    assert (done, unit) == ([], "seconds")


def test_calls_cancelled_in_flight_are_charged_in_full() -> None:
    ledger = Ledger(Budget(), Spend())
    with closing(ledger.run(FakeBackend(concurrency=4), requests(10))) as arrivals:
        next(arrivals)
    assert ledger.lost == Spend(calls=3, tokens=3 * (len("one two 0") + 8 + 5))
    assert ledger.spend.calls == 4
    assert run(ledger, FakeBackend(), 2)[0] == [0, 1], "and nothing stays reserved"
    assert ledger.spend.calls == 6


def test_a_call_that_was_retried_counts_once() -> None:
    ledger = Ledger(Budget(), Spend(), health=Health(0.0))
    run(ledger, FakeBackend(lambda request: Reply("failed", attempts=5, error="gone")), 2)
    assert ledger.spend.calls == 2


class LosingBackend(FakeBackend):
    """Loses every attempt but the fourth of each request, as far as it may try again."""

    def run(
        self, requests: Iterable[tuple[K, Request]], again: Again = always
    ) -> Generator[tuple[K, Reply] | None, None, None]:
        for key, request in requests:
            for _ in range(3):
                self.asked.append(request)
                if not again(request, None):
                    yield key, Reply("failed", error="lost", lost=True)
                    break
            else:
                self.asked.append(request)
                yield key, self.say(request)


def test_a_lost_call_is_charged_its_reservation_and_the_next_attempt_is_reserved() -> None:
    ledger = Ledger(Budget(), Spend())
    backend = LosingBackend()
    run(ledger, backend, 2)
    bound = len("one two 0") + 8 + 5
    assert ledger.spend.calls == len(backend.asked) == 8
    assert ledger.lost == Spend(calls=6, tokens=6 * bound)
    assert ledger.spend.tokens == 6 * bound + 2 * 4


@pytest.mark.parametrize("cap", range(1, 9))
def test_a_cap_holds_whatever_is_lost(cap: int) -> None:
    ledger, backend = Ledger(Budget(calls=cap), Spend(), health=Health(0.0)), LosingBackend()
    done, unit = run(ledger, backend, 20)
    assert ledger.spend.calls == len(backend.asked) == cap
    assert unit == "calls"
    assert len(done) == -(-cap // 4), "a request that may not be tried again ends as it stands"


def test_what_the_last_lost_attempt_costs_stands_in_its_reply() -> None:
    ledger = Ledger(Budget(calls=1), Spend(), {"fake:": Prices(1.0, 2.0)})
    ((_, reply),) = filter(None, ledger.run(LosingBackend(), requests(1)))
    assert reply.usage.tokens == ledger.spend.tokens == len("one two 0") + 8 + 5
    assert reply.usage.cost_usd == pytest.approx(ledger.spend.usd)


def test_when_time_is_up_calls_in_flight_are_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = SlowBackend(concurrency=4)
    monkeypatch.setattr("promptopt.ledger.time", SimpleNamespace(monotonic=lambda: backend.now))
    ledger = Ledger(Budget(seconds=5), Spend(seconds=4.95))
    done, unit = run(ledger, backend, 10)
    assert unit == "seconds"
    assert len(done) == 2
    assert ledger.spend.calls == len(backend.asked) == 5, "what was sent is charged"


class SlowBackend(FakeBackend):
    """Takes 30 ms a reply by a clock of its own."""

    now = 100.0

    def run(
        self, requests: Iterable[tuple[K, Request]], again: Again = always
    ) -> Generator[tuple[K, Reply] | None, None, None]:
        for arrival in super().run(requests, again):
            self.now += 0.03
            yield arrival


def test_a_tick_of_the_backend_is_handed_on() -> None:
    arrivals = list(Ledger(Budget(), Spend()).run(FakeBackend(ticks=True), requests(2)))
    assert [arrival is None for arrival in arrivals] == [True, False, True, False]


def test_a_text_with_lone_surrogates_has_a_bound() -> None:
    broken = replace(requests(1)[0][1], messages=(Message("user", "\ud83d"),))
    assert len(list(Ledger(Budget(tokens=100), Spend()).run(FakeBackend(), [(0, broken)]))) == 1


def test_no_requests_cost_nothing_even_where_nothing_is_left() -> None:
    assert list(Ledger(Budget(calls=1), Spend(calls=1)).run(FakeBackend(), [])) == []


def test_a_model_that_refuses_everything_stops_the_study_early() -> None:
    ledger = Ledger(Budget(), Spend())
    backend = FakeBackend(lambda request: Reply("refused", error="I would rather not."), concurrency=1)
    with pytest.raises(TooManyFailuresError, match=r"first 40 calls.*rather not"):
        list(ledger.run(backend, requests(200)))
    assert len(backend.asked) == 40
    mixed = FakeBackend(lambda request: Reply("ok" if request.messages[0].content[-1] == "0" else "refused", "x"))
    assert len(list(Ledger(Budget(), Spend()).run(mixed, requests(200)))) == 200


def test_a_model_that_says_nothing_at_all_stops_the_study_early() -> None:
    silent = FakeBackend(lambda _: Reply("truncated", " \n"), concurrency=1)
    with pytest.raises(TooManyFailuresError, match=r"first 40 calls.*truncated: without a word.*--answer-tokens"):
        list(Ledger(Budget(), Spend()).run(silent, requests(200)))
    assert len(silent.asked) == 40

"""No cap is ever passed: any concurrency, any order of replies, any failures, cancelled or not."""

from contextlib import closing, suppress
from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from promptopt.backends.base import Reply, Request
from promptopt.backends.simulated import Faults, SimulatedBackend
from promptopt.budget import Budget, Prices, Spend, Usage
from promptopt.evaluation import Status
from promptopt.health import Health
from promptopt.landscape import Landscape
from promptopt.layout import Message
from promptopt.ledger import BudgetSpentError, Ledger
from tests.fakes import FakeBackend
from tests.toy import toy_task

PRICES = Prices(3.0, 15.0)
STATUSES: list[Status] = ["ok", "truncated", "refused", "malformed", "failed"]
EXAMPLES = toy_task().dataset.train
TEXTS = st.lists(st.text(max_size=40) | st.text(alphabet="ä漢😀\ud83d", max_size=9), max_size=30)
CAPS = st.fixed_dictionaries(
    {},
    optional={
        "calls": st.integers(1, 20),
        "tokens": st.integers(1, 900),
        "usd": st.floats(1e-6, 5e-3),
    },
)
SPENT = st.builds(Spend, calls=st.integers(0, 5), tokens=st.integers(0, 99), usd=st.floats(0, 1e-3))


def requests(texts: list[str], max_tokens: int, system_every: int = 0) -> list[tuple[int, Request]]:
    """Return a chat for each text, every so manieth with a system message."""
    made = []
    for number, text in enumerate(texts):
        system = (Message("system", "Be brief."),) if system_every and number % system_every == 0 else ()
        made.append(Request("chat", (*system, Message("user", text)), max_tokens=max_tokens))
    return list(enumerate(made))


def assert_within(ledger: Ledger, budget: Budget, before: Spend) -> None:
    for unit, cap in budget.caps().items():
        # What earlier sessions spent may be above a cap that was set later; then nothing more is spent.
        assert getattr(ledger.spend, unit) <= max(cap, getattr(before, unit)) * (1 + 1e-12)


@given(
    texts=TEXTS,
    caps=CAPS,
    before=SPENT,
    max_tokens=st.integers(1, 30),
    concurrency=st.integers(1, 12),
    order=st.randoms(use_true_random=False),
    stop_after=st.none() | st.integers(0, 20),
)
def test_no_cap_is_passed(
    texts: list[str], caps: dict[str, int], before: Spend, max_tokens: int, concurrency: int, order: object,
    stop_after: int | None,
) -> None:  # fmt: skip
    """A model that uses any number of tokens up to the bound, answers in any order, and is cut off at any time."""
    draw = order.randint  # type: ignore[attr-defined]
    budget = Budget(**caps)
    ledger = Ledger(budget, before, {"fake:": PRICES}, Health(0.0))

    def say(request: Request) -> Reply:
        n_bytes = len(request.messages[0].content.encode("utf-8", "surrogatepass"))
        usage = Usage(draw(0, n_bytes + 8), draw(0, request.max_tokens))
        return Reply(STATUSES[draw(0, 4)], usage=usage)

    backend = FakeBackend(say, concurrency, lambda n_open: draw(0, n_open), ticks=draw(0, 1) == 1)
    finished = False
    with closing(ledger.run(backend, requests(texts, max_tokens))) as arrivals, suppress(BudgetSpentError):
        done = [arrival for arrival in islice(arrivals, stop_after) if arrival]
        finished = stop_after is None
        assert len(done) <= len(texts)
    assert_within(ledger, budget, before)
    assert ledger.spend.calls == before.calls + len(backend.asked), "what was sent is counted, cut off or not"
    if finished:
        assert len(done) == len(texts)
        assert ledger.lost == Spend()


@given(
    texts=TEXTS,
    caps=st.fixed_dictionaries({}, optional={"tokens": st.integers(1, 3_000), "usd": st.floats(1e-6, 2e-2)}),
    own_words=st.tuples(st.integers(0, 90), st.integers(0, 90)),
    loose=st.integers(0, 200),
    concurrency=st.integers(1, 12),
    order=st.randoms(use_true_random=False),
    stop_after=st.none() | st.integers(0, 20),
)
def test_what_a_template_adds_to_a_chat_passes_no_cap(
    texts: list[str], caps: dict[str, float], own_words: tuple[int, int], loose: int, concurrency: int, order: object,
    stop_after: int | None,
) -> None:  # fmt: skip
    """A server that puts words, tools and formats of its own before every chat: others where there is a system text."""
    draw = order.randint  # type: ignore[attr-defined]
    budget = Budget(**caps)  # type: ignore[arg-type]
    ledger = Ledger(budget, Spend(), {"fake:": PRICES}, Health(0.0))

    def say(request: Request) -> Reply:
        n_bytes = sum(len(m.content.encode("utf-8", "surrogatepass")) for m in request.messages)
        added = own_words[request.messages[0].role == "system"]
        usage = Usage(added + draw(0, n_bytes + 8 * len(request.messages)), draw(0, request.max_tokens))
        return Reply(STATUSES[draw(0, 4)], usage=usage, lost=draw(0, 9) == 0)

    backend = FakeBackend(say, concurrency, lambda n_open: draw(0, n_open))
    backend.added_tokens = max(own_words) + loose
    with closing(ledger.run(backend, requests(texts, 9, system_every=3))) as arrivals, suppress(BudgetSpentError):
        list(islice(arrivals, stop_after))
    assert_within(ledger, budget, Spend())


@given(
    n=st.integers(0, 40),
    cap=st.integers(1, 40),
    refused=st.floats(0, 0.5),
    truncated=st.floats(0, 0.5),
    concurrency=st.integers(1, 16),
)
def test_a_cap_of_calls_is_exact_on_the_simulated_model(
    n: int, cap: int, refused: float, truncated: float, concurrency: int
) -> None:
    model = SimulatedBackend(
        EXAMPLES, Landscape(), Faults(refused=refused, truncated=truncated), concurrency=concurrency
    )
    ledger = Ledger(Budget(calls=cap), Spend(), health=Health(0.0))
    asked = requests([example.inputs["input"] for example in EXAMPLES[:n]], 4)
    done: list[object] = []
    with suppress(BudgetSpentError):
        done.extend(arrival for arrival in ledger.run(model, asked) if arrival)
    assert ledger.spend.calls == len(done) == min(n, cap)

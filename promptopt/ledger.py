"""Ledger: holds the hard caps; every call is reserved before it is sent and settled after.

The upper bound of a call is reserved, so that no cap is passed, whatever is in flight and whatever gets lost.
"""

import itertools
import threading
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace

from promptopt.backends.base import READINGS_A_CHOICE, Backend, K, Reply, Request
from promptopt.budget import Budget, Prices, Spend, Usage
from promptopt.errors import FatalBackendError
from promptopt.evaluation import ANSWERED
from promptopt.health import Health

BOUNDED = ("tokens", "usd")  # units of which only the upper bound is known before a call

# What decides how many tokens a chat template adds: whose it is, whether a system message is there (else many put in
# one of their own), and whether choices are read.
Shape = tuple[str, bool, bool]


class BudgetSpentError(Exception):
    """A hard cap is reached; a state of the study and not a fault, so it is outside the tree of errors."""

    def __init__(self, unit: str, needs: float | None = None) -> None:
        lacks = "is spent" if needs is None else f"has no room for a first call, which may take up to {needs:,.6g}"
        super().__init__(f"the budget of {unit} {lacks}")
        self.unit = unit


class Ledger:
    """Counts what a study pays, over all model roles.

    Args:
        budget: The caps.
        spent: What earlier sessions of the study have paid.
        prices: What tokens cost, by backend address; a model that is not named costs nothing.
        health: Watches how many calls fail.
    """

    def __init__(
        self,
        budget: Budget,
        spent: Spend,
        prices: Mapping[str, Prices] | None = None,
        health: Health | None = None,
    ) -> None:
        self.held = Spend()
        self.lost = Spend()
        self._caps = budget.caps()
        self._prices = prices or {}
        self.health = health or Health()
        self._started = time.monotonic() - spent.seconds
        self._paid = replace(spent, seconds=0.0)
        self._open: dict[int, tuple[Request, Spend | None]] = {}
        self._in_flight = Spend()
        self._is_bounded = any(unit in self._caps for unit in BOUNDED)
        self._added: dict[str, int] = {}
        self._seen: dict[Shape, int] = {}
        self._excess = ""
        self._lock = threading.Lock()  # a backend's thread asks for another attempt while requests are taken here

    @property
    def spend(self) -> Spend:
        """What has been paid so far, and the time that has passed."""
        return replace(self._paid, seconds=time.monotonic() - self._started)

    def hold(self, spend: Spend) -> None:
        """Keep this much back for the proof: until it is released the search may not use it."""
        self.held = spend

    def write_off(self, usage: Usage) -> None:
        """Count a call that is paid among those lost, since no row of the store will stand for it."""
        with self._lock:
            self.lost = self.lost + Spend(calls=1, tokens=usage.tokens, usd=usage.cost_usd)

    def run(
        self, backend: Backend, requests: Iterable[tuple[K, Request]]
    ) -> Generator[tuple[K, Reply] | None, None, None]:
        """Send requests to a backend, each one reserved before and settled after; None marks 25 ms without a reply.

        Raises:
            BudgetSpentError: A cap was reached; raised when the calls in flight have come in, but at once when time
                is up.
            TooManyFailuresError: Too few calls bring an answer.
            FatalBackendError: A call took more tokens than its bound, under a cap on tokens or money.
        """
        self._added[backend.address] = backend.added_tokens
        source = iter(requests)
        waiting = next(source, None)
        while waiting is not None:
            self.check(self._upper_bound(waiting[1], backend.address))
            waiting = yield from self._run_while_it_fits(backend, itertools.chain([waiting], source))

    def check(self, more: Spend) -> None:
        """Look at all caps.

        Args:
            more: What is about to be paid.

        Raises:
            BudgetSpentError: One would be passed.
        """
        if (unit := self._short_of(more)) is not None:
            is_first = unit in BOUNDED and not getattr(self.spend, unit)
            raise BudgetSpentError(unit, getattr(more, unit) if is_first else None)

    def _run_while_it_fits(
        self, backend: Backend, requests: Iterable[tuple[K, Request]]
    ) -> Generator[tuple[K, Reply] | None, None, tuple[K, Request] | None]:
        """Run requests until one finds no room beside those in flight, and return that one.

        When they have come in, and took less than their bounds, there may be room for it after all.
        """
        address = backend.address
        turned_away: list[tuple[K, Request]] = []

        def reserved() -> Iterator[tuple[tuple[K, Request], Request]]:
            for key, request in requests:
                if not self._reserve(request, address):
                    turned_away.append((key, request))
                    return
                yield (key, request), request

        def again(request: Request, usage: Usage | None) -> bool:
            return self._lose(request, usage, address)

        with closing(backend.run(reserved(), again)) as replies:
            try:
                for arrival in replies:
                    if arrival is None:
                        yield None
                    else:
                        (key, request), reply = arrival
                        yield key, self._settle(request, reply, address)
                        self.health.note(reply, address)
                        if self._excess:
                            raise FatalBackendError(self._excess)
                    if self._is_overdue():
                        raise BudgetSpentError("seconds")
            finally:
                self._charge_in_flight(address)
        return turned_away[0] if turned_away else None

    def _short_of(self, more: Spend) -> str | None:
        """Return the cap that would be passed."""
        if not self._caps:
            return None
        total = self.spend + self.held + self._in_flight + more
        return next((unit for unit, cap in self._caps.items() if getattr(total, unit) > cap), None)

    def _is_overdue(self) -> bool:
        return "seconds" in self._caps and self.spend.seconds + self.held.seconds > self._caps["seconds"]

    def _reserve(self, request: Request, address: str) -> bool:
        """Reserve a call if there is room for it."""
        most = None
        if self._caps:
            most = self._upper_bound(request, address)
            with self._lock:
                if self._short_of(most) is not None:
                    return False
                self._in_flight = self._in_flight + most
        self._open[id(request)] = request, most
        return True

    def _lose(self, request: Request, usage: Usage | None, address: str) -> bool:
        """Charge an attempt that brought nothing, if there is room for another one.

        Without room nothing is charged here: the request ends with this attempt, and is settled as any other.
        """
        lost = self._price(usage, address) if usage else self._upper_bound(request, address)
        with self._lock:
            if self._short_of(lost) is not None:
                return False
            self._paid = self._paid + lost
            self.lost = self.lost + lost
            return True

    def _settle(self, request: Request, reply: Reply, address: str) -> Reply:
        """Charge a reply, and return it with what was charged, so that the store keeps that."""
        _, reserved = self._open.pop(id(request))
        is_untold = self._is_bounded and not reply.usage.tokens and reply.status in ANSWERED
        is_unknown = reply.lost or is_untold
        if is_unknown:
            cost = reserved or self._upper_bound(request, address)
        else:
            cost = self._price(reply.usage, address)
            self._learn(request, reply, reserved, address)
        with self._lock:
            if reserved is not None:
                self._in_flight = self._in_flight - reserved
            self._paid = self._paid + cost
        if is_unknown:
            return replace(reply, usage=replace(reply.usage, prompt_tokens=cost.tokens, cost_usd=cost.usd))
        if cost.usd == reply.usage.cost_usd:
            return reply
        return replace(reply, usage=replace(reply.usage, cost_usd=cost.usd))

    def _learn(self, request: Request, reply: Reply, reserved: Spend | None, address: str) -> None:
        """Note how few tokens a chat of this shape has been seen to have: its template cannot add more than all."""
        if not self._is_bounded or reserved is None:
            return
        usage = reply.usage
        if usage.prompt_tokens:
            shape = _shape(request, address)
            self._seen[shape] = min(usage.prompt_tokens, self._seen.get(shape, usage.prompt_tokens))
        if usage.tokens > reserved.tokens:
            self._excess = (
                f"{address} says that a call took {usage.tokens} tokens where {reserved.tokens} seemed the most it "
                "could, so no cap on tokens or money can be kept there; cap calls instead (--max-calls)."
            )

    def _charge_in_flight(self, address: str) -> None:
        # Nothing is known of a call that was cancelled in flight, so it is charged in full.
        with self._lock:
            for request, reserved in self._open.values():
                most = reserved or self._upper_bound(request, address)
                self._paid = self._paid + most
                self.lost = self.lost + most
            self._open.clear()
            self._in_flight = Spend()

    def _price(self, usage: Usage, address: str) -> Spend:
        """Return what a call of known usage costs; what the server says counts more than the price list."""
        usd = usage.cost_usd
        if not usd and address in self._prices:
            usd = self._prices[address].cost_usd(usage.prompt_tokens, usage.completion_tokens)
        return Spend(calls=1, tokens=usage.tokens, usd=usd)

    def _upper_bound(self, request: Request, address: str) -> Spend:
        # A token covers at least one byte, so the bytes of a text bound its tokens from above.
        prompt_tokens = sum(_n_bytes(message.content) + 8 for message in request.messages)
        if self._is_bounded and request.mode == "chat":
            added = self._added.get(address, 0)
            prompt_tokens += min(added, self._seen.get(_shape(request, address), added))
        n_readings = READINGS_A_CHOICE * len(request.choices)
        if n_readings:
            prompt_tokens = n_readings * (prompt_tokens + max(len(choice.encode()) + 8 for choice in request.choices))
        written = max(request.max_tokens, n_readings)
        price = self._prices.get(address)
        usd = price.cost_usd(prompt_tokens, written) if price else 0.0
        return Spend(calls=1, tokens=prompt_tokens + written, usd=usd)


def _shape(request: Request, address: str) -> Shape:
    return address, request.messages[0].role == "system", bool(request.choices)


def _n_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))

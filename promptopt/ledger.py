"""Ledger: holds the hard caps; every call is reserved before it is sent and settled after.

The upper bound of a call is reserved, so that no cap is passed, whatever is in flight.
"""

import itertools
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace

from promptopt.backends.base import Backend, K, Reply, Request
from promptopt.budget import Budget, Prices, Spend


class BudgetSpentError(Exception):
    """A hard cap is reached; a state of the study and not a fault, so it is outside the tree of errors."""

    def __init__(self, unit: str) -> None:
        super().__init__(f"the budget of {unit} is spent")
        self.unit = unit


class Ledger:
    """Counts what a study pays, over all model roles.

    Args:
        budget: The caps.
        spent: What earlier sessions of the study have paid.
        prices: What tokens cost, by backend address; a model that is not named costs nothing.
    """

    def __init__(self, budget: Budget, spent: Spend, prices: Mapping[str, Prices] | None = None) -> None:
        self.spend = spent
        self.held = Spend()
        self.lost = Spend()
        self._caps = budget.caps()
        self._prices = prices or {}
        self._started = time.monotonic() - spent.seconds
        self._reserved: dict[int, Spend] = {}
        self._in_flight = Spend()

    def hold(self, spend: Spend) -> None:
        """Keep this much back for the proof: until it is released the search may not use it."""
        self.held = spend

    def run(
        self, backend: Backend, requests: Iterable[tuple[K, Request]]
    ) -> Generator[tuple[K, Reply] | None, None, None]:
        """Send requests to a backend, each one reserved before and settled after; None marks 50 ms without a reply.

        Raises:
            BudgetSpentError: A cap was reached; raised when the calls in flight have come in.
        """
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
            raise BudgetSpentError(unit)

    def tick(self) -> None:
        """Read the clock."""
        self.spend = replace(self.spend, seconds=time.monotonic() - self._started)

    def _run_while_it_fits(
        self, backend: Backend, requests: Iterable[tuple[K, Request]]
    ) -> Generator[tuple[K, Reply] | None, None, tuple[K, Request] | None]:
        """Run requests until one finds no room beside those in flight, and return that one.

        When they have come in, and took less than their bounds, there may be room for it after all.
        """
        turned_away: list[tuple[K, Request]] = []

        def reserved() -> Iterator[tuple[tuple[K, Request], Request]]:
            for key, request in requests:
                most = self._upper_bound(request, backend.address)
                if self._short_of(most) is not None:
                    turned_away.append((key, request))
                    return
                self._reserve(request, most)
                yield (key, request), request

        with closing(backend.run(reserved())) as replies:
            try:
                for arrival in replies:
                    self.tick()
                    if arrival is None:
                        yield None
                        continue
                    (key, request), reply = arrival
                    yield key, self._settle(request, reply, backend.address)
            finally:
                self._charge_lost()
        return turned_away[0] if turned_away else None

    def _short_of(self, more: Spend) -> str | None:
        """Return the cap that would be passed."""
        self.tick()
        total = self.spend + self.held + self._in_flight + more
        return next((unit for unit, cap in self._caps.items() if getattr(total, unit) > cap), None)

    def _reserve(self, request: Request, most: Spend) -> None:
        self._reserved[id(request)] = most
        self._in_flight = self._in_flight + most

    def _settle(self, request: Request, reply: Reply, address: str) -> Reply:
        """Charge a reply, and return it with its price, so that the store keeps what was charged."""
        self._in_flight = self._in_flight - self._reserved.pop(id(request))
        usage = reply.usage
        price = self._prices.get(address, Prices())
        usd = usage.cost_usd or price.cost_usd(usage.prompt_tokens, usage.completion_tokens)
        self.spend = self.spend + Spend(calls=1, tokens=usage.tokens, usd=usd)
        return replace(reply, usage=replace(usage, cost_usd=usd))

    def _charge_lost(self) -> None:
        # Nothing is known of a call that was cancelled in flight, so it is charged in full.
        for most in self._reserved.values():
            self.spend = self.spend + most
            self.lost = self.lost + most
        self._reserved.clear()
        self._in_flight = Spend()

    def _upper_bound(self, request: Request, address: str) -> Spend:
        # A token covers at least one byte, so the bytes of a text bound its tokens from above.
        prompt_tokens = sum(len(message.content.encode("utf-8", "surrogatepass")) + 8 for message in request.messages)
        price = self._prices.get(address, Prices())
        return Spend(
            calls=1,
            tokens=prompt_tokens + request.max_tokens,
            usd=price.cost_usd(prompt_tokens, request.max_tokens),
        )

"""Budget and Spend: what a study may use, and what it has used.

Two meters. ``evaluations`` (consumed, cached or not) are what a strategy plans with and what ends the search;
``calls``, ``tokens``, ``usd``, ``seconds`` and ``labels`` are hard caps on what is really paid.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Self

from promptopt.errors import ConfigError


# Not frozen only because that makes each of thousands five times as slow to build; nobody changes one.
@dataclass(slots=True, unsafe_hash=True)
class Usage:
    """What model calls took.

    Args:
        prompt_tokens: Tokens read.
        completion_tokens: Tokens written.
        cached_tokens: Of the tokens read, those the server had in its prefix cache.
        cost_usd: Money in US dollars.
        seconds: Wall time from sending to the answer, summed over calls.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cost_usd: float = 0.0
    seconds: float = 0.0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_tokens + other.cached_tokens,
            self.cost_usd + other.cost_usd,
            self.seconds + other.seconds,
        )

    @property
    def tokens(self) -> int:
        """Tokens read and written."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Prices:
    """What a model's tokens cost, in US dollars a million.

    Raises:
        ConfigError: A price is below zero, or no finite number.
    """

    input_usd: float = 0.0
    output_usd: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.input_usd < math.inf and 0 <= self.output_usd < math.inf):
            raise ConfigError(f"price: {self.input_usd:g}, {self.output_usd:g} must be two numbers of 0 or more.")

    def cost_usd(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Return the price of one call in US dollars."""
        return (prompt_tokens * self.input_usd + completion_tokens * self.output_usd) / 1e6


@dataclass(slots=True, unsafe_hash=True)  # like Usage
class Spend:
    """What has been used so far.

    Args:
        evaluations: Pairs of prompt and example consumed by the search, cached or not, each counted once. What a Result
            or a Progress has spent is what was paid, so this and ``labels`` are 0 there; it tells them beside.
        calls: Model calls of every role that were or may have been paid: answers, and calls that were lost.
        tokens: Tokens read and written by those calls.
        usd: Money in US dollars.
        seconds: Wall time of work on the study, summed over its sessions.
        labels: Preferences given by people.
    """

    evaluations: int = 0
    calls: int = 0
    tokens: int = 0
    usd: float = 0.0
    seconds: float = 0.0
    labels: int = 0

    def __add__(self, other: "Spend") -> "Spend":
        return Spend(
            self.evaluations + other.evaluations,
            self.calls + other.calls,
            self.tokens + other.tokens,
            self.usd + other.usd,
            self.seconds + other.seconds,
            self.labels + other.labels,
        )

    def __sub__(self, other: "Spend") -> "Spend":
        return Spend(
            self.evaluations - other.evaluations,
            self.calls - other.calls,
            self.tokens - other.tokens,
            self.usd - other.usd,
            self.seconds - other.seconds,
            self.labels - other.labels,
        )


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits; None means no limit of that unit. The units are those of Spend.

    Raises:
        ConfigError: A limit is not above zero, or no finite number.
    """

    evaluations: int | None = None
    calls: int | None = None
    tokens: int | None = None
    usd: float | None = None
    seconds: float | None = None
    labels: int | None = None

    def __post_init__(self) -> None:
        for name, limit in asdict(self).items():
            kind = int if name == "evaluations" else int | float
            is_number = isinstance(limit, kind) and not isinstance(limit, bool)
            if limit is not None and not (is_number and 0 < limit < math.inf):
                number = "whole number" if kind is int else "number"
                raise ConfigError(f"budget: {name} = {limit!r} must be a {number} above 0; leave it out for no limit.")

    def caps(self) -> Mapping[str, float]:
        """Return the hard caps that are set, by unit (``evaluations`` is a plan, not a cap)."""
        return {k: v for k, v in asdict(self).items() if v is not None and k != "evaluations"}

    def extend(self, more: "Budget") -> Self:
        """Return this budget with the other's caps added.

        Raises:
            ConfigError: There is no such cap.
        """
        caps = self.caps()
        if missing := sorted(more.caps().keys() - caps):
            raise ConfigError(f"there is no cap on {missing[0]}, so there is nothing to add to.")
        return replace(self, **{unit: caps[unit] + limit for unit, limit in more.caps().items()})  # type: ignore[arg-type]

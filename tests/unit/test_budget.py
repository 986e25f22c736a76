"""Budget, Spend, Usage and Prices: limits that hold, and numbers that are none are refused."""

import math
from typing import Any

import pytest

from promptopt.budget import Budget, Prices, Spend, Usage
from promptopt.errors import ConfigError


@pytest.mark.parametrize("unit", ["evaluations", "calls", "tokens", "usd", "seconds", "labels"])
@pytest.mark.parametrize("limit", [0, -1, math.nan, math.inf])
def test_a_limit_is_a_number_above_zero(unit: str, limit: float) -> None:
    """NaN above all: no spend is greater than it, so it would cap nothing."""
    with pytest.raises(ConfigError, match=rf"budget: {unit} = {limit}"):
        Budget(**{unit: limit})  # type: ignore[arg-type]


@pytest.mark.parametrize("limits", [{"calls": "100"}, {"usd": True}, {"evaluations": 40.5}])
def test_a_limit_of_another_type_is_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"budget: \w+ = .* must be a (whole )?number above 0"):
        Budget(**limits)


@pytest.mark.parametrize("price", [-0.1, math.nan, math.inf])
def test_a_price_is_a_number_from_zero(price: float) -> None:
    with pytest.raises(ConfigError, match="price"):
        Prices(0.1, price)


def test_prices_are_a_million_tokens() -> None:
    assert Prices(2.0, 10.0).cost_usd(500_000, 100_000) == pytest.approx(2.0)
    assert Prices().cost_usd(500_000, 100_000) == 0.0


def test_the_plan_is_no_cap() -> None:
    assert Budget(evaluations=100, calls=5, usd=0.5).caps() == {"calls": 5, "usd": 0.5}
    assert Budget().caps() == {}


def test_extending_adds_to_the_limits_that_there_are() -> None:
    grown = Budget(evaluations=100, calls=5).extend(Budget(calls=3))
    assert grown == Budget(evaluations=100, calls=8)


def test_spend_adds_and_subtracts_in_every_unit() -> None:
    one = Spend(1, 2, 3, 0.5, 5.0, 6)
    both = one + Spend(10, 20, 30, 0.25, 50.0, 60)
    assert both == Spend(11, 22, 33, 0.75, 55.0, 66)
    assert both - one == Spend(10, 20, 30, 0.25, 50.0, 60)


def test_usage_adds_in_every_unit() -> None:
    assert Usage(1, 2, 3, 0.5, 4.0) + Usage(10, 20, 30, 0.25, 40.0) == Usage(11, 22, 33, 0.75, 44.0)
    assert Usage(1, 2, 100).tokens == 3, "tokens in the prefix cache are among those read"

"""Registry: strategies by name, through the entry points ``promptopt.strategies``.

The built-in strategies come in by the same door as those of a plug-in.
"""

from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any, cast

from promptopt.errors import StrategyError, UnknownNameError
from promptopt.settings import read_settings
from promptopt.strategy import Strategy

GROUP = "promptopt.strategies"
RECOMMENDED = "recommended"


def strategy_names() -> tuple[str, ...]:
    """Return the names of all installed strategies, sorted; none is imported."""
    return tuple(sorted(_installed()))


@lru_cache(maxsize=64)
def find_strategy(name: str) -> type[Strategy]:
    """Return the strategy of this name; only its own plug-in is imported, so a broken one stops no other.

    Raises:
        UnknownNameError: No such strategy is installed; offers the nearest names.
        StrategyError: Its plug-in cannot be imported; names the plug-in and the reason.
    """
    installed = _installed()
    if name not in installed:
        raise UnknownNameError("strategy", name, installed)
    point = installed[name]
    try:
        return cast("type[Strategy]", point.load())
    except Exception as error:  # a plug-in's import may raise anything; it is named and re-raised
        package = point.dist.name if point.dist else "unknown"
        raise StrategyError(
            f"The strategy '{name}' of the package '{package}' cannot be imported from {point.value}: "
            f"{type(error).__name__}: {error}. Reinstall or remove that package; other strategies are not affected."
        ) from error


def configure(name: str, profile: str = RECOMMENDED, settings: Mapping[str, Any] = MappingProxyType({})) -> Strategy:
    """Return the strategy of this name in a profile, with some settings exchanged.

    Args:
        name: The strategy, as in ``strategy_names``.
        profile: One of its profiles; ``recommended`` means its defaults where it has no such profile.
        settings: Values, or texts that are read as the field's type.

    Raises:
        UnknownNameError: No such strategy, profile or setting; offers the nearest names.
        ConfigError: A value is of the wrong type or out of range.
        StrategyError: The plug-in cannot be imported.
    """
    strategy = find_strategy(name)
    profiles = {RECOMMENDED: {}, **strategy.profiles}
    if profile not in profiles:
        raise UnknownNameError(f"profile of {name}", profile, profiles)
    return strategy(**read_settings(strategy, {**profiles[profile], **settings}))


def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}

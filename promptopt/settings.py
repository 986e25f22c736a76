"""Settings: the fields of a strategy, read from text and written as plain data.

A strategy is a frozen dataclass, so its fields are all there is to know about how it will search.
"""

import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Literal, Protocol, Union

from promptopt.errors import ConfigError, UnknownNameError
from promptopt.strategy import Strategy

TRUTH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


class Named(Protocol):
    """What bears a name that complaints can use, such as a strategy."""

    @property
    def name(self) -> str:
        """The name."""


def settings_of(strategy: Strategy) -> dict[str, Any]:
    """Return the settings of a strategy as plain data that survives JSON."""
    return {f.name: _plain(getattr(strategy, f.name)) for f in fields(strategy)}  # type: ignore[arg-type]  # a Strategy is a dataclass by contract


def describe_settings(strategy: Strategy) -> dict[str, dict[str, Any]]:
    """Return for each setting of a strategy its type in words and the value it has."""
    hints = typing.get_type_hints(type(strategy))
    return {name: {"type": _spell(hints[name]), "default": value} for name, value in settings_of(strategy).items()}


def read_settings(strategy: type[Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings in the types of a named dataclass's fields, such as a strategy's; texts such as ``"4"`` are read.

    Raises:
        UnknownNameError: It has no such setting.
        ConfigError: A value cannot be read as its type; says which and what was expected.
    """
    known = [f.name for f in fields(strategy)]
    hints = typing.get_type_hints(strategy)
    read: dict[str, Any] = {}
    for name, value in settings.items():
        if name not in known:
            raise UnknownNameError(f"setting of {strategy.name}", name, known)
        try:
            read[name] = _read(value, hints[name])
        except ValueError:
            expected = _spell(hints[name])
            raise ConfigError(f"{strategy.name}: {name} = {value!r} must be {expected}.") from None
    return read


def require_at_least(strategy: Named, low: float, *names: str) -> None:
    """Refuse settings below a bound; for a strategy's ``__post_init__``.

    Raises:
        ConfigError: Names the setting, its value and the bound.
    """
    for name in names:
        value = getattr(strategy, name)
        if not value >= low:  # also true of NaN
            raise ConfigError(f"{strategy.name}: {name} = {value} must be at least {low:g}.")


def require_at_most(strategy: Named, high: float, *names: str) -> None:
    """Refuse settings above a bound; for a strategy's ``__post_init__``.

    Raises:
        ConfigError: Names the setting, its value and the bound.
    """
    for name in names:
        value = getattr(strategy, name)
        if not value <= high:
            raise ConfigError(f"{strategy.name}: {name} = {value} must be at most {high:g}.")


def _read(value: Any, hint: Any) -> Any:
    """Read one value as a type; ValueError says that it is none."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin is Literal:
        return _read_literal(value, arguments)
    if origin in (Union, types.UnionType):
        return _read_union(value, arguments)
    if origin is tuple:
        return _read_tuple(value, arguments)
    reader = {bool: _read_bool, int: _read_int, float: _read_float, str: _read_str}.get(hint)
    if reader is None:
        raise ValueError(value)
    return reader(value)


def _read_literal(value: Any, allowed: Sequence[Any]) -> Any:
    for choice in allowed:
        if value == choice or (isinstance(value, str) and value == str(choice)):
            return choice
    raise ValueError(value)


def _read_union(value: Any, allowed: Sequence[Any]) -> Any:
    if type(None) in allowed and (value is None or value == "none"):
        return None
    for hint in allowed:
        if hint is not type(None):
            try:
                return _read(value, hint)
            except ValueError:
                continue
    raise ValueError(value)


def _read_tuple(value: Any, arguments: Sequence[Any]) -> tuple[Any, ...]:
    if len(arguments) != 2 or arguments[1] is not Ellipsis:
        raise ValueError(value)
    items = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        raise ValueError(value)
    return tuple(_read(item, arguments[0]) for item in items)


def _read_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in TRUTH:
        return TRUTH[value.lower()]
    raise ValueError(value)


def _read_int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(value)
    return int(value)


def _read_float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(value)
    return float(value)


def _read_str(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(value)
    return value


def _spell(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(str(choice) for choice in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join("none" if a is type(None) else _spell(a) for a in arguments)
    if origin is tuple:
        return f"a list, each {_spell(arguments[0])}"
    return {bool: "true or false", int: "a whole number", float: "a number", str: "text"}.get(hint, str(hint))


def _plain(value: Any) -> Any:
    if isinstance(value, Strategy):
        return {"name": value.name, "version": value.version, **settings_of(value)}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value

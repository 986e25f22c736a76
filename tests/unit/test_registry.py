"""Strategies are found by name, and their settings are read from text and written as plain data."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any, ClassVar, Literal

import pytest

from promptopt import registry
from promptopt.errors import ConfigError, StrategyError, UnknownNameError
from promptopt.registry import configure, find_strategy, strategy_names
from promptopt.settings import read_settings, require_at_least, require_at_most, settings_of
from promptopt.strategy import Need


@dataclass(frozen=True)
class Sample:
    """A strategy with a setting of every type."""

    width: int = 4
    share: float = 0.5
    final: float | None = None
    greedy: bool = False
    mode: Literal["fast", "slow"] = "fast"
    label: str = "x"
    names: tuple[str, ...] = ()
    sizes: tuple[int, ...] = (1, 2)

    name: ClassVar[str] = "sample"
    version: ClassVar[str] = "1"
    needs: ClassVar[frozenset[Need]] = frozenset()
    control: ClassVar[bool] = True
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {"wide": {"width": 9}}

    def __post_init__(self) -> None:
        require_at_least(self, 1, "width")
        require_at_most(self, 1, "share")

    def search(self, context: Any) -> Any:
        raise NotImplementedError

    def estimate(self, context: Any) -> Any:
        raise NotImplementedError


@pytest.fixture
def _plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        EntryPoint("sample", f"{__name__}:Sample", registry.GROUP),
        EntryPoint("broken", "no_such_package.at_all:Strategy", registry.GROUP),
        EntryPoint("renamed", "promptopt.strategy:NoSuchClass", registry.GROUP),
    ]
    monkeypatch.setattr(EntryPoint, "load", _load)
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    find_strategy.cache_clear()


_real_load = EntryPoint.load


def _load(point: EntryPoint) -> Any:
    return Sample if point.name == "sample" else _real_load(point)


@pytest.fixture(autouse=True)
def _forget() -> Any:
    yield
    find_strategy.cache_clear()


def test_the_built_in_strategies_come_through_the_entry_points() -> None:
    assert {"apo", "irace", "opro", "random"} <= set(strategy_names())
    assert [find_strategy(name).name for name in ("apo", "opro")] == ["apo", "opro"]


def test_an_unknown_strategy_gets_the_nearest_names() -> None:
    with pytest.raises(UnknownNameError, match="no strategy named 'opra'; did you mean opro"):
        find_strategy("opra")


@pytest.mark.usefixtures("_plugins")
@pytest.mark.parametrize("name", ["broken", "renamed"])
def test_a_broken_plugin_is_named_and_stops_no_other(name: str) -> None:
    with pytest.raises(StrategyError, match=f"'{name}'.*(no_such_package|NoSuchClass)"):
        find_strategy(name)
    assert strategy_names() == ("broken", "renamed", "sample")
    assert configure("sample") == Sample()


@pytest.mark.usefixtures("_plugins")
def test_profiles_and_settings() -> None:
    assert configure("sample", "wide") == Sample(width=9)
    assert configure("sample", "wide", {"width": "3"}) == Sample(width=3)
    with pytest.raises(UnknownNameError, match="no profile of sample named 'wyde'; did you mean wide"):
        configure("sample", "wyde")
    with pytest.raises(UnknownNameError, match="no setting of sample named 'widht'; did you mean width"):
        configure("sample", settings={"widht": 1})
    with pytest.raises(UnknownNameError):
        configure("sample", settings={"version": "2"})


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("width", "12", 12),
        ("share", "0.25", 0.25),
        ("share", 1, 1.0),
        ("final", "none", None),
        ("final", None, None),
        ("final", "0.1", 0.1),
        ("greedy", "yes", True),
        ("greedy", "False", False),
        ("mode", "slow", "slow"),
        ("label", "a,b", "a,b"),
        ("names", "a, b", ("a", "b")),
        ("names", ["a"], ("a",)),
        ("sizes", "3,4", (3, 4)),
    ],
)
def test_texts_are_read_as_the_type_of_the_field(name: str, text: object, value: object) -> None:
    assert read_settings(Sample, {name: text}) == {name: value}


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("width", "four", "a whole number"),
        ("width", "1.5", "a whole number"),
        ("width", True, "a whole number"),
        ("share", "half", "a number"),
        ("final", "soon", "a number or none"),
        ("greedy", "maybe", "true or false"),
        ("mode", "medium", "one of fast, slow"),
        ("label", 3, "text"),
        ("sizes", "a,b", "a list, each a whole number"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_was_expected(name: str, text: object, expected: str) -> None:
    with pytest.raises(ConfigError, match=f"sample: {name} = .* must be {expected}"):
        read_settings(Sample, {name: text})


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"width": 0}, "width = 0 must be at least 1"), ({"share": "nan"}, "share = nan must be at most 1")],
)
def test_out_of_range_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"sample: {message}"):
        Sample(**read_settings(Sample, settings))


def test_settings_are_plain_data_and_survive_json() -> None:
    sample = Sample(names=("a",), final=0.5)
    data = json.loads(json.dumps(settings_of(sample)))
    assert data["names"] == ["a"]
    assert Sample(**read_settings(Sample, data)) == sample


@pytest.mark.parametrize("name", ["apo", "opro"])
@pytest.mark.parametrize("setting", ["temperature", "max_tokens"])
def test_ours_refuse_what_is_out_of_range(name: str, setting: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}: {setting} = -1"):
        configure(name, settings={setting: "-1"})


@pytest.mark.parametrize("name", ["apo", "opro"])
def test_ours_have_the_three_profiles(name: str) -> None:
    made = [configure(name, profile) for profile in ("paper", "reference-code", "recommended")]
    assert len({str(settings_of(strategy)) for strategy in made}) == 3

"""The catalogue: what is installed is told truly, whatever else is broken."""

from importlib.metadata import EntryPoint

import pytest

from promptopt import catalogue, registry
from promptopt.errors import StrategyError


def test_a_broken_plugin_does_not_hide_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = registry._installed()
    broken = EntryPoint("broken", "no_such_package.at_all:Strategy", registry.GROUP)
    monkeypatch.setattr(registry, "_installed", lambda: {**installed, "broken": broken})
    described = {row["name"]: row for row in catalogue.describe_strategies()}
    assert described.keys() == {*installed, "broken"}
    assert "cannot be imported" in described["broken"]["what"]
    assert described["irace"]["profiles"]
    with pytest.raises(StrategyError, match="cannot be imported"):
        catalogue.describe_strategies("broken")


def test_a_mere_folder_is_no_package(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "some_extra").mkdir()  # type: ignore[operator]  # a Path
    assert catalogue._extra("some", "some_extra")["state"] == "absent"
    assert catalogue._extra("testing", "pytest")["state"] == "good"

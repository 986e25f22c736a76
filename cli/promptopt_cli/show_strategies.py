"""What people see of strategies: what each does, its settings and its profiles."""

from collections.abc import Mapping, Sequence
from typing import Any

from promptopt_cli.show import console, table

SETTING_COLUMNS = ("setting", "default", "type", "meaning")


def strategies(data: Sequence[Mapping[str, Any]]) -> None:
    """Show strategies a line each, or one with what it does, its settings and its profiles."""
    if len(data) > 1:
        table([{**row, "needs": ", ".join(row["needs"]) or "nothing"} for row in data], ("name", "needs", "what"))
        return
    strategy, out = data[0], console()
    out.print(f"{strategy['name']} {strategy['version']}: {strategy['what']}\n", style="bold")
    out.print(f"{strategy['about']}\n")
    for title in ("asks", "reference"):
        if strategy[title]:
            out.print(f"{title}: {' '.join(strategy[title].split())}")
    out.print(f"needs: {', '.join(strategy['needs']) or 'nothing'}\n")
    table([{**row, "default": as_setting(row["default"])} for row in strategy["settings"]], SETTING_COLUMNS)
    out.print()
    profiles = [{**profile, "exchanges": _assigned(profile["changes"])} for profile in strategy["profiles"]]
    table(profiles, ("profile", "what", "exchanges"))


def as_setting(value: Any) -> str:
    """Return a value as ``--set`` takes it."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(as_setting, value)) if isinstance(value, list | tuple) else str(value)


def _assigned(settings: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={as_setting(value)}" for name, value in settings.items()) or "nothing"

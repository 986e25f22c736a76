"""Plugins: the loader of tasks, found by entry point, since the core knows no data format itself."""

from importlib.metadata import entry_points
from typing import Any, cast

from promptopt.errors import ConfigError
from promptopt.task import Task

GROUP = "promptopt.tasks"


def load_task(source: Any, **settings: Any) -> Task:
    """Make a task of a ready task's name, a path or rows.

    Args:
        source: What to load.
        **settings: As ``promptopt_datasets.tasks.load_task`` takes them.

    Raises:
        DataError: The data is wrong; names file, line and field.
        ConfigError: A setting is wrong.
    """
    return cast("Task", _installed("load")(source, **settings))


def ready_task_names() -> tuple[str, ...]:
    """Return the names of the tasks that come with promptopt."""
    return cast("tuple[str, ...]", _installed("ready")())


def _installed(name: str) -> Any:
    points = entry_points(group=GROUP, name=name)
    if not points:
        raise ConfigError("promptopt is not installed completely; run: pip install -e .")
    return next(iter(points)).load()

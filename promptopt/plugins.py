"""Plugins: the loader of tasks, found by entry point, since the core knows no data format itself."""

from importlib.metadata import entry_points
from typing import Any

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
    task: Task = _installed("load")(source, **settings)
    return task


def ready_task_names() -> tuple[str, ...]:
    """Return the names of the tasks that come with promptopt."""
    names: tuple[str, ...] = _installed("ready")()
    return names


def _installed(name: str) -> Any:
    points = entry_points(group=GROUP, name=name)
    if not points:
        raise ConfigError("promptopt is not installed completely; run: pip install -e .")
    return next(iter(points)).load()

"""The ready tasks: folders of promptopt's own data inside this package, by name."""

from pathlib import Path

from promptopt.errors import UnknownNameError
from promptopt_datasets.load import CARD

ROOT = Path(__file__).parent


def ready_names() -> tuple[str, ...]:
    """Return the names of the ready tasks, sorted."""
    return tuple(sorted(path.parent.name for path in ROOT.glob(f"*/{CARD}")))


def ready_path(name: str) -> Path:
    """Return the folder of a ready task.

    Raises:
        UnknownNameError: No ready task has this name; offers the nearest.
    """
    names = ready_names()
    if name not in names:
        raise UnknownNameError("ready task", name, names)
    return ROOT / name

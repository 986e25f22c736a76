"""Rows of the speed table, and how they are printed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """How much is measured.

    Args:
        repetitions: Of every timed thing; what is compared takes turns, and medians are reported.
        full: Whether the rows that take long are measured too.
    """

    repetitions: int = 5
    full: bool = False


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Args:
        name: What is measured.
        ours: Our figure.
        beside: The floor or the peer, measured in the same run.
        bar: What the figure must reach; empty where the line only informs.
        holds: Whether it does.
    """

    name: str
    ours: str
    beside: str
    bar: str = ""
    holds: bool = True


def show(rows: Sequence[Row]) -> None:
    cells = [("", "ours", "beside it, in the same run", "bar", "")]
    cells += [(row.name, row.ours, row.beside, row.bar, _word(row)) for row in rows]
    show_cells(cells)


def show_cells(lines: Iterable[Sequence[str]]) -> None:
    """Print lines of cells in columns."""
    lines = list(lines)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _word(row: Row) -> str:
    return ("holds" if row.holds else "MISSED") if row.bar else ""

"""Score against prompt tokens, as a table in a terminal and as CSV."""

import csv
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from promptopt_cli.show import console, say

COLUMNS = (
    "number", "prompt_id", "operator", "tokens", "read", "mean", "standard_error", "n_valid", "dev", "is_front",
)  # fmt: skip


def show_front(points: Sequence[Mapping[str, Any]]) -> None:
    """Show the candidates by length, those that none beats marked."""
    from rich.table import Table

    out = console()
    if not points:
        out.print("No candidate has a score and a length yet.")
        return
    title = "score on search rows against length (tokens of four bytes, inputs left out), shortest first"
    table = Table(box=None, pad_edge=False, collapse_padding=True, title=title, title_justify="left")
    for column in ("", "trial", "prompt"):
        table.add_column(column, no_wrap=True)
    table.add_column("made\nby", overflow="fold")
    for column in ("tokens", "read\na call", "score", "± 1.96\nse", "rows", "dev"):
        table.add_column(column, justify="right", no_wrap=True)
    for point in points:
        error, dev = point["standard_error"], point["dev"]
        table.add_row(
            "*" if point["is_front"] else "",
            str(point["number"]),
            point["prompt_id"][:8],
            point["operator"],
            f"{point['tokens']:.0f}",
            f"{point['read']:.0f}" if point["read"] else "-",
            f"{point['mean']:.3f}" if point["n_valid"] else "-",
            f"{1.96 * error:.3f}" if error else "",
            str(point["n_valid"]),
            f"{dev:.3f}" if dev is not None else "",
            style="bold" if point["is_front"] else "",
        )
    out.print(table)
    say(
        out,
        "* none is as short and better, or shorter and as good, among those scored at least half as often as the most "
        "scored. Scores of a search flatter what it picked: dev and test decide.",
    )


def write_csv(points: Sequence[Mapping[str, Any]], to: TextIO) -> None:
    """Write the candidates as CSV, a line each."""
    writer = csv.DictWriter(to, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({**point, "is_front": int(point["is_front"])} for point in points)

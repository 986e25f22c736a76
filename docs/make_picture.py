"""Make docs/picture.svg from a study that really ran: python docs/make_picture.py STORE STUDY > docs/picture.svg."""

import re
import sys

from rich.console import Console

from promptopt.report import show_study
from promptopt_cli import show


def main(store: str, name: str) -> None:
    console = Console(record=True, width=118, highlight=False, markup=False, emoji=False, file=open("/dev/null", "w"))  # noqa: SIM115
    show.console = lambda: console
    console.print("$ promptopt optimize sentiment", style="bold")
    show.result(show_study(store, name), "promptopt.db")
    svg = console.export_svg(title="promptopt", clear=False)
    print(re.sub(r"@font-face \{.*?\}\n?", "", svg, flags=re.DOTALL).replace("Fira Code, ", ""))


if __name__ == "__main__":
    main(*sys.argv[1:])

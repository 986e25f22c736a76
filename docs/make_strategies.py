"""Make docs/strategies/: a page a strategy, from its docstring and settings, and a plot of a run that was really made.

python docs/make_strategies.py                     write all pages (--check: say whether they are up to date)
python docs/make_strategies.py plot STORE STUDY    draw a finished study as docs/strategies/NAME.svg
"""

import re
import sys
from html import unescape
from pathlib import Path

from plot_study import plot

from promptopt.catalogue import describe_strategies
from promptopt.registry import find_strategy
from promptopt_cli.show_strategies import as_setting

PAGES = Path(__file__).resolve().parent / "strategies"
HEAD = "<!-- Made by docs/make_strategies.py from the docstring in {module}; change that, and run it again. -->"
NEEDS = {"write": "an optimizer model", "compare": "a judge", "embed": "embeddings"}


def page(told):
    """Return the page of a strategy as Markdown."""
    needs = ", ".join(NEEDS[need] for need in told["needs"]) or "nothing but the task model"
    blocks = [
        HEAD.format(module=find_strategy(told["name"]).__module__),
        f"# {told['name']}",
        told["what"],
        told["about"],
        f"Needs: {needs}." + (" It is a baseline, not meant to win." if told["control"] else ""),
        *(f"{title.capitalize()}: {flat(told[title])}" for title in ("asks", "reference") if told[title]),
        *(["## Differences from the authors' code", told["differences"]] if told["differences"] else []),
        "## Settings",
        f"`--set name=value`, or `[strategy.settings]` in a study file. Version {told['version']}.",
        table(told["settings"], ("setting", "type", "default", "meaning")),
        "## Profiles",
        table([{**row, "exchanges": assigned(row["changes"])} for row in told["profiles"]],
              ("profile", "what", "exchanges")),
        *run(told["name"]),
    ]
    return "\n\n".join(filter(None, blocks)) + "\n"


def run(name):
    """Return the plot of a strategy's run with its caption, where there is one."""
    svg = PAGES / f"{name}.svg"
    if not svg.exists():
        return []
    caption = unescape(re.search(r"<desc>(.*?)</desc>", svg.read_text(encoding="utf-8"), re.DOTALL)[1])
    return ["## One run", f"![How this run went]({name}.svg)", caption]


def index(all_told):
    rows = [{"strategy": f"[{t['name']}]({t['name']}.md)", "needs": ", ".join(t["needs"]) or "nothing",
             "how it searches": t["what"]} for t in all_told]
    head = HEAD.format(module="each strategy")
    about = "What each does and when to take it: [strategies.md](../strategies.md)."
    return "\n\n".join([head, "# All strategies", about, table(rows, ("strategy", "needs", "how it searches"))]) + "\n"


def table(rows, columns):
    lines = [columns, ["---"] * len(columns), *([cell(column, row[column]) for column in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(column, value):
    text = flat(as_setting(value)).replace("|", "\\|")
    return f"`{text}`" if column in ("setting", "default", "profile") and text else text


def assigned(settings):
    return " ".join(f"`{name}={as_setting(value)}`" for name, value in settings.items()) or "nothing"


def flat(text):
    return " ".join(text.split())


def pages():
    """Return the text of every page by its file; strategies of other packages have their own documentation."""
    ours = [t for t in describe_strategies() if find_strategy(t["name"]).__module__.startswith("promptopt_strategies.")]
    return {PAGES / "README.md": index(ours), **{PAGES / f"{t['name']}.md": page(t) for t in ours}}


def main(words):
    if words[:1] == ["plot"]:
        name, svg = plot(*words[1:])
        (PAGES / f"{name}.svg").write_text(svg, encoding="utf-8")
    made = pages()
    stale = [path for path, text in made.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    gone = [path for path in PAGES.glob("*.md") if path not in made]
    if words == ["--check"]:
        for path in [*stale, *gone]:
            print(f"{path.name} is not up to date; run: python docs/make_strategies.py")
        return bool(stale or gone)
    for path in gone:
        path.unlink()
    for path in stale:
        path.write_text(made[path], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

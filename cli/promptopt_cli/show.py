"""What people see: results, trials and previews as text in a terminal; everything comes in as plain data.

Model output is escaped, so that nothing a model writes can style or move the terminal.
"""

import difflib
import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from promptopt_cli.judges import describe_judges
from promptopt_cli.text import clean, speaks_utf8, words_for

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from promptopt.study import Study

WORD_STYLE = {"better": "bold green", "worse": "bold red", "not measured": "bold yellow"}
MAX_EFFECTS = 8
SHOWN_ERRORS = 8
ROLES = ("optimizer", "judge")  # of models that a search calls besides the task model
LEAST_WIDTH = 60


def console() -> "Console":
    """Return the console for people: full width in a terminal, 100 columns in a pipe; text is never markup."""
    from rich.console import Console

    class Plain(Console):
        """A console whose texts cannot steer the terminal, whoever wrote them."""

        def render_str(self, text: str, **settings: Any) -> "Text":
            return super().render_str(clean(text), **settings)

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich would end with code 1; whoever reads may stop, as head does

    # Tables in less than 60 columns are lines of single letters; there the terminal may break the lines.
    width = max(LEAST_WIDTH, shutil.get_terminal_size().columns) if sys.stdout.isatty() else 100
    return Plain(width=width, highlight=False, markup=False, emoji=False)


def say(out: "Console", text: str, style: str = "") -> None:
    """Print a sentence: a terminal breaks it between words, and in a pipe it stays one line."""
    out.print(text, style=style, soft_wrap=not sys.stdout.isatty())


def as_json(data: Any) -> None:
    """Print plain JSON."""
    text = json.dumps(data, ensure_ascii=not speaks_utf8(), indent=2)
    print(text.encode("utf-8", "replace").decode("utf-8"))


def preview(study: "Study", data: Mapping[str, Any], *, stored: bool = True) -> None:
    """Say what is about to happen, where it is kept, and what it will take."""
    out = console()
    setup = study.setup
    dataset = setup.task.dataset
    place = f" in {study.store.path}" if stored else ""
    out.print(f"{study.row.name}{place}", style="bold", soft_wrap=True)
    say(out, f"  task      {setup.task.name}: {clean(setup.task.description) or 'no description'}")
    say(
        out,
        f"  data      {len(dataset.search)} rows to search on, {len(dataset.pool)} for demonstrations, "
        f"{len(dataset.dev)} dev, {len(dataset.test)} test; metric {setup.task.metric.name}",
    )
    say(out, f"  inputs    {', '.join(setup.task.fields)}")
    if setup.judge_model:
        out.print(f"  judge     {setup.judge_model.address}")
    say(out, f"  model     {setup.task_model.address}    strategy {setup.strategy.name}    seed {setup.seed}")
    others = "".join(f" + {data[f'{role}_calls']} by the {role} model" for role in ROLES if data[f"{role}_calls"])
    money = f", about ${data['usd']:.2f}" if data["usd"] is not None else ""
    search, proof = f"{data['search_evaluations']} to search{others}", f"{data['proof_calls']} to prove it{money}"
    say(out, f"  calls     at most {search} + {proof}")
    for note in data["notes"]:
        say(out, f"  note      {note}", "yellow")
    out.print()


def result(data: Mapping[str, Any], store: str) -> None:
    """Show what a study came to: the verdict, the final, both prompts and what it took."""
    out = console()
    if "verdict" in data:
        style = WORD_STYLE.get(data["verdict"]["word"], "bold yellow")
        say(out, f"\n{data['sentence']}\n", style)
        if any(finalist["dev"]["n"] for finalist in data["finalists"]):
            out.print(_final(data))
        for line in _before_and_after(data):
            say(out, line)
        if len(data["verdict"].get("tasks", ())) > 1:  # what an older release stored has none
            out.print(_by_task(data))
    else:
        say(out, f"\n{data['sentence']}", "bold yellow")
    for line in describe_judges(data):
        say(out, line)
    if data["best"]["id"] != data["seed"]["id"]:
        out.print(_side_by_side(data["seed"]["messages"], data["best"]["messages"]))
    for told in _effects(data):
        out.print(told)
    say(out, _cost(data))
    for line in _looks(data):
        say(out, line, "yellow")
    if "verdict" in data:
        name = words_for(data["name"], store)
        out.print(f"\nUse it: promptopt export {name}", soft_wrap=True)
        out.print(f"Look closer: promptopt studies show {name}", soft_wrap=True)


def _looks(data: Mapping[str, Any]) -> Iterator[str]:
    """Yield how worn the test split is, and what the study said of it before."""
    if data.get("test_use", 0) > 1:
        yield f"This test split has now been looked at {data['test_use']} times; its figure wears out."
    for sentence in data.get("earlier", ()):
        yield f"Before it went on, this study said: {sentence}"


def studies(lines: Sequence[Mapping[str, Any]], store: str) -> None:
    """Show a line a study."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("study", "state", "made", "verdict"):
        table.add_column(column, overflow="fold")
    for line in lines:
        table.add_row(line["name"], line["state"], line["created"][:16].replace("T", " "), clean(stand(line, store)))
    console().print(table)


def stand(line: Mapping[str, Any], store: str) -> str:
    """Return where a study stands: its verdict, or how it goes on."""
    name, sentence = words_for(line["name"], store), str(line["sentence"])
    again = "its Python script, run again" if line["from_python"] else f"promptopt resume {name}"
    if line["state"] == "interrupted":
        return f"its process has ended; go on with: {again}"
    if line["state"] == "paused" and sentence:  # an evaluation has none
        return f"{sentence} Go on with: {again}"
    return f"{sentence} Give verdicts with: promptopt label {name}" if line["state"] == "waiting" else sentence


def trials(data: Mapping[str, Any], most: int) -> None:
    """Show the best trials of a study, and as many of those that guards refused."""
    from rich.table import Table

    shown = Table(box=None, pad_edge=False, title="trials on search rows, best first", title_justify="left")
    for column in ("trial", "prompt", "made by", "state"):
        shown.add_column(column)
    for column in ("mean", "± 1.96 se", "valid of n"):
        shown.add_column(column, justify="right")
    for trial in data["trials_list"][:most]:
        error = trial["standard_error"]
        shown.add_row(
            str(trial["number"]),
            trial["prompt_id"][:8],
            trial["operator"],
            trial["state"],
            f"{trial['mean']:.2f}" if trial["n_valid"] else "-",
            f"{1.96 * error:.2f}" if error else "",  # equal scores show no spread: that is not none
            f"{trial['n_valid']} of {trial['n']}",
        )
    out = console()
    out.print(shown)
    if len(data["trials_list"]) > most:
        out.print(f"... and {len(data['trials_list']) - most} more; all of them with --json")
    refused = data["refused_list"]
    if refused:
        out.print("\nrefused by a guard, before any call")
        rows = [{**row, "trial": row["number"], "prompt": row["prompt_id"][:8]} for row in refused[:most]]
        table(rows, ("trial", "prompt", "operator", "reason"))
    if len(refused) > most:
        out.print(f"... and {len(refused) - most} more; all of them with --json")


def diff(left: Mapping[str, Any], right: Mapping[str, Any]) -> None:
    """Show two prompts side by side with what differs in colour."""
    console().print(_side_by_side(left["messages"], right["messages"], (left["title"], right["title"])))


def _final(data: Mapping[str, Any]) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("the final")
    penalised = _is_penalised(data)
    for column in ("dev", "95 % interval", "valid of n", "test", "tokens read a call"):
        table.add_column(column, justify="right")
    if penalised:
        table.add_column("objective", justify="right")
    test = data["test"]
    for finalist in data["finalists"]:
        role, dev = finalist["role"], finalist["dev"]
        held = test.get("seed") if role == "seed" else test.get("chosen") if role == data["chosen"] else None
        table.add_row(
            role + (" (chosen)" if role == data["chosen"] else ""),
            _mean(dev),
            f"{dev['low']:.2f} to {dev['high']:.2f}" if "low" in dev else "",
            f"{dev['n_valid']} of {dev['n']}",
            _mean(held) if held else "",
            f"{dev['prompt_tokens']:.0f}",
            *([f"{finalist['objective']:.3f}"] if penalised else []),
        )
    return table


def _is_penalised(data: Mapping[str, Any]) -> bool:
    return bool(data.get("objective", "score") != "score")  # a summary that an older release stored names none


def _mean(figures: Mapping[str, Any]) -> str:
    """Return a mean, or a dash where nothing could be scored: no answer is no wrong answer."""
    return f"{figures['mean']:.3f}" if figures["n_valid"] else "-"


def _before_and_after(data: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the one comparison on test says besides its sentence, and what a call takes before and after."""
    difference, test = data["verdict"]["difference"], data["test"]
    if difference is None or "low" not in test.get("chosen", {}):  # a summary that an older release stored has none
        return
    seed, chosen = test["seed"], test["chosen"]
    yield (
        f"test      {_range(seed)} before, {_range(chosen)} after; better on {difference['wins']} examples, worse on "
        f"{difference['losses']}; p = {difference['p_value']:.2g}"
    )
    money = f", ${seed['usd']:.2g} before and ${chosen['usd']:.2g} after" if seed["usd"] or chosen["usd"] else ""
    yield (
        f"a call    {seed['prompt_tokens']:.0f} tokens read and {seed['completion_tokens']:.0f} written before, "
        f"{chosen['prompt_tokens']:.0f} and {chosen['completion_tokens']:.0f} after{money}"
    )


def _by_task(data: Mapping[str, Any]) -> "Table":
    """Return a line a task of a suite: the seed and the chosen prompt on its test examples."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, title="\nby task, on test", title_justify="left")
    table.add_column("task")
    for column in ("seed", "chosen", "difference", "95 % interval", "n"):
        table.add_column(column, justify="right")
    before, after = ({row["task"]: row for row in data["test"][role]["tasks"]} for role in ("seed", "chosen"))
    for name, difference in data["verdict"]["tasks"].items():
        low, high = (100 * difference["interval"][end] for end in ("low", "high"))
        table.add_row(
            clean(name),
            _mean(before[name]),
            _mean(after[name]),
            f"{100 * difference['mean']:+.1f} points",
            f"{low:+.1f} to {high:+.1f}",
            str(difference["n"]),
        )
    return table


def _range(figures: Mapping[str, Any]) -> str:
    return f"{_mean(figures)} ({figures['low']:.2f} to {figures['high']:.2f})"


def _effects(data: Mapping[str, Any]) -> Iterator["Table | str"]:
    """Yield what the best prompt changed, then the choices and the levels that clearly matter, and how to read them."""
    effects = data["effects"]
    changes = [effect for effect in effects if effect["against"]]
    clear = [e for e in effects if not e["against"] and _is_clear(e)]
    whole, levels = ([e for e in clear if bool(e["level"]) == wanted][:MAX_EFFECTS] for wanted in (False, True))
    if changes:
        yield _effect_table("what the changes are worth, by a model of all search calls", changes)
    if whole:
        yield _effect_table("which choices matter: the standard deviation over the levels of each", whole)
    if levels:
        yield _effect_table("levels that clearly matter, against the average", levels)
    if effects and _is_penalised(data):
        yield "These effects are on the objective: the score less the penalty for length."
    if changes and not any(map(_is_clear, changes)):
        yield "None of these is certain by itself from so few calls; what is compared is the prompt as a whole."


def _is_clear(effect: Mapping[str, Any]) -> bool:
    return bool(effect["low"] * effect["high"] > 0)


def _effect_table(title: str, effects: Sequence[Mapping[str, Any]]) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False, title=f"\n{title}", title_justify="left")
    table.add_column("choice")
    table.add_column("level", overflow="fold")
    for column in ("effect", "95 % interval", "n"):
        table.add_column(column, justify="right", no_wrap=True)
    for effect in effects:
        level = _short(clean(effect["level"]), 40)
        if effect["against"]:
            level = f"{_short(clean(effect['against']), 28)} -> {level}"
        interval = f"{100 * effect['low']:+.0f} to {100 * effect['high']:+.0f}"
        table.add_row(effect["choice"], level, f"{100 * effect['estimate']:+.0f} points", interval, str(effect["n"]))
    return table


def _cost(data: Mapping[str, Any]) -> str:
    search, spend = data["search"], data["spend"]
    proof_calls = spend["calls"] - search["calls"]
    money = f", ${spend['usd']:.4f}" if spend["usd"] else ""
    share = data.get("cached_share")
    cached = f" ({share:.0%} of those read were in the prefix cache)" if share else ""
    unscored = data.get("unscored", 0)
    missing = f"\nThe metric could not score {unscored} answers; they count as missing." if unscored else ""
    return (
        f"\n{data['evaluations']} search evaluations of {data['trials']} prompts ({search['calls']} calls) and "
        f"{proof_calls} calls to prove it.{_refusals(data.get('refusals', {}))}{missing}\n"
        f"{spend['tokens']} tokens{cached}{money}, {spend['seconds']:.0f} s; {data['reason']}."
    )


def _refusals(counts: Mapping[str, int]) -> str:
    """Say how many prompts the guards refused; nothing where they refused none."""
    by_guard = ", ".join(f"{number} for {guard}" for guard, number in counts.items())
    return f"\nThe guards refused {sum(counts.values())} more prompts before any call: {by_guard}." if counts else ""


def _side_by_side(
    left: Sequence[Mapping[str, str]], right: Sequence[Mapping[str, str]], titles: tuple[str, str] = ("seed", "best")
) -> "Table":
    from rich.table import Table

    table = Table(expand=True)
    for title in titles:
        table.add_column(f"{title} prompt", ratio=1, overflow="fold")
    old, new = _lines(left), _lines(right)
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        same = kind == "equal"
        for row in range(max(b - a, d - c)):
            left_line = old[a + row] if a + row < b else None
            right_line = new[c + row] if c + row < d else None
            table.add_row(_line(left_line, "" if same else "red"), _line(right_line, "" if same else "green"))
    return table


def _line(text: str | None, style: str) -> "Text":
    from rich.text import Text

    return Text(text or "", style=style)


def _lines(messages: Sequence[Mapping[str, str]]) -> list[str]:
    lines: list[str] = []
    for message in messages:
        if message["role"] != "text":
            lines.append(f"[{message['role']}]")
        lines += clean(message["content"]).split("\n")
    return lines


def _short(text: str, width: int) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= width else flat[: width - 3] + "..."


def measured(data: Mapping[str, Any]) -> None:
    """Show one prompt's figures on one split and some of its errors."""
    out = console()
    out.print(
        f"{data['task']}, {data['split']}: {_mean(data)} "
        f"({100 * data['level']:.0f} % interval {data['low']:.3f} to {data['high']:.3f}), "
        f"{data['n_valid']} valid of {data['n']}"
    )
    if len(data["classes"]) > 1:
        table(data["classes"], ("label", "mean", "n_valid", "n"))
    if "tasks" in data:
        table(data["tasks"], ("task", "mean", "low", "high", "n_valid", "n"))
    for line in describe_judges(data):
        say(out, line)
    wrong = [row for row in data["outcomes"] if row["score"] is not None and row["score"] < 1]
    if wrong:
        out.print(f"\n{len(wrong)} not right, for example:")
        rows = [{**row, "input": " / ".join(row["inputs"].values())} for row in wrong[:SHOWN_ERRORS]]
        short = [
            {key: _short(str(value), 60) if key != "score" else value for key, value in row.items()} for row in rows
        ]
        table(short, ("input", "target", "output", "score"))


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Show rows in columns; numbers to the right."""
    from rich.table import Table

    shown = Table(box=None, pad_edge=False)
    for column in columns:
        cells = [row.get(column, "") for row in rows]
        numeric = all(isinstance(cell, int | float) for cell in cells)
        short = all(len(str(cell)) <= LEAST_WIDTH // 4 for cell in cells)
        shown.add_column(column, justify="right" if numeric else "left", overflow="fold", no_wrap=short)
    for row in rows:
        values = (row.get(column, "") for column in columns)
        shown.add_row(*(f"{v:.3f}" if isinstance(v, float) else " ".join(str(v).split()) for v in values))
    console().print(shown)

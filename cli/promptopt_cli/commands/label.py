"""``promptopt label``: say which of two answers is better, on a page, in the terminal, or by files from elsewhere."""

import getpass
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promptopt.config import DEFAULT_STORE, StudySpec
from promptopt.errors import ConfigError, StudyBusyError
from promptopt_cli import options as o
from promptopt_cli import page
from promptopt_cli.text import clean, words_for

if TYPE_CHECKING:
    from promptopt.duel import Verdict
    from promptopt.result import Result
    from promptopt.store.rows import Shown
    from promptopt.study import Study

EXAMPLE = "Examples: promptopt label reviews-pes-3f2a | promptopt label study.toml --invite Ann --invite Bob"
KEYS: "dict[str, Verdict]" = {"1": "left", "2": "right", "t": "tie", "b": "both_bad", "s": "skip"}
LOOK_S = 0.5  # between two looks for a pair that another process makes
HELP = "1 or 2: the better answer   t tie   b both bad   s skip   u undo   r REMARK first a remark   q stop"

Terminal = Annotated[bool, typer.Option("--terminal", help="Label here, by keys.")]
Name = Annotated[str | None, typer.Option("--name", help="Who labels [your user name].")]
Export = Annotated[Path | None, typer.Option("--export", help="Write all pairs into this CSV or JSONL file.")]
Import = Annotated[Path | None, typer.Option("--import", help="Read verdicts from such a file.")]
Audit = Annotated[bool, typer.Option("--audit", help="Check a judge model: label pairs that it has decided.")]

Invite = Annotated[list[str] | None, typer.Option("--invite", help="Print a link to the page for this name [--name].")]
Revoke = Annotated[list[str] | None, typer.Option("--revoke", help="End the links of this name; verdicts stay.")]
Host = Annotated[str, typer.Option("--host", help="The address that the page listens on.")]
Port = Annotated[int, typer.Option("--port", help="The port that it listens on; 0 takes any.", min=0, max=65535)]
Url = Annotated[str | None, typer.Option("--url", help="Where others reach the page, behind a proxy or tunnel.")]
Days = Annotated[float, typer.Option("--days", help="How long links and sessions last.", min=0.01)]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Spend money without asking.")]


def label(
    study: Annotated[str, typer.Argument(help="The study's name, or a study file; see: promptopt studies list.")],
    terminal: Terminal = False,
    name: Name = None,
    export: Export = None,
    import_: Import = None,
    audit: Audit = False,
    invite: Invite = None,
    revoke: Revoke = None,
    host: Host = "127.0.0.1",
    port: Port = 8765,
    url: Url = None,
    days: Days = 7.0,
    yes: Yes = False,
    store: o.StorePath = DEFAULT_STORE,
) -> None:
    """Choose between two answers, blind and on sides that change.

    What is said goes into the search at once.
    """
    from promptopt.labelling import export_labels, import_labels

    who = name or getpass.getuser()
    if export:
        print(f"{export_labels(store, study, export)} pairs are in {export}; fill in the verdicts and --import it.")
    if import_:
        print(f"{import_labels(store, study, import_, who)} new verdicts; go on with: {_resume(study, store)}")
    if terminal or audit:
        spec = page.spec_of(study, store)
        if not spec.task.is_named:
            raise ConfigError(
                f"The study '{study}' was made from Python, whose script alone can run it; label on the page, without "
                "--terminal and --audit."
            )
        _label_here(spec, who, audit=audit)
    elif revoke:
        page.revoke(study, store, revoke)
    elif not (export or import_):
        page.run_page(study, store, page.Invitation(invite or [who], host, port, url, days), yes=yes)


def _label_here(spec: StudySpec, who: str, *, audit: bool) -> None:
    """Show pair after pair; after each batch the study goes on and chooses the next ones."""
    from promptopt import api
    from promptopt.store.passes import check_name
    from promptopt_cli import show
    from promptopt_cli.live import show_download

    check_name(who)
    with api.open_study(spec, download=show_download) as study:
        page.refuse_mute(study)
        print(HELP)
        is_told = False
        while True:
            result = None if audit else _run(study)
            if result is not None and result.state != "waiting":
                show.result(result.to_json(), spec.store)
                return
            if not _say_all(study, who, audit=audit):
                again = f"promptopt label {words_for(study.row.name, spec.store)} --terminal"
                print(f"Stopped; nothing is lost. Go on with: {again}", file=sys.stderr)
                raise typer.Exit(3)
            if audit:
                return
            if result is None:
                if not is_told:
                    print("The search runs in another process; its next pair comes by itself, and Ctrl-C stops.")
                is_told = True
                time.sleep(LOOK_S)


def _run(study: "Study") -> "Result | None":
    """Let the search go on as far as it can; None where another process runs it."""
    try:
        return study.run()
    except StudyBusyError:
        return None


def _say_all(study: "Study", who: str, *, audit: bool) -> bool:
    """Ask about every pair that is open now; False if the person stops."""
    while (shown := study.store.next_duel(study.row.id, who, audit=audit)) is not None:
        _show(study, shown)
        if not _say(study, shown, who):
            return False
    return True


def _show(study: "Study", shown: "Shown") -> None:
    stand = study.store.labelling(study.row.id)
    outlook = study.store.outlook(study.row.id) or {}
    chance = f", the leader is the best with probability {outlook['p_best']:.2f}" if outlook.get("p_best") else ""
    stop = "; you can stop now" if outlook.get("may_stop") else ""
    print(f"\nverdicts {stand.given}, pairs open {stand.open}{chance}{stop}")
    for field, value in shown.inputs.items():
        print(f"{clean(field)}: {clean(value)}")
    left, right = (clean(text) if text.strip() else "(empty)" for text in (shown.left, shown.right))
    print(f"\n[1] {left}\n\n[2] {right}\n")


def _say(study: "Study", shown: "Shown", who: str) -> bool:
    """Read keys until a verdict is given or taken back; False if the person stops."""
    remark = ""
    while True:
        try:
            said = input("> ").strip()
        except EOFError:
            return False
        if said.startswith("r "):
            remark = said[2:].strip()
        elif said == "q":
            return False
        elif said == "u":
            if study.store.take_back(study.row.id, who) is None:
                print("There is nothing to take back.")
            else:
                return True
        elif said in KEYS:
            study.store.record_verdict(shown.duel_id, who, KEYS[said], remark=remark)
            return True
        else:
            print(HELP)


def _resume(study: str, store: str) -> str:
    return f"promptopt resume {words_for(study, store)}"

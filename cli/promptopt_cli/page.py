"""The labelling page from the command line: links for people, the page, and the search that makes their pairs."""

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from promptopt.config import StudySpec, read_spec, spec_from_json
from promptopt.errors import ConfigError, StudyBusyError
from promptopt_cli.commands.optimize import EXIT_CODES, ask_before_spending
from promptopt_cli.text import clean, words_for

if TYPE_CHECKING:
    from promptopt.result import Result
    from promptopt.study import Study

DAY_S = 24 * 3600.0
LOOK_S = 2.0  # between two looks whether another process still runs the search


@dataclass(frozen=True)
class Invitation:
    """Who is invited, how they reach the page, and for how long their links and sessions are good."""

    names: Sequence[str]
    host: str = "127.0.0.1"
    port: int = 8765
    url: str | None = None
    days: float = 7.0


def run_page(study: str, store: str, invitation: Invitation, *, yes: bool) -> None:
    """Serve the page of a study, and run its search beside it, until Ctrl-C.

    Args:
        study: The study's name, or a study file.
        store: The store, where a name is given.
        invitation: Who is invited.
        yes: Spend money without asking.
    """
    from promptopt import api
    from promptopt_cli import show
    from promptopt_cli.live import show_download

    spec = spec_of(study, store)
    if not spec.task.is_named:
        _serve_only(spec.store, spec.name or study, invitation)
        return
    with api.open_study(spec, download=show_download) as opened:
        row = opened.row
        refuse_mute(opened)
        if spec.budget.usd is not None or spec.model.price:
            ask_before_spending(yes=yes)
        with _page(spec.store, (row.id, row.name), invitation):
            opened.wait_for_people(lambda: True)
            result = _run(opened)
            show.result(result.to_json(), spec.store)
            if result.cause == "interrupt":
                again = f"promptopt label {words_for(row.name, spec.store)}"
                print(clean(f"Stopped; nothing is lost. Go on with: {again}"), file=sys.stderr)
                raise typer.Exit(EXIT_CODES["interrupt"])
            _wait(f"The search is {result.state} ({result.reason}) and the page stays")


def refuse_mute(study: "Study") -> None:
    """Refuse a study in which nobody is asked.

    Raises:
        ConfigError: The metric alone decides.
    """
    jury = study.setup.jury
    if jury is None or not (jury.people or jury.model):
        raise ConfigError(f"The study '{study.row.name}' asks nobody; make one with --judge human.")


def _run(study: "Study") -> "Result":
    """Run the search; while another process does, wait until that one has ended."""
    is_told = False
    while True:
        try:
            return study.run()
        except StudyBusyError as busy:
            if not is_told:
                who = str(busy).partition(";")[0]
                told = f"{who}; here the page runs, and takes the search over should that process end."
                print(clean(told), file=sys.stderr, flush=True)
            is_told = True
            time.sleep(LOOK_S)


def spec_of(study: str, store: str) -> StudySpec:
    """Return the settings of a stored study, or of a study file."""
    from promptopt.report import study_spec

    if study.endswith(".toml"):
        return read_spec(Path(study))
    return replace(spec_from_json(study_spec(store, study)), store=store)


def revoke(study: str, store: str, names: Sequence[str]) -> None:
    """End the links and sessions of somebody; what they said stays."""
    from promptopt.report import find_study, open_store

    with open_store(store, read_only=False) as opened:
        study_id = find_study(opened, study).id
        for name in names:
            n = opened.revoke(study_id, name)
            ended = f"{n} link{'s' if n != 1 else ''} or session{'s' if n != 1 else ''} ended"
            print(clean(f"{name}: {ended if n else 'has no link that is open'}; what they said stays."))


def _serve_only(store: str, study: str, invitation: Invitation) -> None:
    """Serve the page without a search: what is open can be labelled, and nothing new comes."""
    from promptopt.report import find_study, open_store

    with open_store(store) as opened:
        row = find_study(opened, study)
    with _page(store, (row.id, row.name), invitation):
        _wait("The study was made from Python, whose script makes the pairs; here only the page runs")


@contextmanager
def _page(store: str, study: tuple[int, str], invitation: Invitation) -> Iterator[None]:
    """Serve the page while the block runs, and print a link for everybody who is invited."""
    from promptopt.store.passes import check_name
    from promptopt.store.store import Store
    from promptopt.web.apart import serving_apart
    from promptopt.web.server import Address

    for name in invitation.names:
        check_name(name)
    address = Address(invitation.host, invitation.port, invitation.url)
    with serving_apart(store, study, address) as taken:
        with Store.open(store, create=False) as opened:
            for name in invitation.names:
                token = opened.invite(study[0], name, lasts_s=invitation.days * DAY_S)
                print(clean(f"{name}: {taken.base}/join#{token}"))
        days = f"{invitation.days:g} day{'s' if invitation.days != 1 else ''}"
        print(f"Each link works once and lasts {days}. Ctrl-C ends the page; nothing is lost.", flush=True)
        yield


def _wait(why: str) -> None:
    """Say why nothing runs but the page, and wait for Ctrl-C."""
    with suppress(KeyboardInterrupt):
        print(clean(f"{why}; Ctrl-C ends it."), file=sys.stderr, flush=True)
        threading.Event().wait()

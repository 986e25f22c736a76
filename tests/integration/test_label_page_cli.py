"""``promptopt label`` with its page, in processes of its own: two on one study, a kill, links, and what is refused."""

import re
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from promptopt.store.store import Store
from promptopt_cli import page
from tests.waiting import wait_for
from tests.web.client import Browser

STUDY = ("sentiment", "--model", "simulated:additive", "-n", "160", "--judge", "human", "--study", "h",
         "--set", "duels=8", "--set", "pool=5", "--set", "least=30")  # fmt: skip


class Label:
    """A running ``promptopt label``."""

    def __init__(self, folder: Path, name: str) -> None:
        self.said = folder / f"{name}.txt"
        command = [sys.executable, "-m", "promptopt", "label", "h", "--invite", name, "--port", "0"]
        with self.said.open("wb") as out:
            self.process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=out)

    def says(self, pattern: str) -> str:
        wait_for(lambda: re.search(pattern, self.said.read_text()) is not None or self.process.poll() is not None)
        found = re.search(pattern, self.said.read_text())
        assert found, self.said.read_text()
        return found[0]

    def port(self) -> int:
        self.says("Ctrl-C ends the page")
        return int(self.says(r"(?<=127\.0\.0\.1:)\d+"))


@pytest.fixture
def labels(tmp_path: Path) -> Iterator[Callable[[str], Label]]:
    ran = subprocess.run([sys.executable, "-m", "promptopt", "optimize", *STUDY], cwd=tmp_path, capture_output=True,
                         text=True, timeout=120)  # fmt: skip
    assert ran.returncode == 3, ran.stderr
    started: list[Label] = []

    def start(name: str) -> Label:
        started.append(Label(tmp_path, name))
        return started[-1]

    yield start
    for label in started:
        label.process.kill()
        label.process.wait(timeout=20)


def holder(path: Path) -> int:
    with closing(sqlite3.connect(path)) as raw:
        return int(raw.execute("SELECT lease_pid FROM studies").fetchone()[0] or 0)


def is_served(port: int) -> bool:
    with closing(socket.socket()) as found:
        return found.connect_ex(("127.0.0.1", port)) == 0


def say_all(person: Browser) -> str:
    """Say something of all that is open, and return how the study is."""
    screen = person.pair()
    while screen["pair"]:
        screen = person.say("left", screen).data
    return str(screen["state"])


def test_a_second_one_shares_the_pairs_and_takes_the_search_over_when_the_first_is_killed(
    labels: Callable[[str], Label], tmp_path: Path
) -> None:
    path = tmp_path / "promptopt.db"
    first = labels("Ann")
    ports = [first.port()]
    wait_for(lambda: holder(path) == first.process.pid)
    second = labels("Bob")
    ports.append(second.port())
    second.says("works on the study 'h' since .*; here the page runs, and takes the search over")
    people = [Browser(path, port, 1).join(name) for port, name in zip(ports, ("Ann", "Bob"), strict=True)]
    screens = [person.pair() for person in people]
    assert screens[0]["pair"]["id"] != screens[1]["pair"]["id"]
    assert people[0].say("left", screens[0]).status == 200
    first.process.send_signal(signal.SIGKILL)
    wait_for(lambda: not is_served(ports[0]))
    assert people[1].say("right", screens[1]).status == 200
    wait_for(lambda: holder(path) == second.process.pid)
    with Store.open(path) as store:
        assert [p.labeller for p in store.preferences(1) if p.source == "human"] == ["Ann", "Bob"], "no label is lost"
    wait_for(lambda: say_all(people[1]) == "finished")
    second.says("The search is finished .* the page stays; Ctrl-C ends it")
    second.process.send_signal(signal.SIGINT)
    assert second.process.wait(timeout=60) == 0
    assert not is_served(ports[1])


def test_ctrl_c_ends_the_page_as_soon_as_it_is_told_that_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[object] = []

    def told(*words: object, **_: object) -> None:
        said.extend(words)
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.print", told)
    page._wait("The search is finished and the page stays")
    assert len(said) == 1


def test_links_end_when_they_are_revoked_and_a_taken_port_is_one_sentence(
    labels: Callable[[str], Label], tmp_path: Path
) -> None:
    port = labels("Ann").port()
    ann = Browser(tmp_path / "promptopt.db", port, 1).join("Ann")
    assert ann.ask("GET", "/pair").status == 200

    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "promptopt", "label", "h", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)

    assert run("--revoke", "Ann").stdout == "Ann: 2 links or sessions ended; what they said stays.\n"
    assert ann.ask("GET", "/pair").status == 401
    assert run("--revoke", "Zoe").stdout == "Zoe: has no link that is open; what they said stays.\n"
    taken = run("--invite", "Bob", "--port", str(port))
    assert taken.returncode == 2
    assert taken.stderr == (
        f"promptopt: Nothing can listen on 127.0.0.1 port {port} (address already in use); "
        "choose others: --host and --port.\n"
    )

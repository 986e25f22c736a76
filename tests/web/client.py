"""A browser as far as the labelling page's server can tell: requests with cookies, forms and origins."""

import http.client
import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from promptopt.store.store import Store
from promptopt.web.desk import csrf_of


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    data: Any


class Browser:
    """What one person's browser sends."""

    def __init__(self, path: Path, port: int, study_id: int) -> None:
        self.path, self.port, self.study_id = path, port, study_id
        self.cookie = self.token = ""

    def ask(self, method: str, url: str, body: Any = None, **headers: str) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        origin = f"http://127.0.0.1:{self.port}"
        sent = {"Origin": origin, "Content-Type": "application/json"} if method == "POST" else {}
        sent |= {"Cookie": self.cookie, "X-CSRF-Token": csrf_of(self.token)} if self.cookie else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        with closing(connection):
            data = body if body is None or isinstance(body, str | bytes) else json.dumps(body)
            connection.request(method, url, data, {name: value for name, value in sent.items() if value})
            answer = connection.getresponse()
            text = answer.read().decode()
        kind = answer.headers.get_content_type()
        return Reply(answer.status, dict(answer.headers), json.loads(text) if kind == "application/json" else text)

    def join(self, name: str) -> "Browser":
        with Store.open(self.path) as store:
            link = store.invite(self.study_id, name)
        reply = self.ask("POST", "/join", {"token": link})
        assert reply.status == 200, reply
        self.cookie = reply.headers["Set-Cookie"].split(";")[0]
        self.token = self.cookie.partition("=")[2]
        return self

    def pair(self) -> Any:
        return self.ask("GET", "/pair").data

    def say(self, verdict: str, screen: Any = None, headers: Mapping[str, str] = {}, **more: Any) -> Reply:
        screen = screen or self.pair()
        form = {"form": screen["form"], "pair": screen["pair"]["id"], "verdict": verdict, **more}
        return self.ask("POST", "/verdict", form, **headers)


def contents(path: Path) -> list[Any]:
    """Return all that a page may change, to see that it did not."""
    with closing(sqlite3.connect(path)) as raw:
        tables = ("preferences", "passes", "duels", "studies", "asks")
        return [raw.execute(f"SELECT * FROM {name} ORDER BY 1").fetchall() for name in tables]

"""The labelling page over HTTP: what is refused, and that it changes nothing."""

import http.client
import json
import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from promptopt.store.store import Store
from promptopt.web.desk import csrf_of
from promptopt.web.guard import MOST_BYTES
from tests.web.client import Browser, contents
from tests.web.stage import PAIRS, stage


def test_every_answer_is_hardened(ann: Browser) -> None:
    for url in ("/", "/join", "/pair", "/static/label.js", "/nowhere"):
        headers = ann.ask("GET", url).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"
        assert "aiohttp" not in headers["Server"]
    for name in ("label.html", "join.html"):
        page = ann.ask("GET", "/" if name == "label.html" else "/join").data
        assert "<script>" not in page
        assert " on" + "click" not in page
        assert "style=" not in page
        assert "//" not in page.replace("<!doctype html>", ""), "nothing comes from outside"


def test_somebody_who_follows_a_wrong_link_sees_a_page(ann: Browser) -> None:
    for url, status, why in (("/nowhere", 404, "There is nothing at this address."), ("/verdict", 405, "Not Allowed")):
        reply = ann.ask("GET", url, Accept="text/html,*/*")
        assert reply.status == status
        assert why in reply.data
        assert "Content-Security-Policy" in reply.headers
    stranger = Browser(ann.path, ann.port, ann.study_id).ask("GET", "/pair", Accept="text/html")
    assert (stranger.status, "Ask for a new link." in stranger.data) == (401, True)


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(path: Path, port: int, study_id: int) -> None:
    with Store.open(path) as store:
        link = store.invite(study_id, "Ann")
    cookie = Browser(path, port, study_id).ask("POST", "/join", {"token": link}).headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert link not in cookie


@pytest.mark.parametrize(
    ("method", "url", "headers", "status"),
    [
        ("GET", "/pair", {"Host": "evil.example"}, 421),
        ("GET", "/static/label.js", {"Host": "evil.example:80"}, 421),
        ("POST", "/verdict", {"Host": "evil.example"}, 421),
        ("POST", "/verdict", {"Origin": "http://evil.example"}, 403),
        ("POST", "/verdict", {"Origin": "null"}, 403),
        ("POST", "/verdict", {"Origin": ""}, 403),
        ("POST", "/verdict", {"Origin": "https://127.0.0.1"}, 403),
        ("POST", "/undo", {"Origin": "http://evil.example"}, 403),
        ("POST", "/verdict", {"X-CSRF-Token": ""}, 403),
        ("POST", "/verdict", {"X-CSRF-Token": "0" * 32}, 403),
        ("POST", "/undo", {"X-CSRF-Token": "é"}, 403),
        ("POST", "/verdict", {"Content-Type": "text/plain"}, 415),
        ("POST", "/verdict", {"Content-Encoding": "gzip"}, 415),
        ("POST", "/verdict", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ("POST", "/verdict", {"Cookie": ""}, 401),
        ("POST", "/verdict", {"Cookie": "promptopt=wrong"}, 401),
        ("GET", "/pair", {"Cookie": ""}, 401),
        ("GET", "/", {"Cookie": ""}, 401),
        ("GET", "/standing", {"Cookie": ""}, 401),
        ("GET", "/task", {"Cookie": ""}, 401),
        ("GET", "/differences?pair=replies00000", {"Cookie": ""}, 401),
        ("GET", "/verdict", {}, 405),
        ("PUT", "/verdict", {}, 403),
        ("DELETE", "/pair", {"Origin": "http://evil.example"}, 403),
        ("GET", "/studies", {}, 404),
        ("GET", "/static/../desk.py", {}, 404),
        ("GET", "/static/%2e%2e%2fdesk.py", {}, 404),
        ("GET", "/static/label.html", {}, 404),
    ],
)
def test_what_is_refused_changes_nothing(
    ann: Browser, path: Path, method: str, url: str, headers: dict[str, str], status: int
) -> None:
    ann.say("left")
    screen = ann.pair()
    before = contents(path)
    body = {"form": screen["form"], "pair": screen["pair"]["id"], "verdict": "left"} if method != "GET" else None
    assert ann.ask(method, url, body, **headers).status == status
    assert contents(path) == before


@pytest.mark.parametrize("body", ["", "{", "[]", "[" * 20_000, '"text"', {}])
def test_what_is_no_form_changes_nothing(ann: Browser, path: Path, body: Any) -> None:
    ann.pair()
    before = contents(path)
    assert 400 <= ann.ask("POST", "/verdict", body).status < 500
    assert contents(path) == before


@pytest.mark.parametrize(
    "wrong",
    [
        {"verdict": "best"}, {"verdict": ["left"]}, {"verdict": ""}, {"pair": 1}, {"pair": "nothing"},
        {"form": "0" * 32}, {"form": 7}, {"form": "\ud800"}, {"pair": "\ud800"}, {"verdict": "\ud800"},
        {"remark": "x" * 2_001}, {"remark": {}},
        {"millis": -1}, {"millis": "1"}, {"millis": 1e99},
    ],
)  # fmt: skip
def test_a_form_with_a_wrong_field_changes_nothing(ann: Browser, path: Path, wrong: dict[str, Any]) -> None:
    screen = ann.pair()
    before = contents(path)
    form = {"form": screen["form"], "pair": screen["pair"]["id"], "verdict": "left", **wrong}
    assert 400 <= ann.ask("POST", "/verdict", form).status < 500
    assert contents(path) == before


def test_a_body_that_is_too_large_is_refused_unread(ann: Browser, path: Path) -> None:
    before = contents(path)
    assert ann.say("left", remark="x" * MOST_BYTES).status == 413
    assert contents(path) == before
    chunks = (b"x" * 1_000 for _ in range(50))
    connection = http.client.HTTPConnection("127.0.0.1", ann.port, timeout=20)
    headers = {"Origin": f"http://127.0.0.1:{ann.port}", "Content-Type": "application/json", "Cookie": ann.cookie,
               "X-CSRF-Token": csrf_of(ann.token)}  # fmt: skip
    with closing(connection):
        connection.request("POST", "/verdict", chunks, headers, encode_chunked=True)
        assert connection.getresponse().status == 413
    assert contents(path) == before


def test_a_replayed_form_changes_nothing(ann: Browser, path: Path) -> None:
    first = ann.pair()
    after = ann.say("left", first).data
    before = contents(path)
    replay = ann.say("right", first)
    assert replay.status == 409
    assert replay.data["pair"]["id"] == after["pair"]["id"], "it says what is current"
    assert contents(path) == before
    undo = {"form": after["form"], "pair": after["pair"]["id"]}
    assert ann.ask("POST", "/undo", undo).status == 200
    before = contents(path)
    assert ann.ask("POST", "/undo", undo).status == 409
    assert ann.say("left", first).status == 409, "also once its verdict is taken back"
    assert contents(path) == before


def test_a_form_of_one_person_is_no_good_for_another(ann: Browser, path: Path) -> None:
    bob = Browser(ann.path, ann.port, ann.study_id).join("Bob")
    before = contents(path)
    screen = ann.pair()
    assert bob.say("left", screen).status == 409
    forged = {"form": bob.pair()["form"], "pair": screen["pair"]["id"], "verdict": "left"}
    assert bob.ask("POST", "/verdict", forged).status == 409
    assert contents(path) == before


@pytest.mark.parametrize("token", ["", "wrong", None, 7, ["x"], "x" * 5_000])
def test_a_wrong_link_is_refused(path: Path, port: int, study_id: int, token: Any) -> None:
    before = contents(path)
    assert Browser(path, port, study_id).ask("POST", "/join", {"token": token}).status == 403
    assert contents(path) == before


def test_used_expired_and_revoked_links_are_refused(path: Path, port: int, study_id: int) -> None:
    with Store.open(path) as store:
        used, expired, revoked = (store.invite(study_id, who, lasts_s=s) for who, s in
                                  (("Ann", 60), ("Bob", -1), ("Cem", 60)))  # fmt: skip
        store.revoke(study_id, "Cem")
    browser = Browser(path, port, study_id)
    assert browser.ask("POST", "/join", {"token": used}).status == 200
    before = contents(path)
    assert [browser.ask("POST", "/join", {"token": token}).status for token in (used, expired, revoked)] == [403] * 3
    assert contents(path) == before


def test_a_session_that_is_revoked_or_expired_says_nothing_more(ann: Browser, path: Path) -> None:
    screen = ann.pair()
    with Store.open(path) as store:
        store.revoke(ann.study_id, "Ann")
    before = contents(path)
    assert ann.say("left", screen).status == 401
    assert ann.ask("GET", "/pair").status == 401
    assert contents(path) == before
    with Store.open(path) as store:
        link = store.invite(ann.study_id, "Bob")
    reply = ann.ask("POST", "/join", {"token": link}, Cookie="")
    ann.cookie = reply.headers["Set-Cookie"].split(";")[0]
    ann.token = ann.cookie.partition("=")[2]
    screen = ann.pair()
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("UPDATE passes SET expires = 1")
        raw.commit()
    before = contents(path)
    assert ann.say("left", screen).status == 401
    assert contents(path) == before


def test_a_link_of_another_study_opens_nothing_here_and_stays_good_there(ann: Browser, path: Path) -> None:
    other = stage(path, PAIRS[:2], name="other")
    with Store.open(path) as store:
        link = store.invite(other, "Ann")
        before = contents(path)
        assert ann.ask("POST", "/join", {"token": link}, Cookie="").status == 403
        assert contents(path) == before
        assert store.exchange(other, link)


@pytest.mark.parametrize("kind", ["application/json; charset=rot13", "application/json; charset=nonsense"])
def test_a_body_is_utf_8_whatever_it_calls_itself(ann: Browser, path: Path, kind: str) -> None:
    assert ann.say("left", headers={"Content-Type": kind}).status == 200
    screen, before = ann.pair(), contents(path)
    form = f'{{"form": "{screen["form"]}", "pair": "{screen["pair"]["id"]}", "verdict": "left"}}'.encode("utf-16")
    assert ann.ask("POST", "/verdict", form, Content_Type="application/json; charset=utf-16").status == 400
    assert contents(path) == before


@pytest.mark.parametrize(
    "lines",
    [
        ["Host: 127.0.0.1:{port}", "Host: evil.example"],
        ["Host: evil.example", "Origin: http://127.0.0.1:{port}"],
        ["Host: 127.0.0.1:{port}", "Origin: http://127.0.0.1:{port}", "Origin: http://evil.example"],
        ["Host: 127.0.0.1:{port}", "Origin: http://evil.example", "Origin: http://127.0.0.1:{port}"],
        ["Host: 127.0.0.1:{port}", "Origin: http://127.0.0.1:{port}", "Transfer-Encoding: chunked"],
        ["Host: 127.0.0.1:{port}", "Origin: http://127.0.0.1:{port}", "X: " + "x" * 20_000],
    ],
)
def test_a_request_that_no_browser_sends_changes_nothing(
    ann: Browser, path: Path, lines: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    screen = ann.pair()
    before = contents(path)
    form = {"form": screen["form"], "pair": screen["pair"]["id"], "verdict": "left"}
    body = json.dumps(form).encode()
    head = [
        "POST /verdict HTTP/1.1", *lines, "Content-Type: application/json", f"Cookie: {ann.cookie}",
        f"X-CSRF-Token: {csrf_of(ann.token)}", f"Content-Length: {len(body)}", "Connection: close",
    ]  # fmt: skip
    with closing(socket.create_connection(("127.0.0.1", ann.port), timeout=20)) as raw:
        raw.sendall("\r\n".join(head).format(port=ann.port).encode() + b"\r\n\r\n" + body)
        assert raw.recv(12)[9:10] == b"4"
    assert contents(path) == before
    assert ann.say("left", screen).status == 200, "and the page goes on"
    assert "Traceback" not in capfd.readouterr().err


def test_a_session_of_another_study_is_none_here(ann: Browser, path: Path) -> None:
    other = stage(path, PAIRS[:2], name="other")
    with Store.open(path) as store:
        session = store.exchange(other, store.invite(other, "Ann")) or ""
    name = ann.cookie.partition("=")[0]
    assert ann.ask("GET", "/pair", Cookie=f"{name}={session}").status == 401

import contextlib
import itertools
import os
import signal
import threading
import time
from collections import Counter
from dataclasses import replace
from email.utils import formatdate

import pytest

from promptopt.backends.base import TAKEN_AHEAD, Reply, Request
from promptopt.backends.http import HTTPBackend, HTTPOptions
from promptopt.budget import Usage
from promptopt.errors import ConfigError, FatalBackendError
from promptopt.layout import Message
from tests.integration.fault_server import (
    HALF,
    NO_CHOICES,
    NOT_JSON,
    OK,
    RESET,
    Act,
    FaultServer,
    Script,
    answer,
    failure,
)
from tests.waiting import wait_for

QUICK = HTTPOptions(concurrency=16, backoff_s=0.005)
HASTY = replace(QUICK, timeout_s=0.4)  # for calls that hang, and no others
HANGS = Act(delay_s=30)
SECRET = "sk-very-secret-0123456789"


def ask(text: str, mode: str = "chat", **more: object) -> Request:
    role = "user" if mode == "chat" else "text"
    return Request(mode, (Message(role, text),), **more)  # type: ignore[arg-type]


def run(server: FaultServer, *texts: str, options: HTTPOptions = QUICK) -> dict[str, Reply]:
    with contextlib.closing(HTTPBackend(server.url, options)) as backend:
        return {a[0]: a[1] for a in backend.run((text, ask(text)) for text in texts) if a is not None}


def run_one(script: Script, options: HTTPOptions = QUICK) -> Reply:
    with FaultServer(script) as server:
        return run(server, "hello", options=options)["hello"]


def first(act: Act, then: Act = OK) -> Script:
    return lambda text, attempt: act if attempt == 0 else then


def test_a_good_answer() -> None:
    reply = run_one(lambda text, attempt: Act(delay_s=0.1))
    assert (reply.status, reply.text, reply.attempts, reply.error) == ("ok", "hello", 1, "")
    usage = reply.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == (10, 2, 4)
    assert 0.1 <= usage.seconds < 10


def test_what_is_sent() -> None:
    with FaultServer(models=("a", "b")) as server, contextlib.closing(HTTPBackend(server.url + "#b", QUICK)) as backend:
        requests = [
            (0, ask("x", max_tokens=7, temperature=0.5, stop=("\n",), seed=0)),
            (1, ask("y", mode="completion")),
        ]
        assert len([reply for reply in backend.run(requests) if reply]) == 2
    chat, completion = sorted(server.bodies, key=lambda body: "prompt" in body)
    assert chat == {
        "model": "b",
        "messages": [{"role": "user", "content": "x"}],
        "max_tokens": 7,
        "temperature": 0.5,
        "stop": ["\n"],
        "seed": 0,
    }
    assert completion == {"model": "b", "prompt": "y", "max_tokens": 16, "temperature": 0.0}
    assert server.paths == {"models": 1, "chat/completions": 1, "completions": 1}


def pace(act: Act) -> HTTPOptions:
    return HASTY if act is HANGS else QUICK


@pytest.mark.parametrize("act", [failure(429), failure(500), failure(503), RESET, HALF])
def test_passing_faults_are_retried(act: Act) -> None:
    reply = run_one(first(act))
    assert (reply.status, reply.text, reply.attempts) == ("ok", "hello", 2)


@pytest.mark.parametrize(
    ("act", "attempts", "lost"),
    [(failure(500), 5, False), (failure(429), 20, False), (RESET, 5, True), (HANGS, 5, True)],
)
def test_lasting_faults_fail_after_five_attempts_and_refusals_after_twenty(act: Act, attempts: int, lost: bool) -> None:
    reply = run_one(lambda text, attempt: act, replace(QUICK, backoff_s=1e-7, timeout_s=0.1 if act is HANGS else 60.0))
    assert (reply.status, reply.text, reply.attempts, reply.lost) == ("failed", "", attempts, lost)
    assert "127.0.0.1" in reply.error


@pytest.mark.parametrize("act", [NOT_JSON, NO_CHOICES, Act(body=[]), answer(None), Act(body={"choices": [{}]})])
def test_malformed_answers_are_tried_three_times(act: Act) -> None:
    assert run_one(first(act)).attempts == 2
    lasting = run_one(lambda text, attempt: act)
    assert (lasting.status, lasting.attempts) == ("malformed", 3)


@pytest.mark.parametrize(
    ("act", "tokens"),
    [
        (NO_CHOICES, 12),
        (answer("half", "length"), 12),
        (NOT_JSON, None),
        (RESET, None),
        (HALF, None),
        (HANGS, None),
    ],
)
def test_what_may_have_to_be_paid_is_told_before_the_next_attempt(act: Act, tokens: int | None) -> None:
    told: list[int | None] = []

    def again(request: Request, usage: Usage | None) -> bool:
        told.append(usage.tokens if usage else None)
        return len(told) < 2

    with FaultServer(lambda text, attempt: act) as server:
        with contextlib.closing(HTTPBackend(server.url, pace(act))) as backend:
            (_, reply), *_ = filter(None, backend.run([(0, ask("x"))], again))
        assert len(server.calls) == 2
    assert told == [tokens, tokens]
    ends = {id(NO_CHOICES): "malformed", id(NOT_JSON): "malformed", id(RESET): "failed", id(HALF): "failed"}
    assert reply.status == ends.get(id(act), "failed" if act.delay_s else "truncated")
    assert (reply.usage.tokens or None, reply.lost) == (tokens, tokens is None)


@pytest.mark.parametrize("act", [failure(429), failure(500)])
def test_what_costs_nothing_needs_no_leave(act: Act) -> None:
    with FaultServer(first(act)) as server, contextlib.closing(HTTPBackend(server.url, QUICK)) as backend:
        (_, reply), *_ = filter(None, backend.run([(0, ask("x"))], lambda request, usage: False))
    assert (reply.status, reply.attempts) == ("ok", 2)


def test_a_call_that_hangs_is_given_up_once_it_is_known_how_long_calls_take() -> None:
    script: Script = lambda text, attempt: Act(delay_s=60 if text == "t0" and not attempt else 0.01)  # noqa: E731
    began_at = time.monotonic()
    with FaultServer(script) as server:
        replies = run(server, *(f"t{n}" for n in range(60)), options=HTTPOptions(concurrency=16, backoff_s=0.001))
    assert {reply.status for reply in replies.values()} == {"ok"}
    assert replies["t0"].attempts == 2
    assert time.monotonic() - began_at < 30, "and not after the 120 s that a call may take at most"


def test_where_the_server_has_no_room_the_window_shrinks_and_nothing_is_lost() -> None:
    with FaultServer() as server:
        server.script = lambda text, attempt: failure(429) if server.in_flight > 4 else Act(delay_s=0.01)
        backend = HTTPBackend(server.url, HTTPOptions(concurrency=64, backoff_s=0.01))
        with contextlib.closing(backend):
            replies = [reply[1] for reply in backend.run((n, ask(str(n))) for n in range(300)) if reply]
            assert backend._pace.window < 16
    assert [reply.status for reply in replies] == ["ok"] * 300


@pytest.mark.parametrize(
    ("act", "status", "text"),
    [
        (answer("whole", "length"), "truncated", "whole"),
        (answer("", "content_filter"), "refused", ""),
        (answer(None, "stop", refusal="I would rather not."), "refused", "I would rather not."),
        (answer(""), "ok", ""),
        (failure(400, "This model's maximum context length is 8 tokens."), "refused", ""),
        (failure(400, "declined", "content_filter"), "refused", ""),
        (failure(400, "no such parameter"), "failed", ""),
    ],
)
def test_final_answers_are_not_retried(act: Act, status: str, text: str) -> None:
    with (
        FaultServer(lambda text, attempt: act) as server,
        contextlib.closing(HTTPBackend(server.url, QUICK)) as backend,
    ):
        (_, reply), *_ = filter(None, backend.run([(0, ask("x", max_tokens=2))]))
    assert (reply.status, reply.text, reply.attempts) == (status, text, 1)


def test_an_answer_cut_before_its_limit_is_tried_three_times() -> None:
    half = answer("half", "length")  # of two tokens, where sixteen were allowed
    assert (run_one(first(half)).text, run_one(first(half)).attempts) == ("hello", 2)
    lasting = run_one(lambda text, attempt: half)
    assert (lasting.status, lasting.text, lasting.attempts, lasting.error) == ("truncated", "half", 3, "")


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_holds_back_the_whole_endpoint(as_date: bool) -> None:
    texts = [f"t{n}" for n in range(30)]

    def script(text: str, attempt: int) -> Act:
        said = formatdate(time.time() + 2, usegmt=True) if as_date else "0.5"
        return failure(429, Retry_After=said) if (text, attempt) == ("t0", 0) else Act(delay_s=0.02)

    with FaultServer(script) as server:
        replies = run(server, *texts, options=HTTPOptions(concurrency=4, backoff_s=0.001))
    assert all(reply.status == "ok" for reply in replies.values())
    times = sorted(at for _, at in server.calls)
    longest = max(after - before for before, after in itertools.pairwise(times))
    assert longest > 0.25, "and not the 0.02 s between two calls"


def test_a_very_long_retry_after_stops() -> None:
    with pytest.raises(FatalBackendError, match="3600 s"):
        run_one(lambda text, attempt: failure(429, Retry_After="3600"))


def test_nothing_is_lost_under_mixed_faults_and_the_bound_holds() -> None:
    def script(text: str, attempt: int) -> Act:
        acts = [failure(429), failure(500), RESET, HALF, NOT_JSON]
        return acts[hash_of(text) % 5] if attempt == 0 and hash_of(text) % 4 == 0 else Act(delay_s=0.03)

    texts = [f"text {n}" for n in range(300)]
    with FaultServer(script) as server:
        replies = run(server, *texts)
    assert set(replies) == set(texts)
    assert all((reply.status, reply.text) == ("ok", text) for text, reply in replies.items())
    assert Counter(text for text, _ in server.calls) == {text: reply.attempts for text, reply in replies.items()}
    assert 8 < server.most_in_flight <= 16


def test_two_streams_share_the_bound() -> None:
    with FaultServer(lambda text, attempt: Act(delay_s=0.02)) as server:
        backend = HTTPBackend(server.url, HTTPOptions(concurrency=4))
        with contextlib.closing(backend):
            streams = [backend.run((n, ask(f"{name}{n}")) for n in range(12)) for name in "ab"]
            threads = [threading.Thread(target=list, args=(stream,)) for stream in streams]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert len(server.calls) == 24
        assert server.most_in_flight <= 4


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key_stops_at_once_and_is_never_shown(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    denied = failure(status, f"Incorrect key provided: {SECRET}; also sk-other-1234567890abc")
    with FaultServer(lambda text, attempt: denied) as server, pytest.raises(FatalBackendError) as caught:
        run(server, *map(str, range(50)))
    assert len(server.calls) <= QUICK.concurrency + QUICK.concurrency // TAKEN_AHEAD
    shown = f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"
    assert "secret" not in shown
    assert "sk-" not in shown
    assert ("OPENAI_API_KEY" in shown) == (status == 401)


def test_a_wrong_key_at_the_list_of_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "wrong-" + SECRET)
    with (
        FaultServer(key=SECRET) as server,
        contextlib.closing(HTTPBackend(server.url, HTTPOptions(key_variable="MY_KEY"))) as backend,
        pytest.raises(FatalBackendError, match="MY_KEY") as caught,
    ):
        _ = backend.model_key
    assert SECRET not in str(caught.value)
    assert not server.calls


def test_the_right_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with FaultServer(key=SECRET) as server:
        assert run(server, "hello")["hello"].status == "ok"


def test_no_credit_left_stops() -> None:
    with pytest.raises(FatalBackendError, match="denies access"):
        run_one(lambda text, attempt: failure(429, "You exceeded your quota.", "insufficient_quota"))


def test_a_wrong_model_stops_and_names_those_there_are() -> None:
    with FaultServer(models=("small", "large")) as server:
        backend = HTTPBackend(server.url + "#huge", QUICK)
        with contextlib.closing(backend), pytest.raises(FatalBackendError, match="small, large"):
            list(backend.run([(0, ask("x"))]))


@pytest.mark.parametrize(
    ("models", "named", "works"), [((), "", False), (failure(404), "", False), (failure(404), "#tiny", True)]
)
def test_a_server_that_lists_no_model(models: object, named: str, works: bool) -> None:
    expected = contextlib.nullcontext() if works else pytest.raises(ConfigError, match="#model-name")
    with (
        FaultServer(models=models) as server,
        contextlib.closing(HTTPBackend(server.url + named, QUICK)) as backend,
        expected,
    ):
        assert len(backend.model_key) == 32


def test_the_model_key_tells_models_and_roots_apart() -> None:
    with FaultServer(models=("a", "b")) as server:
        keys = set()
        for named in ("", "#a", "#b", "#c"):
            with contextlib.closing(HTTPBackend(server.url + named, QUICK)) as backend:
                keys.add(backend.model_key)
    assert len(keys) == 3


def test_a_redirect_is_not_followed() -> None:
    with pytest.raises(FatalBackendError, match="307"):
        run_one(lambda text, attempt: failure(307, Location="http://127.0.0.1:9/v1"))


def test_a_server_that_starts_slowly(kept_port: int) -> None:
    server = FaultServer(lambda text, attempt: failure(503) if attempt < 3 else OK)
    server.port = kept_port
    starter = threading.Timer(0.2, server.__enter__)
    starter.start()
    try:
        reply = run(server, "hello", options=HTTPOptions(backoff_s=0.1, max_attempts=10))["hello"]
        assert (reply.status, reply.attempts) == ("ok", 4)
    finally:
        starter.join()
        server.__exit__()


def test_a_server_that_is_not_there(kept_port: int) -> None:
    backend = HTTPBackend(f"http://127.0.0.1:{kept_port}", QUICK)
    expected = pytest.raises(FatalBackendError, match="/v1 cannot be reached; is the server running there")
    with contextlib.closing(backend), expected:
        _ = backend.model


def test_a_server_that_goes_away_stops_the_run(kept_port: int) -> None:
    server = FaultServer()
    server.port = kept_port
    with server:
        backend = HTTPBackend(server.url, QUICK)
        assert backend.model == "tiny"
    with contextlib.closing(backend), pytest.raises(FatalBackendError, match="start the server again"):
        list(backend.run((n, ask(str(n))) for n in range(20)))


def test_closing_the_iterator_stops_at_once() -> None:
    script: Script = lambda text, attempt: OK if text == "0" else Act(delay_s=30)  # noqa: E731
    with FaultServer(script) as server, contextlib.closing(HTTPBackend(server.url)) as backend:
        replies = backend.run((n, ask(str(n))) for n in range(500))
        assert next(reply for reply in replies if reply)[0] == 0
        wait_for(lambda: len(server.calls) == 65)  # the place of the one that is back is taken again
        began_at = time.monotonic()
        replies.close()
        assert time.monotonic() - began_at < 10, "and not after the 30 s that the others take"
        wait_for(lambda: server.in_flight == 0)
        assert len(server.calls) == 65


def test_ticks_while_nothing_comes() -> None:
    with FaultServer(lambda text, attempt: HANGS) as server, contextlib.closing(HTTPBackend(server.url)) as backend:
        assert backend.model == "tiny"
        began_at = time.monotonic()
        with contextlib.closing(backend.run([(0, ask("x"))])) as replies:
            assert [next(replies) for _ in range(4)] == [None] * 4
        assert time.monotonic() - began_at > 4 * 0.02, "and not as fast as it can"


def test_a_forked_child_is_refused() -> None:
    with FaultServer() as server, contextlib.closing(HTTPBackend(server.url)) as backend:
        assert backend.model == "tiny"
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            try:
                backend.run([(0, ask("x"))])
            except FatalBackendError as error:
                backend.close()
                os._exit(0 if "fork" in str(error) else 1)
            os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert len([reply for reply in backend.run([(0, ask("x"))]) if reply]) == 1


def test_used_after_close() -> None:
    with FaultServer() as server:
        backend = HTTPBackend(server.url)
        backend.close()
        with pytest.raises(FatalBackendError, match="closed"):
            backend.run([])


def hash_of(text: str) -> int:
    return sum(ord(c) * (n + 1) for n, c in enumerate(text))


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

"""The hot path, the openai package and litellm against one server: the same studies, the same statuses."""

import contextlib
import re
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from promptopt.backends.address import open_backend
from promptopt.backends.base import Reply, Request
from promptopt.budget import Budget, Prices
from promptopt.config import ModelSpec
from promptopt.errors import ConfigError, FatalBackendError
from promptopt.layout import Message
from tests.conftest import require_package
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
from tests.toy import COLOURS, dump, run, toy_spec, toy_task

SECRET = "sk-very-secret-0123456789"
WAYS = ("", "openai:", "litellm:")
QUICK = {"backoff_s": "0.005"}


@pytest.fixture(params=WAYS, ids=["aiohttp", "openai", "litellm"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    chosen = str(request.param)
    if chosen:
        require_package(chosen.rstrip(":"))
    return chosen


def address(way: str, server: FaultServer, model: str = "tiny") -> str:
    return f"{way}{server.url}#{'openai/' if way == 'litellm:' else ''}{model}"


def ask(way: str, script: Script, text: str = "hello", **options: str) -> tuple[Reply, FaultServer]:
    with FaultServer(script) as server:
        backend = open_backend(address(way, server), options={**QUICK, **options})
        with contextlib.closing(backend):
            requests = [(text, Request("chat", (Message("user", text),), max_tokens=7, stop=("\n",), seed=3))]
            return next(arrival for arrival in backend.run(requests) if arrival)[1], server


def colour(text: str, attempt: int) -> Act:
    """Answer by the text alone; every seventh call is turned away once, or fails once.

    Neither costs anything: of prompts that send the same text it is chance which one comes first.
    """
    number = zlib.crc32(text.encode())
    if attempt == 0 and number % 7 == 0:
        return failure(503 if number % 2 else 500)
    return answer(COLOURS[number % 3])


def study(store: Path, way: str, port: int) -> tuple[str, dict[str, object]]:
    """Run a small study with a server at this port, and return its journal and what it found."""
    server = FaultServer(colour)
    server.port = port
    with server:
        # litellm only chats, and a study searches other layouts where there are raw completions.
        options = QUICK if way == "litellm:" else {**QUICK, "completion": "false"}
        model = ModelSpec(address(way, server), options=options)
        spec = toy_spec(store, model=model.task, budget=Budget(evaluations=60))
        result = run(replace(spec, model=model), toy_task(n_train=30, n_dev=20, n_test=20))
    found = {"verdict": result.to_json()["verdict"], "prompt": result.prompt, "tokens": result.spend.tokens}
    return dump(store), {**found, "calls": len(server.calls)}


def test_a_study_is_the_same_by_every_way(way: str, tmp_path: Path, kept_port: int) -> None:
    journal, found = study(tmp_path / "hot-path.db", "", kept_port)
    other_journal, other_found = study(tmp_path / "other.db", way, kept_port)
    assert journal.count("\n") > 3
    assert other_found == found
    if way == "litellm:":  # whose model has another name, which is a part of the keys of outcomes
        journal, other_journal = without_keys(journal), without_keys(other_journal)
    assert other_journal == journal


def without_keys(journal: str) -> str:
    return re.sub(r'"consumed":\[[^]]*\]', "", journal)


def test_the_cache_serves_the_openai_package_and_the_hot_path_alike() -> None:
    require_package("openai")
    with FaultServer() as server:
        keys = set()
        for by in ("", "openai:"):
            with contextlib.closing(open_backend(address(by, server))) as backend:
                keys.add(backend.model_key)
    assert len(keys) == 1


def test_what_is_sent(way: str) -> None:
    reply, server = ask(way, lambda text, attempt: OK, body='{"top_k": 3, "response_format": {"type": "json_object"}}')
    assert (reply.status, reply.text, reply.attempts) == ("ok", "hello", 1)
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.cached_tokens) == (10, 2, 4)
    assert server.bodies == [
        {
            "model": "tiny",
            "messages": [{"role": "user", "content": "hello"}],
            "max_tokens": 7,
            "temperature": 0.0,
            "stop": ["\n"],
            "seed": 3,
            "top_k": 3,
            "response_format": {"type": "json_object"},
        }
    ]


@pytest.mark.parametrize("act", [failure(429), failure(500), failure(503), RESET, HALF, NOT_JSON, NO_CHOICES])
def test_passing_faults_are_retried(way: str, act: Act) -> None:
    reply, _ = ask(way, lambda text, attempt: OK if attempt else act)
    assert (reply.status, reply.text, reply.attempts) == ("ok", "hello", 2)


def test_an_answer_that_never_comes_is_given_up(way: str) -> None:
    reply, _ = ask(way, lambda text, attempt: Act(delay_s=0 if attempt else 30), timeout_s="0.5")
    assert (reply.status, reply.text) == ("ok", "hello")
    assert reply.attempts > 1


@pytest.mark.parametrize(
    ("act", "status", "text", "attempts"),
    [
        (answer("half", "length"), "truncated", "half", 3),
        (answer("", "content_filter"), "refused", "", 1),
        (answer(None, "stop", refusal="I would rather not."), "refused", "I would rather not.", 1),
        (answer("<think>hm</think>yes"), "ok", "yes", 1),
        (failure(400, "This model's maximum context length is 8 tokens."), "refused", "", 1),
        (failure(400, "declined", "content_filter"), "refused", "", 1),
        (failure(400, "no such parameter"), "failed", "", 1),
        (NOT_JSON, "malformed", "", 3),
        (answer(None), "malformed", "", 3),
    ],
)
def test_statuses(way: str, act: Act, status: str, text: str, attempts: int) -> None:
    reply, _ = ask(way, lambda said, attempt: act)
    assert (reply.status, reply.text, reply.attempts) == (status, text, attempts)
    assert bool(reply.error) == (status in ("failed", "malformed") or (status == "refused" and not text))


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (failure(401, f"Incorrect key: {SECRET}"), "refuses the key"),
        (failure(403, f"Not with {SECRET}"), "denies access"),
        (failure(429, "You exceeded your quota.", "insufficient_quota"), "denies access"),
        (failure(404, "no such model", "model_not_found"), "no such model"),
        (failure(429, Retry_After="3600"), "3600 s"),
    ],
)
def test_what_can_never_succeed_stops(way: str, act: Act, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with pytest.raises(FatalBackendError, match=message) as caught:
        ask(way, lambda text, attempt: act)
    assert "secret" not in str(caught.value)


def test_a_server_that_is_gone(way: str, kept_port: int) -> None:
    server = FaultServer()
    server.port = kept_port
    backend = open_backend(address(way, server), options=QUICK)
    with contextlib.closing(backend), pytest.raises(FatalBackendError, match="cannot be reached"):
        list(backend.run([(0, Request("chat", (Message("user", "x"),)))]))


@pytest.mark.parametrize(
    "words",
    [
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        "Unsupported value: 'temperature' does not support 0.0 with this model. Only the default (1) is supported.",
    ],
)
def test_a_reasoning_model_is_found_out_once(way: str, words: str) -> None:
    refused = failure(400, words, "unsupported_parameter")
    with FaultServer(lambda text, attempt: OK if "temperature" not in server.bodies[-1] else refused) as server:
        backend = open_backend(address(way, server), options={"concurrency": "1"})
        with contextlib.closing(backend):
            requests = ((n, Request("chat", (Message("user", f"{n}"),), max_tokens=7)) for n in range(3))
            attempts = [arrival[1].attempts for arrival in backend.run(requests) if arrival]
    assert attempts == [2, 1, 1]
    assert [sorted(body.keys() - {"model", "messages"}) for body in server.bodies] == [
        ["max_tokens", "temperature"],
        *[["max_completion_tokens"]] * 3,
    ]


def test_a_refused_field_is_a_failure_where_the_user_has_decided(way: str) -> None:
    refused = failure(400, "'max_tokens' is not supported with this model.", "unsupported_parameter")
    reply, server = ask(way, lambda text, attempt: refused, reasoning="false")
    assert (reply.status, reply.attempts) == ("failed", 1)
    assert len(server.bodies) == 1


def test_money_is_counted_by_the_list(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = toy_spec(tmp_path / "studies.db", budget=Budget(evaluations=20, usd=5.0))
    task = toy_task(n_train=10, n_dev=10, n_test=0)
    with FaultServer(lambda text, attempt: answer("red")) as server:
        spec = replace(spec, model=ModelSpec(address(way, server)))
        with pytest.raises(ConfigError, match=r"price of .* is not known"):
            run(spec, task)
        monkeypatch.setattr("promptopt.opening.find_prices", lambda address: Prices(1.0, 2.0))
        spend = run(spec, task).spend
    assert spend.calls == len(server.calls)
    assert spend.usd == pytest.approx(spend.calls * (10 * 1.0 + 2 * 2.0) / 1e6)


LISTEN = """
import sys
sys.modules["uvloop"] = None  # it opens connections without telling auditors
hosts = []
sys.addaudithook(lambda event, args: hosts.append(args[-1][0] if event == "socket.connect" else args[0])
                 if event in ("socket.connect", "socket.getaddrinfo") else None)
import warnings; warnings.simplefilter("error")
from promptopt.backends.address import open_backend
from promptopt.backends.base import Request
from promptopt.layout import Message
backend = open_backend(sys.argv[1])
print([arrival[1].text for arrival in backend.run([(0, Request("chat", (Message("user", "hi"),)))]) if arrival])
backend.close()
print(sorted(set(hosts)))
"""


def test_nobody_else_is_called_and_nothing_is_said(way: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("OPENAI_API_KEY=from-a-file")
    with FaultServer() as server:
        run = subprocess.run(
            [sys.executable, "-c", LISTEN, address(way, server)],
            capture_output=True, text=True, timeout=600, cwd=tmp_path,
        )  # fmt: skip
    assert run.stderr == ""
    assert run.stdout == "['hi']\n['127.0.0.1']\n"


def test_litellm_wants_a_provider() -> None:
    require_package("litellm")
    with (
        contextlib.closing(open_backend("litellm:claudex")) as backend,
        pytest.raises(ConfigError, match="litellm:PROVIDER/MODEL"),
    ):
        _ = backend.model_key


def test_litellm_says_which_key_is_missing() -> None:
    require_package("litellm")
    backend = open_backend("litellm:anthropic/claude-sonnet-4-5")
    with contextlib.closing(backend), pytest.raises(FatalBackendError, match="ANTHROPIC_API_KEY"):
        list(backend.run([(0, Request("chat", (Message("user", "x"),)))]))


@pytest.mark.parametrize("act", [answer("yes"), answer("half", "length"), answer("", "content_filter")])
def test_our_reading_of_an_answer_is_that_of_the_openai_package(act: Act) -> None:
    require_package("openai")
    from openai.types.chat import ChatCompletion

    reply, _ = ask("", lambda text, attempt: act)
    read = ChatCompletion.construct(**act.body)
    told = {"stop": "ok", "length": "truncated", "content_filter": "refused"}
    assert (reply.status, reply.text) == (told[read.choices[0].finish_reason], read.choices[0].message.content)
    assert reply.usage.prompt_tokens == read.usage.prompt_tokens

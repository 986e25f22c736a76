import contextlib

import pytest

from promptopt.backends.base import Request
from promptopt.backends.http import HTTPBackend, HTTPOptions
from promptopt.errors import FatalBackendError
from promptopt.layout import Message
from tests.integration.fault_server import Act, FaultServer, Script


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def ask(text: str, mode: str = "chat", **more: object) -> Request:
    role = "user" if mode == "chat" else "text"
    return Request(mode, (Message(role, text),), **more)  # type: ignore[arg-type]


def test_likelihood_takes_the_choice_of_the_likeliest_token() -> None:
    top = [{"token": " the", "logprob": -0.1}, {"token": " neg", "logprob": -0.5}, {"token": "pos", "logprob": -2}]
    chat = {"message": {"content": " the"}, "logprobs": {"content": [{"top_logprobs": top}]}}
    text = {"text": "x", "logprobs": {"top_logprobs": [{" pos": -0.3, " negative": -1.0}]}}
    script: Script = lambda said, attempt: Act(body={"choices": [chat if said == "chat" else text]})  # noqa: E731
    options = HTTPOptions(likelihood=True)
    with FaultServer(script) as server, contextlib.closing(HTTPBackend(server.url, options)) as backend:
        choices = ("positive", "negative")
        requests = [(mode, ask(mode, mode=mode, choices=choices)) for mode in ("chat", "completion")]
        replies = dict(filter(None, backend.run([*requests, ("twins", ask("chat", choices=("never", "negative")))])))
    assert replies["chat"].text == "negative"
    assert replies["completion"].text == "positive"
    assert replies["twins"].status == "failed" or replies["twins"].text == "negative"
    assert all(body["max_tokens"] == 1 for body in server.bodies)


def test_choices_need_the_option() -> None:
    expected = pytest.raises(FatalBackendError, match="likelihood = true")
    with FaultServer() as server, contextlib.closing(HTTPBackend(server.url)) as backend, expected:
        list(backend.run([(0, ask("x", choices=("a", "b")))]))

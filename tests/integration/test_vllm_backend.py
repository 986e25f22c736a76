"""What the vLLM backend says to a server, and how it takes the answers; the server here only plays vLLM's part."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from promptopt.backends.base import Reply, Request
from promptopt.backends.http import HTTPOptions
from promptopt.backends.vllm import VLLMBackend
from promptopt.errors import FatalBackendError
from promptopt.layout import Message, Mode
from tests.integration.fault_server import USAGE, Act, FaultServer, answer, failure

LOGPROBS = {"positive": -2.0, "negative": -0.5, "neither": -4.0}
LABELS = tuple(LOGPROBS)


class Part:
    """Answers as vLLM would; each choice is one token."""

    def __init__(self) -> None:
        self.server = FaultServer(self)
        self.honours = self.reads = self.tokenizes = self.knows_ids = True
        self.fails: dict[str, list[Act]] = {}

    def __call__(self, text: str, attempt: int) -> Act:
        body = self.server.bodies[-1]
        if "max_tokens" not in body:
            return Act(body={"tokens": [0, 1]}) if self.tokenizes else failure(404)
        if self.fails.get(text):
            return self.fails[text].pop()
        if "structured_outputs" in body and self.honours:
            return answer(body["structured_outputs"]["choice"][-1])
        if "logprob_token_ids" in body:
            told = {f"token_id:{100 + i}": LOGPROBS[label] for i, label in enumerate(LABELS)}
            told = told if self.knows_ids else {}
            return Act(body={"choices": [{"index": 0, "logprobs": {"top_logprobs": [told]}}], "usage": USAGE})
        if "prompt_logprobs" not in body or not self.reads:
            return answer("I think so.")
        read = [reading(prompt.split()[-1]) for prompt in body.get("prompt", [text])]
        if "messages" in body:
            return Act(body={**answer("x").body, "prompt_logprobs": read[0]})
        choices = [{"index": i, "text": "x", "prompt_logprobs": told} for i, told in enumerate(read)]
        return Act(body={"choices": choices, "usage": USAGE})

    def asked(self, name: str) -> int:
        """How many calls had this field."""
        return sum(name in body for body in self.server.bodies)


def reading(label: str) -> list[Any]:
    tokens = [(1, -9.0), (100 + LABELS.index(label), LOGPROBS[label])]
    return [None, *({str(token): {"logprob": logprob}} for token, logprob in tokens)]


@pytest.fixture
def part() -> Iterator[Part]:
    part = Part()
    with part.server:
        yield part


def run(part: Part, *requests: Request, concurrency: int = 8) -> list[Reply]:
    options = HTTPOptions(concurrency=concurrency, backoff_s=0.005)
    with contextlib.closing(VLLMBackend(part.server.url, options)) as backend:
        arrivals = [arrival for arrival in backend.run(enumerate(requests)) if arrival is not None]
    return [reply for _, reply in sorted(arrivals, key=lambda arrival: arrival[0])]


def request(mode: Mode = "chat", text: str = "It was fine.", **more: Any) -> Request:
    return Request(mode, (Message("user" if mode == "chat" else "text", text),), **more)


@pytest.mark.parametrize("mode", ["chat", "completion"])
def test_a_bound_answer_after_one_probe(part: Part, mode: Mode) -> None:
    replies = run(part, *(request(mode, f"Text {n}:", allowed=LABELS, max_tokens=10) for n in range(12)))
    assert [reply.text for reply in replies] == ["neither"] * 12
    assert len(part.server.bodies) == 13
    assert [body["structured_outputs"]["choice"][0].strip() in LABELS for body in part.server.bodies].count(False) == 1


def test_a_server_that_ignores_the_bond_is_refused(part: Part) -> None:
    part.honours = False
    with pytest.raises(FatalBackendError, match=r"does not honour structured_outputs.*'I think so.'"):
        run(part, request(allowed=LABELS))


def test_a_probe_that_fails_says_why(part: Part) -> None:
    part.fails["Say yes."] = [failure(400, "no such parameter")]
    with pytest.raises(FatalBackendError, match=r"structured_outputs.*no such parameter"):
        run(part, request(allowed=LABELS))


@pytest.mark.parametrize(("mode", "n_readings"), [("chat", 3), ("completion", 1)])
def test_the_likeliest_choice_by_one_reading_and_then_by_steps(part: Part, mode: Mode, n_readings: int) -> None:
    replies = run(part, *(request(mode, f"Text {n}\nVerdict:", choices=LABELS) for n in range(9)))
    assert [(reply.status, reply.text) for reply in replies] == [("ok", "negative")] * 9
    assert part.asked("prompt_logprobs") == n_readings
    assert part.asked("logprob_token_ids") == 8
    first, *others = sorted(replies, key=lambda reply: -reply.attempts)
    assert first.attempts == n_readings + 1, "and a look at how the prompt is cut"
    assert first.usage.prompt_tokens == n_readings * 10
    assert first.usage.cached_tokens == n_readings * 4
    assert {(reply.attempts, reply.usage.prompt_tokens) for reply in others} == {(2, 10)}
    assert all(reply.usage.seconds > 0 for reply in replies)


def test_a_server_that_knows_no_token_ids_is_read_each_time(part: Part) -> None:
    part.knows_ids = False
    replies = run(part, *(request("completion", choices=LABELS) for _ in range(3)))
    assert [reply.text for reply in replies] == ["negative"] * 3
    assert part.asked("prompt_logprobs") == 3
    assert max(reply.usage.prompt_tokens for reply in replies) == 20, "what did not help was used all the same"


def test_a_server_behind_a_proxy_without_tokenize_is_read_each_time(part: Part) -> None:
    part.tokenizes = False
    replies = run(part, *(request("completion", choices=LABELS) for _ in range(3)))
    assert [reply.text for reply in replies] == ["negative"] * 3
    assert part.asked("prompt_logprobs") == 3
    assert part.asked("logprob_token_ids") == 0


def test_calls_of_a_scoring_are_retried_one_by_one(part: Part) -> None:
    part.fails["negative"] = [failure(500)]
    (reply,) = run(part, request(choices=LABELS))
    assert (reply.status, reply.text, reply.attempts) == ("ok", "negative", 5)


def test_a_prompt_that_is_too_long_is_refused_at_its_first_call(part: Part) -> None:
    part.fails["positive"] = [failure(400, "This model's maximum context length is 2048 tokens.")]
    refused, fine = run(part, request(choices=LABELS), request(choices=LABELS))
    refused, fine = sorted((refused, fine), key=lambda reply: reply.status != "refused")
    assert (refused.status, refused.text, refused.attempts) == ("refused", "", 1)
    assert "2048" in refused.error
    assert (fine.status, fine.text) == ("ok", "negative")


def test_a_server_that_reads_nothing_back_is_refused(part: Part) -> None:
    part.reads = False
    with pytest.raises(FatalBackendError, match=r"prompt_logprobs.*is it vLLM"):
        run(part, request(choices=LABELS))


def test_requests_of_one_prompt_go_out_together(part: Part) -> None:
    """So the prefix cache is warm: only a window's worth of two neighbouring prompts is mixed."""
    requests = [request(text=f"prompt {group} input {n}", group=str(group)) for group in range(4) for n in range(50)]
    run(part, *requests, concurrency=10)
    order = [text.split()[1] for text, _ in part.server.calls]
    for group in range(4):
        places = [place for place, name in enumerate(order) if name == str(group)]
        assert places[-1] - places[0] < 50 + 2 * 10

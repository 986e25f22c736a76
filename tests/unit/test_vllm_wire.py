from typing import Any

import orjson
import pytest

from promptopt.backends.base import Request
from promptopt.backends.vllm_wire import probe, read_bound, write_bound
from promptopt.layout import Message, Mode

LABELS = ("positive", "negative")


def request(mode: Mode = "chat", text: str = "Sentiment:", **more: Any) -> Request:
    return Request(mode, (Message("user" if mode == "chat" else "text", text),), **more)


def test_a_bound_answer_is_asked_for_by_structured_outputs() -> None:
    body = orjson.loads(write_bound(request(allowed=LABELS, max_tokens=12, stop=("\n",)), "m"))
    assert body["structured_outputs"] == {"choice": ["positive", "negative"]}
    assert (body["model"], body["max_tokens"], body["messages"][0]["content"]) == ("m", 12, "Sentiment:")
    assert not [name for name in body if name.startswith("guided")]


@pytest.mark.parametrize(("text", "lead"), [("Sentiment:", " "), ("Sentiment: ", ""), ("Sentiment:\n", "")])
def test_a_completion_and_its_answer_have_one_space_between_them(text: str, lead: str) -> None:
    bound = request("completion", text, allowed=LABELS)
    assert orjson.loads(write_bound(bound, "m"))["structured_outputs"] == {"choice": [lead + label for label in LABELS]}
    answer = {"choices": [{"text": f"{lead}positive", "finish_reason": "stop"}], "usage": {"prompt_tokens": 3}}
    reply = read_bound(orjson.dumps(answer), bound)
    assert (reply.status, reply.text, reply.usage.prompt_tokens) == ("ok", "positive", 3)


@pytest.mark.parametrize("mode", ["chat", "completion"])
def test_the_probe_can_be_told_from_a_plain_answer(mode: Mode) -> None:
    question = probe(mode)
    assert question.mode == mode
    assert question.allowed[0] not in question.messages[0].content
    assert question.max_tokens > len(question.allowed[0])

"""Exact log-probabilities of choices, held against a toy model whose every probability is known."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from promptopt.backends.base import READINGS_A_CHOICE, Request
from promptopt.backends.vllm_scoring import (
    STEPS_A_CHOICE,
    TOKENIZE,
    UntoldError,
    apart,
    read_choices,
    situation,
    step_choices,
)
from promptopt.backends.wire import MalformedError
from promptopt.layout import Message, Mode
from tests.fakes import work_out

LABELS = ("sun", "sunny day", "rain", "rain and wind")


class Toy:
    """A server whose model reads a word a token and gives each word a probability that hangs on the one before."""

    def __init__(self, header: str = "<bos>", *, knows_ids: bool = True, header_of_answer: str = "") -> None:
        self.header = header
        self.header_of_answer = header_of_answer
        self.knows_ids = knows_ids
        self.words: list[str] = []
        self.asked: list[tuple[str, Any]] = []

    def tokens(self, text: str) -> list[int]:
        for word in text.split():
            if word not in self.words:
                self.words.append(word)
        return [self.words.index(word) for word in text.split()]

    def logprob(self, before: int, token: int) -> float:
        return -0.1 - (before * 7 + token * 13) % 11 / 4

    def answer(self, path: str, body: Any) -> Any:
        self.asked.append((path, body))
        if path == TOKENIZE:
            return {"tokens": self.tokens(self.render(body))}
        if "prompt_logprobs" in body:
            prompts = [self.render({"messages": body["messages"]})] if "messages" in body else body["prompt"]
            read = [self.read(self.tokens(f"{self.header} {text}" if "prompt" in body else text)) for text in prompts]
            if "messages" in body:
                return {"prompt_logprobs": read[0], "usage": {"prompt_tokens": len(read[0])}}
            entries = [{"index": i, "prompt_logprobs": one} for i, one in enumerate(read)]
            return {"choices": entries[::-1], "usage": {"prompt_tokens": sum(map(len, read))}}
        told = [self.next(prompt, body) for prompt in body["prompt"]]
        return {"choices": [{"index": i, "logprobs": {"top_logprobs": [one]}} for i, one in enumerate(told)]}

    def render(self, body: Any) -> str:
        if "prompt" in body:
            return f"{self.header} {body['prompt']}"
        answered = body["messages"][-1]["role"] == "assistant"
        *asked, last = (message["content"] for message in body["messages"])
        head = self.header_of_answer if answered else ""
        text = " ".join([*asked, "<answer>", head, last]) if answered else " ".join([*asked, last, "<answer>"])
        return f"{self.header} {text}"

    def read(self, tokens: Sequence[int]) -> list[Any]:
        pairs = itertools.pairwise(tokens)
        return [None, *({str(token): {"logprob": self.logprob(before, token)}} for before, token in pairs)]

    def next(self, prompt: Sequence[int], body: Any) -> dict[str, float]:
        wanted = body["logprob_token_ids"] if self.knows_ids else range(len(self.words))
        told = {f"token_id:{token}": self.logprob(prompt[-1], token) for token in wanted}
        return told if self.knows_ids else dict(sorted(told.items(), key=lambda item: -item[1])[:2])

    def truth(self, prompt: str, choices: Sequence[str]) -> list[float]:
        """The log-probability of each choice, from the model itself."""
        last = self.tokens(prompt)[-1]
        chains = [[last, *self.tokens(choice)] for choice in choices]
        return [sum(map(self.logprob, chain, chain[1:])) for chain in chains]


def request(mode: Mode, choices: Sequence[str] = LABELS) -> Request:
    return Request(mode, (Message("user" if mode == "chat" else "text", "How is it today:"),), choices=tuple(choices))


def alone(logprobs: Sequence[float]) -> list[float]:
    """What is left of ``rain`` when ``rain and wind`` has its own."""
    sun, sunny, rain, wind = logprobs
    return [sun, sunny, rain + math.log(1 - math.exp(wind - rain)), wind]


@pytest.mark.parametrize("mode", ["chat", "completion"])
def test_reading_and_stepping_both_tell_the_truth(mode: Mode) -> None:
    toy = Toy()
    read, tails = work_out(read_choices(request(mode), "m"), toy.answer)
    truth = alone(toy.truth("<answer>" if mode == "chat" else "today:", LABELS))
    assert read == pytest.approx(truth)
    assert [len(tail) for tail in tails] == [1, 2, 1, 3]
    toy.asked.clear()
    assert work_out(step_choices(request(mode), "m", tails), toy.answer) == pytest.approx(truth)
    assert [path for path, _ in toy.asked] == [TOKENIZE, "/completions"]
    body = toy.asked[-1][1]
    assert (body["max_tokens"], body["temperature"], len(body["prompt"])) == (1, 0, 4)


def test_what_is_sent_to_read() -> None:
    toy = Toy()
    work_out(read_choices(request("chat"), "m"), toy.answer)
    bodies = [body for path, body in toy.asked if path == "/chat/completions"]
    assert [body["messages"][-1] for body in bodies] == [{"role": "assistant", "content": label} for label in LABELS]
    for body in bodies:
        assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
        assert (body["prompt_logprobs"], body["max_tokens"], body["temperature"]) == (0, 1, 0)
    toy.asked.clear()
    work_out(read_choices(request("completion"), "m"), toy.answer)
    assert toy.asked[0][1]["prompt"] == [f"How is it today: {label}" for label in LABELS]


def test_an_older_server_leaves_tokens_out() -> None:
    toy = Toy(knows_ids=False)
    _, tails = work_out(read_choices(request("chat"), "m"), toy.answer)
    assert work_out(step_choices(request("chat"), "m", tails), toy.answer) is None


def test_no_steps_where_a_template_answers_otherwise_than_it_asks() -> None:
    toy = Toy(header_of_answer="<think> </think>")
    read, tails = work_out(read_choices(request("chat"), "m"), toy.answer)
    assert read == pytest.approx(alone(toy.truth("</think>", LABELS)))
    assert tails == ()


def test_no_steps_where_choices_are_long() -> None:
    """Reading each is then cheaper, and what a call may take is bounded."""
    toy = Toy()
    long = ("a b c d e f", "g h i j k l")
    read, tails = work_out(read_choices(request("chat", long), "m"), toy.answer)
    assert read == pytest.approx(toy.truth("<answer>", long))
    assert tails == ()
    assert STEPS_A_CHOICE + 1 <= READINGS_A_CHOICE


def test_choices_that_begin_with_the_same_token() -> None:
    """The likelier first token leads to nothing likely: ``business`` is what is meant."""
    tails = [(10, 11), (10, 12), (13,)]
    assert apart(tails, [-1.6, -3.5, -1.0]) == [-1.6, -3.5, -1.0]


def test_a_choice_that_begins_others() -> None:
    """``no`` has what ``no idea`` leaves of it, and that what ``no idea at all`` leaves."""
    chances = [0.5, 0.3, 0.15]
    found = apart([(1,), (1, 2), (1, 2, 3)], [math.log(chance) for chance in chances])
    assert [math.exp(logprob) for logprob in found] == pytest.approx([0.2, 0.15, 0.15])
    assert apart([(), (2,)], [0.0, 0.0]) == [-math.inf, 0.0]
    assert apart([(1,), (2,)], [-9999.0, -9999.0]) == [-9999.0, -9999.0]


def test_a_situation_is_all_that_cuts_choices_into_tokens() -> None:
    assert situation(request("chat")) == situation(Request("chat", (Message("user", "else"),), choices=LABELS))
    endings = ("one\nCue:", "two\nCue:", "two\nCue: ", "two\nQue:", "", " ")
    found = [situation(Request("completion", (Message("text", text),), choices=LABELS)) for text in endings]
    assert [found.index(one) for one in found] == [0, 0, 2, 3, 4, 5]
    assert situation(request("chat")) != situation(request("chat", LABELS[:2]))


@pytest.mark.parametrize(
    "body", [[], {}, {"choices": [3]}, {"choices": [{"index": 0, "prompt_logprobs": [None, {}]}]}, b"{"]
)
def test_what_is_no_reading(body: Any) -> None:
    _, _, read = next(read_choices(request("completion"), "m"))
    with pytest.raises(MalformedError):
        read(body if isinstance(body, bytes) else orjson.dumps(body))


@pytest.mark.parametrize("body", [[], {}, {"tokens": ["x"]}, {"tokens": None}, b"{"])
def test_what_are_no_tokens_and_no_steps(body: Any) -> None:
    payload = body if isinstance(body, bytes) else orjson.dumps(body)
    steps = step_choices(request("chat"), "m", ((1,), (2,)))
    _, _, read = next(steps)
    with pytest.raises(MalformedError):
        read(payload)
    _, _, read = steps.send([1, 2, 3])
    with pytest.raises(MalformedError):
        read(payload)


def test_a_server_that_says_nothing_of_the_prompt() -> None:
    _, _, read = next(read_choices(request("completion"), "m"))
    with pytest.raises(UntoldError):
        read(orjson.dumps({"choices": [{"index": 0, "text": "x"}]}))

"""Exact log-probabilities of choices on vLLM, in as few tokens as they can be had.

Two ways lead there. *Reading* has the server read the prompt with each choice behind it; that always works, but there
vLLM uses no prefix cache and works out a distribution over all words at every token of the prompt. *Stepping* asks at
the end of the prompt, which the cache holds, for the tokens that choices go on with. A first reading tells how choices
are cut into tokens; from then on it is steps. Both are pure: they yield calls and are sent what was read from answers.
"""

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import orjson

from promptopt.backends.base import Request
from promptopt.backends.vllm_wire import lead_of
from promptopt.backends.wire import TOP_LOGPROBS, MalformedError, path_of, read_usage
from promptopt.budget import Usage

Tokens = tuple[int, ...]
Reading = list[tuple[int, float]]
"""A text as the model reads it: its tokens, each with its log-probability after those before it."""

Question = tuple[str, bytes, Callable[[bytes], tuple[Any, Usage]]]
"""Route, body, and how the answer is read: into what the asker is sent, and what it took."""

TEMPLATE_FIELDS = ("chat_template", "chat_template_kwargs", "documents", "tools")
PLAIN: Mapping[str, Any] = MappingProxyType({})
TOKENIZE = "/../tokenize"  # vLLM has it beside /v1
STEPS_A_CHOICE = 2


class UntoldError(Exception):
    """The server says nothing of a prompt's log-probabilities: it is not vLLM."""


def situation(request: Request) -> tuple[Any, ...]:
    """Return all that decides how a request's choices are cut into tokens: the choices and the word before them."""
    if request.mode == "chat":
        return "chat", request.choices
    text = request.messages[-1].content
    word_at = 1 + max(map(text.rstrip().rfind, " \n\t"))
    return "completion", request.choices, text[word_at:]


def read_choices(
    request: Request, model: str, template: Mapping[str, Any] = PLAIN
) -> Generator[Question, Any, tuple[list[float], tuple[Tokens, ...]]]:
    """Have the prompt read with each choice behind it.

    Args:
        request: With its choices.
        model: Its name.
        template: What else the chat template is given, of ``TEMPLATE_FIELDS``.

    Returns:
        The choices' log-probabilities, and their tokens if these can be stepped along next time, else nothing.

    Raises:
        UntoldError: The server does not say how it reads.
    """
    readings: list[Reading] = []
    for body in _write_readings(request, model, template):
        readings += yield path_of(request), body, partial(_read_readings, request)
    n_shared = _count_shared(readings)
    tails = tuple(tuple(token for token, _ in reading[n_shared:]) for reading in readings)
    sums = [math.fsum(logprob for _, logprob in reading[n_shared:]) for reading in readings]
    prompt = yield TOKENIZE, _write_tokenize(request, model, template), _read_tokens
    # Where a template writes something before an answer that it does not write before a question, steps would differ.
    is_alike = prompt and prompt[1:] == [token for token, _ in readings[0][:n_shared]]
    fits = len(_stems(tails)) <= STEPS_A_CHOICE * len(tails)
    return apart(tails, sums), tails if is_alike and fits else ()


def step_choices(
    request: Request, model: str, tails: tuple[Tokens, ...], template: Mapping[str, Any] = PLAIN
) -> Generator[Question, Any, list[float] | None]:
    """Ask, at the prompt's end and after each beginning of a choice, for the tokens that go on.

    Args:
        request: With its choices.
        model: Its name.
        tails: The tokens of each choice.
        template: As for ``read_choices``.

    Returns:
        The choices' log-probabilities; None if the server, an older one, left one of the tokens out.
    """
    prompt = yield TOKENIZE, _write_tokenize(request, model, template), _read_tokens
    if not prompt:
        return None
    stems = _stems(tails)
    body = {
        "model": model,
        "prompt": [[*prompt, *stem] for stem in stems],
        "max_tokens": 1,
        "temperature": 0.0,
        # A server that knows the second tells these tokens and no others; one that does not, the likeliest.
        "logprobs": TOP_LOGPROBS,
        "logprob_token_ids": sorted({token for tail in tails for token in tail}),
        "return_tokens_as_token_ids": True,
    }
    told = yield "/completions", orjson.dumps(body), _read_steps
    known = dict(zip(stems, told, strict=True))
    try:
        sums = [math.fsum(known[tail[:n]][f"token_id:{tail[n]}"] for n in range(len(tail))) for tail in tails]
    except KeyError:
        return None
    return apart(tails, sums)


def apart(tails: Sequence[Tokens], sums: Sequence[float]) -> list[float]:
    """Return the log-probability of each choice alone, from those of the token sequences that choices begin with.

    Where one choice's tokens begin another's (``no`` and ``no idea``), the shorter one is what is left of its
    probability when the longer ones have theirs.
    """
    return [_alone(index, tails, sums) for index in range(len(tails))]


def _alone(index: int, tails: Sequence[Tokens], sums: Sequence[float]) -> float:
    mine = tails[index]
    longer = {tail: sums[i] for i, tail in enumerate(tails) if len(tail) > len(mine) and tail[: len(mine)] == mine}
    nearest = [total for tail, total in longer.items() if not any(tail[:n] in longer for n in range(len(tail)))]
    rest = 1.0 - math.fsum(math.exp(total - sums[index]) for total in nearest)
    return sums[index] + math.log(rest) if rest > 0 else -math.inf


def _stems(tails: Sequence[Tokens]) -> list[Tokens]:
    """Return the beginnings of choices after which a token has to be asked for."""
    return sorted({tail[:n] for tail in tails for n in range(len(tail))})


def _count_shared(readings: Sequence[Reading]) -> int:
    """Return how many tokens all readings begin with."""
    for place, column in enumerate(zip(*readings, strict=False)):
        if len({token for token, _ in column}) > 1:
            return place
    return min(map(len, readings))


def _write_readings(request: Request, model: str, template: Mapping[str, Any]) -> list[bytes]:
    """Return the bodies of the calls: one for a completion, which may hold several prompts; for a chat one a choice."""
    # The reading is what is wanted; one token is the fewest that every server is willing to write.
    common = {"model": model, "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}
    if request.mode == "completion":
        text = "".join(message.content for message in request.messages) + lead_of(request)
        return [orjson.dumps({**common, "prompt": [text + choice for choice in request.choices]})]
    common |= {"add_generation_prompt": False, "continue_final_message": True, **template}
    answers = ({"role": "assistant", "content": choice} for choice in request.choices)
    return [orjson.dumps({**common, "messages": [*_messages(request), answer]}) for answer in answers]


def _read_readings(request: Request, payload: bytes) -> tuple[list[Reading], Usage]:
    try:
        body = orjson.loads(payload)
        entries = sorted(body["choices"], key=_index) if request.mode == "completion" else [body]
        told = [entry.get("prompt_logprobs") for entry in entries]
        if None in told:
            raise UntoldError
        return [_reading(tokens) for tokens in told], read_usage(body.get("usage"))
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError):
        raise MalformedError("the log-probabilities of the prompt are not in the expected form") from None


def _reading(entries: Sequence[Mapping[str, Any]]) -> Reading:
    # The first token has nothing before it; each other entry names the prompt's own token first.
    tokens = [(next(iter(entry), ""), entry) for entry in entries[1:]]
    return [(int(token), float(entry[token]["logprob"])) for token, entry in tokens]


def _write_tokenize(request: Request, model: str, template: Mapping[str, Any]) -> bytes:
    if request.mode == "completion":
        return orjson.dumps({"model": model, "prompt": "".join(message.content for message in request.messages)})
    return orjson.dumps({"model": model, "messages": _messages(request), "add_generation_prompt": True, **template})


def _read_tokens(payload: bytes) -> tuple[list[int], Usage]:
    try:
        return [int(token) for token in orjson.loads(payload)["tokens"]], Usage()
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        raise MalformedError("the tokens are not in the expected form") from None


def _read_steps(payload: bytes) -> tuple[list[Mapping[str, float]], Usage]:
    try:
        body = orjson.loads(payload)
        entries = sorted(body["choices"], key=_index)
        return [dict(entry["logprobs"]["top_logprobs"][0]) for entry in entries], read_usage(body.get("usage"))
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, IndexError):
        raise MalformedError("the log-probabilities are not in the expected form") from None


def _index(entry: Mapping[str, Any]) -> int:
    return int(entry["index"])


def _messages(request: Request) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in request.messages]

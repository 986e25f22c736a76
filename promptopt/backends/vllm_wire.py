"""What vLLM can be told beyond the OpenAI format: that an answer be one of some choices.

Pure functions over bytes, beside ``wire``. The old ``guided_choice`` is never sent: today's servers ignore it silently.
"""

from dataclasses import replace

import orjson

from promptopt.backends.base import Reply, Request
from promptopt.backends.dialect import Dialect
from promptopt.backends.wire import PLAIN, read_reply, write_request
from promptopt.layout import Message, Mode


def lead_of(request: Request) -> str:
    """Return the space that stands between a completion's prompt and its answer, unless the prompt ends in one."""
    text = request.messages[-1].content
    return " " if request.mode == "completion" and text and not text[-1].isspace() else ""


def write_bound(request: Request, model: str, dialect: Dialect = PLAIN) -> bytes:
    """Return the body of a call whose answer can be nothing but one of ``request.allowed``."""
    lead = lead_of(request)
    constraint = orjson.dumps({"choice": [lead + choice for choice in request.allowed]})
    return write_request(request, model, dialect)[:-1] + b',"structured_outputs":' + constraint + b"}"


def read_bound(payload: bytes, request: Request, dialect: Dialect = PLAIN) -> Reply:
    """Read the answer to such a call; its text is the choice as it was given."""
    reply = read_reply(payload, request, dialect)
    return replace(reply, text=reply.text.removeprefix(lead_of(request)))


def probe(mode: Mode) -> Request:
    """Return a question that only a server which honours such bonds answers as it must."""
    role = "user" if mode == "chat" else "text"
    return Request(mode, (Message(role, "Say yes."),), max_tokens=24, allowed=("zq7-unlikely",))

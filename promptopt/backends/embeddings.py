"""EmbeddingsBackend: any endpoint with ``/embeddings`` as OpenAI has it (vLLM, OpenAI, Ollama, llama.cpp, TEI).

A reply's text is the vector as a JSON list, so that retries, pace and caps are those of every other call.
"""

import orjson

from promptopt.backends.base import Reply, Request
from promptopt.backends.dialect import Dialect
from promptopt.backends.http import Call, HTTPBackend
from promptopt.backends.wire import MalformedError, read_usage


class EmbeddingsBackend(HTTPBackend):
    """Turns the last message of each request into a vector; see ``HTTPBackend`` for how it is reached."""

    def _word(self, request: Request, model: str, dialect: Dialect) -> Call:  # noqa: ARG002  # there is only one
        body = orjson.dumps({"model": model, "input": request.messages[-1].content, "encoding_format": "float"})
        return Call("/embeddings", body, read_vector)


def read_vector(payload: bytes) -> Reply:
    """Return the reply that an answer holds.

    Raises:
        MalformedError: It holds no vector of numbers.
    """
    try:
        body = orjson.loads(payload)
        vector = [float(number) for number in body["data"][0]["embedding"]]
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError, ValueError):
        raise MalformedError("the embedding is not in the expected form") from None
    if not vector:
        raise MalformedError("the embedding is empty")
    return Reply("ok", orjson.dumps(vector).decode(), read_usage(body.get("usage")))

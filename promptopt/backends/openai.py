"""OpenAITransport: the official openai package as the reference client, at many times the cost of aiohttp.

Its own retries are off, since ours know the budget; key, proxy and certificates are those that aiohttp would use.
"""

import ssl
from typing import Any

import openai
import orjson

from promptopt.backends.endpoint import Endpoint
from promptopt.backends.loop import CLOSED
from promptopt.backends.transport import CONNECT_TIMEOUT_S, Response, untrusted
from promptopt.backends.wire import LostError, UnreachableError
from promptopt.errors import BackendError, FatalBackendError

# By name, for the HTTP library below the package has changed its own.
_UNREACHABLE = frozenset({"ConnectError", "ConnectTimeout", "ClientConnectorError", "ConnectionTimeoutError"})
_UNTRUSTED = frozenset({"SSLError", "SSLCertVerificationError", "ClientConnectorCertificateError"})


class OpenAITransport:
    """Makes each attempt with ``AsyncOpenAI``.

    Args:
        endpoint: What is to be reached.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._client: openai.AsyncOpenAI | None = None

    async def open(self) -> None:
        """Open the client."""
        timeout = openai.Timeout(None, connect=CONNECT_TIMEOUT_S)  # the rest is the pace's
        self._client = openai.AsyncOpenAI(
            api_key=self._endpoint.key or "none",
            base_url=self._endpoint.url,
            max_retries=0,
            timeout=timeout,
            http_client=openai.DefaultAsyncHttpxClient(
                timeout=timeout,
                follow_redirects=False,
                proxy=self._endpoint.proxy,
                trust_env=False,
                verify=ssl.create_default_context(),
            ),
        )

    async def send(self, method: str, path: str, body: bytes | None = None) -> Response:
        """Make one attempt; see ``Transport.send``."""
        del method
        if self._client is None:
            raise FatalBackendError(CLOSED)
        try:
            raw = await _call(self._client, path, orjson.loads(body) if body else {})
            status, payload, headers = raw.status_code, raw.content, raw.headers
        except openai.APIStatusError as error:
            status, payload, headers = error.status_code, error.response.content, error.response.headers
        except openai.APIConnectionError as error:
            raise explain(error, self._endpoint) from None
        return Response(status, payload, headers.get("Retry-After"))

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()


def explain(error: BaseException, endpoint: Endpoint) -> BackendError:
    """Return our error for one that came without an answer, by what is at its root."""
    causes = chain(error)
    names = {type(cause).__name__ for cause in causes}
    if names & _UNTRUSTED:
        return untrusted(endpoint, causes[-1])
    if names & _UNREACHABLE:
        return UnreachableError("cannot be reached")
    return LostError(f"broke the connection ({type(causes[-1]).__name__})")


def chain(error: BaseException) -> list[BaseException]:
    """Return an error and what it came from, the root last."""
    found, cause = [error], error.__cause__ or error.__context__
    while cause is not None and cause not in found:
        found.append(cause)
        cause = cause.__cause__ or cause.__context__
    return found


async def _call(client: Any, path: str, body: dict[str, Any]) -> Any:
    """Ask as a user of the package does; what it has no argument for goes into its ``extra_body``."""
    if path == "/models":
        return await client.models.with_raw_response.list()
    model = body.pop("model")
    if path == "/completions":
        prompt = body.pop("prompt")
        return await client.completions.with_raw_response.create(model=model, prompt=prompt, extra_body=body)
    messages = body.pop("messages")
    return await client.chat.completions.with_raw_response.create(model=model, messages=messages, extra_body=body)

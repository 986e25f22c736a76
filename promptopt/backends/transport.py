"""Transport: makes single attempts to reach an endpoint; what follows from their outcome is the backend's business.

The default one is aiohttp; others stand in files of their own and are chosen by the address.
"""

import ssl
from typing import NamedTuple, Protocol

import aiohttp
from yarl import URL

from promptopt.backends.endpoint import Endpoint
from promptopt.backends.loop import CLOSED
from promptopt.backends.wire import LostError, UnreachableError
from promptopt.errors import FatalBackendError

CONNECT_TIMEOUT_S = 10.0
KEEP_ALIVE_S = 60.0


class Response(NamedTuple):
    """What an endpoint said to one attempt.

    Args:
        status: The HTTP status.
        payload: The body.
        retry_after: The header of this name, if it came.
    """

    status: int
    payload: bytes
    retry_after: str | None = None


class Transport(Protocol):
    """Reaches one endpoint; its coroutines run on one event loop."""

    async def open(self) -> None:
        """Get ready; nothing is sent yet."""

    async def send(self, method: str, path: str, body: bytes | None = None) -> Response:
        """Make one attempt, for as long as it takes.

        Args:
            method: ``GET`` or ``POST``.
            path: The route below the base URL.
            body: What is sent, as JSON.

        Raises:
            UnreachableError: No connection could be opened.
            LostError: Nothing came back, or only a part.
            FatalBackendError: The certificate is not trusted, or the transport is closed.
        """

    async def close(self) -> None:
        """Close the connections."""


class AiohttpTransport:
    """The fast one.

    Args:
        endpoint: What is to be reached.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._session: aiohttp.ClientSession | None = None
        self._urls: dict[str, URL] = {}

    async def open(self) -> None:
        """Open the session."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Content-Type": "application/json", "User-Agent": "promptopt", **self._endpoint.headers},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),  # the rest is the pace's
            # Not trust_env: that would look into ~/.netrc in a thread at every call, and fight with our own key.
            proxy=self._endpoint.proxy,
        )

    async def send(self, method: str, path: str, body: bytes | None = None) -> Response:
        """Make one attempt; see ``Transport.send``."""
        if self._session is None:
            raise FatalBackendError(CLOSED)
        url = self._urls.get(path) or self._urls.setdefault(path, URL(self._endpoint.url + path))
        try:
            response = await self._session.request(method, url, data=body, allow_redirects=False)
            payload = await response.read()  # which gives the connection back
        except (aiohttp.ClientSSLError, ssl.SSLError) as error:
            raise untrusted(self._endpoint, error) from None
        except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError):
            raise UnreachableError("cannot be reached") from None
        except (aiohttp.ClientError, ConnectionError) as error:
            raise LostError(f"broke the connection ({type(error).__name__})") from None
        return Response(response.status, payload, response.headers.get("Retry-After"))

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()


def untrusted(endpoint: Endpoint, error: BaseException) -> FatalBackendError:
    """Return the error of an endpoint whose certificate is not trusted."""
    return FatalBackendError(f"{endpoint.address}: no trusted TLS connection, {type(error).__name__}.")

"""Guard: what a request must bring before anything is done for it, and what every answer says to the browser."""

import hmac
import html
import json
from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from promptopt.errors import PromptOptError

FOLDER = files("promptopt.web") / "static"
MOST_BYTES = 32_768  # of a body
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "Server": "promptopt",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class RefusedError(Exception):
    """A request that is not answered; with the status and one sentence."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


def origins(host: str, port: int, url: str | None) -> frozenset[str]:
    """Return the origins, such as ``http://localhost:8765``, under which the server is reached."""
    names = {*LOOPBACK, f"[{host}]" if ":" in host else host}
    found = {f"http://{name}:{port}" for name in names}
    if url:
        parts = urlsplit(url)
        found.add(f"{parts.scheme}://{parts.netloc}")
    return frozenset(found)


def guard(allowed: frozenset[str]) -> Any:
    """Return the middleware that checks Host and, where something may change, Origin and the kind of body."""
    hosts = {urlsplit(origin).netloc for origin in allowed}

    @web.middleware
    async def checked(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if request.headers.getall("Host", []) not in [[host] for host in hosts]:
                raise RefusedError(421, "This server is not reached under that name.")
            if request.method not in ("GET", "HEAD"):
                if request.headers.getall("Origin", []) not in [[origin] for origin in allowed]:
                    raise RefusedError(403, "This does not come from a page of ours.")
                if request.content_type != "application/json" or "Content-Encoding" in request.headers:
                    raise RefusedError(415, "The body must be JSON.")
            return await handler(request)
        except RefusedError as refused:
            return _refusal(request, refused.status, str(refused))
        except web.HTTPException as error:
            why = "There is nothing at this address." if error.status == 404 else error.reason
            return _refusal(request, error.status, why)
        except PromptOptError as error:
            return _refusal(request, 400, str(error))

    return checked


async def harden(_request: web.Request, response: web.StreamResponse) -> None:
    """Put the headers on an answer, whatever it is."""
    response.headers.update(HEADERS)


def check_csrf(request: web.Request, wanted: str) -> None:
    """Refuse a request that does not bear the session's token in a header.

    Raises:
        RefusedError: It does not.
    """
    given = request.headers.get("X-CSRF-Token", "")
    if not hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode()):
        raise RefusedError(403, "This form is not of this session; load the page anew.")


async def body_of(request: web.Request) -> Mapping[str, Any]:
    """Return the body, which must be a JSON object of a bounded size.

    Raises:
        RefusedError: It is not.
    """
    if (request.content_length or 0) > MOST_BYTES:
        raise RefusedError(413, "The body is too large.")
    try:
        body = json.loads((await request.read()).decode())
    except (ValueError, RecursionError):
        raise RefusedError(400, "The body is not JSON.") from None
    if not isinstance(body, dict):
        raise RefusedError(400, "The body is not a JSON object.")
    return body


def _refusal(request: web.Request, status: int, why: str) -> web.Response:
    """Say why not: to somebody who followed a link on a page, to a script as JSON."""
    if request.method == "GET" and "text/html" in request.headers.get("Accept", ""):
        page = static_file("lost.html").decode().replace("WHY", html.escape(why))
        return web.Response(text=page, status=status, content_type="text/html", charset="utf-8")
    return as_json({"error": why}, status)


def static_file(name: str) -> bytes:
    """Return a file of the page."""
    return FOLDER.joinpath(name).read_bytes()


def as_json(data: Any, status: int = 200) -> web.Response:
    """Return data as an answer; ASCII, since models write half characters that UTF-8 cannot hold."""
    return web.Response(text=json.dumps(data, ensure_ascii=True), status=status, content_type="application/json")

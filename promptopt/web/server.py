"""Server: the labelling page of one study over HTTP, in a thread of its own.

aiohttp serves it, since the hot path needs aiohttp anyway and a page of ten routes needs no more.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from promptopt.errors import ConfigError
from promptopt.ids import content_hash
from promptopt.store.store import Store
from promptopt.web.desk import Desk, StaleFormError, csrf_of
from promptopt.web.guard import (
    FOLDER,
    MOST_BYTES,
    RefusedError,
    as_json,
    body_of,
    check_csrf,
    guard,
    harden,
    origins,
    static_file,
)

T = TypeVar("T")

STATIC = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
STOP_S = 5.0
LOG = logging.getLogger(__name__)
NOT_OURS = (HttpProcessingError, web.RequestPayloadError)  # what strangers send is no fault to print
LOG.addFilter(lambda record: not (record.exc_info and isinstance(record.exc_info[1], NOT_OURS)))


class Address(NamedTuple):
    """Where the page listens, and the address under which people reach it, where that is another one."""

    host: str = "127.0.0.1"
    port: int = 8765
    url: str | None = None

    @property
    def base(self) -> str:
        """What links begin with."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (self.url or f"http://{host}:{self.port}").rstrip("/")


class Page:
    """The routes of the labelling page.

    Args:
        store_path: The store.
        study: The study's id and name.
        address: Where it listens.
    """

    def __init__(self, store_path: str, study: tuple[int, str], address: Address) -> None:
        # What must be quick has one connection and thread, what may take long another, so that it waits for nothing.
        self._stores = [Store.open(store_path, create=False) for _ in range(2)]
        self._desk, self._reader = (Desk(store, *study) for store in self._stores)
        self._threads = [ThreadPoolExecutor(1, name) for name in ("quick", "slow")]
        self._cookie = f"promptopt_{content_hash(str(self._stores[0].path), study[0])[:12]}"
        self._allowed = origins(*address)

    def close(self) -> None:
        """Finish what is being done and close the store."""
        for thread in self._threads:
            thread.shutdown()
        for store in self._stores:
            store.close()

    def app(self) -> web.Application:
        """Return the application."""
        app = web.Application(client_max_size=MOST_BYTES, middlewares=[guard(self._allowed)])
        app.on_response_prepare.append(harden)
        app.add_routes(
            [
                web.get("/", self.show),
                web.get("/join", self.show_join),
                web.post("/join", self.join),
                web.get("/task", self.task),
                web.get("/pair", self.pair),
                web.get("/standing", self.standing),
                web.get("/differences", self.differences),
                web.post("/verdict", self.verdict),
                web.post("/undo", self.undo),
                web.get("/static/{name}", static),
            ]
        )
        return app

    async def show(self, request: web.Request) -> web.Response:
        """Show the page itself, or how to get in."""
        try:
            await self._for(request, str)
        except RefusedError:
            return _html("join.html", 401)
        return _html("label.html")

    async def show_join(self, _request: web.Request) -> web.Response:
        """Show what a link leads to; the token stands behind its #, which no browser sends and no preview uses up."""
        return _html("join.html")

    async def join(self, request: web.Request) -> web.Response:
        """Exchange a link for a session."""
        token = (await body_of(request)).get("token")
        session = await self._write(partial(self._desk.exchange, token)) if isinstance(token, str) else None
        if session is None:
            raise RefusedError(403, "This link was used already, or is not valid any more. Ask for a new one.")
        response = as_json({})
        secure = str(request.headers.get("Origin")).startswith("https:")
        response.set_cookie(self._cookie, session, path="/", httponly=True, samesite="Lax", secure=secure)
        return response

    async def task(self, request: web.Request) -> web.Response:
        """Say what is to be done."""
        return as_json(await self._for(request, lambda _: self._desk.task()))

    async def pair(self, request: web.Request) -> web.Response:
        """Give somebody their pair."""
        return as_json(await self._for(request, partial(self._desk.screen, self._token(request))))

    async def standing(self, request: web.Request) -> web.Response:
        """Say how far the study is."""
        labeller = await self._for(request, str)
        return as_json(await self._read(partial(self._reader.standing, labeller)))

    async def differences(self, request: web.Request) -> web.Response:
        """Say what only one of the two answers has."""
        labeller = await self._for(request, str)
        wanted = partial(self._reader.differences, labeller, request.query.get("pair", ""))
        try:
            return as_json(await self._read(wanted))
        except StaleFormError:
            raise RefusedError(409, "This pair is not on your screen any more.") from None

    async def verdict(self, request: web.Request) -> web.Response:
        """Keep a verdict and give the next pair."""
        return await self._act(request, self._desk.say)

    async def undo(self, request: web.Request) -> web.Response:
        """Undo the last verdict and give its pair again."""
        return await self._act(request, self._desk.take_back)

    async def _act(self, request: web.Request, act: Callable[[str, str, Any], bool | None]) -> web.Response:
        token, said = self._token(request), await body_of(request)

        def acted(labeller: str) -> tuple[dict[str, Any], int]:
            check_csrf(request, csrf_of(token))
            try:
                done = act(token, labeller, said)
            except StaleFormError:
                return self._desk.screen(token, labeller), 409
            return {**self._desk.screen(token, labeller), "done": done}, 200

        return as_json(*await self._for(request, acted))

    def _token(self, request: web.Request) -> str:
        return request.cookies.get(self._cookie, "")

    async def _for(self, request: web.Request, act: Callable[[str], T]) -> T:
        """Do something for whoever asks, once it is known who that is, in one turn of the thread."""
        token = self._token(request)

        def known() -> T:
            found = self._desk.who(token)
            if found is None:
                raise RefusedError(401, "You are not signed in here any more. Ask for a new link.")
            return act(found.labeller)

        return await self._write(known)

    async def _write(self, act: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads[0], act)

    async def _read(self, act: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads[1], act)


@contextmanager
def serving(store_path: str, study: tuple[int, str], address: Address) -> Iterator[Address]:
    """Serve the labelling page of a study in a thread until the block ends.

    Args:
        store_path: The store.
        study: The study's id and name.
        address: Where to listen; port 0 takes any that is free.

    Yields:
        The address with the port that was taken.

    Raises:
        ConfigError: The port is taken, or nobody could reach the address.
    """
    if address.host in ("0.0.0.0", "::") and not address.url:  # noqa: S104  # refused, not used
        raise ConfigError(f"--host {address.host} listens everywhere; say with --url how people reach it.")
    if address.url and urlsplit(address.url).scheme not in ("http", "https"):
        raise ConfigError(f"--url {address.url}: expected an address such as https://label.example.org.")
    started: Future[Address] = Future()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        taken = address
        try:
            sock = _listen(address)
            taken = address._replace(port=sock.getsockname()[1])
            page = Page(store_path, study, taken)
        except BaseException as error:  # noqa: BLE001  # raised where the block begins
            started.set_exception(error)
            return
        runner = web.AppRunner(page.app(), access_log=None, logger=LOG, shutdown_timeout=STOP_S)
        try:
            await runner.setup()
            await web.SockSite(runner, sock).start()
            started.set_result(taken)
            await stop.wait()
        finally:
            await runner.cleanup()
            page.close()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run, name="page", daemon=True)
    thread.start()
    try:
        yield started.result()
    finally:
        if not started.exception():
            loop.call_soon_threadsafe(stop.set)
        thread.join(STOP_S)


def _listen(address: Address) -> Any:
    import socket

    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server((address.host, address.port), family=family)
    except OSError as error:
        reason = (error.strerror or "unknown").partition(" (")[0].lower()
        raise ConfigError(
            f"Nothing can listen on {address.host} port {address.port} ({reason}); choose others: --host and --port."
        ) from None


async def static(request: web.Request) -> web.Response:
    """Give a file of the page."""
    name = request.match_info["name"]
    kind = STATIC.get(name.rpartition(".")[2])
    if kind is None or name not in {file.name for file in FOLDER.iterdir()}:
        raise web.HTTPNotFound
    return web.Response(body=static_file(name), content_type=kind, charset="utf-8")


def _html(name: str, status: int = 200) -> web.Response:
    return web.Response(body=static_file(name), status=status, content_type="text/html", charset="utf-8")

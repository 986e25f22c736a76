"""A real server on loopback that answers as an OpenAI-compatible one does, or fails as its script says."""

import asyncio
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

USAGE = {"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}


@dataclass(frozen=True)
class Act:
    """What the server does with one call."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    reset: bool = False
    half: bool = False


OK = Act()
RESET = Act(reset=True)
HALF = Act(half=True)
NOT_JSON = Act(body=b'{"choices": [{"mess')
NO_CHOICES = Act(body={"usage": USAGE})


def failure(status: int, message: str = "no", code: str | None = None, **headers: str) -> Act:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Act(status, {"error": {"message": message, "code": code, "type": None}}, named)


def answer(text: str | None, finish: str = "stop", **message: Any) -> Act:
    choice = {"message": {"role": "assistant", "content": text, **message}, "text": text, "finish_reason": finish}
    return Act(body={"choices": [choice], "usage": USAGE})


# Told the request's text and which call for it this is, counted from 0.
Script = Callable[[str, int], Act]


class FaultServer:
    """Runs in a thread of its own; remembers what was asked, when, and how much of it at a time."""

    def __init__(self, script: Script = lambda text, attempt: OK, models: Any = ("tiny",), key: str = "") -> None:
        self.script = script
        self.models = models
        self.key = key
        self.port = 0
        self.calls: list[tuple[str, float]] = []
        self.bodies: list[dict[str, Any]] = []
        self.paths: Counter[str] = Counter()
        self.in_flight = 0
        self.most_in_flight = 0
        self._seen: Counter[str] = Counter()
        self._ready = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(60)
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(60)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application()
        app.router.add_get("/v1/models", self._list)
        app.router.add_post("/v1/{route:.*}", self._answer)
        app.router.add_post("/{route:tokenize}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        listener = socket.create_server(("127.0.0.1", self.port), backlog=1024)
        await web.SockSite(runner, listener).start()
        self.port = listener.getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        # A server of Python 3.11 that closes leaks the connections that it has accepted and not begun.
        self._loop.remove_reader(listener)
        for _ in range(3):
            await asyncio.sleep(0)
        await runner.cleanup()

    def _denied(self, request: web.Request) -> bool:
        return bool(self.key) and request.headers.get("Authorization") != f"Bearer {self.key}"

    async def _list(self, request: web.Request) -> web.StreamResponse:
        self.paths["models"] += 1
        if self._denied(request):
            said = f"Incorrect key provided: {request.headers.get('Authorization')}"
            return web.json_response({"error": {"message": said}}, status=401)
        if isinstance(self.models, Act):
            return web.json_response(self.models.body, status=self.models.status)
        return web.json_response({"data": [{"id": name, "root": f"/models/{name}"} for name in self.models]})

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._play(request)
        finally:
            self.in_flight -= 1

    async def _play(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        text = body["messages"][-1]["content"] if "messages" in body else body["prompt"]
        text = text if isinstance(text, str) else str(text[0])
        self.paths[request.match_info["route"]] += 1
        self.calls.append((text, time.monotonic()))
        self.bodies.append(body)
        act = self.script(text, self._seen[text])
        self._seen[text] += 1
        if self._denied(request):
            act = failure(401, f"Incorrect key provided: {request.headers.get('Authorization')}")
        elif not isinstance(self.models, Act) and body["model"] not in self.models:
            act = failure(404, f"The model `{body['model']}` does not exist.", "model_not_found")
        if act.delay_s:
            await asyncio.sleep(act.delay_s)
        if act.reset:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        said = answer(text).body if act.body is None else act.body
        payload = said if isinstance(said, bytes) else json.dumps(said).encode()
        if not act.half:
            return web.Response(body=payload, status=act.status, headers=dict(act.headers))
        response = web.StreamResponse(headers={"Content-Length": str(len(payload))})
        await response.prepare(request)
        await response.write(payload[: len(payload) // 2])
        assert request.transport is not None
        request.transport.abort()
        return response

"""The floor: a client made by hand on bare asyncio, which posts bodies and reads the answers' texts."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import orjson


class Line(asyncio.Protocol):
    """One connection; as soon as an answer is there it sends the next request."""

    def __init__(self, requests: Iterator[bytes], texts: list[str | None], read: Callable[[bytes], str | None]) -> None:
        self.requests = requests
        self.texts = texts
        self.read = read
        self.buffer = b""
        self.over = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.send()

    def connection_lost(self, _error: Exception | None) -> None:
        if not self.over.done():
            self.over.set_result(None)

    def send(self) -> None:
        request = next(self.requests, None)
        if request is None:
            self.transport.close()
        else:
            self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.buffer = self.buffer + data if self.buffer else data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.buffer[: end + 1].lower()
        at = head.find(b"content-length: ") + 16
        stop = end + 4 + int(head[at : head.find(b"\r", at)])
        if len(self.buffer) < stop:
            return
        payload, self.buffer = self.buffer[end + 4 : stop], b""
        self.texts.append(self.read(payload))
        self.send()


def read_text(payload: bytes) -> str | None:
    """Return the text of an answer to a chat request; None if it is no answer."""
    try:
        text = orjson.loads(payload)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError):
        return None
    return text if isinstance(text, str) else None


def read_completion(payload: bytes) -> str | None:
    """Return the text of an answer to a request to go on with a text; None if it is no answer."""
    try:
        text = orjson.loads(payload)["choices"][0]["text"]
    except (ValueError, LookupError, TypeError):
        return None
    return text if isinstance(text, str) else None


async def post_all(
    url: str, bodies: Sequence[bytes], concurrency: int, *, chat: bool = True, key: str = ""
) -> list[str | None]:
    """Post the bodies over so many connections and return the texts in the order in which they came."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 80
    head = f"POST {parts.path}/{'chat/' * chat}completions HTTP/1.1\r\nHost: {parts.netloc}\r\n".encode()
    head += f"Authorization: Bearer {key}\r\n".encode() if key else b""
    head += b"Content-Type: application/json\r\nContent-Length: "
    requests = (b"%b%d\r\n\r\n%b" % (head, len(body), body) for body in bodies)
    texts: list[str | None] = []
    loop = asyncio.get_running_loop()
    opened = [
        await loop.create_connection(lambda: Line(requests, texts, read_text if chat else read_completion), host, port)
        for _ in range(min(concurrency, len(bodies)))
    ]
    await asyncio.gather(*(line.over for _, line in opened))
    return texts

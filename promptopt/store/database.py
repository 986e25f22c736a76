"""Database: one open file, one connection, one lock; what every part of the store stands on.

Threads take turns; processes read while one of them writes.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson
from sqlalchemy import Connection

from promptopt.errors import StoreError
from promptopt.ids import plain
from promptopt.store import dialect, migrations

_AS_JSON = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS


class Database:
    """An open store file; made by ``open``."""

    def __init__(self, path: Path, connection: Connection, *, read_only: bool) -> None:
        self.path = path
        self.read_only = read_only
        self._connection = connection
        self._lock = threading.Lock()

    @classmethod
    def open(cls, url_or_path: str | Path = "promptopt.db", *, create: bool = True, read_only: bool = False) -> Self:
        """Open a store, making or upgrading the file where needed.

        Args:
            url_or_path: A path or a ``sqlite:///`` URL.
            create: Whether to make the file if there is none.
            read_only: Write nothing at all.

        Raises:
            StoreError: It is missing, foreign, newer than this release, not readable, or on a network file system.
        """
        path = dialect.path_of(url_or_path)
        dialect.refuse_network(path)
        if create and not read_only:
            dialect.touch(path)
        elif not path.exists():
            raise StoreError(f"There is no store at {path}; check the path, or run a study to make one.")
        migrations.refuse_foreign(path)
        with dialect.in_words(path):
            connection = dialect.connect(path, read_only=read_only)
            try:
                migrations.migrate(connection, path, read_only=read_only)
                dialect.configure(connection, read_only=read_only)
            except BaseException:
                connection.close()
                raise
        return cls(path, connection, read_only=read_only)

    @property
    def is_closed(self) -> bool:
        """Whether the file has been closed."""
        return self._connection.closed

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        with self._lock, dialect.in_words(self.path):
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """One snapshot of the data."""
        with self._session(write=False) as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """One transaction, committed at the end."""
        with self._session(write=True) as connection:
            yield connection

    @contextmanager
    def _session(self, *, write: bool) -> Iterator[Connection]:
        with self._lock, dialect.in_words(self.path):
            if self._connection.closed:
                raise StoreError(f"The store {self.path} is closed; open it again.")
            with dialect.transaction(self._connection, write=write):
                yield self._connection


def to_json(value: Any) -> str:
    """Return plain data as JSON that UTF-8 can hold; mappings keep their order, since field order is shown to models.

    Raises:
        ValueError: A float is NaN or infinite.
        TypeError: Something is not plain data.
    """
    try:
        written = orjson.dumps(value, default=plain, option=_AS_JSON)
    except TypeError:  # what orjson cannot write, the standard library may; or it says why not
        return _written_by_the_library(value)
    return _written_by_the_library(value) if b"null" in written else written.decode()  # which might have been NaN


def _written_by_the_library(value: Any) -> str:
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=plain)
    # Models do write lone surrogates, and ids are hashes, so they must come back as they were: escaped.
    return text if _is_utf8(text) else json.dumps(json.loads(text), separators=(",", ":"))


def to_json_or_null(value: Any) -> str | None:
    """Return plain data as JSON, or None for None."""
    return None if value is None else to_json(value)


def from_json(text: str | None) -> Any:
    """Return the plain data of a JSON column; None for NULL."""
    return None if text is None else json.loads(text)


def to_text(text: str) -> str | bytes:
    """Return a text as its column takes it: as it is, or as bytes if it holds lone surrogates."""
    return text if text.isascii() or _is_utf8(text) else text.encode("utf-8", "surrogatepass")


def from_text(value: str | bytes) -> str:
    """Return the text that ``to_text`` was given."""
    return value if isinstance(value, str) else value.decode("utf-8", "surrogatepass")


def now() -> str:
    """Return the time in UTC, ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

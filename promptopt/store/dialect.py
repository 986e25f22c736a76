"""All that is said in SQLite's own words: where a store may lie, how it is opened, its upserts, its errors.

A second database means a second file like this one, and the store's contract tests passing on it.
"""

import json
import os
import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

import sqlalchemy
from sqlalchemy import Connection, Insert, Table
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import NullPool

from promptopt.errors import StoreError

T = TypeVar("T")

BUSY_TIMEOUT_S = 30.0
IN_BATCH = 500
IN_LIST = "(SELECT value FROM json_each(?))"

MOUNTS = Path("/proc/mounts")
# SQLite's locks and shared memory do not hold between machines, so two hosts could spoil the file unseen.
NETWORK_FILE_SYSTEMS = re.compile(
    r"afs|beegfs|ceph|cifs|glusterfs|lustre|ncpfs|nfs\d?|smb\d?|smbfs|fuse\.(ceph|davfs2|glusterfs|rclone|s3fs|sshfs)|davfs"
)

_FAULTS = {
    "SQLITE_FULL": "cannot grow because the disk is full; free some space and run the command again, "
    "all that was stored before is kept",
    "SQLITE_BUSY": f"stayed locked by another process for {BUSY_TIMEOUT_S:.0f} s; wait for that process or end it",
    "SQLITE_LOCKED": f"stayed locked by another process for {BUSY_TIMEOUT_S:.0f} s; wait for that process or end it",
    "SQLITE_READONLY": "cannot be written; open it for writing, or change the rights of the file and its folder",
    "SQLITE_CANTOPEN": "cannot be opened; check the rights of the file and its folder",
    "SQLITE_PERM": "cannot be opened; check the rights of the file and its folder",
    "SQLITE_NOTADB": "is not a promptopt store; choose another file",
    "SQLITE_CORRUPT": "is damaged; restore a copy of it, or save what is readable with sqlite3's .recover",
    "SQLITE_IOERR": "cannot be read or written because the disk reports an error; check the disk and its free space",
    "SQLITE_CONSTRAINT_FOREIGNKEY": "was given a row that names a study, ask, prompt, example or outcome it does not "
    "hold, or was asked to drop one that is still in use; put those rows first",
    "SQLITE_CONSTRAINT_NOTNULL": "was given a row with a missing or unknown value; put the rows that it names first",
}


def path_of(url: str | Path) -> Path:
    """Return the absolute path of the file that a path or a ``sqlite:///`` URL names.

    Raises:
        StoreError: The URL is of another database, or names no file.
    """
    text = str(url)
    if re.match(r"[A-Za-z][\w+.-]*://", text):
        scheme, _, rest = text.partition("://")
        if scheme.lower() not in ("sqlite", "sqlite+pysqlite") or not rest.startswith("/"):
            # The rest of the URL is left unsaid: it may hold a password.
            raise StoreError(
                f"A store is one SQLite file, and a URL of '{scheme}' does not name one; give a path such as "
                "promptopt.db, or sqlite:///promptopt.db."
            )
        text = rest[1:]
    if text in ("", ".", ":memory:"):
        raise StoreError(f"A store is a file, and '{text}' does not name one; give a path such as promptopt.db.")
    return Path(text).expanduser().resolve()


def refuse_network(path: Path) -> None:
    """Refuse a file on a network file system; where the kind of file system is not known, allow.

    Raises:
        StoreError: The file system is shared over a network.
    """
    kind = _file_system(path)
    if kind and NETWORK_FILE_SYSTEMS.fullmatch(kind):
        raise StoreError(
            f"The store {path} lies on a network file system ({kind}), where SQLite's locks do not hold; "
            "put it on a local disk."
        )


def touch(path: Path) -> None:
    """Make the file if there is none, readable and writable by its owner only (SQLite's side files follow suit).

    Raises:
        StoreError: The folder is missing or cannot be written.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        reason = (error.strerror or "unknown").lower()
        raise StoreError(f"The store {path} cannot be made ({reason}); choose a folder that can be written.") from error


def application_id(path: Path) -> int | None:
    """Return by whom a database says that it was made, or None if the file is no database; it is not changed.

    The file is never opened by other means: closing it then would drop the locks that this process holds on it by other
    connections, and another process would throw the write-ahead log away while it is still written to.
    """
    try:
        with closing(sqlite3.connect(path.as_uri() + "?mode=ro&immutable=1", uri=True)) as raw:
            return int(raw.execute("PRAGMA application_id").fetchone()[0])
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:
        return None


def connect(path: Path, *, read_only: bool) -> Connection:
    """Open a file that exists; transactions are begun by hand."""
    uri = path.as_uri() + ("?mode=ro" if read_only else "?mode=rw")
    if read_only and not _is_writable(path.parent) and not Path(f"{path}-wal").exists():
        uri += "&immutable=1"  # a file in write-ahead mode wants side files, which this folder does not allow

    def dbapi_connection() -> sqlite3.Connection:
        raw = sqlite3.connect(
            uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        raw.create_function("sqrt", 1, lambda x: None if x is None else x**0.5, deterministic=True)
        return raw

    return sqlalchemy.create_engine("sqlite://", creator=dbapi_connection, poolclass=NullPool).connect()


def configure(connection: Connection, *, read_only: bool) -> None:
    """Set foreign keys and, for writing, a write-ahead log that survives the death of the process."""
    if not read_only:
        _keep_log(connection)
        pragma(connection, "synchronous = NORMAL")
    pragma(connection, "foreign_keys = ON")


def _keep_log(connection: Connection) -> None:
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            pragma(connection, "journal_mode = WAL")
            return
        except OperationalError as error:
            connection.rollback()
            # This statement alone does not wait for its turn, as two processes find that make a store together.
            if getattr(error.orig, "sqlite_errorname", "") != "SQLITE_BUSY" or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def pragma(connection: Connection, statement: str) -> int | str | None:
    """Run a PRAGMA outside of any transaction and return its value, if it has one."""
    result = connection.exec_driver_sql(f"PRAGMA {statement}")
    value: int | str | None = result.scalar() if result.returns_rows else None
    connection.rollback()
    return value


@contextmanager
def transaction(connection: Connection, *, write: bool) -> Iterator[Connection]:
    """Commit at the end, roll back on any error; a writer takes the write lock at the start."""
    with connection.begin():
        # Taken later, the lock could be refused at once: a reader whose snapshot has aged can't become a writer.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
        yield connection


def insert_new(table: Table) -> Insert:
    """Return an INSERT that leaves rows alone whose key is there already."""
    return sqlite.insert(table).on_conflict_do_nothing()


def insert_new_sql(table: Table, *names: str) -> str:
    """Return the words of an INSERT of these columns, in order, that leaves rows alone whose key is there already.

    For ``exec_driver_sql`` with tuples: naming every value of every row took half of the time of a warm evaluation.
    """
    columns = ", ".join(table.c[name].name for name in names)
    places = ", ".join("?" * len(names))
    return f"INSERT INTO {table.name} ({columns}) VALUES ({places}) ON CONFLICT DO NOTHING"  # noqa: S608  # our own names


def upsert(table: Table) -> Insert:
    """Return an INSERT that replaces all other columns of rows whose key is there already."""
    statement = sqlite.insert(table)
    keys = [column.name for column in table.primary_key]
    rest = {column.name: statement.excluded[column.name] for column in table.columns if column.name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=rest)


def as_list(keys: Sequence[str]) -> str:
    """Return keys as the one value that ``IN_LIST`` takes: any number of them, and one statement for all numbers."""
    return json.dumps(keys)


def in_batches(keys: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cut keys, or rows, into lists short enough for one statement."""
    return (keys[start : start + IN_BATCH] for start in range(0, len(keys), IN_BATCH))


@contextmanager
def in_words(path: Path) -> Iterator[None]:
    """Turn the database's errors into one sentence that names the file.

    Raises:
        StoreError: With the database's error as its cause.
    """
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        raise StoreError(f"The store {path} {_fault(cause)}.") from error
    except UnicodeEncodeError as error:
        raise StoreError(f"The store {path} was given a name with half a character in it; rename it.") from error
    except OverflowError as error:
        raise StoreError(f"The store {path} takes whole numbers of 64 bits at most; choose a smaller one.") from error


def _is_writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _fault(error: BaseException | None) -> str:
    name = getattr(error, "sqlite_errorname", "")
    for known in sorted(_FAULTS, key=len, reverse=True):
        if name.startswith(known):
            return _FAULTS[known]
    return f"refused a statement ({error}); if it goes on, please report it"


def _file_system(path: Path) -> str | None:
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    best, kind = -1, None
    for line in lines:
        _, mount, name, *_ = line.split(" ")
        # Spaces and the like stand as three octal digits.
        point = Path(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), mount))
        if path.is_relative_to(point) and len(point.parts) >= best:  # of equal ones, the last is on top
            best, kind = len(point.parts), name
    return kind

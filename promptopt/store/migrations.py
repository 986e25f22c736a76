"""Which files are ours, and how an older one becomes a newer one: numbered steps, a copy first.

A file says who it is by SQLite's ``application_id`` and which schema it has by ``user_version``.
"""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection

from promptopt.errors import StoreError
from promptopt.store import dialect, schema

APPLICATION_ID = 0x70726F6D  # "prom"

Migration = Callable[[Connection], None]


def number_verdicts(connection: Connection) -> None:
    """Bring schema 1 to 2: verdicts become numbered events, duels know their outputs, and leases have a table.

    No release of schema 1 wrote duels, so there is nothing to carry over. A later step that changes these tables must
    first put here, in words, how they looked in schema 2.
    """
    for table in ("preferences", "duels"):
        if connection.exec_driver_sql(f"SELECT COUNT(*) FROM {table}").scalar():  # noqa: S608  # names of our own
            raise StoreError(f"The table {table} holds rows that no release wrote; move them elsewhere, then open it.")
        connection.exec_driver_sql(f"DROP TABLE {table}")
    for made in (schema.duels, schema.duel_leases, schema.preferences, schema.passes):
        made.create(connection)


# MIGRATIONS[0] brings schema 1 to 2, and so on; a new file is made by schema.create and needs none of them.
MIGRATIONS: tuple[Migration, ...] = (number_verdicts,)


def newest() -> int:
    """Return the number of the schema that this release reads and writes."""
    return 1 + len(MIGRATIONS)


def refuse_foreign(path: Path) -> None:
    """Refuse a file that is not ours, without changing it.

    Raises:
        StoreError: It holds something, but not a store.
    """
    if path.is_dir():
        raise StoreError(f"{path} is a folder, and a store is a file; give a path such as {path / 'promptopt.db'}.")
    with dialect.in_words(path):
        # Looking takes no lock. While somebody else makes the store its pages come one by one, and beside it lies a
        # journal, which is gone once all of them are there; then ``migrate`` decides, whose look waits its turn.
        ours = _is_ours(path) or Path(f"{path}-journal").exists() or _is_ours(path)
    if not ours:
        raise _foreign(path)


def migrate(connection: Connection, path: Path, *, read_only: bool) -> None:
    """Bring a store to the newest schema; an empty file becomes a store.

    Must run before foreign keys are switched on, since a step may build a table anew.

    Commits:
        The whole way from old to new at once; a copy ``<file>.v<schema>.bak`` is made before.

    Raises:
        StoreError: The schema is newer than this release, or older or empty while open for reading only; or the file
            is not ours after all.
    """
    with dialect.transaction(connection, write=False):
        version = _version(connection, path)
    if version == newest():
        return
    if read_only:
        if version == 0:
            raise StoreError(f"The store {path} is empty; run a study in it first, or name another file with --store.")
        raise StoreError(
            f"The store {path} has schema {version} and this release reads schema {newest()}; run or resume a study in "
            f"it, which brings it up to date and keeps a copy in {path}.v{version}.bak."
        )
    with dialect.transaction(connection, write=True):
        version = _version(connection, path)  # another process may have been faster
        if version == 0:
            schema.create(connection)
            connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
        elif version < newest():
            _copy(path, Path(f"{path}.v{version}.bak"))
            for step in MIGRATIONS[version - 1 :]:
                step(connection)
        connection.exec_driver_sql(f"PRAGMA user_version = {newest()}")


def _is_ours(path: Path) -> bool:
    return path.stat().st_size == 0 or dialect.application_id(path) == APPLICATION_ID


def _foreign(path: Path) -> StoreError:
    return StoreError(f"The file {path} is not a promptopt store; choose another file.")


def _version(connection: Connection, path: Path) -> int:
    made_by = connection.exec_driver_sql("PRAGMA application_id").scalar_one()
    is_empty = not made_by and not connection.exec_driver_sql("SELECT COUNT(*) FROM sqlite_master").scalar_one()
    if not is_empty and made_by != APPLICATION_ID:
        raise _foreign(path)
    version = int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
    if version > newest():
        raise StoreError(
            f"The store {path} has schema {version}, newer than this release of promptopt knows ({newest()}); "
            "update promptopt."
        )
    return version


def _copy(path: Path, copy: Path) -> None:
    # The write-ahead log holds part of the data, so the file alone would be no copy.
    copy.unlink(missing_ok=True)
    os.close(os.open(copy, os.O_CREAT | os.O_EXCL, 0o600))
    source = sqlite3.connect(path.as_uri() + "?mode=ro", uri=True)
    with closing(source), closing(sqlite3.connect(copy)) as target:
        source.backup(target)

"""Leases: at most one process writes for a study, and in it one thread.

A lease names its holder by host, process id and the process's start time, so that the dead are told from the living.
"""

import os
import socket
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from sqlalchemy import Row, select, update

from promptopt.errors import StoreError, StudyBusyError
from promptopt.store import schema
from promptopt.store.database import Database, now

# Whether a process of another host or container lives cannot be seen from here; it must renew its lease within this.
EXPIRY_S = 600.0

PROC = Path("/proc")

# A lease cannot tell the threads of its process apart, each of which opens the store for itself.
_HERE: WeakValueDictionary[tuple[int, Path, int], "Leases"] = WeakValueDictionary()


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that may hold a lease.

    Args:
        host: The machine's name, with the process-id namespace where there are such: two containers of one name
            do not see each other's processes.
        pid: The process id.
        started: When it started, in the kernel's own count; empty where that is not known.
    """

    host: str
    pid: int
    started: str

    def is_gone(self) -> bool:
        """Return whether this process is surely dead; False where that cannot be seen from here."""
        return self.host == _host() and (_started(self.pid) != self.started or not _is_alive(self.pid))


class Leases(Database):
    """Who works on which study."""

    def acquire_lease(self, study_id: int) -> None:
        """Take a study for this process; the lease of a dead process is taken over.

        Commits:
            At once.

        Raises:
            StudyBusyError: Another process holds it, or another thread of this one; says since when.
            StoreError: There is no such study.
        """
        at = now()
        with self._writing() as connection:
            row = connection.execute(select(schema.studies).where(schema.studies.c.id == study_id)).one_or_none()
            if row is None:
                raise StoreError(f"The store {self.path} holds no study with id {study_id}; create it first.")
            refuse_busy(row)
            me = _me()
            self._refuse_other_threads(row)
            connection.execute(
                update(schema.studies).where(schema.studies.c.id == study_id),
                {
                    "lease_host": me.host,
                    "lease_pid": me.pid,
                    "lease_started": me.started,
                    "lease_since": at if _holder(row) != me else row.lease_since,
                    "lease_renewed": time.time(),
                },
            )
            _HERE[self._here(study_id)] = self

    def is_worked_on(self, study_id: int) -> bool:
        """Return whether a process holds a study that is not known to be dead."""
        with self._reading() as connection:
            row = connection.execute(select(schema.studies).where(schema.studies.c.id == study_id)).one_or_none()
        holder = _holder(row) if row else None
        return holder is not None and not holder.is_gone()

    def renew_lease(self, study_id: int) -> None:
        """Say that this process still works on the study; wanted every few minutes.

        Commits:
            At once.

        Raises:
            StudyBusyError: The lease has been lost to another process.
        """
        with self._writing() as connection:
            done = connection.execute(_mine(study_id), {"lease_renewed": time.time()})
            if done.rowcount == 0:
                row = connection.execute(select(schema.studies).where(schema.studies.c.id == study_id)).one_or_none()
                raise StudyBusyError(f"{_who(row)}; this process lost it and stops.")

    def release_lease(self, study_id: int) -> None:
        """Give a study back, if this process holds it.

        Commits:
            At once.
        """
        nobody = ("lease_host", "lease_pid", "lease_started", "lease_since", "lease_renewed")
        if _HERE.get(self._here(study_id)) is not self:
            return
        with self._writing() as connection:
            connection.execute(_mine(study_id), dict.fromkeys(nobody))
        del _HERE[self._here(study_id)]

    def _refuse_other_threads(self, row: Row[Any]) -> None:
        """Refuse a study that another open store of this process holds; whoever writes is alone in looking."""
        other = _HERE.get(self._here(row.id), self)
        if other is not self and not other.is_closed:
            raise StudyBusyError(
                f"Another thread of this process works on the study '{row.name}' since {row.lease_since}; wait until "
                "it is done."
            )

    def _here(self, study_id: int) -> tuple[int, Path, int]:
        return os.getpid(), self.path.resolve(), study_id


def refuse_busy(row: Row[Any]) -> None:
    """Refuse a study that another living process holds.

    Raises:
        StudyBusyError: It does.
    """
    if is_held(row) and _holder(row) != _me():
        raise StudyBusyError(f"{_who(row)}; wait until it is done, or end it.")


def is_held(row: Row[Any]) -> bool:
    """Return whether a process works on a study, as far as can be seen from here."""
    holder = _holder(row)
    if holder is None or holder.is_gone():
        return False
    return holder.host == _host() or time.time() - float(row.lease_renewed) <= EXPIRY_S


def _who(row: Row[Any] | None) -> str:
    if row is None or row.lease_host is None:
        return "Nobody holds the study"
    host = row.lease_host.partition(" ")[0]
    return f"Process {row.lease_pid} on {host} works on the study '{row.name}' since {row.lease_since}"


def _holder(row: Row[Any]) -> Holder | None:
    return None if row.lease_host is None else Holder(row.lease_host, row.lease_pid, row.lease_started)


def _mine(study_id: int) -> Any:
    table, me = schema.studies.c, _me()
    held = (table.lease_host == me.host) & (table.lease_pid == me.pid) & (table.lease_started == me.started)
    return update(schema.studies).where(table.id == study_id, held)


def _me() -> Holder:
    return Holder(_host(), os.getpid(), _started(os.getpid()))


@cache
def _host() -> str:
    try:
        return f"{socket.gethostname()} {(PROC / 'self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()


def _started(pid: int) -> str:
    """Return when a process started; ``gone`` if it has ended, empty where there is no /proc to ask."""
    if not (PROC / "self/stat").exists():
        return ""
    try:
        # The name in parentheses may hold spaces; behind it stand the state and, 19 fields on, the start.
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "gone"
    return "gone" if fields[0] in "ZX" else fields[19]


def _is_alive(pid: int) -> bool:
    if os.name != "posix":
        return True  # there, os.kill would end the process instead of asking
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

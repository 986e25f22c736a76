"""Passes: links and sessions that let somebody label one study; the noun is Pass.

A link is exchanged once for a session. The store keeps hashes of tokens only, so that nobody who reads the file can
label in another's name.
"""

import re
import secrets
import time
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from sqlalchemy import ColumnElement, Connection, select, text, update

from promptopt.errors import DataError
from promptopt.store import schema
from promptopt.store.database import Database, now

LASTS_S = 7 * 24 * 3600.0
NAME = re.compile(r"[^\W_][\w .'-]{0,38}[\w.']|[^\W_]")
RESERVED = ("the outputs",)  # who "says" that two outputs are the same

NEWEST_OF = text("""
SELECT p.number FROM preferences AS p JOIN duels ON duels.id = p.duel
WHERE p.labeller = :labeller AND duels.study = :study ORDER BY p.number DESC LIMIT 1
""")


@dataclass(frozen=True, slots=True)
class Pass:
    """What a token allows: to label one study under one name until it expires, in seconds since 1970."""

    study_id: int
    labeller: str
    kind: Literal["link", "session"]
    expires: float


class Passes(Database):
    """Who may label."""

    def invite(self, study_id: int, labeller: str, *, lasts_s: float = LASTS_S) -> str:
        """Make a link for somebody and return its token, which is kept nowhere.

        Commits:
            At once.

        Raises:
            DataError: The name will not do.
        """
        check_name(labeller)
        with self._writing() as connection:
            return _make(connection, Pass(study_id, labeller, "link", time.time() + lasts_s))

    def exchange(self, study_id: int, token: str) -> str | None:
        """Use a link up, and return the token of a session that ends when the link would have; None if it is not valid.

        A link to another study is none here, and stays good there.

        Commits:
            At once.
        """
        table = schema.passes
        with self._writing() as connection:
            used = update(table).where(table.c.id == _hash(token), table.c.kind == "link", *_valid())
            used = used.where(table.c.study == study_id)
            row = connection.execute(used.returning(table), {"ended": now()}).one_or_none()
            return _make(connection, Pass(row.study, row.labeller, "session", row.expires)) if row else None

    def session(self, token: str) -> Pass | None:
        """Return what a session allows; None if there is none, or not any more."""
        table = schema.passes
        wanted = select(table).where(table.c.id == _hash(token), table.c.kind == "session", *_valid())
        with self._reading() as connection:
            row = connection.execute(wanted).one_or_none()
        return Pass(row.study, row.labeller, row.kind, row.expires) if row else None

    def revoke(self, study_id: int, labeller: str) -> int:
        """End all links and sessions of somebody, and return how many; their verdicts stay.

        Commits:
            At once.
        """
        table = schema.passes
        with self._writing() as connection:
            theirs = update(table).where(table.c.study == study_id, table.c.labeller == labeller, *_valid())
            return connection.execute(theirs, {"ended": now()}).rowcount

    def turn(self, study_id: int, labeller: str) -> int:
        """Return a number that changes with each verdict that somebody gives or takes back.

        A form that was made in one turn is not good in another, so that sending it again changes nothing.
        """
        with self._reading() as connection:
            return connection.scalar(NEWEST_OF, {"study": study_id, "labeller": labeller}) or 0


def check_name(labeller: str) -> None:
    """Refuse a name that could be taken for somebody or something else.

    Raises:
        DataError: It is no name.
    """
    if not NAME.fullmatch(labeller) or labeller in RESERVED:
        raise DataError(f"The name {labeller[:40]!r} will not do; take letters, digits, spaces and . ' - up to 40.")


def _make(connection: Connection, made: Pass) -> str:
    token = secrets.token_urlsafe(32)
    values = {
        "id": _hash(token),
        "study": made.study_id,
        "labeller": made.labeller,
        "kind": made.kind,
        "expires": made.expires,
        "created": now(),
    }
    connection.execute(schema.passes.insert(), values)
    return token


def _hash(token: str) -> str:
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _valid() -> tuple[ColumnElement[bool], ...]:
    return schema.passes.c.ended.is_(None), schema.passes.c.expires > time.time()

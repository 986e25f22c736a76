"""Desk: where people label one study; what goes onto their screens and what comes back, as plain data.

It knows the store and nothing of HTTP. A form is good for one pair in one turn of one session: sent again, or after
something else was said, it is stale and changes nothing.
"""

import hmac
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, cast

from promptopt.agreement import PersonAudit, audit_people
from promptopt.duel import Verdict
from promptopt.errors import DataError
from promptopt.ids import content_hash
from promptopt.store.passes import Pass
from promptopt.store.rows import Shown, StudyRow
from promptopt.store.store import Store
from promptopt.web.differences import differences
from promptopt.web.markup import render

MOST_REMARK = 2_000  # characters
REST = 100  # the standing is worked out anew after so many times as long as it took


class StaleFormError(Exception):
    """A form that is not good any more; nothing was changed."""


class Desk:
    """Where people label one study.

    Args:
        store: The open store.
        study_id: Whose duels.
        name: The study's name.
    """

    def __init__(self, store: Store, study_id: int, name: str) -> None:
        self._store = store
        self._study_id = study_id
        self._name = name
        judges = self._row().config.get("identity", {}).get("judges", {})
        self._audits = bool(judges.get("model"))
        self._standing: tuple[int, float, dict[str, Any]] = (-1, 0.0, {})

    def exchange(self, token: str) -> str | None:
        """Return a session's token for that of a link; None if the link is not good."""
        return self._store.exchange(self._study_id, token)

    def who(self, token: str) -> Pass | None:
        """Return whose session a token is; None if it is none of this study."""
        found = self._store.session(token) if token else None
        return found if found and found.study_id == self._study_id else None

    def screen(self, token: str, labeller: str) -> dict[str, Any]:
        """Return what somebody has to look at: the next pair, or why there is none.

        Commits:
            That the pair is theirs for a while.
        """
        shown = self._next(labeller)
        turn = self._store.turn(self._study_id, labeller)
        screen = {"csrf": csrf_of(token), "form": _form(token, turn, shown), "name": labeller, "pair": None}
        if shown is None:
            return {**screen, "state": self._state(), "open": self._store.labelling(self._study_id).open}
        inputs = [{"name": name, **_rendered(str(value))} for name, value in shown.inputs.items()]
        answers = [_rendered(shown.left), _rendered(shown.right)]
        return {**screen, "pair": {"id": shown.duel_id, "inputs": inputs, "answers": answers}}

    def say(self, token: str, labeller: str, said: Mapping[str, Any]) -> None:
        """Keep a verdict.

        Commits:
            At once.

        Raises:
            StaleFormError: The form was used, or is of another turn.
            DataError: A field is missing or wrong.
        """
        duel_id, verdict, remark = (_text(said, name) for name in ("pair", "verdict", "remark"))
        millis = said.get("millis")
        if len(remark) > MOST_REMARK:
            raise DataError(f"A remark may have {MOST_REMARK} characters; this one has {len(remark)}.")
        if millis is not None and not (isinstance(millis, int) and 0 <= millis < 2**53):
            raise DataError("millis must be a whole number of milliseconds.")
        self._check_form(token, labeller, said, duel_id)
        self._store.record_verdict(duel_id, labeller, cast("Verdict", verdict), remark=remark, millis=millis)

    def take_back(self, token: str, labeller: str, said: Mapping[str, Any]) -> bool:
        """Undo somebody's last verdict, and return whether there was one.

        Commits:
            At once.

        Raises:
            StaleFormError: The form was used, the verdict is undone already, or the study has ended.
        """
        self._check_form(token, labeller, said, _text(said, "pair"))
        if self._row().state == "finished":
            raise StaleFormError
        return self._store.take_back(self._study_id, labeller) is not None

    def differences(self, labeller: str, duel_id: str) -> Sequence[Any]:
        """Return the two answers on somebody's screen with what only one of them has; empty if that is too much.

        Raises:
            StaleFormError: The pair is not on their screen.
        """
        shown = self._next(labeller)
        if shown is None or shown.duel_id != duel_id:
            raise StaleFormError
        return differences(shown.left, shown.right) or ()

    def task(self) -> dict[str, str]:
        """Return what is to be done, in a sentence, and what makes an answer good where that was said."""
        identity = self._row().config.get("identity", {})
        description = str(identity.get("description", "") or self._name)
        criteria = str(identity.get("judges", {}).get("criteria", ""))
        return {"task": description, "criteria": criteria if criteria != description else ""}

    def standing(self, labeller: str) -> dict[str, Any]:
        """Return how far the study is: verdicts, agreement, the chance that the leader is the best.

        Working it out reads all preferences, so it is kept while nothing happens, and for a while where it takes long.
        """
        newest, due, common = self._standing
        if time.monotonic() >= due and (now := self._store.newest_event()) != newest:
            begun = time.monotonic()
            common = self._work_out()
            ended = time.monotonic()
            self._standing = (now, ended + REST * (ended - begun), common)
        outlook = self._store.outlook(self._study_id) or {}
        audit = common.get("people", {}).get(labeller, {})
        row = self._row()
        return {
            "state": row.state,
            "given": common.get("given", 0),
            "n_people": len(common.get("people", {})),
            "agreed": common.get("agreed", 0),
            "shared": common.get("shared", 0),
            "mine": {name: audit.get(name) for name in ("n", "repeats", "consistency", "shared", "agreement")},
            "p_best": outlook.get("p_best"),
            "may_stop": bool(outlook.get("may_stop")),
            "stop_at": _stop_at(row),
        }

    def _work_out(self) -> dict[str, Any]:
        preferences = self._store.preferences(self._study_id)
        audits = audit_people(preferences)
        # Each shared pair is counted from both sides.
        shared = sum(audit.shared for audit in audits) // 2
        agreed = round(sum(_agreed(audit) for audit in audits) / 2)
        given = sum(audit.n for audit in audits)
        people = {audit.labeller: asdict(audit) for audit in audits}
        return {"given": given, "shared": shared, "agreed": agreed, "people": people}

    def _state(self) -> str:
        """Return how the study is; one whose process was killed is paused, whatever it wrote down last."""
        state = self._row().state
        return "paused" if state == "running" and not self._store.is_worked_on(self._study_id) else state

    def _next(self, labeller: str) -> Shown | None:
        return self._store.next_duel(self._study_id, labeller, audit=self._audits)

    def _check_form(self, token: str, labeller: str, said: Mapping[str, Any], duel_id: str) -> None:
        turn = self._store.turn(self._study_id, labeller)
        if not hmac.compare_digest(
            _text(said, "form").encode(errors="replace"), _form_of(token, turn, duel_id).encode()
        ):
            raise StaleFormError

    def _row(self) -> StudyRow:
        row = self._store.study(self._name)
        if row is None:
            raise DataError(f"The study '{self._name}' is gone.")
        return row


def csrf_of(token: str) -> str:
    """Return what every POST of a session must bear: nobody can know it who does not hold the session."""
    return content_hash("csrf", token)


def _form(token: str, turn: int, shown: Shown | None) -> str:
    return _form_of(token, turn, shown.duel_id if shown else "")


def _form_of(token: str, turn: int, duel_id: str) -> str:
    return content_hash("form", token, turn, duel_id)


def _rendered(text: str) -> dict[str, Any]:
    made = render(text)
    return {"kind": made.kind, "formatted": made.formatted, "plain": made.plain, "cut": made.cut}


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name, "")
    if not isinstance(value, str):
        raise DataError(f"{name} must be a text.")
    return value


def _agreed(audit: PersonAudit) -> float:
    return audit.shared * (audit.agreement or 0.0)


def _stop_at(row: StudyRow) -> float | None:
    settings = row.config.get("identity", {}).get("strategy settings", {})
    at = settings.get("stop_at")
    return at if isinstance(at, float | int) and at <= 1 else None

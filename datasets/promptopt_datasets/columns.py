"""Which column of a table is which, and the Example that a row becomes."""

import difflib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from promptopt.errors import DataError
from promptopt.example import Example
from promptopt_datasets.files import Row, find_half, kind_of

TARGETS = ("target", "label", "answer", "output", "gold", "class")
ROLES = ("target", "choices", "meta", "id")
TARGET_IF_ANY = "*"  # in place of it: the usual names are looked for, and rows without right answers are taken too
NO_TARGET = ""  # in place of the target's column: rows without right answers, whose outputs can only be compared


@dataclass(frozen=True)
class Columns:
    """The columns that a row's parts are read from.

    Args:
        target: The column of the right answer; empty where the task needs none.
        inputs: The column of each input field.
        choices: The column of the answers allowed.
        meta: The column of extras for the metric.
    """

    target: str
    inputs: Mapping[str, str]
    choices: str = "choices"
    meta: str = "meta"


def find_columns(rows: Sequence[Row], named: Mapping[str, str]) -> Columns:
    """Return which column is which: as named, else by the usual names; other text columns are inputs.

    Args:
        rows: At least one row; the first one says which columns there are.
        named: The column of a role (``target``, ``choices``, ``meta``, ``id``) or of an input field.

    Raises:
        DataError: A named column is missing, none looks like the target, or no input is left.
    """
    first = rows[0]
    have = list(first.values)
    for role, column in named.items():
        if column not in have and not (role == "target" and column in (NO_TARGET, TARGET_IF_ANY)):
            close = difflib.get_close_matches(column, have, n=1, cutoff=0.4)
            hint = f"did you mean '{close[0]}'?" if close else "correct the name."
            raise DataError(f"{first.place}: there is no column '{column}' for {role}, only {_list(have)}; {hint}")
    target = named.get("target", "")
    if "target" not in named or target == TARGET_IF_ANY:
        target = _guess_target(first, set(named.values()), is_needed=target != TARGET_IF_ANY)
    inputs = {role: column for role, column in named.items() if role not in ROLES}
    if not inputs:
        taken = {target, *(named.get(role, role) for role in ROLES[1:])}
        inputs = {column: column for column in have if column not in taken and isinstance(first.values[column], str)}
    if not inputs:
        raise DataError(
            f"{first.place}: no column of text is left for the input, only {_list(have)}; "
            "name one with --column input=NAME."
        )
    fields = {field_name(field): column for field, column in inputs.items()}
    return Columns(target, fields, named.get("choices", "choices"), named.get("meta", "meta"))


def to_example(row: Row, columns: Columns, choices: Sequence[str] = ()) -> Example:
    """Return the example of one row.

    Args:
        row: The row.
        columns: Which column is which.
        choices: The answers allowed where the row names none.

    Raises:
        DataError: A part is missing, empty or of the wrong type; names place, column and fix.
    """
    inputs = {field: _text(row, column) for field, column in columns.inputs.items()}
    if not any(text.strip() for text in inputs.values()):
        raise DataError(f"{row.place}: {_list(columns.inputs.values())} is empty; fill it in or remove the row.")
    target = _target(row, columns.target) if columns.target else ""
    allowed = _choices(row, columns.choices) or tuple(choices)
    if allowed and columns.target and target not in allowed:
        close = difflib.get_close_matches(target, allowed, n=1)
        hint = f" (did you mean '{close[0]}'?)" if close else ""
        raise DataError(
            f"{row.place}: the target '{target[:60]}' is none of the choices {_list(allowed)}; correct one{hint}."
        )
    return Example(inputs, target, allowed, _meta(row, columns.meta))


def _guess_target(row: Row, taken: set[str], *, is_needed: bool) -> str:
    folded = {column.casefold(): column for column in row.values if column not in taken}
    for name in TARGETS:
        if name in folded:
            return folded[name]
    if not is_needed:
        return NO_TARGET
    raise DataError(
        f"{row.place}: none of the columns {_list(row.values)} is called {', '.join(TARGETS)}; "
        "say which one holds the right answer with --column target=NAME, or --metric none if answers can only be "
        "compared."
    )


def _text(row: Row, column: str) -> str:
    value = _value(row, column)
    if not isinstance(value, str):
        raise DataError(
            f"{row.place}: '{column}' is a {kind_of(value)} and not text; write it as text, in double quotes."
        )
    return _whole(row, column, value)


def _target(row: Row, column: str) -> str:
    value = _value(row, column)
    if isinstance(value, list) or value is None or (isinstance(value, float) and not math.isfinite(value)):
        shown = value if isinstance(value, float) else kind_of(value)
        raise DataError(
            f"{row.place}: the target '{column}' is {shown}; write one text or number "
            '(further right answers go to "meta": {"aliases": [...]}).'
        )
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if not text.strip():
        raise DataError(f"{row.place}: the target '{column}' is empty; fill it in or remove the row.")
    return _whole(row, column, text)


def _whole(row: Row, column: str, text: str) -> str:
    """Return a text that can be sent: JSON may write half a character, which no encoding has."""
    if half := find_half(text):
        raise DataError(f"{row.place}: '{column}' holds {half}, half a character; correct or remove it.")
    return text


def _value(row: Row, column: str) -> Any:
    if column not in row.values:
        raise DataError(
            f"{row.place}: there is no '{column}', only {_list(row.values)}; every row needs the columns of the first."
        )
    return row.values[column]


def _choices(row: Row, column: str) -> tuple[str, ...]:
    value = row.values.get(column) or []
    if isinstance(value, str):
        value = _json(row, column, value)
    if not isinstance(value, list) or not all(isinstance(choice, str) for choice in value):
        raise DataError(f'{row.place}: \'{column}\' must be a list of texts, such as ["yes", "no"]; correct it.')
    return tuple(dict.fromkeys(_whole(row, column, choice) for choice in value if choice.strip()))


def _meta(row: Row, column: str) -> Mapping[str, Any]:
    value = row.values.get(column) or {}
    if isinstance(value, str):
        value = _json(row, column, value)
    if not isinstance(value, dict):
        raise DataError(
            f"{row.place}: '{column}' is a {kind_of(value)} and not an object; write {{...}} or leave it out."
        )
    aliases = value.get("aliases", [])
    if not isinstance(aliases, list) or not all(isinstance(alias, str) for alias in aliases):
        raise DataError(f"{row.place}: the aliases in '{column}' must be a list of texts; correct them.")
    return value


def _json(row: Row, column: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise DataError(f"{row.place}: '{column}' is not JSON; rename the column if it means something else.") from None


def field_name(column: str) -> str:
    """Return a name that can stand in braces: letters, digits and underscores."""
    return "".join(letter if letter.isalnum() else "_" for letter in column.strip())


def _list(names: Any) -> str:
    shown = [str(name) for name in names]
    return ", ".join(f"'{name}'" for name in shown[:12]) + (" ..." if len(shown) > 12 else "")

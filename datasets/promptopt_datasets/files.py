"""Rows out of JSONL and CSV files, each with its place, so that every complaint can name file and line."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from promptopt.errors import DataError

SUFFIXES = (".jsonl", ".csv")
KINDS = "JSONL (one JSON object a line) or CSV with a header"


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it was read, and where it stands."""

    place: str
    values: Mapping[str, Any]


def read_rows(path: Path) -> list[Row]:
    """Read all rows of a JSONL or CSV file.

    Raises:
        DataError: It cannot be read, is empty, or a line is wrong; names path, line, reason and fix.
    """
    suffix = path.suffix.casefold()
    if suffix not in SUFFIXES:
        raise DataError(f"{path}: files of the kind '{path.suffix}' are not known; save it as {KINDS}.")
    text = read_text(path)
    rows = list(_json_lines(path, text) if suffix == ".jsonl" else _csv_rows(path, text))
    if not rows:
        raise DataError(f"{path}: the file holds no rows; write one example a line.")
    return rows


def read_text(path: Path) -> str:
    """Read a UTF-8 file, with or without a byte order mark.

    Raises:
        DataError: It is missing, unreadable, binary or not UTF-8; names path and, where known, line.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: the file cannot be read ({error.strerror}); correct the path.") from None
    if b"\x00" in data:
        raise DataError(f"{path}: this is a binary file, or text in UTF-16; save it as UTF-8 text.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: the byte 0x{data[error.start]:02x} is not UTF-8 text; save the file as UTF-8."
        ) from None


def read_prose(path: Path) -> str:
    """Read a text that people write, without the carriage returns that some systems end lines with.

    Raises:
        DataError: As ``read_text``.
    """
    return read_text(path).replace("\r\n", "\n").replace("\r", "\n")


def _json_lines(path: Path, text: str) -> Iterator[Row]:
    # Only a line feed ends a line of JSONL: str.splitlines would cut at U+2028, which may stand inside a string.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            values = json.loads(line, object_pairs_hook=partial(_once, place))
        except json.JSONDecodeError as error:
            raise DataError(
                f"{place}: this is not JSON ({error.msg}, column {error.colno}); write one JSON object on one line."
            ) from None
        except ValueError:  # Python reads no number of more than 4,300 digits
            raise DataError(f"{place}: a number has too many digits; write it as text, in double quotes.") from None
        except RecursionError:
            raise DataError(f"{place}: the JSON is nested too deeply; write flat objects.") from None
        if not isinstance(values, dict):
            raise DataError(
                f"{place}: this is a JSON {kind_of(values)} and not an object; "
                'write one object a line, such as {"input": "...", "target": "..."}.'
            )
        yield Row(place, values)


def _once(place: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(values := dict(pairs)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{place}: the key '{twice}' stands twice; rename one of them.")
    return values


def _csv_rows(path: Path, text: str) -> Iterator[Row]:
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # a cell may hold a whole document
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    header: list[str] = []
    line = 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(
                f"{path}, line {line}: the row that begins here is not CSV ({error}); "
                "put text with quotes or line breaks in double quotes, and double the quotes inside."
            ) from None
        if not header:
            header = _header(path, cells)
        elif cells:
            yield Row(f"{path}, line {line}", _named(path, line, header, cells))
        line = reader.line_num + 1


def _delimiter(text: str) -> str:
    first = text.split("\n", 1)[0]
    return max(",;\t", key=first.count) if "," not in first else ","


def _header(path: Path, cells: list[str]) -> list[str]:
    header = [cell.strip() for cell in cells]
    if twice := next((name for name in header if name and header.count(name) > 1), ""):
        raise DataError(f"{path}, line 1: the column '{twice}' stands twice; rename one of them.")
    return header


def _named(path: Path, line: int, header: list[str], cells: list[str]) -> dict[str, str]:
    if len(cells) != len(header):
        count = f"{len(cells)} cell{'s' if len(cells) > 1 else ''}"
        raise DataError(
            f"{path}, line {line}: the row has {count} and the header {len(header)}; "
            "put text that holds the separator in double quotes."
        )
    # A column without a name is the row number that some programs write.
    return {name: cell for name, cell in zip(header, cells, strict=True) if name}


def kind_of(value: Any) -> str:
    """Return what JSON calls a value, with words that people know."""
    if value is None:
        return "null"
    kinds = {bool: "true or false", int: "number", float: "number", str: "text", list: "list", dict: "object"}
    return kinds.get(type(value), type(value).__name__)


def find_half(text: str) -> str:
    r"""Return the first half character of a text as it is escaped, such as ``\ud800``; else nothing."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return ascii(text[error.start])[1:-1]
    return ""

"""Labelling: label work done elsewhere, out of a study and back in, as CSV or JSONL.

A file holds a row for each duel, blind: the outputs on sides drawn by a hash, and room for a verdict. What is read back
is the duel, the verdict, who gave it and a remark; all else is for the eye.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from promptopt.duel import VERDICTS, Verdict
from promptopt.errors import DataError
from promptopt.report import find_study, open_store
from promptopt.store.passes import check_name
from promptopt.store.rows import FileRow

COLUMNS = ("duel", "verdict", "labeller", "remark", "input", "left", "right")
DELIMITERS = ",;\t"
SUFFIXES = (".csv", ".jsonl")
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def export_labels(store_path: str, study: str, path: Path) -> int:
    """Write a study's duels with the verdicts that people gave, and return how many rows that are.

    Raises:
        UnknownNameError: There is no such study.
        DataError: There are no pairs, or the file is of another kind or cannot be written.
    """
    _check_suffix(path)
    with open_store(store_path) as store:
        rows = [_row(row) for row in store.duels_for_files(find_study(store, study).id)]
    if not rows:
        raise DataError(f"The study '{study}' has no pairs to write; it asks nobody, or has not asked yet.")
    text = _write_csv(rows) if path.suffix.casefold() == ".csv" else "".join(map(_json_line, rows))
    try:
        path.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise DataError(f"{path}: the file cannot be written ({error.strerror}); choose another place.") from None
    return len(rows)


def import_labels(store_path: str, study: str, path: Path, labeller: str = "") -> int:
    """Read verdicts into a study and return how many were new; rows without one are passed over.

    Of one labeller and duel the first verdict stays, so the same file may be read again.

    Args:
        store_path: The store.
        study: Its name.
        path: The file, as ``export_labels`` wrote it.
        labeller: Who gave the verdicts of rows that do not say.

    Raises:
        UnknownNameError: There is no such study.
        DataError: A row is wrong; names file, line and field. Then nothing is read.
    """
    _check_suffix(path)
    read = _read_csv if path.suffix.casefold() == ".csv" else _read_jsonl
    with open_store(store_path, read_only=False) as store:
        study_id = find_study(store, study).id
        known = {row.id for row in store.duels(study_id)}
        verdicts = list(_verdicts(path, read(path), known, labeller))
        before = len(store.preferences(study_id))
        for verdict in verdicts:
            store.record_from_file(*verdict)
        return len(store.preferences(study_id)) - before


def _verdicts(
    path: Path, rows: Iterable[tuple[int, Mapping[str, Any]]], known: set[str], labeller: str
) -> Iterator[tuple[str, str, Verdict, str]]:
    for line, row in rows:
        verdict = str(row.get("verdict") or "").strip().casefold().replace(" ", "_")
        if not verdict:
            continue
        duel_id, who = str(row.get("duel") or ""), str(row.get("labeller") or labeller).strip()
        if duel_id not in known:
            raise DataError(f"{path}, line {line}: the study has no duel '{duel_id[:40]}'; export the file anew.")
        if verdict not in VERDICTS:
            raise DataError(f"{path}, line {line}: verdict '{verdict[:40]}' must be one of {', '.join(VERDICTS)}.")
        if not who:
            raise DataError(f"{path}, line {line}: labeller is empty; fill it in, or say who with --name.")
        try:
            check_name(who)
        except DataError as error:
            raise DataError(f"{path}, line {line}: {error}") from None
        yield duel_id, who, verdict, _unescaped(str(row.get("remark") or ""))


def _row(row: FileRow) -> dict[str, str]:
    asked = "\n".join(f"{name}: {value}" for name, value in row.inputs.items())
    return dict(
        zip(COLUMNS, (row.duel_id, row.verdict, row.labeller, row.remark, asked, row.left, row.right), strict=True)
    )


def _json_line(row: Mapping[str, str]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def _write_csv(rows: Iterable[Mapping[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows({name: _escaped(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def _escaped(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell.startswith(FORMULA) else cell


def _unescaped(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA) else cell


def _read_csv(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    text = _read(path)
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    # Spreadsheets of some countries write semicolons.
    delimiter = max(DELIMITERS, key=text.partition("\n")[0].count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        if missing := [name for name in COLUMNS[:2] if name not in (reader.fieldnames or ())]:
            raise DataError(f"{path}, line 1: there is no column '{missing[0]}'; export the file anew.")
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num + 1}: this is not CSV ({error}); correct it.") from None


def _read_jsonl(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(_read(path).split("\n"), 1):  # not at other line ends, which texts may hold
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}, line {number}: this is not JSON ({error}); correct it.") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {number}: this is no JSON object; export the file anew.")
        yield number, row


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: the file cannot be read ({error.strerror}); correct the path.") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: this is not UTF-8 text; save the file as UTF-8.") from None


def _check_suffix(path: Path) -> None:
    if path.suffix.casefold() not in SUFFIXES:
        raise DataError(f"{path}: labels go into files of the kinds {' and '.join(SUFFIXES)}; choose one of them.")

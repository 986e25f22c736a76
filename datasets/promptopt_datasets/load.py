"""Datasets from folders, files and Python rows, cut into splits where they are not.

Whatever is wrong with a table is said in one sentence that names file, line, reason and fix.
"""

import importlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from promptopt.errors import ConfigError, DataError
from promptopt.example import SPLITS, Dataset, Example, question_id
from promptopt_datasets.columns import find_columns, to_example
from promptopt_datasets.cut import MIN_FOR_VERDICT, MIN_ROWS, cut_in_three, cut_in_two
from promptopt_datasets.files import KINDS, SUFFIXES, Row, read_rows, read_text

HUB = "hf:"
CARD = "card.json"
# What a card says where every row brings its own choices.
PER_LINE = "per line"
NO_COLUMNS: Mapping[str, str] = {}
_SPLIT_NAMES = dict.fromkeys(("validation", "valid", "val"), "dev") | {name: name for name in SPLITS}

Rows = Sequence[Mapping[str, Any] | Example]
Placed = list[tuple[str, Example]]


def load_dataset(source: str | Path, *, columns: Mapping[str, str] | None = None, name: str | None = None) -> Dataset:
    """Read a dataset.

    Args:
        source: A folder with train, dev and test files and perhaps ``card.json``; one JSONL or CSV file, which is
            cut into splits; or ``hf:NAME`` or ``hf:NAME:CONFIG`` from the Hugging Face hub.
        columns: The column of ``target``, ``choices``, ``meta`` or of an input field, such as
            ``{"target": "label", "input": "text"}``; guessed where left out.
        name: The dataset's name; the card's or the file's if left out.

    Raises:
        DataError: Something is missing or wrong; names path, line, reason and fix.
        ConfigError: ``hf:`` without the package for it.
    """
    if str(source).startswith(HUB):
        return _assemble(str(source), _hub_rows(str(source)), columns, name or str(source).split("/")[-1])
    path = Path(source)
    if path.is_dir():
        card = load_card(path)
        own = card.get("task") if card else None
        return _assemble(
            str(path), _folder_rows(path), columns, name or (own if isinstance(own, str) else path.resolve().name), card
        )
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder; correct the path.")
    return _assemble(str(path), {"": read_rows(path)}, columns, name or path.stem)


def dataset_from_rows(
    rows: Rows | Mapping[str, Rows], *, columns: Mapping[str, str] | None = None, name: str | None = None
) -> Dataset:
    """Make a dataset from mappings or Examples, or from such a list for each split.

    Raises:
        DataError: A row is wrong or stands twice; names row, reason and fix.
    """
    name = name or "rows"
    given = {str(s): part for s, part in rows.items()} if isinstance(rows, Mapping) else {"": rows}
    parts = {split: _listed(name, part) for split, part in given.items()}
    if strange := [part for part in parts if part and part not in SPLITS]:
        raise DataError(f"{name}: there is no split '{strange[0]}'; the splits are {', '.join(SPLITS)}.")
    placed = {s: [(_place(s, number), row) for number, row in enumerate(part, 1)] for s, part in parts.items()}
    if any(isinstance(row, Example) for part in parts.values() for row in part):
        return _cut(name, name, {s: [_example(*pair) for pair in part] for s, part in placed.items()})
    return _assemble(name, {s: [_row(*pair) for pair in part] for s, part in placed.items()}, columns, name)


def load_card(folder: Path) -> Mapping[str, Any] | None:
    """Return what ``card.json`` says of a folder's task, or None where there is no card.

    Raises:
        DataError: The card is no JSON object, or its choices are no list of texts.
    """
    path = folder / CARD
    if not path.exists():
        return None
    try:
        card = json.loads(read_text(path))
    except ValueError as error:
        raise DataError(f"{path}: this is not JSON ({error}); correct it.") from None
    if not isinstance(card, dict):
        raise DataError(f"{path}: this is no JSON object; write {{...}} with keys such as description and metric.")
    choices = card.get("choices") or PER_LINE
    if choices != PER_LINE and (not isinstance(choices, list) or not all(isinstance(item, str) for item in choices)):
        raise DataError(
            f'{path}: choices must be a list of texts, such as ["yes", "no"], "{PER_LINE}" or null; correct it.'
        )
    return card


def _folder_rows(folder: Path) -> dict[str, list[Row]]:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        split = _SPLIT_NAMES.get(path.stem.casefold())
        if split is None or path.suffix.casefold() not in SUFFIXES:
            continue
        if split in found:
            raise DataError(f"{folder}: {found[split].name} and {path.name} are both the split {split}; remove one.")
        found[split] = path
    if not found:
        there = ", ".join(path.name for path in sorted(folder.iterdir())[:6]) or "nothing"
        raise DataError(
            f"{folder}: the folder holds {there} but no train, dev and test files; add train.jsonl, dev.jsonl and "
            f"test.jsonl (or .csv), or name one file of {KINDS}."
        )
    if "train" not in found:
        raise DataError(f"{folder}: there is no train.jsonl or train.csv beside {', '.join(found)}; add it.")
    return {split: read_rows(found[split]) for split in SPLITS if split in found}


def _hub_rows(source: str) -> dict[str, list[Row]]:
    name, _, config = source.removeprefix(HUB).partition(":")
    try:
        hub = importlib.import_module("datasets")
        load = hub.load_dataset
    # In a checkout, the folder datasets/ without the package is importable too, but empty.
    except (ImportError, AttributeError):
        raise ConfigError(
            f'{source} needs the package datasets; install it with: pip install -e ".[huggingface]"'
        ) from None
    try:
        tables = load(name, config or None)
    except Exception as error:  # the hub raises many kinds; each is named and re-raised
        raise DataError(f"{source}: the hub gave no dataset ({type(error).__name__}: {error}).") from error
    rows: dict[str, list[Row]] = {}
    for split, table in tables.items():
        if str(split) in _SPLIT_NAMES:
            named = {c: f.names for c, f in table.features.items() if hasattr(f, "names")}
            rows[_SPLIT_NAMES[str(split)]] = [
                Row(f"{source}, {split} row {number}", _with_names(values, named))
                for number, values in enumerate(table, 1)
            ]
    if "train" not in rows:
        raise DataError(f"{source}: there is no split train among {', '.join(map(str, tables))}; use another dataset.")
    return rows


def _with_names(values: Mapping[str, Any], named: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return a row with the names of its class labels in place of their numbers; -1 stands for no label."""
    return {
        column: (named[column][value] if isinstance(value, int) and value >= 0 else "") if column in named else value
        for column, value in values.items()
    }


def _listed(name: str, rows: Any) -> list[Any]:
    """Return the rows as a list, whatever yields them; a table of another library yields the names of its columns."""
    if not isinstance(rows, Iterable) or hasattr(rows, "to_dict"):
        raise DataError(
            f"{name}: {type(rows).__name__} is no list of rows; give a list of mappings, which a DataFrame has as "
            'to_dict("records"), or such a list for each split.'
        )
    return list(rows)


def _place(split: str, number: int) -> str:
    return f"{split} row {number}" if split else f"row {number}"


def _row(place: str, row: Any) -> Row:
    if not isinstance(row, Mapping) or not all(isinstance(column, str) for column in row):
        raise DataError(f'{place}: this is no mapping of column names; write {{"input": "...", "target": "..."}}.')
    return Row(place, {column: _plain(value) for column, value in row.items()})


def _plain(value: Any) -> Any:
    """Return what numpy holds in a cell as Python's own number or text."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value


def _example(place: str, row: Any) -> tuple[str, Example]:
    if not isinstance(row, Example):
        raise DataError(f"{place}: this is no Example, and others are; give rows of one kind.")
    return place, row


def _assemble(
    source: str,
    rows: Mapping[str, Sequence[Row]],
    columns: Mapping[str, str] | None,
    name: str,
    card: Mapping[str, Any] | None = None,
) -> Dataset:
    """Turn rows into examples; the split "" stands for rows that are still to be cut."""
    flat = [row for split in rows for row in rows[split]]
    if not flat:
        raise DataError(f"{source}: there are no rows; give at least {MIN_ROWS}.")
    found = find_columns(flat, columns or NO_COLUMNS)
    said = (card or {}).get("choices")
    choices = tuple(dict.fromkeys(choice for choice in said if choice.strip())) if isinstance(said, list) else ()
    placed = {split: [(row.place, to_example(row, found, choices)) for row in part] for split, part in rows.items()}
    return _cut(source, name, placed)


def _cut(source: str, name: str, placed: Mapping[str, Placed]) -> Dataset:
    """Refuse repeats and make the splits that are missing."""
    _refuse_repeats(pair for part in placed.values() for pair in part)
    examples = {split: [example for _, example in part] for split, part in placed.items()}
    whole = examples.get("", examples.get("train", []))
    if len(whole) < MIN_ROWS and set(examples) != set(SPLITS):
        raise DataError(
            f"{source}: too few rows ({len(whole)}); give at least {MIN_ROWS}, and {MIN_FOR_VERDICT} or more for a "
            "verdict."
        )
    if set(examples) <= {"", "train"}:
        train, dev, test = cut_in_three(whole)
    elif "dev" in examples:
        train, dev, test = whole, examples["dev"], examples.get("test", [])
    else:
        train, dev = cut_in_two(whole)
        test = examples["test"]
    return Dataset(name, tuple(train), tuple(dev), tuple(test))


def _refuse_repeats(placed: Iterable[tuple[str, Example]]) -> None:
    seen: dict[str, str] = {}
    repeats = []
    for place, example in placed:
        other = seen.setdefault(question_id(example), place)
        if other != place:
            repeats.append(f"{place} repeats the input of {other}")
    if repeats:
        more = f" (and {len(repeats) - 1} more rows do so)" if len(repeats) > 1 else ""
        raise DataError(
            f"{repeats[0]}{more}; remove one of them, since a repeated row makes scores look better than they are."
        )

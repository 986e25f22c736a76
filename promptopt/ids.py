"""Content ids: one canonical form of plain data and its hash.

Every id in promptopt is a hash of what it names, so equal things meet and positions never matter.
"""

import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping
from typing import Any

HASHED_AT_ONCE = 1_000


def canonical_json(value: Any) -> str:
    """Return the one JSON text of plain data: sorted keys, no spaces, no NaN.

    Args:
        value: Dicts, lists, tuples, strings, numbers, booleans, None, and mappings of these.

    Raises:
        ValueError: A float is NaN or infinite.
        TypeError: Something is not plain data.
    """
    return _ENCODER.encode(value)


def content_hash(*values: Any) -> str:
    """Return 32 hex digits that name these values: BLAKE2b-128 of their canonical JSON."""
    text = _ENCODER.encode(values)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def nested_hash(groups: Iterable[Iterable[Any]]) -> str:
    """Return the ``content_hash`` of a list of lists, without its whole text in memory."""
    digest = hashlib.blake2b(b"[[", digest_size=16)
    for place, group in enumerate(groups):
        digest.update(b",[" if place else b"[")
        items = iter(group)
        for number, batch in enumerate(iter(lambda: list(itertools.islice(items, HASHED_AT_ONCE)), [])):  # noqa: B023
            text = ("," if number else "") + canonical_json(batch)[1:-1]
            digest.update(text.encode("utf-8", "surrogatepass"))
        digest.update(b"]")
    digest.update(b"]]")
    return digest.hexdigest()


def plain(value: Any) -> Any:
    """Return a mapping or a set as what JSON knows; for encoders, of what they do not know themselves.

    Raises:
        TypeError: It is neither.
    """
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, frozenset | set):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} is not plain data")


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=plain)

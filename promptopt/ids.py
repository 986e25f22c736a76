"""Content ids: one canonical form of plain data and its hash.

Every id in promptopt is a hash of what it names, so equal things meet and positions never matter.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


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
    text = canonical_json(values)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, frozenset | set):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} is not plain data")


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain)

"""Text for a terminal: what a model or a server writes must not steer it."""

import shlex
import unicodedata

from promptopt.config import DEFAULT_STORE

_STEERING = ("Cc", "Cf", "Cs")  # control, invisible format (right-to-left tricks among them), half characters


def words_for(study: str, store: str) -> str:
    """Return how a command line names a study: the store is said where it is not the default."""
    return shlex.quote(study) + (f" --store {shlex.quote(store)}" if store != DEFAULT_STORE else "")


def clean(text: str) -> str:
    """Drop characters that steer a terminal or cannot be shown; line breaks and tabs stay."""
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in _STEERING)

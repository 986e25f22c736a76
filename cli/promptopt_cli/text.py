"""Text for a terminal: what a model or a server writes must not steer it."""

import io
import os
import shlex
import sys
import unicodedata
from pathlib import Path

from promptopt.config import DEFAULT_STORE
from promptopt.errors import ConfigError

_STEERING = ("Cc", "Cf", "Cs")  # control, invisible format (right-to-left tricks among them), half characters


def words_for(study: str, store: str) -> str:
    """Return how a command line names a study: the store is said where it is not the default."""
    return shlex.quote(study) + (f" --store {shlex.quote(store)}" if store != DEFAULT_STORE else "")


def open_streams() -> None:
    """Make sure that standard output and error can be written to: somebody may have closed them, or chosen ASCII."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  # for good
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def speaks_utf8() -> bool:
    """Return whether standard output takes any character."""
    return (sys.stdout.encoding or "utf-8").lower().replace("-", "") == "utf8"


def exact(text: str) -> str:
    """Return a text that is to be used elsewhere, and may not lose a character on the way.

    Raises:
        ConfigError: Standard output has no such character.
    """
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        raise ConfigError(
            f"The prompt holds characters that {sys.stdout.encoding}, the encoding of this output, does not have; set "
            "PYTHONIOENCODING=utf-8, or take --form json."
        ) from None
    return text


def clean(text: str) -> str:
    """Drop characters that steer a terminal or cannot be shown; line breaks and tabs stay."""
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in _STEERING)

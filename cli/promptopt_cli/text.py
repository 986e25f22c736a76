"""Text for a terminal: what a model or a server writes must not steer it."""

import unicodedata

_STEERING = ("Cc", "Cf", "Cs")  # control, invisible format (right-to-left tricks among them), half characters


def clean(text: str) -> str:
    """Drop characters that steer a terminal or cannot be shown; line breaks and tabs stay."""
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in _STEERING)

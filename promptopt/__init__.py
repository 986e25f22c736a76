"""promptopt finds a better prompt, proves that it is better, and keeps every step."""

__version__ = "0.1.0"

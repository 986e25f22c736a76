"""A program that leaves a backend half-read must still end."""

import subprocess
import sys

PROGRAM = """
from promptopt.backends.address import open_backend
from promptopt.backends.base import Request
from promptopt.layout import Message

backend = open_backend("simulated:additive?latency_ms=50")
replies = backend.run((i, Request("chat", (Message("user", str(i)),))) for i in range(100))
next(replies)
print("left half-read")
"""


def test_a_half_read_run_does_not_hold_the_interpreter_back() -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "left half-read\n"

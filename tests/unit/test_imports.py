"""What importing costs: nothing heavy is loaded before it is used, seen in a child process."""

import json
import subprocess
import sys
from importlib.metadata import version

import pytest

import promptopt

HEAVY = ("openai", "litellm", "vllm", "dspy", "optuna", "torch", "numpy", "sqlalchemy", "aiohttp", "rich")
HELP = "import sys; sys.argv = ['promptopt', '--help']; from promptopt_cli.app import main; main()"
LOADED = (
    "import atexit, json, sys\n"
    "atexit.register(lambda: print(json.dumps([n for n in sys.modules if '.' not in n]), file=sys.stderr))\n"
)


def child(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", LOADED + code], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("code", ["import promptopt", "import promptopt.config", HELP])
def test_nothing_heavy_is_loaded(code: str) -> None:
    ran = child(code)
    assert ran.returncode == 0, ran.stderr
    loaded = json.loads(ran.stderr.splitlines()[-1])
    assert "promptopt" in loaded
    assert not set(HEAVY) & set(loaded)
    assert ("Usage: promptopt" in ran.stdout) == (code == HELP)


def test_the_version_is_that_of_the_distribution() -> None:
    ran = child(HELP.replace("--help", "--version"))
    assert ran.stdout == f"promptopt {version('promptopt')}\n"


def test_all_is_sorted_and_every_name_resolves() -> None:
    assert promptopt.__all__ == sorted(promptopt.__all__)
    assert {getattr(promptopt, name).__name__ for name in promptopt.__all__} == set(promptopt.__all__)
    assert set(promptopt.__all__) < set(dir(promptopt))


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'promptopt' has no attribute 'optimise'"):
        _ = promptopt.optimise

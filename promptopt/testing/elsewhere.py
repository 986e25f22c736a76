"""Elsewhere: a search run once more in a process in which hashes, and with them the order of sets, are others.

So is the kernel of the linear algebra, as on another kind of processor: the last bits of its sums differ.
"""

import atexit
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any

from promptopt.landscape import Landscape
from promptopt.settings import read_settings
from promptopt.strategy import Strategy
from promptopt.testing.simulation import sample_context, simulate
from promptopt.testing.writer import scripted_writer

CODE = "from promptopt.testing.elsewhere import serve; serve()"


def rerun_elsewhere(hash_seed: str, job: Mapping[str, Any]) -> list[str]:
    """Simulate a strategy under another hash seed and return the fingerprints of all it asks.

    Args:
        hash_seed: Of the process, which is started once and ends with ours.
        job: ``strategy`` as module, class and settings; ``context`` as plan and editable parts; ``landscape`` as its
            fields; ``edits`` of the scripted optimizer model.
    """
    process = _process(hash_seed)
    assert process.stdin
    assert process.stdout
    process.stdin.write(json.dumps({**job, "path": sys.path}) + "\n")
    process.stdin.flush()
    told = process.stdout.readline()
    if not told:
        _process.cache_clear()
        raise AssertionError(f"the search failed under hash seed {hash_seed}: its traceback stands in stderr")
    fingerprints: list[str] = json.loads(told)
    return fingerprints


def serve() -> None:
    """Answer jobs from the standard input, a line each, until it ends."""
    for line in sys.stdin:
        print(json.dumps(_rerun(json.loads(line))), flush=True)  # noqa: T201  # to the process that asked


def _rerun(job: Mapping[str, Any]) -> tuple[str, ...]:
    sys.path[:] = job["path"]
    module, name, settings = job["strategy"]
    cls: type[Strategy] = getattr(import_module(module), name)
    strategy = cls(**read_settings(cls, settings))
    landscape = Landscape(**job["landscape"])
    return simulate(strategy, sample_context(*job["context"]), landscape, scripted_writer(job["edits"])).fingerprints


@cache
def _process(hash_seed: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(  # noqa: S603  # our own interpreter on our own code
        [sys.executable, "-c", CODE],
        env={
            "PYTHONHASHSEED": hash_seed,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "OPENBLAS_CORETYPE": "Prescott",  # the oldest, so that it is nobody's own
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(process.communicate)  # closes its input, and so ends it
    return process

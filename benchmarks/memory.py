"""The peak of resident memory, each in a process of its own.

    python benchmarks/memory.py                 # the import baseline
    python benchmarks/memory.py URL N           # evaluating one prompt on N examples, on top of it

prints the process's peak, what it held before the evaluation began, and what the answer itself takes, in MiB.
"""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import aiohttp  # noqa: F401  # the baseline
import numpy as np  # noqa: F401
import rich  # noqa: F401
import sqlalchemy  # noqa: F401
import typer  # noqa: F401

if TYPE_CHECKING:
    from promptopt.evaluation import Evaluation


def status_mib(field: str) -> float:
    """Return a figure of this process's status; unlike the peak of getrusage it holds nothing of the parent's."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def run_memory(*arguments: object) -> tuple[float, float, float]:
    """Run this file in a child process; return the peak, what was held before the evaluation, and the answer's size."""
    command = [sys.executable, __file__, *map(str, arguments)]
    peak, before, answer = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return peak, before, answer


def size_mib(evaluation: "Evaluation") -> float:
    """Return what an answer takes beyond the data that it names: its outcomes, with what each call took."""
    outcomes = evaluation.outcomes
    each = (sys.getsizeof(o) + sys.getsizeof(o.usage) + sys.getsizeof(o.usage.seconds) for o in outcomes)
    return (sys.getsizeof(outcomes) + sum(each)) / 2**20


def main(arguments: list[str]) -> None:
    before, answer = status_mib("VmRSS"), 0.0
    if arguments:
        from clients import evaluated
        from workload import task_of

        url, n = arguments
        task = task_of(int(n))
        task.dataset.hash  # noqa: B018  # the ids are cached with the data
        before = status_mib("VmRSS")
        with TemporaryDirectory() as folder:
            answer = size_mib(evaluated(url, task, 64, f"{folder}/store.db"))
    print(json.dumps([status_mib("VmHWM"), before, answer]))


if __name__ == "__main__":
    main(sys.argv[1:])

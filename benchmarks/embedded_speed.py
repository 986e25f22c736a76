"""The embedded model at speed: weights, threads, slots, what is kept of a prompt, and labels scored or written.

    python benchmarks/embedded_speed.py [REQUESTS]

Each line is a process of its own and takes its turn in every round; medians of three. A prompt has some 160 tokens, of
which 130 are the same for all. ``engine`` is our own way (one slot, the shared part read first and kept, so that
no answer depends on what was asked before), the others are the same library used otherwise, where it does. Run it on
idle cores: its threads wait for each other by spinning.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from table import show_cells

from promptopt.backends.base import Request
from promptopt.backends.llama import LlamaEngine
from promptopt.catalogue import embedded_file
from promptopt.layout import Message

ROUNDS = 3
N = 24
WARM_UP = 2
WRITTEN = 4
LABELS = ("red", "green", "blue", "white")
RULES = (
    "Name the colour that the note is about. Read the whole note before you answer, and look at the last sentence with "
    "special care. If two colours seem possible, take the more common one. Answer with one word: red, green, blue or "
    "white. Do not explain your answer, do not repeat the note, and write nothing after the colour.\n\n"
    "Note: the sky over the quay was clear all day.\nColour: blue\n\nNote: the grass behind the shed was wet.\n"
    "Colour: green\n\nNote: snow lay on all the roofs of the town.\nColour: white\n\n"
)
NOTE = "{} came in late, its nets were full, and the paint on its hull was red and worn from the long winter."
BOATS = ("Boat", "Ship", "Tug", "Ferry", "Cutter", "Trawler")


@dataclass(frozen=True)
class Case:
    """One way of asking.

    Args:
        what: For people.
        weights: Of the two files that there are.
        threads: That read; one writes.
        slots: Requests at a time.
        keeps: Whether what a request has in common with the one before is not read again.
        labels: How many labels are scored; 0 where the answer is written.
        own: Whether our own engine is asked.
        alike: Whether all notes begin alike, so that one request has more in common with the next than it may keep.
    """

    what: str
    weights: str = "Q8_0"
    threads: int = 2
    slots: int = 1
    keeps: bool = True
    labels: int = 0
    own: bool = True
    alike: bool = False


CASES = (
    Case("engine: Q8_0, 2 threads, 4 tokens written"),
    Case("the same with Q4_1, as it comes", weights="Q4_1"),
    Case("the same with 1 thread", threads=1),
    Case("the same, nothing kept", keeps=False),
    Case("the same, all notes begin alike", alike=True),
    Case("engine: 2 labels scored", labels=2),
    Case("engine: 4 labels scored", labels=4),
    Case("4 labels scored, nothing kept", labels=4, keeps=False),
    Case("bare, 1 slot", own=False),
    Case("bare, 4 slots", slots=4, own=False),
    Case("bare, 16 slots", slots=16, own=False),
    Case("bare, 1 slot, 4 labels scored", labels=4, own=False),
    Case("bare, 4 slots, 4 labels scored", slots=4, labels=4, own=False),
)


def note(number: int, *, alike: bool = False) -> str:
    """Return the note of a number."""
    return NOTE.format(f"{BOATS[0 if alike else number % len(BOATS)]} {number}")


def prompt(text: str) -> str:
    """Return the prompt about a note."""
    return f"{RULES}Note: {text}\nColour:"


def asker(case: Case, path: Path) -> Callable[[int], object]:
    """Return what makes the request of a number."""
    if not case.own:
        return _bare(case, path)
    engine = LlamaEngine(path, case.threads)
    shared = (Message("text", prompt("")),) if case.keeps else ()

    def ask(number: int) -> object:
        messages = (Message("text", prompt(note(number, alike=case.alike))),)
        request = Request("completion", messages, WRITTEN, choices=LABELS[: case.labels], shared=shared)
        return engine.answer(request, lambda: False)

    return ask


def _bare(case: Case, path: Path) -> Callable[[int], object]:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx, params.n_parallel, params.n_gpu_layers = 512 * case.slots, case.slots, 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = case.threads
    params.verbosity, params.cache_ram_mib = 0, 0
    params.fit_params = params.warmup = params.ui = False
    params.hostnames = [tempfile.mkdtemp() + "/engine.sock"]
    server = xllamacpp.Server(params)
    written = {"max_tokens": 1, "logprobs": 300} if case.labels else {"max_tokens": WRITTEN}

    def ask(number: int) -> object:
        body: dict[str, Any] = {"prompt": prompt(note(number)), "temperature": 0.0, "cache_prompt": True}
        return server.handle_completions(body | written)

    return ask


def measured(case: Case, n: int) -> tuple[float, float]:
    """Return CPU and wall milliseconds a request."""
    name = embedded_file("", None)
    path = name.with_name(name.name.replace("Q8_0", case.weights))
    ask = asker(case, path)
    with ThreadPoolExecutor(case.slots) as pool:
        list(pool.map(ask, range(WARM_UP * case.slots)))
        cpu_s, wall_s = _cpu_s(), time.perf_counter()
        list(pool.map(ask, range(100, 100 + n)))
        return 1000 * (_cpu_s() - cpu_s) / n, 1000 * (time.perf_counter() - wall_s) / n


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _run(number: int, n: int) -> tuple[float, float]:
    command = [sys.executable, __file__, str(n), str(number)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    cpu_ms, wall_ms = json.loads(run.stdout.splitlines()[-1])
    return cpu_ms, wall_ms


def main(arguments: Sequence[str]) -> None:
    n = int(arguments[0]) if arguments else N
    if len(arguments) > 1:
        print(json.dumps(measured(CASES[int(arguments[1])], n)))
        return
    runs = [[_run(number, n) for number in range(len(CASES))] for _ in range(ROUNDS)]
    lines = [("", "CPU ms a request", "wall ms a request")]
    for case, *some in zip(CASES, *runs, strict=True):
        lines.append((case.what, *(f"{median(run[place] for run in some):.0f}" for place in (0, 1))))
    show_cells(lines)


if __name__ == "__main__":
    main(sys.argv[1:])

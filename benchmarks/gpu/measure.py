"""Measures studies on vLLM against the server's own limit; each figure is a JSON line in gpu.jsonl in --out."""

import argparse
import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from load import (
    CONTEXT,
    PROMPT_TOKENS,
    WRITTEN,
    by_hand,
    ours,
    prompts,
    reviews,
    texts,
    theirs,
    watched,
    write_prompts,
)

from promptopt import plugins
from promptopt.backends.address import open_backend
from promptopt.backends.base import Request
from promptopt.backends.vllm import OWN_OPTIONS, OwnedVLLM, VLLMBackend
from promptopt.budget import Budget
from promptopt.config import StrategySpec, StudySpec
from promptopt.errors import PromptOptError
from promptopt.layout import Message
from promptopt.opening import study_row
from promptopt.registry import configure
from promptopt.setup import Setup
from promptopt.store.store import Store
from promptopt.study import Study

LONGEST_S = 900.0
SEVEN_B = {
    "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "head_dim": 128,
}  # fmt: skip
TINY = {
    "hidden_size": 128, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 64,
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """What is measured and where figures go.

    Args:
        model: The folder of the model.
        python: vLLM's Python.
        out: The folder for figures, stores and logs.
        levels: Calls in flight.
        calls: Calls for each one in flight, but at least ``least``.
        least: The fewest calls at a level.
        repeats: Times that ours and the client by hand run at a level; their medians count.
        n_prompts: Prompts that the calls of a level belong to.
        evaluations: The plan of each study.
        shape: The sizes of the model of random weights.
        eager: Whether to run without compiling, for a quick start.
        block: Tokens of a block of the prefix cache.
    """

    model: Path
    python: str
    out: Path
    levels: tuple[int, ...] = (64, 256, 1024)
    calls: int = 8
    least: int = 2048
    repeats: int = 5
    n_prompts: int = 16
    evaluations: int = 2000
    shape: dict[str, int] | None = None
    eager: bool = False
    block: int = 16

    def tell(self, section: str, **figures: Any) -> None:
        """Write figures down, and show them."""
        with (self.out / "gpu.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"section": section, **figures}) + "\n")
        shown = (
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in figures.items()
        )
        print(f"{section:<11}" + "  ".join(shown), flush=True)

    def options(self, **more: str) -> dict[str, str]:
        """Return how servers are started."""
        eager = {"enforce_eager": "yes"} if self.eager else {}
        return {"max_model_len": str(CONTEXT), "concurrency": str(max(self.levels)), **eager, **more}


@contextlib.contextmanager
def served(run: Run, model: Path, **more: str) -> Iterator[OwnedVLLM]:
    """Start a server by ``vllm:``, and end it."""
    backend = open_backend(f"vllm:{model}", options=run.options(**more), tell=lambda *told: print(*told, flush=True))
    assert isinstance(backend, OwnedVLLM)
    with contextlib.closing(backend):
        begun = time.monotonic()
        list(backend.run([(0, Request("completion", (Message("text", "Hello"),), max_tokens=1))]))
        run.tell("start", model=model.name, wall_s=time.monotonic() - begun)
        yield backend


def studies(run: Run, backend: OwnedVLLM) -> None:
    """Run whole studies; where the strategy needs an optimizer model, it is scripted."""
    for strategy in ("irace", "apo"):
        task = plugins.load_task("sentiment", mode="chat")
        budget = Budget(evaluations=run.evaluations)
        spec = StudySpec(
            strategy=StrategySpec(strategy), budget=budget, name=strategy, store=str(run.out / f"{strategy}.db")
        )
        with (
            contextlib.closing(open_backend("simulated:")) as writer,
            Store.open(spec.store) as store,
            watched() as watch,
        ):
            setup = Setup(task, configure(strategy), backend, writer, budget)
            result = Study(store, study_row(store, spec, setup), setup).run()
        calls = result.spend.calls
        run.tell(
            "study",
            strategy=strategy,
            verdict=result.verdict,
            calls=calls,
            requests_s=calls / watch.wall_s,
            cpu_ms=1000 * watch.cpu_s / calls,
            cached_share=result.cached_share,
            gpu_percent=watch.gpu,
        )


def levels(run: Run, backend: OwnedVLLM, at_a_time: tuple[int, ...], name: str) -> None:
    """Compare ours with the server's own limit on the same load: the faster of two other clients."""
    for level in at_a_time:
        n = max(run.least, run.calls * level)
        salt, n_examples = f"{name}-{level}", n // run.n_prompts
        mine, hand = [], []
        with contextlib.closing(VLLMBackend(backend.endpoint, replace(OWN_OPTIONS, concurrency=level))) as fewer:
            ours(fewer, run.out, f"warm-{salt}", 1, level)  # what a server does but once belongs to neither
            for i in range(run.repeats):  # in turn, since the server's own pace wanders
                mine.append(ours(fewer, run.out, f"ours-{i}-{salt}", run.n_prompts, n_examples))
                sent = texts(prompts(f"hand-{i}-{salt}", run.n_prompts), reviews(n_examples))
                hand.append(by_hand(backend, sent, level))
        sent = texts(prompts(f"them-{salt}", run.n_prompts), reviews(n_examples))
        bench = theirs(backend, run.python, run.out, sent, level)
        for found in mine:
            run.tell("ours", server=name, at_a_time=level, **found)
        for found in hand:
            run.tell("by hand", server=name, at_a_time=level, **found)
        run.tell("bench", server=name, at_a_time=level, **bench)
        ours_s, hand_s = (median(found["requests_s"] for found in some) for some in (mine, hand))
        limit = max(hand_s, bench["requests_s"])
        run.tell("ratio", server=name, at_a_time=level, ours=ours_s, limit=limit, ours_to_limit=ours_s / limit)


def grouping(run: Run) -> None:
    """Send the same kind of calls by prompt and by example, where the cache holds half of the prompts."""
    n_prompts = 8 * run.n_prompts
    n_examples = max(8, run.least // n_prompts)
    blocks = n_prompts * PROMPT_TOKENS // 2 // run.block
    with served(run, run.model, enforce_eager="yes", args=f"--num-gpu-blocks-override {blocks}") as backend:
        for manner in ("by prompt", "by example"):
            sent = texts(prompts(f"group-{manner[3:]}", n_prompts), reviews(n_examples))
            if manner == "by example":
                sent = [sent[p * n_examples + e] for e in range(n_examples) for p in range(n_prompts)]
            before = backend.gauges()
            with watched() as watch:
                requests = (Request("completion", (Message("text", text),), max_tokens=WRITTEN) for text in sent)
                n = sum(arrival is not None for arrival in backend.run(enumerate(requests)))
            share = (backend.gauges() - before).cached_share
            run.tell(
                "grouping",
                manner=manner,
                requests=n,
                requests_s=n / watch.wall_s,
                cached_share=share,
                gpu_percent=watch.gpu,
            )


def random_weights(run: Run) -> None:
    """The same comparison on a larger shape with random weights, at 256 at a time or the most there is."""
    folder = run.out / "shape"
    folder.mkdir(exist_ok=True)
    for file in run.model.iterdir():
        if file.suffix in (".json", ".jinja", ".txt", ".model"):
            shutil.copy(file, folder)
    config = json.loads((run.model / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **(run.shape or {})}))
    with served(run, folder, args="--load-format dummy") as backend:
        levels(run, backend, (min(256, max(run.levels)),), "shape")


def in_process(run: Run) -> None:
    """The same load through ``vllm.LLM``."""
    sent = texts(prompts("inside", run.n_prompts), reviews(max(run.least, run.calls * 256) // run.n_prompts))
    file = run.out / "inside.jsonl"
    write_prompts(file, sent)
    script = Path(__file__).with_name("in_process.py")
    words = ["--model", run.model, "--prompts", file, "--max-tokens", WRITTEN, "--max-model-len", CONTEXT]
    command = [run.python, str(script), *map(str, words), *(["--eager"] if run.eager else [])]
    told = subprocess.run(command, check=True, timeout=LONGEST_S, stdout=subprocess.PIPE, text=True).stdout
    run.tell(
        "in process",
        requests=len(sent),
        **json.loads(next(line for line in reversed(told.splitlines()) if line.startswith("{"))),
    )


def killed(run: Run) -> None:
    """Kill a study with -9; see that its server goes, and that the same command ends it."""
    store = run.out / "killed.db"
    options = [
        word
        for name, value in run.options(enforce_eager="yes").items()
        for word in ("--model-option", f"{name}={value}")
    ]
    command = [
        *(sys.executable, "-m", "promptopt", "optimize", "sentiment", "--model", f"vllm:{run.model}", *options),
        *("--store", str(store), "--study", "killed", "-n", str(run.evaluations)),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as child:
        _wait_until(lambda: _n_stored(store) > 20 or child.poll() is not None)
        below = _descendants(child.pid)
        os.kill(child.pid, signal.SIGKILL)
    begun = time.monotonic()
    _wait_until(lambda: not any(map(_is_alive, below)))
    run.tell(
        "killed",
        processes=len(below),
        left=sum(map(_is_alive, below)),
        gone_s=time.monotonic() - begun,
        on_gpu=_on_gpu(),
    )
    ended = subprocess.run(command, check=False, timeout=LONGEST_S, stdout=subprocess.DEVNULL)
    run.tell("resumed", exit_code=ended.returncode, stored=_n_stored(store), on_gpu=_on_gpu())


def _wait_until(true: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + LONGEST_S
    while not true() and time.monotonic() < give_up_at:
        time.sleep(0.1)


def _n_stored(store: Path) -> int:
    if not store.exists():
        return 0
    with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as opened:
        try:
            return int(opened.execute("SELECT COUNT(*) FROM outcomes").fetchone()[0])
        except sqlite3.OperationalError:  # the tables are not there yet
            return 0


def _descendants(pid: int) -> set[int]:
    parents = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(process.name)] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
    found = {pid}
    while more := {one for one, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _on_gpu() -> int | None:
    """Return how many processes hold memory of the GPU."""
    if not shutil.which("nvidia-smi"):
        return None
    query = ["nvidia-smi", "--query-compute-apps=pid", "--format=csv,noheader"]
    return len(subprocess.run(query, capture_output=True, text=True, check=False).stdout.split())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--vllm-python", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=["served", "grouping", "shape", "inside", "killed", "fronts"])
    given = parser.parse_args()
    run = Run(given.model.resolve(), given.vllm_python, given.out.resolve(), shape=SEVEN_B)
    if os.environ.get("PROMPTOPT_GPU_REHEARSAL"):
        run = replace(
            run,
            levels=(4, 16),
            calls=1,
            least=32,
            repeats=1,
            n_prompts=4,
            evaluations=60,
            shape=TINY,
            eager=True,
            block=128,
        )

    def all_served() -> None:
        with served(run, run.model) as backend:
            levels(run, backend, run.levels, "one-front")
            studies(run, backend)

    def many_fronts() -> None:
        with served(run, run.model, args="--api-server-count 4") as backend:
            levels(run, backend, run.levels[:2], "four-fronts")

    sections = {
        "served": all_served,
        "fronts": many_fronts,
        "grouping": lambda: grouping(run),
        "shape": lambda: random_weights(run),
        "inside": lambda: in_process(run),
        "killed": lambda: killed(run),
    }
    failed = 0
    for name in given.only:
        try:
            sections[name]()
        except (
            PromptOptError,
            subprocess.SubprocessError,
            OSError,
            KeyError,
            ValueError,
            StopIteration,
        ) as error:  # the others may still be had
            failed += 1
            run.tell("failed", part=name, why=f"{type(error).__name__}: {error}"[:500])
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

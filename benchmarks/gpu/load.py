"""The load: prompts of 300 tokens on short reviews, sent by promptopt as a study does, or by other clients."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

sys.path.insert(0, str(Path(__file__).parents[1]))

from asyncio_client import post_all

from promptopt.ask import Evaluate
from promptopt.backends.vllm import OwnedVLLM, VLLMBackend
from promptopt.budget import Budget, Spend
from promptopt.config import StudySpec
from promptopt.evaluator import Evaluator
from promptopt.example import Dataset, Example
from promptopt.journal import Journal, Services
from promptopt.layout import inline_layout
from promptopt.ledger import Ledger
from promptopt.metrics import open_metric
from promptopt.opening import study_row
from promptopt.prompt import Candidate, Prompt
from promptopt.registry import configure
from promptopt.setup import Setup
from promptopt.store.store import Store
from promptopt.task import Decoding, Task

WRITTEN = 8
PROMPT_TOKENS = 300  # about
CONTEXT = 2048
SUBJECTS = ("food", "rooms", "staff", "noise", "price", "place", "views", "beds", "light", "heat", "pool", "lift")
GUIDE = "You are a careful rater of reviews. " + " ".join(
    f"Point {n}: read what the writer says of the {what}, and weigh it against the rest before you decide."
    for n, what in enumerate(SUBJECTS, 1)
)
WORDS = "quiet bright clean small cheap warm loud dark dirty large dear cold kind slow fresh stale".split()  # noqa: SIM905


def reviews(n: int) -> tuple[Example, ...]:
    """Return n short reviews that all differ."""
    return tuple(
        Example({"text": f"Stay {i}: it was {WORDS[i % 16]} and {WORDS[i // 16 % 16]}, and I would go again."}, "yes")
        for i in range(n)
    )


def prompts(salt: str, n: int) -> list[Prompt]:
    """Return n prompts that share nothing from their first token on, nor with those of another salt."""
    layout = inline_layout("completion", {"text": "Review"})
    return [Prompt.of(f"{salt}-{i}. {GUIDE}\n\nReview: {{text}}\nVerdict:", layout) for i in range(n)]


def load_task(seeds: Sequence[Prompt], examples: Sequence[Example]) -> Task:
    dataset = Dataset("load", tuple(examples))
    return Task("load", "", dataset, open_metric("exact-match"), tuple(seeds), Decoding(WRITTEN))


def texts(seeds: Sequence[Prompt], examples: Sequence[Example]) -> list[str]:
    """Return what is sent, prompt by prompt."""
    return [seed.template(("text",)).render(example)[0].content for seed in seeds for example in examples]


@dataclass
class Watch:
    """What a stretch of work took here and on the GPU."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    gpu: float | None = None


@contextmanager
def watched() -> Iterator[Watch]:
    """Measure wall time, our CPU time and the GPU's mean utilisation."""
    query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "100"]
    gpu = subprocess.Popen(query, stdout=subprocess.PIPE, text=True) if shutil.which(query[0]) else None
    watch, begun, begun_cpu = Watch(), time.monotonic(), time.process_time()
    try:
        yield watch
    finally:
        watch.wall_s, watch.cpu_s = time.monotonic() - begun, time.process_time() - begun_cpu
        if gpu is not None:
            gpu.terminate()
            told = [int(line) for line in gpu.communicate()[0].split() if line.isdigit()]
            watch.gpu = sum(told) / len(told) if told else None


def ours(backend: VLLMBackend, folder: Path, salt: str, n_prompts: int, n_examples: int) -> dict[str, Any]:
    """Evaluate prompts as a study does: rendered, sent, parsed, scored and stored."""
    task = load_task(prompts(salt, n_prompts), reviews(n_examples))
    spec = StudySpec(name=salt, store=str(folder / f"{salt}.db"), budget=Budget(evaluations=1))
    with Store.open(spec.store) as store:
        row = study_row(store, spec, Setup(task, configure("random"), backend, backend, spec.budget))
        evaluator = Evaluator(task, backend, store, Ledger(Budget(), Spend()), study_id=row.id)
        journal = Journal(store, row.id, Services(evaluator, None))
        ask = Evaluate([Candidate(seed) for seed in task.seeds], task.dataset.train)
        with watched() as watch:
            evaluations = journal.answer(0, {"0": ask}, lambda *_: None)["0"]
    outcomes = [outcome for evaluation in evaluations for outcome in evaluation.outcomes]
    lost = sum(outcome.status not in ("ok", "truncated") for outcome in outcomes)
    read = sum(outcome.usage.prompt_tokens for outcome in outcomes)
    return {
        "requests": len(outcomes),
        "lost": lost,
        "requests_s": len(outcomes) / watch.wall_s,
        "tokens_s": sum(outcome.usage.tokens for outcome in outcomes) / watch.wall_s,
        "cpu_ms": 1000 * watch.cpu_s / len(outcomes),
        "cpu_share": watch.cpu_s / watch.wall_s,
        "cached_share": sum(outcome.usage.cached_tokens for outcome in outcomes) / max(1, read),
        "gpu_percent": watch.gpu,
    }


def write_prompts(path: Path, sent: Sequence[str]) -> None:
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in sent), encoding="utf-8")


def theirs(backend: OwnedVLLM, python: str, folder: Path, sent: Sequence[str], at_a_time: int) -> dict[str, Any]:
    """Send the same kind of prompts by vLLM's own benchmark client, and return what it says."""
    file, endpoint = folder / "prompts.jsonl", backend.endpoint
    write_prompts(file, sent)
    code = (
        "from vllm.benchmarks.serve import add_cli_args, main; from vllm.utils.argparse_utils import "
        "FlexibleArgumentParser as Parser; parser = Parser(); add_cli_args(parser); main(parser.parse_args())"
    )
    settings = {
        "backend": "openai", "base-url": endpoint.url.removesuffix("/v1"), "endpoint": "/v1/completions",
        "model": backend.model, "dataset-name": "custom", "dataset-path": file, "num-prompts": len(sent),
        "custom-output-len": WRITTEN, "max-concurrency": at_a_time, "temperature": 0, "result-dir": folder,
        "result-filename": "bench.json",
    }  # fmt: skip
    words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    flags = ["--skip-chat-template", "--disable-shuffle", "--save-result", "--disable-tqdm"]
    with (folder / "bench.log").open("ab") as log:
        subprocess.run(
            [python, "-c", code, *words, *flags],
            check=True,
            timeout=600,
            env={**os.environ, "OPENAI_API_KEY": endpoint.key},
            stdout=log,
            stderr=log,
        )
    told = json.loads((folder / "bench.json").read_text())
    return {
        "requests": told["completed"],
        "lost": told["failed"],
        "requests_s": told["request_throughput"],
        "tokens_s": told["total_token_throughput"],
    }


def by_hand(backend: OwnedVLLM, sent: Sequence[str], at_a_time: int) -> dict[str, Any]:
    """Send the same kind of prompts by a client made by hand, which does nothing but read the answers' texts."""
    endpoint = backend.endpoint
    settings = {"model": backend.model, "max_tokens": WRITTEN, "temperature": 0.0}
    bodies = [orjson.dumps({**settings, "prompt": text}) for text in sent]
    with watched() as watch:
        answers = asyncio.run(post_all(endpoint.url, bodies, at_a_time, chat=False, key=endpoint.key))
    served = sum(text is not None for text in answers)
    return {
        "requests": served,
        "lost": len(sent) - served,
        "requests_s": served / watch.wall_s,
        "cpu_ms": 1000 * watch.cpu_s / len(sent),
        "gpu_percent": watch.gpu,
    }

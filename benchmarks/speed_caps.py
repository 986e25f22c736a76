"""The row about caps: real runs against the mock server, at random concurrency, latency and failure."""

import random
from tempfile import TemporaryDirectory

from mock_server import MODEL, USAGE, Manner, serving
from table import Options, Row
from workload import task_of

from promptopt import api
from promptopt.backends.base import MOST_ADDED
from promptopt.budget import Budget, Spend
from promptopt.config import ModelSpec, StudySpec
from promptopt.errors import StudyError
from promptopt.store.store import Store

RUNS = 50
N = 150


def caps(options: Options) -> list[Row]:
    """Stop evaluations by a cap on calls or tokens; hold it against what was charged and what the server served."""
    rng = random.Random("caps")
    runs = [_run(rng, unit) for _ in range(RUNS // 2 if options.repetitions > 1 else 3) for unit in ("calls", "tokens")]
    charged, served = max(run[0] for run in runs), max(run[1] for run in runs)
    return [
        Row(f"spend / cap at most, {len(runs)} runs", f"{charged:.3f}", f"served {served:.3f}", "<= 1", charged <= 1),
        Row("served / cap at most", f"{served:.3f}", f"charged {charged:.3f}", "<= 1", served <= 1),
    ]


def _run(rng: random.Random, unit: str) -> tuple[float, float]:
    """Return what was charged and what was served, as shares of a random cap."""
    # Until answers show what a chat template adds, so many tokens more are reserved for each call.
    cap = rng.randint(20, 120) if unit == "calls" else MOST_ADDED + rng.randint(10, 90) * USAGE["total_tokens"]
    manner = Manner(
        latency_ms=rng.uniform(1, 60),
        sigma=rng.uniform(0, 1),
        rate_limit=rng.uniform(0, 0.05),
        server_error=rng.uniform(0, 0.05),
        truncated=rng.uniform(0, 0.05),
        seed=rng.getrandbits(32),
    )
    concurrency = 2 ** rng.randint(0, 7)
    with serving(manner) as server, TemporaryDirectory() as folder:
        spent = _spent(server.url, f"{folder}/store.db", Budget(evaluations=N, **{unit: cap}), concurrency)
        stats = server.stats()
    served = stats.get("answered", 0) - stats.get("rate_limit", 0) - stats.get("server_error", 0)
    return getattr(spent, unit) / cap, served * (1 if unit == "calls" else USAGE["total_tokens"]) / cap


def _spent(url: str, store: str, budget: Budget, concurrency: int) -> Spend:
    model = ModelSpec(f"{url}#{MODEL}", options={"concurrency": str(concurrency)})
    try:
        api.evaluate(StudySpec(model=model, budget=budget, store=store), "dev", task=task_of(N))
    except StudyError as stop:
        if "budget" not in str(stop):
            raise
    with Store.open(store, create=False) as opened:
        (row,) = opened.studies()
        return opened.spend(row.id)

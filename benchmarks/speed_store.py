"""Rows about what is stored and what is loaded: warm hits, a trial's commit, the import, memory."""

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from statistics import median
from tempfile import TemporaryDirectory

from clients import installed_peers, run_client
from memory import run_memory
from mock_server import MODEL, Manner, serving
from table import Options, Row

N_WARM = 10_000
ROWS, TRIALS = 100, 50


def warm(options: Options) -> list[Row]:
    """Ask a store, in a new process, for what it knows: by the same study again, and by another one."""
    again, other, by_key, calls = [], [], [], 0.0
    with TemporaryDirectory() as folder, serving(Manner(0)) as server:
        store = f"{folder}/store.db"
        run_client("ours", server.url, N_WARM, 64, store)
        before = server.stats()["requests"]
        for turn in range(options.repetitions):
            again.append(run_client("ours", server.url, N_WARM, 64, store).ms)
            other.append(run_client("ours", server.url, N_WARM, 64, store, str(1 + turn)).ms)
            by_key.append(_read_by_key(store))
        calls = server.stats()["requests"] - before
    beside = f"SQLite by key {median(by_key):.4f}"
    return [
        Row("warm hit, the same study again, CPU ms", f"{median(again):.4f}", beside, "<= 0.02", median(again) <= 0.02),
        Row("warm hit, another study, CPU ms", f"{median(other):.4f}", beside, "<= 0.02", median(other) <= 0.02),
        Row("warm hits: calls", f"{calls:.0f}", f"{N_WARM} outcomes a run", "0", calls == 0),
    ]


def _read_by_key(store: str) -> float:
    """Return the CPU milliseconds of reading an outcome and its score by key with bare sqlite3."""
    connection = sqlite3.connect(store)
    keys = [key for (key,) in connection.execute("SELECT request_key FROM outcomes")]
    query = (
        "SELECT o.status, o.output, s.value FROM outcomes o JOIN scores s ON s.request_key = o.request_key "
        "WHERE o.request_key = ?"
    )
    began = time.process_time()
    for key in keys:
        connection.execute(query, (key,)).fetchone()
    spent = time.process_time() - began
    connection.close()
    return 1000 * spent / len(keys)


def trial(options: Options) -> list[Row]:
    """Commit a trial's 100 outcomes with their scores and uses, through the store and with bare sqlite3."""
    through, bare, optuna = [], [], []
    for _ in range(options.repetitions):
        with TemporaryDirectory() as folder:
            through.append(_trial_ms(*_through_store(f"{folder}/store.db")))
            bare.append(_trial_ms(*_bare_sqlite(f"{folder}/bare.db")))
            if find_spec("optuna"):
                optuna.append(_trial_ms(*_optuna(f"{folder}/optuna.db")))
    beside = f"sqlite3 {median(bare):.2f}" + (f", Optuna's bare trial {median(optuna):.1f}" if optuna else "")
    ms = median(through)
    return [Row(f"a trial of {ROWS} rows, committed, CPU ms", f"{ms:.2f}", beside, "<= 1.0", ms <= 1.0)]


def _trial_ms(add: Callable[[int], object], close: Callable[[], object]) -> float:
    """Return the median CPU milliseconds of one trial, without the first few, which compile statements."""
    spent = []
    for number in range(TRIALS):
        began = time.process_time()
        add(number)
        spent.append(1000 * (time.process_time() - began))
    close()
    return median(spent[5:])


def _through_store(path: str) -> tuple[Callable[[int], object], Callable[[], object]]:
    from workload import task_of

    from promptopt.budget import Usage
    from promptopt.store.rows import AskRow, ConsumedRow, OutcomeRow, ScoreRow, StudyRow
    from promptopt.store.store import Store

    task = task_of(ROWS)
    prompt, examples = task.seeds[0], task.dataset.dev
    store = Store.open(path)
    store.put_dataset(task.dataset)
    store.put_prompts([prompt])
    study = store.create_study(StudyRow(0, "speed", {}, "hash", 0, {}, dataset_hash=task.dataset.hash))
    store.open_asks(study, [AskRow(number, str(number), "evaluate", "print") for number in range(TRIALS)])
    usage = Usage(90, 2, seconds=0.05)

    def add(number: int) -> None:
        keys = [f"{number:016x}{row:016x}" for row in range(ROWS)]
        outcomes = [
            OutcomeRow(key, prompt.id, example.id, MODEL, 0, "ok", "red", usage, study_id=study)
            for key, example in zip(keys, examples, strict=True)
        ]
        scores = [ScoreRow(key, "exact-match", 1.0, "right") for key in keys]
        uses = [ConsumedRow(study, str(number), key, prompt.id) for key in keys]
        store.add_outcomes(outcomes, scores, uses)

    return add, store.close


def _bare_sqlite(path: str) -> tuple[Callable[[int], object], Callable[[], object]]:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
        "CREATE TABLE outcomes (key TEXT PRIMARY KEY, prompt, example, model, repeat, status, output, read, written,"
        " cached, usd, seconds, attempts, study, error);"
        "CREATE TABLE scores (key TEXT, metric TEXT, value, feedback, PRIMARY KEY (key, metric)) WITHOUT ROWID;"
        "CREATE TABLE consumed (study, path TEXT, key TEXT, prompt, PRIMARY KEY (study, path, key)) WITHOUT ROWID;"
    )
    prompt = "p" * 32

    def add(number: int) -> None:
        keys = [f"{number:016x}{row:016x}" for row in range(ROWS)]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            f"INSERT OR IGNORE INTO outcomes VALUES (?{',?' * 14})",
            [(key, prompt, key, MODEL, 0, "ok", "red", 90, 2, 0, 0.0, 0.05, 1, 1, "") for key in keys],
        )
        connection.executemany(
            "INSERT OR IGNORE INTO scores VALUES (?,?,?,?)", [(key, "exact-match", 1.0, "right") for key in keys]
        )
        connection.executemany(
            "INSERT OR IGNORE INTO consumed VALUES (?,?,?,?)", [(1, str(number), key, prompt) for key in keys]
        )
        connection.execute("COMMIT")

    return add, connection.close


def _optuna(path: str) -> tuple[Callable[[int], object], Callable[[], object]]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(storage=f"sqlite:///{path}")

    def add(number: int) -> None:
        study.tell(study.ask(), float(number))

    return add, lambda: None


def imports(options: Options) -> list[Row]:
    """Measure the CPU time of ``import promptopt``, and of the peers' imports."""
    names = ["promptopt", "promptopt.api", "aiohttp", *installed_peers()]
    runs: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(options.repetitions):
        for name in names:
            runs[name].append(_import_s(name))
    beside = ", ".join(f"{name} {median(some):.2f}" for name, some in runs.items() if name != "promptopt")
    seconds = median(runs["promptopt"])
    return [Row("import promptopt, CPU s", f"{seconds:.3f}", beside, "<= 0.08", seconds <= 0.08)]


def _import_s(name: str) -> float:
    code = f"import time; began = time.process_time(); import {name}; print(time.process_time() - began)"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def memory(options: Options) -> list[Row]:
    """Measure the peak of resident memory for 1,000 examples, and how it grows to 100,000 (in a full run)."""
    baseline, _, _ = run_memory()
    with serving(Manner(0)) as server:
        peak, before, _ = run_memory(server.url, 1_000)
        rows = [
            Row(
                "peak RSS over the import baseline, 1,000 examples, MiB",
                f"{peak - baseline:.0f}",
                f"baseline {baseline:.0f} MiB",
                "<= 40",
                peak - baseline <= 40,
            )
        ]
        if options.full:
            large, loaded, answer = run_memory(server.url, 100_000)
            beside = large - loaded + before - baseline - answer
            rows.append(
                Row(
                    "the same, 100,000 examples, beside the data and the answer, MiB",
                    f"{beside:.0f}",
                    f"the data {loaded - before:.0f} MiB, the answer {answer:.0f} MiB",
                    "<= 40",
                    beside <= 40,
                )
            )
    return rows

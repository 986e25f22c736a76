"""The speed table: our figures, each with its bar and with the floor or the peer measured in the same run.

    python benchmarks/speed.py [ROW ...] [--quick] [--full]

Without names it measures all rows; ``--quick`` repeats nothing, ``--full`` adds what takes long. Run it on idle cores:
CPU milliseconds bear other work, wall seconds do not. See benchmarks/README.md.
"""

import asyncio
import sys
import time
from collections.abc import Callable

import speed_calls
import speed_caps
import speed_search
import speed_store
from asyncio_client import post_all
from mock_server import Manner, serving
from table import Options, Row, show
from workload import bodies

N_SERVER = 20_000


def server(_options: Options) -> list[Row]:
    """Measure the mock server itself, so that it is known not to be what limits the others."""
    made = bodies(N_SERVER)
    with serving(Manner(0)) as mock:
        before = mock.stats()["cpu_s"]
        asyncio.run(post_all(mock.url, made, 64))
        spent = mock.stats()["cpu_s"] - before
    pace, beside = N_SERVER / spent, f"{1e6 * spent / N_SERVER:.0f} CPU us each"
    return [Row("mock server, requests/s a core", f"{pace:.0f}", beside, ">= 10000", pace >= 10_000)]


ROWS: dict[str, Callable[[Options], list[Row]]] = {
    "server": server,
    "cpu-64": lambda options: speed_calls.cpu(options, 64),
    "cpu-256": lambda options: speed_calls.cpu(options, 256),
    "lost": speed_calls.lost,
    "faults": speed_calls.faults,
    "unreadable": speed_calls.unreadable,
    "caps": speed_caps.caps,
    "warm": speed_store.warm,
    "trial": speed_store.trial,
    "import": speed_store.imports,
    "memory": speed_store.memory,
    "search": speed_search.search,
}


def main(arguments: list[str]) -> bool:
    """Print the table; return whether every bar was reached."""
    names = [argument for argument in arguments if not argument.startswith("--")] or list(ROWS)
    if unknown := [*(set(names) - ROWS.keys()), *(set(arguments) - {*names, "--quick", "--full"})]:
        sys.exit(f"there is no row or option {unknown[0]}; rows: {', '.join(ROWS)}; options: --quick, --full.")
    options = Options(1 if "--quick" in arguments else 5, full="--full" in arguments)
    rows: list[Row] = []
    for name in names:
        began = time.monotonic()
        rows += ROWS[name](options)
        print(f"{name}: measured in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    show(rows)
    return all(row.holds for row in rows)


if __name__ == "__main__":
    sys.exit(0 if main(sys.argv[1:]) else 1)

"""Rows about calls: CPU per evaluated example, nothing lost at many at a time, faults, unreadable and cut replies."""

from dataclasses import replace
from statistics import median

from clients import PEERS, Figures, installed_peers, run_client
from mock_server import Manner, serving
from table import Options, Row, show_cells

LATENCY_MS = 50.0
N = 1_000
LOST_MS = 1_000.0
CORE_MS = 1000.0  # CPU milliseconds that one core has a second

FAULTY = Manner(LATENCY_MS, rate_limit=0.05, server_error=0.02, hang=0.01)
UNREADABLE = Manner(LATENCY_MS, malformed=0.02, truncated=0.03)
N_UNREADABLE = 5_000


def ideal_s(n: int, concurrency: int) -> float:
    """Return how long the calls take if nothing but the model takes time."""
    return n * LATENCY_MS / 1000 / concurrency


def cpu(options: Options, concurrency: int) -> list[Row]:
    """Compare the CPU time of a call, all-in, with bare aiohttp, the floor, and the peers that are installed."""
    names = ["ours", "aiohttp", "floor", *installed_peers()]
    runs: dict[str, list[Figures]] = {name: [] for name in names}
    with serving(Manner(LATENCY_MS)) as server:
        for _ in range(options.repetitions):
            for name in names:
                runs[name].append(run_client(name, server.url, N, concurrency))
    _show_clients(runs, concurrency)
    ours, bare, floor = runs["ours"], runs["aiohttp"], runs["floor"]
    ms, bare_ms, floor_ms = (median(run.ms for run in some) for some in (ours, bare, floor))
    ratio = median(mine.ms / theirs.ms for mine, theirs in zip(ours, bare, strict=True))
    pace = median(theirs.wall_s / mine.wall_s for mine, theirs in zip(ours, bare, strict=True))
    allowed = min(1.0, CORE_MS / ms * ideal_s(1, concurrency))
    beside = f"aiohttp {bare_ms:.3f}, floor {floor_ms:.3f}"
    at = f"{concurrency} x {LATENCY_MS:.0f} ms"
    rows = [
        Row(f"CPU ms an example, {at}", f"{ms:.3f}", beside, "<= 0.40", ms <= 0.40),
        Row(f"CPU against aiohttp, {at}", f"{ratio:.2f}x", "1", "<= 1.5x", ratio <= 1.5),
        Row(f"wall(aiohttp) / wall(ours), {at}", f"{pace:.2f}", "1", ">= 0.90", pace >= 0.90),
        Row(f"share of the ideal that CPU allows, {at}", f"{allowed:.0%}", "100 %", ">= 50 %", allowed >= 0.5),
    ]
    return rows[:3] if concurrency == 64 else rows[3:]


def _show_clients(runs: dict[str, list[Figures]], concurrency: int) -> None:
    bare = median(run.ms for run in runs["aiohttp"])
    print(f"\none prompt x {N} examples, {concurrency} at a time, {LATENCY_MS:.0f} ms each; medians of a client's runs")
    lines = [("client", "CPU ms/call", "x aiohttp", "wall s", "of ideal", "lost")]
    for name, some in runs.items():
        ms, wall_s = median(run.ms for run in some), median(run.wall_s for run in some)
        share, lost = ideal_s(N, concurrency) / wall_s, max(run.lost for run in some)
        lines.append((name, f"{ms:.3f}", f"{ms / bare:.2f}", f"{wall_s:.2f}", f"{share:.0%}", str(lost)))
    show_cells(lines)
    if absent := set(PEERS) - runs.keys():
        print(f"not installed, so not measured: {', '.join(sorted(absent))}")
    print()


def lost(_options: Options) -> list[Row]:
    """Count what is lost with many calls at a time; they take long enough for so many to be open at once."""
    rows = []
    for concurrency in (256, 1_024):
        n = 4 * concurrency
        with serving(Manner(LOST_MS)) as server:
            run = run_client("ours", server.url, n, concurrency)
            stats = server.stats()
        beside = f"{stats['requests']:.0f} requests, {stats['most_in_flight']:.0f} in flight at most"
        rows.append(Row(f"lost of {n}, {concurrency} at a time", str(run.lost), beside, "0", run.lost == 0))
    return rows


def faults(options: Options) -> list[Row]:
    """Measure what 5 % 429, 2 % 500 and 1 % hangs cost; the peers, which wait for the hangs, only in a full run."""
    over, calls, missing, plain, notes = [], [], [], [], set()
    for turn in range(options.repetitions):
        with serving(Manner(LATENCY_MS)) as server:
            plain.append(run_client("ours", server.url, N, 64).wall_s - ideal_s(N, 64))
        with serving(replace(FAULTY, seed=turn)) as server:
            run = run_client("ours", server.url, N, 64)
            over.append(run.wall_s - ideal_s(N, 64))
            calls.append(server.stats()["requests"] / N)
            missing.append(run.lost)
            notes.add(run.error)
    beside = f"{median(plain):.1f} s without faults"
    peers = [_peer_under_faults(name) for name in installed_peers()] if options.full else []
    return [
        Row("faults: s over the ideal", f"{median(over):.1f}", beside, "<= 4", median(over) <= 4),
        Row("faults: calls / n", f"{median(calls):.3f}", "1", "<= 1.12", median(calls) <= 1.12),
        Row("faults: lost", str(max(missing)), " ".join(notes) or "0 without faults", "0", max(missing) == 0),
        *peers,
    ]


def _peer_under_faults(name: str) -> Row:
    with serving(FAULTY) as server:
        run = run_client(name, server.url, N, 64)
    return Row(f"faults: {name}", "", f"{run.wall_s - ideal_s(N, 64):.1f} s over the ideal, {run.lost} lost")


def unreadable(options: Options) -> list[Row]:
    """Count the unreadable and cut replies that pass for answers, and what is missing in the end."""
    with serving(UNREADABLE) as server:
        run = run_client("ours", server.url, N_UNREADABLE, 64)
        calls = server.stats()["requests"] / N_UNREADABLE
    peers = ["aiohttp", *(installed_peers() if options.full else ())]
    taken = []
    for name in peers:
        with serving(UNREADABLE) as server:
            other = run_client(name, server.url, N_UNREADABLE, 64)
            taken.append((f"{name} {other.foreign}", f"{name} {other.lost / N_UNREADABLE:.2%}"))
    share = run.lost / N_UNREADABLE
    return [
        Row(
            f"2 % malformed, 3 % cut: failures scored, of {N_UNREADABLE}",
            str(run.foreign),
            ", ".join(scored for scored, _ in taken),
            "0",
            run.foreign == 0,
        ),
        Row(
            "2 % malformed, 3 % cut: missing after retries",
            f"{share:.2%} at {calls:.3f} calls / n",
            ", ".join(missing for _, missing in taken),
            "<= 0.1 %",
            share <= 0.001,
        ),
    ]

"""How fast is the next pair? A store of 10,000 labelled duels, and 20 labellers who post at once, on loopback.

The page runs in a process of its own, as ``promptopt label`` runs it. Each labeller says something, waits for the next
pair, and says something again at once; after each verdict the page asks for the standing, as a browser does. Meanwhile
another process writes to the store and reads all verdicts whenever there are new ones, as a search does.
Figures are the time from a verdict to the next pair, and the page's CPU time for the two requests of a verdict.

    python benchmarks/labelling.py [--duels 10000] [--labellers 20] [--each 50]
"""

import argparse
import asyncio
import json
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import aiohttp

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from promptopt.store.rows import Vote
from promptopt.store.store import Store
from promptopt.web.apart import SWITCH_S
from promptopt.web.desk import csrf_of
from promptopt.web.server import Address, serving
from tests.web.stage import NAME, stage

ANSWER = "Thanks for asking! You can return it **within 30 days**.\n\n1. Open *My orders*.\n2. Print the label.\n" * 3
POLL_S = 0.1  # as often as a search looks for new verdicts


def serve(path: Path, study_id: int, pipe: Connection) -> None:
    """Serve the page until told to stop; send the CPU time that it took."""
    sys.setswitchinterval(SWITCH_S)
    with serving(str(path), (study_id, NAME), Address(port=0)) as taken:
        pipe.send(taken.port)
        begun = time.process_time()
        pipe.recv()
        pipe.send(time.process_time() - begun)


def search(path: Path, study_id: int, pipe: Connection) -> None:
    """Use the store as a search does, until told to stop; send how long each write took."""
    took, seen = [], 0
    with Store.open(path) as store:
        while not pipe.poll(POLL_S):
            begun = time.perf_counter()
            store.update_study(study_id, state="running")
            took.append(time.perf_counter() - begun)
            if (newest := store.newest_event()) != seen:
                seen = newest
                store.preferences(study_id)
    pipe.send(took)


async def label(http: aiohttp.ClientSession, base: str, link: str, each: int) -> list[tuple[float, int]]:
    """Say something of so many pairs; return the time to the next pair and the status, of each."""
    seen = []
    headers = {"Origin": base}
    async with http.post(f"{base}/join", json={"token": link}, headers=headers) as reply:
        cookie = reply.headers["Set-Cookie"].split(";")[0]
    headers |= {"Cookie": cookie, "X-CSRF-Token": csrf_of(cookie.partition("=")[2])}
    async with http.get(f"{base}/pair", headers=headers) as reply:
        screen = await reply.json()
    for n in range(each):
        form = {"form": screen["form"], "pair": screen["pair"]["id"], "verdict": ("left", "right", "tie")[n % 3]}
        begun = time.perf_counter()
        async with http.post(f"{base}/verdict", json=form, headers=headers) as reply:
            screen = await reply.json()
        seen.append((time.perf_counter() - begun, reply.status))
        async with http.get(f"{base}/standing", headers=headers) as reply:
            await reply.read()
            seen.append((-1.0, reply.status))
    return seen


async def run(base: str, links: list[str], each: int) -> list[tuple[float, int]]:
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(cookie_jar=jar, connector=aiohttp.TCPConnector(limit=0)) as http:
        found = await asyncio.gather(*(label(http, base, link, each) for link in links))
    return [one for per_labeller in found for one in per_labeller]


def prepare(path: Path, n_duels: int, n_open: int, n_labellers: int) -> tuple[int, list[str]]:
    """Make the store: so many labelled duels, and enough that are open."""
    texts = [(f"question {n}", f"{ANSWER}{n}", f"{ANSWER[::-1]}{n}") for n in range(n_duels + n_open)]
    study_id = stage(path, texts)
    with Store.open(path) as store:
        duels = store.duels(study_id)[:n_duels]
        # Every tenth counts as a catch trial, so that nobody is due for one at once.
        store.record_votes(
            [Vote(d.id, f"p{n % n_labellers}", "left", catch=n >= 0.9 * n_duels) for n, d in enumerate(duels)]
        )
        return study_id, [store.invite(study_id, f"p{n}") for n in range(n_labellers)]


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--duels", type=int, default=10_000)
    parser.add_argument("--labellers", type=int, default=20)
    parser.add_argument("--each", type=int, default=50)
    given = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s.db"
        study_id, links = prepare(path, given.duels, given.labellers * (given.each + 1), given.labellers)
        pipes = [context.Pipe() for _ in range(2)]
        children = [
            context.Process(target=work, args=(path, study_id, pipe[1]))
            for work, pipe in zip((serve, search), pipes, strict=True)
        ]
        for child in children:
            child.start()
        try:
            port = pipes[0][0].recv()
            seen = asyncio.run(run(f"http://127.0.0.1:{port}", links, given.each))
            for pipe in pipes:
                pipe[0].send("stop")
            cpu_s, writes = (pipe[0].recv() for pipe in pipes)
        finally:
            for child in children:
                child.join(10)
                child.kill()
        with Store.open(path) as store:
            kept = len(store.preferences(study_id)) - given.duels
    print(json.dumps({**report(seen, writes, cpu_s), "kept": kept}, indent=2))


def report(seen: list[tuple[float, int]], writes: list[float], cpu_s: float) -> dict[str, Any]:
    """Return the figures: milliseconds to the next pair, statuses, CPU, and the longest wait of the other writer."""
    took = [one for one, _ in seen if one >= 0]
    return {
        "verdicts": len(took),
        "next pair, ms": {f"p{share:g}": round(1e3 * percentile(took, share / 100), 1) for share in (50, 95, 99, 100)},
        "statuses": dict(Counter(status for _, status in seen)),
        "CPU of the page, ms a verdict": round(1e3 * cpu_s / len(took), 2),
        "other writer": {"writes": len(writes), "longest, ms": round(1e3 * max(writes), 1)},
    }


if __name__ == "__main__":
    main()

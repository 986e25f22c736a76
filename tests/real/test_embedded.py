"""The embedded model for real: bounds and never exact texts, since these differ between CPUs and builds."""

import contextlib
import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("xllamacpp")

from promptopt.backends.base import Reply, Request
from promptopt.backends.embedded import EmbeddedBackend
from promptopt.backends.llama import N_CTX, LlamaEngine, default_threads
from promptopt.backends.model_file import locate_or_pull
from promptopt.budget import Budget
from promptopt.config import JudgeSpec
from promptopt.errors import ConfigError, FatalBackendError
from promptopt.example import Dataset
from promptopt.layout import Message
from promptopt.metrics import Rubric
from promptopt.store.store import Store
from promptopt.testing.backends import BackendContract
from tests.toy import run, small_plural, toy_spec

pytestmark = pytest.mark.real

DEMOS = (
    "Classify the review as positive or negative.\n\n"
    "Review: The room was dirty and loud.\nSentiment: negative\n\n"
    "Review: A lovely meal and kind people.\nSentiment: positive\n\n"
)
REVIEWS = (
    ("What a wonderful film, I loved every minute.", "positive"),
    ("Terrible service, we will never come back.", "negative"),
    ("The best book that I have read this year.", "positive"),
    ("It broke on the second day and nobody helped.", "negative"),
    ("Great value, works perfectly, very happy.", "positive"),
    ("Boring, far too long and badly acted.", "negative"),
)
# What it takes to stop and to answer the next one, in seconds of the processor: a fraction of one. The story takes 13.
SOON_S = 3.0
STORY = Request("completion", (Message("text", "Once upon a time there was a king who"),), max_tokens=1000)


@pytest.fixture(scope="module")
def path() -> Path:
    return locate_or_pull(None)


@pytest.fixture(scope="module")
def backend(path: Path) -> Iterator[EmbeddedBackend]:
    with contextlib.closing(EmbeddedBackend(path, threads=1)) as backend:
        yield backend


def answers(backend: EmbeddedBackend, requests: Sequence[Request]) -> list[Reply]:
    arrivals = [arrival for arrival in backend.run(enumerate(requests)) if arrival is not None]
    return [reply for _, reply in sorted(arrivals, key=lambda arrival: arrival[0])]


def ask(backend: EmbeddedBackend, text: str, **more: object) -> Reply:
    return answers(backend, [Request("completion", (Message("text", text),), **more)])[0]  # type: ignore[arg-type]


def review(text: str, choices: tuple[str, ...] = ()) -> Request:
    messages, shared = ((Message("text", f"{DEMOS}Review: {said}\nSentiment:"),) for said in (text, ""))
    return Request("completion", messages, max_tokens=6, stop=("\n",), choices=choices, shared=shared)


class TestContract(BackendContract):
    n_requests = 12

    def open_backend(self) -> EmbeddedBackend:
        return EmbeddedBackend(locate_or_pull(None), threads=1)


def test_completion(backend: EmbeddedBackend) -> None:
    replies = answers(backend, [review(text) for text, _ in REVIEWS])
    right = [reply.text.strip().lower() == label for reply, (_, label) in zip(replies, REVIEWS, strict=True)]
    assert sum(right) >= 5
    assert all(reply.status == "ok" and "\n" not in reply.text for reply in replies)
    assert all(40 < reply.usage.prompt_tokens < 100 for reply in replies)
    assert all(reply.usage.cached_tokens > 30 for reply in replies[1:]), "the shared beginning was read again"
    assert all(0 < reply.usage.seconds < 30 and 0 < reply.usage.completion_tokens <= 6 for reply in replies)


def test_chat_goes_through_the_template(backend: EmbeddedBackend) -> None:
    question = (Message("system", "You are brief."), Message("user", "What is the capital of France?"))
    reply = answers(backend, [Request("chat", question, max_tokens=24)])[0]
    assert "<|im" not in reply.text
    assert reply.text.strip()
    assert reply.usage.prompt_tokens > 15


def test_truncated_and_stopped(backend: EmbeddedBackend) -> None:
    count = "1, 2, 3, 4, 5, 6, 7,"
    cut = ask(backend, count, max_tokens=5)
    assert (cut.status, cut.usage.completion_tokens) == ("truncated", 5)
    stopped = ask(backend, count, max_tokens=40, stop=(" 1", "9"))
    assert stopped.status == "ok"
    assert "9" not in stopped.text


@pytest.mark.parametrize("mode", ["completion", "chat"])
def test_an_answer_rests_on_nothing_that_was_asked_before(path: Path, mode: str) -> None:
    engine = LlamaEngine(path, 1)
    chance = random.Random(3)
    seen: dict[Request, set[object]] = defaultdict(set)
    for turn in range(8):
        stem = chance.choice(["", "It is a task. "])
        for text, _ in chance.sample(REVIEWS, chance.randint(1, 4)):
            plain = review(text)
            role = "text" if mode == "completion" else "user"
            told, shared = ((Message(role, stem + m[0].content),) for m in (plain.messages, plain.shared))
            request = replace(plain, mode=mode, messages=told, shared=shared)
            engine._read_shared(request, lambda: False)
            answer = engine._ask(request, 1 + turn % 3, lambda: False, logprobs=True)
            seen[request].add(answer.top[:20])
        if turn % 3 == 0:
            engine.answer(replace(STORY, max_tokens=3), lambda: False)
    assert max(map(len, seen.values())) == 1
    assert len(seen) > 6


def test_the_number_of_threads_does_not_show_in_an_answer(path: Path) -> None:
    long = Request("completion", (Message("text", f"{'A list of words. ' * 80}\n{DEMOS}Review: Fine.\nSentiment:"),))
    tops = []
    for threads in (1, 2):
        engine = LlamaEngine(path, threads)
        replies = [engine._ask(long, n, lambda: False, logprobs=True) for n in (1, 12)]
        tops.append([(reply.text, reply.top[:20]) for reply in replies])
    assert tops[0] == tops[1]


@pytest.mark.parametrize("mode", ["completion", "chat"])
def test_likelihood(backend: EmbeddedBackend, mode: str) -> None:
    requests = [review(text, ("positive", "negative")) for text, _ in REVIEWS]
    if mode == "chat":
        requests = [Request("chat", (Message("user", r.messages[0].content),), choices=r.choices) for r in requests]
    replies = answers(backend, requests)
    assert all(reply.status == "ok" and reply.text in ("positive", "negative") for reply in replies)
    if mode == "completion":
        right = [reply.text == label for reply, (_, label) in zip(replies, REVIEWS, strict=True)]
        assert sum(right) >= 5
        assert all(reply.usage.completion_tokens == 1 for reply in replies), "one look is enough for these labels"


def test_likelihood_of_labels_of_several_tokens(backend: EmbeddedBackend) -> None:
    topics = "Text: The bank raised its rates. Topic: business\nText: The team won the cup. Topic: sports\n"
    reply = ask(backend, topics + "Text: He scored two goals. Topic:", choices=("business", "sports", "spam", "space"))
    assert (reply.status, reply.text) == ("ok", "sports")
    never = ask(backend, "The capital of France is", choices=("\x07\x07",))
    assert (never.status, never.text) == ("failed", "")
    assert "likeliest tokens" in never.error


def test_what_does_not_fit_or_work_is_a_reply(backend: EmbeddedBackend) -> None:
    long, odd, fine = ask(backend, "word " * 3000), ask(backend, "a\ud800b"), ask(backend, "word", max_tokens=1)
    assert long.status == "refused"
    assert str(N_CTX) in long.error
    assert long.error.count(".") == 1
    scored = ask(backend, "word " * 3000, choices=("a", "b"))
    assert scored.status == "refused"
    assert odd.status == "failed"
    assert fine.status == "truncated"


def test_the_same_request_has_the_same_answer(path: Path, backend: EmbeddedBackend) -> None:
    """Whatever stood in the cache before, and after loading anew."""
    one, two = review(REVIEWS[0][0]), review(REVIEWS[1][0])
    drawn = [Request("completion", STORY.messages, max_tokens=8, temperature=1.0, seed=seed) for seed in (1, 2, 3)]
    first = [reply.text for reply in answers(backend, [one, two, *drawn, one])]
    assert first[0] == first[-1]
    assert len(set(first[2:5])) > 1
    with contextlib.closing(EmbeddedBackend(path, threads=1)) as other:
        assert [reply.text for reply in answers(other, [*drawn, two, one])] == [*first[2:5], first[1], first[0]]


def test_closing_the_iterator_ends_the_generation(backend: EmbeddedBackend) -> None:
    long = Request("completion", (Message("text", "word " * 1900),), max_tokens=4)
    for request in (STORY, long):
        stream = backend.run([(0, request), (1, request)])
        assert next(stream) is None
        time.sleep(0.3)
        began_at = time.process_time()
        stream.close()
        assert ask(backend, "1, 2,", max_tokens=2).status == "truncated"
        assert time.process_time() - began_at < SOON_S, "the engine went on"


def test_an_interrupt_ends_the_generation(backend: EmbeddedBackend) -> None:
    def listen() -> None:
        stream = backend.run([(0, STORY)])
        assert next(stream) is None
        threading.Timer(0.3, signal.raise_signal, [signal.SIGINT]).start()
        list(stream)
        time.sleep(60)  # so that the signal finds nothing else, however late it comes

    began_at = time.process_time()
    with pytest.raises(KeyboardInterrupt):
        listen()
    assert ask(backend, "1, 2,", max_tokens=2).status == "truncated"
    assert time.process_time() - began_at < SOON_S, "the engine went on"


def test_closing_while_others_use_it(path: Path) -> None:
    backend = EmbeddedBackend(path, threads=1)
    seen: list[object] = []

    def use() -> None:
        try:
            list(backend.run([(0, STORY), (1, STORY)]))
        except FatalBackendError as error:
            seen.append(str(error))

    users = [threading.Thread(target=use) for _ in range(2)]
    for thread in users:
        thread.start()
    time.sleep(1.0)
    closers = [threading.Thread(target=backend.close) for _ in range(2)]
    began_at = time.process_time()
    for thread in closers:
        thread.start()
    for thread in (*closers, *users):
        thread.join()
    assert time.process_time() - began_at < SOON_S, "the engine went on"
    assert len(seen) == 2
    assert all("closed" in str(error) for error in seen)
    with pytest.raises(FatalBackendError, match="closed"):
        list(backend.run([(0, STORY)]))


def test_refused_after_a_fork(backend: EmbeddedBackend) -> None:
    ask(backend, "1, 2,", max_tokens=1)
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def child() -> None:
        try:
            list(backend.run([(0, STORY)]))
        except FatalBackendError as error:
            sender.send(str(error))
        backend.close()

    process = context.Process(target=child)
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert "forked" in receiver.recv()
    assert ask(backend, "1, 2,", max_tokens=1).status == "truncated", "the parent goes on"


def test_nothing_listens_and_nothing_is_left(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = set(threading.enumerate())
    with contextlib.closing(EmbeddedBackend(path, threads=1)) as backend:
        assert ask(backend, "1, 2,", max_tokens=1).status == "truncated"
        assert list(tmp_path.iterdir()) == []
        assert _listening_tcp_ports() == []
    assert [thread.name for thread in set(threading.enumerate()) - before if "embedded" in thread.name] == []


def test_a_process_that_forgets_to_close_ends_well() -> None:
    code = (
        "from promptopt.backends.address import open_backend; from promptopt.backends.base import Request\n"
        "from promptopt.layout import Message\n"
        "request = Request('completion', (Message('text', 'Once upon'),), max_tokens=2)\n"
        "backend = open_backend('embedded:', options={'threads': '1'})\n"
        "print([reply.status for _, reply in filter(None, backend.run([(0, request)]))])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "['truncated']\n", "")


def test_files_that_are_no_model(tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF" + bytes(64))
    with contextlib.closing(EmbeddedBackend(bad, threads=1)) as backend, pytest.raises(FatalBackendError, match="bad"):
        ask(backend, "x")


def test_names(path: Path, tmp_path: Path, backend: EmbeddedBackend) -> None:
    moved = tmp_path / "other-name.gguf"
    os.link(path, moved) if os.stat(path).st_dev == os.stat(tmp_path).st_dev else moved.symlink_to(path)
    assert EmbeddedBackend(moved, address=f"embedded:{moved}").model_key == backend.model_key
    assert backend.address == "embedded:"


def test_threads(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    assert 1 <= default_threads() <= 4
    monkeypatch.setattr(os, "getloadavg", lambda: (99.0, 0.0, 0.0))
    assert default_threads() == 1
    monkeypatch.setenv("PROMPTOPT_THREADS", "3")
    assert default_threads() == 3
    monkeypatch.setenv("PROMPTOPT_THREADS", "many")
    with pytest.raises(ConfigError, match="PROMPTOPT_THREADS"):
        default_threads()
    with pytest.raises(ConfigError, match="threads = 0"):
        EmbeddedBackend(path, threads=0)


def _listening_tcp_ports() -> list[str]:
    """Return the addresses on which this process listens."""
    mine = {os.readlink(entry) for entry in _links(Path("/proc/self/fd"))}
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/self/net", table).read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == "0A" and f"socket:[{columns[9]}]" in mine:
                found.append(columns[1])
    return found


def _links(folder: Path) -> Iterator[Path]:
    for entry in folder.iterdir():
        with contextlib.suppress(OSError):
            os.readlink(entry)
            yield entry


def test_the_look_for_ports_finds_one() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert len(_listening_tcp_ports()) == 1


def test_a_study_that_the_embedded_model_judges_by_a_rubric(tmp_path: Path) -> None:
    """It runs to its verdict, every output is graded in both orders, and a second run asks nothing."""
    rubric = Rubric("The answer is the plural of the word.", ("not the plural", "misspelt", "the plural"))
    task = replace(small_plural(), metric=rubric)
    data = task.dataset
    task = replace(task, dataset=Dataset("plural", data.train[:30], data.dev[:6], data.test[:6]))
    spec = toy_spec(tmp_path / "s.db", "random", "embedded:", judge=JudgeSpec(("embedded:",)))
    spec = replace(spec, budget=Budget(evaluations=24))
    told = run(spec, task).to_json()
    assert told["state"] == "finished"
    audit = told["judging"]["grades"]
    assert (audit["judge"], audit["unread"]) == ("embedded:", 0.0)
    assert audit["n"] > 24
    means = [finalist["dev"]["mean"] for finalist in told["finalists"]]
    assert all(0 < mean < 1 for mean in means)
    with Store.open(tmp_path / "s.db", create=False) as store:
        outputs = store.spend(1).calls
    assert outputs == 3 * audit["n"], "an answer and two readings each"
    again = run(spec, task)
    assert again.spend.calls == outputs
    assert again.to_json()["sentence"] == told["sentence"]

import contextlib
from collections.abc import Iterator

import pytest

from promptopt.backends.address import open_backend
from promptopt.backends.base import Backend, Request
from promptopt.backends.http import HTTPBackend, HTTPOptions
from promptopt.backends.simulated import Faults, SimulatedBackend
from promptopt.backends.vllm import VLLMBackend
from promptopt.example import Example
from promptopt.landscape import Landscape
from promptopt.layout import Message
from promptopt.testing.backends import BackendContract
from tests.conftest import require_package
from tests.integration.fault_server import OK, Act, FaultServer, failure

EXAMPLES = tuple(Example({"text": f"text of number {n}"}, ("yes", "no")[n % 2], ("yes", "no")) for n in range(50))


class TestSimulated(BackendContract):
    def open_backend(self) -> Backend:
        return SimulatedBackend(EXAMPLES)

    def request(self, number: int) -> Request:
        return Request("chat", (Message("user", f"Answer.\n\nText: text of number {number}\nAnswer:"),))


class TestSimulatedWithFaultsAndLatency(TestSimulated):
    def open_backend(self) -> Backend:
        faults = Faults(rate_limit=0.1, server_error=0.1, hang=0.05, malformed=0.1, refused=0.05, hang_s=0.05)
        return SimulatedBackend(EXAMPLES, Landscape(seed=3), faults, latency_ms=3, concurrency=7)


class TestHTTP(BackendContract):
    options = HTTPOptions(concurrency=8)

    @pytest.fixture(autouse=True)
    def _server(self) -> Iterator[None]:
        with FaultServer(self.act) as self.server:
            yield

    def act(self, text: str, attempt: int) -> Act:
        return Act(delay_s=0.002)

    def open_backend(self) -> Backend:
        return HTTPBackend(self.server.url, self.options)


class TestVLLM(TestHTTP):
    def open_backend(self) -> Backend:
        return VLLMBackend(self.server.url, self.options)

    def test_can_be_the_judge_of_a_rubric(self) -> None:
        pytest.skip("this server is no vLLM and tells no log-probabilities; test_vllm_backend and tests/real see them")


class TestHTTPWithFaults(TestHTTP):
    options = HTTPOptions(concurrency=8, backoff_s=0.005, timeout_s=0.5)

    def act(self, text: str, attempt: int) -> Act:
        faulty = failure(503) if sum(text.encode()) % 5 == 0 else Act(reset=True)
        return faulty if attempt == 0 and sum(text.encode()) % 3 == 0 else OK


class TestOpenAI(TestHTTPWithFaults):
    package = "openai"
    model = "tiny"

    def open_backend(self) -> Backend:
        require_package(self.package)
        options = {"concurrency": "8", "backoff_s": "0.005"}
        return open_backend(f"{self.package}:{self.server.url}#{self.model}", options=options)


# litellm makes the coroutine of a call in another thread, and leaves it when the call is cancelled meanwhile.
@pytest.mark.filterwarnings("ignore:coroutine '.*acompletion' was never awaited:RuntimeWarning")
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <coroutine object .*acompletion:pytest.PytestUnraisableExceptionWarning"
)
class TestLiteLLM(TestOpenAI):
    package = "litellm"
    model = "openai/tiny"


def test_loop_thread_ends_with_the_last_backend() -> None:
    import threading

    with FaultServer() as server:
        one, other = HTTPBackend(server.url), SimulatedBackend(EXAMPLES, latency_ms=1)
        with contextlib.closing(other), contextlib.closing(one):
            assert one.model == "tiny"
            list(other.run([(0, Request("chat", (Message("user", "text of number 1"),)))]))
            assert [t.name for t in threading.enumerate()].count("promptopt-backends") == 1
        assert "promptopt-backends" not in [t.name for t in threading.enumerate()]

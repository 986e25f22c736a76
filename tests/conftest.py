"""Every test runs offline: sockets are shut but for loopback and unix sockets, and no key is in the environment."""

import importlib.util
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from sqlalchemy import Connection

N_EXAMPLES = int(os.environ.get("PROMPTOPT_EXAMPLES", "60"))
settings.register_profile("promptopt", deadline=None, derandomize=True, max_examples=N_EXAMPLES)
settings.load_profile("promptopt")

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"


def pytest_configure(config: pytest.Config) -> None:
    for name in list(os.environ):
        if name.endswith("_API_KEY"):
            del os.environ[name]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The contract says what a strategy must do; that playing it out takes long is known here, and not there."""
    for item in items:
        if item.name == "test_beats_random_where_the_optimum_is_known":
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True, scope="session")
def _nobody_waits_for_the_disk() -> Iterator[None]:
    """What a test stores must outlive kills, for which SQLite needs no fsync, but no power cut, for which it does."""
    from promptopt.store import dialect

    configure = dialect.configure

    def quick(connection: "Connection", *, read_only: bool) -> None:
        configure(connection, read_only=read_only)
        if not read_only:
            dialect.pragma(connection, "synchronous = OFF")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dialect, "configure", quick)
        yield


@pytest.fixture(autouse=True)
def _loopback_only(request: pytest.FixtureRequest) -> Iterator[None]:
    import pytest_socket

    if request.node.get_closest_marker("network"):
        yield
        return
    pytest_socket.socket_allow_hosts(["127.0.0.1", "::1", "localhost"], allow_unix_socket=True)
    yield
    pytest_socket._remove_restrictions()


@pytest.fixture
def kept_port() -> Iterator[int]:
    """A port at which nobody listens but whom a test tells of it, as often as it likes: nobody else is given it."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        port = int(held.getsockname()[1])
        if sys.platform != "linux":  # where a port that somebody holds cannot be listened at
            held.close()
        yield port


def require_package(name: str) -> None:
    """Skip the test where a package of an extra is not installed; imports nothing, since that is what is tested."""
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"needs the package {name}")

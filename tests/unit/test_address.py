import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from promptopt.backends.address import open_backend
from promptopt.backends.endpoint import Endpoint
from promptopt.backends.http import HTTPBackend
from promptopt.errors import ConfigError, UnknownNameError

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", *PROXIES):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("embeded:", "did you mean embedded"),
        ("simulate:", "did you mean simulated"),
        ("", "known: embedded"),
        ("simulated:aditive", "did you mean additive"),
        ("simulated:?latency=3", "did you mean latency_ms"),
    ],
)
def test_unknown_names_offer_the_nearest(address: str, message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        open_backend(address)


@pytest.mark.parametrize(
    ("address", "options", "message"),
    [
        ("gpt-4o", {}, "write openai:gpt-4o, litellm:PROVIDER/gpt-4o"),
        ("http://localhost:99999/v1", {}, "no number from 0 to 65535"),
        ("http://localhost:x/v1", {}, "no number from 0 to 65535"),
        ("simulated:?seed=x", {}, "seed = 'x' must be a whole number"),
        ("simulated:?hang=often", {}, "must be a number"),
        ("simulated:?common=perhaps", {}, "must be true or false"),
        ("simulated:?refused=2", {}, "between 0 and 1"),
        ("simulated:", {"concurrency": "0"}, "at least 1"),
        ("http://localhost", {"timeout_s": "0"}, "above 0"),
        ("http://localhost", {"reasoning": "perhaps"}, "true, false or auto"),
        ("http://localhost", {"body": "{"}, "JSON object"),
        ("http://[::1", {}, r"http://\[::1 is not an address"),
        ("localhost:8000/v1", {}, "write http://localhost:8000/v1"),
        ("10.0.0.7:8000#m", {}, "write http://10.0.0.7:8000#m"),
        ("http://localhost", {"server": "vlm"}, "server = 'vlm' must be vllm"),
    ],
)
def test_wrong_options(address: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_backend(address, options=options)


def test_simulated() -> None:
    backend = open_backend("simulated:needle?seed=3&concurrency=9&common=1", options={"latency_ms": "2"})
    assert backend.address == "simulated:needle?seed=3"
    assert backend.concurrency == 9
    keys = {
        open_backend(f"simulated:{rest}").model_key for rest in ("", "additive?seed=0", "flat", "?seed=1", "?hang=0.1")
    }
    assert len(keys) == 4


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("http://localhost:8000", "http://localhost:8000/v1"),
        ("http://localhost:8000/", "http://localhost:8000/v1"),
        ("http://127.0.0.1:8000/v1/#a/b:c", "http://127.0.0.1:8000/v1#a/b:c"),
        ("https://localhost/api", "https://localhost/api"),
    ],
)
def test_http(given: str, shown: str) -> None:
    backend = open_backend(given, options={"concurrency": "3", "likelihood": "yes", "completion": "no"})
    assert isinstance(backend, HTTPBackend)
    assert (backend.address, backend.concurrency) == (shown, 3)
    assert backend.modes == {"chat"}
    assert backend.abilities == {"write", "likelihood"}


def test_a_vllm_server_that_runs() -> None:
    plain, vllm = open_backend("http://localhost:1#m"), open_backend("http://localhost:1#m", options={"server": "vllm"})
    assert vllm.abilities == {"write", "likelihood", "choice"}
    assert plain.abilities == {"write"}


@pytest.mark.parametrize("given", ["http://", "http:///v1", "https:localhost"])
def test_http_without_a_host(given: str) -> None:
    with pytest.raises(ConfigError, match="http://host:port/v1"):
        open_backend(given)


@pytest.mark.parametrize("given", ["http://me:sesame@host/v1", "http://sesame@host/v1", "https://host/v1?key=sesame"])
def test_secrets_in_an_address_are_refused_and_not_shown(given: str) -> None:
    with pytest.raises(ConfigError, match="environment variable") as caught:
        open_backend(given)
    assert "sesame" not in str(caught.value)


def test_a_missing_key_is_told_before_any_call() -> None:
    with pytest.raises(ConfigError, match=r"api\.openai\.com.*OPENAI_API_KEY"):
        open_backend("https://api.openai.com/v1#gpt-4o")
    with pytest.raises(ConfigError, match="MINE"):
        open_backend("http://localhost:1", options={"key_variable": "MINE"})


def test_where_a_key_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", " abc\n")
    monkeypatch.setenv("MINE", "xyz")
    assert Endpoint.at("https://example.org").key == "abc"
    assert Endpoint.at("http://localhost:1").key == "abc"
    assert Endpoint.at("http://[::1]:1").key == "abc"
    assert Endpoint.at("http://example.org").key == ""
    assert Endpoint.at("http://example.org", "MINE").key == "xyz"
    assert "abc" not in repr(Endpoint.at("https://example.org"))


def test_where_the_openai_package_would_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "abc")
    assert Endpoint.at("openai:gpt-4o").url == "https://api.openai.com/v1"
    assert Endpoint.at("openai:gpt-4o").address == "openai:gpt-4o"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:8000/v1/")
    here = Endpoint.at("openai:gpt-4o")
    assert (here.url, here.model, here.package) == ("http://localhost:8000/v1", "gpt-4o", "openai")
    assert here.address == "openai:http://localhost:8000/v1#gpt-4o"
    assert Endpoint.at(here.address) == here


def test_headers_of_the_account_go_with_its_key_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "abc")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-1")
    monkeypatch.setenv("MINE", "xyz")
    assert Endpoint.at("https://api.openai.com/v1#gpt-4o").headers == {
        "Authorization": "Bearer abc",
        "OpenAI-Organization": "org-1",
        "OpenAI-Project": "proj-1",
    }
    assert Endpoint.at("https://example.org#m", "MINE").headers == {"Authorization": "Bearer xyz"}
    assert Endpoint.at("http://example.org#m").headers == {}


def test_where_litellm_would_go(monkeypatch: pytest.MonkeyPatch) -> None:
    free = Endpoint.at("litellm:anthropic/claude")
    assert (free.url, free.model, free.key, free.address) == ("", "anthropic/claude", "", "litellm:anthropic/claude")
    monkeypatch.setenv("MINE", "xyz")
    assert Endpoint.at("litellm:anthropic/claude", "MINE").key == "xyz"
    placed = Endpoint.at("litellm:http://localhost:4000/v1#openai/tiny")
    assert (placed.url, placed.model) == ("http://localhost:4000/v1", "openai/tiny")
    assert placed.address == "litellm:http://localhost:4000/v1#openai/tiny"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("openai:", "openai:gpt-4o-mini"),
        ("litellm:", "litellm:anthropic/"),
        ("openai:gpt-4o", "OPENAI_API_KEY"),
        ("openai:ftp://host#m", "http://host:port/v1"),
        ("openai:http://me:sesame@host/v1#m", "environment variable"),
    ],
)
def test_packages_need_a_model_and_a_key(address: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        Endpoint.at(address)
    assert "sesame" not in str(caught.value)
    with pytest.raises(ConfigError, match="MINE"):
        Endpoint.at("litellm:anthropic/claude", "MINE")


@pytest.mark.parametrize("package", ["openai", "litellm"])
def test_a_missing_extra_is_one_sentence(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=rf'needs the package {package}; .* pip install -e "\.\[api\]"'):
        open_backend(f"{package}:http://localhost/v1#x/y")


def test_proxies_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "abc")
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "inside.org")
    assert Endpoint.at("https://example.org").proxy == "http://proxy:3128"
    assert Endpoint.at("https://inside.org").proxy is None
    assert Endpoint.at("https://localhost").proxy is None
    monkeypatch.setenv("https_proxy", "socks5://proxy:1080")
    with pytest.raises(ConfigError, match="socks5"):
        Endpoint.at("https://example.org")


def test_embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    embedded, model_file = types.ModuleType("embedded"), types.ModuleType("model_file")
    embedded.EmbeddedBackend = lambda path, **more: asked.append((path, more)) or path  # type: ignore[attr-defined]
    model_file.locate_or_pull = lambda explicit, progress=None: Path(explicit or "default.gguf")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "promptopt.backends.embedded", embedded)
    monkeypatch.setitem(sys.modules, "promptopt.backends.model_file", model_file)
    open_backend("embedded:")
    open_backend("embedded:my.gguf", options={"threads": "2"})
    assert asked == [
        (Path("default.gguf"), {"threads": None, "address": "embedded:"}),
        (Path("my.gguf"), {"threads": 2, "address": "embedded:my.gguf"}),
    ]


def test_heavy_packages_come_only_with_their_backend() -> None:
    code = (
        "import sys; from promptopt.backends.address import open_backend; open_backend('simulated:');"
        "print([name for name in ('aiohttp', 'orjson', 'xllamacpp', 'openai', 'litellm') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"

import json
import sys
from pathlib import Path

import pytest

from promptopt import prices
from promptopt.budget import Prices
from promptopt.prices import find_prices


def listed(provider: str, read: float, written: float, **more: object) -> dict[str, object]:
    return {"litellm_provider": provider, "input_cost_per_token": read, "output_cost_per_token": written, **more}


LISTED = {
    "sample_spec": listed("one of them", 0.0, 0.0),
    "gpt-x": listed("openai", 1e-06, 4e-06),
    "ft:gpt-x": listed("openai", 2e-06, 8e-06),
    "old": listed("text-completion-openai", 3e-06, 3e-06),
    "azure/gpt-x": listed("azure", 5e-06, 6e-06),
    "thinker": listed("anthropic", 1e-06, 2e-06, output_cost_per_reasoning_token=9e-06),
    "by-the-second": {"litellm_provider": "openai", "output_cost_per_second": 0.1},
    "perplexity/sonar": listed("perplexity", 1e-06, 1e-06),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "prices.json"
    path.write_text(json.dumps(LISTED))
    return path


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("openai:gpt-x", (1, 4)),
        ("openai:ft:gpt-x:mine::abc", (2, 8)),
        ("openai:old", (3, 3)),
        ("openai:https://api.openai.com/v1#gpt-x", (1, 4)),
        ("https://api.openai.com/v1#gpt-x", (1, 4)),
        ("litellm:openai/gpt-x", (1, 4)),
        ("litellm:azure/gpt-x", (5, 6)),
        ("litellm:https://mine.azure.com/v1#azure/gpt-x", (5, 6)),
        ("litellm:anthropic/thinker", (1, 9)),
        ("https://api.anthropic.com/v1#thinker", (1, 9)),
    ],
)
def test_prices_are_found_by_provider_and_model(path: Path, address: str, expected: tuple[float, float]) -> None:
    assert find_prices(address, path) == Prices(*expected)


@pytest.mark.parametrize(
    "address",
    [
        "http://localhost:8000/v1#gpt-x",
        "openai:http://localhost:8000/v1#gpt-x",
        "https://api.groq.com/openai/v1#gpt-x",
        "https://api.openai.com/v1",
        "litellm:anthropic/gpt-x",
        "openai:by-the-second",
        "openai:none-such",
        "litellm:perplexity/sonar",
        "embedded:",
        "simulated:additive?seed=3",
    ],
)
def test_what_is_not_known_is_not_guessed(path: Path, address: str) -> None:
    assert find_prices(address, path) is None


def test_without_litellm_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prices.importlib.util, "find_spec", lambda name: None)
    assert find_prices("openai:gpt-4o-mini") is None


def test_the_list_is_read_without_importing_litellm(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "litellm"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    path.rename(package / "model_prices_and_context_window_backup.json")
    monkeypatch.delitem(sys.modules, "litellm", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    assert find_prices("openai:gpt-x") == Prices(1.0, 4.0)

"""Prices of models that are not the user's own figures: litellm's list, where litellm is installed.

The list is read from its file, without importing litellm and without the network. It holds the standard rate; what is
cheaper (cached tokens, batches) is charged at that rate too, so that a budget in dollars stays an upper bound. Rates
that rise for requests of more than 100,000 tokens are not looked at.
"""

import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson

from promptopt.budget import Prices

_LIST = "model_prices_and_context_window_backup.json"

# Whose the well-known hosts are, in litellm's words.
_PROVIDERS = {
    "api.openai.com": "openai",
    "api.anthropic.com": "anthropic",
    "api.cerebras.ai": "cerebras",
    "api.deepinfra.com": "deepinfra",
    "api.deepseek.com": "deepseek",
    "api.fireworks.ai": "fireworks_ai",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral",
    "api.sambanova.ai": "sambanova",
    "api.together.xyz": "together_ai",
    "api.x.ai": "xai",
    "generativelanguage.googleapis.com": "gemini",
    "openrouter.ai": "openrouter",
}


def find_prices(address: str, path: Path | None = None) -> Prices | None:
    """Return what the model at an address costs, or None if that is not known.

    Args:
        address: A backend's address, such as ``openai:gpt-4o-mini`` or ``https://api.groq.com/openai/v1#name``.
        path: The price list; litellm's if left out.
    """
    path = path or _locate()
    provider, model = _named(address)
    if not (path and provider and model) or provider == "perplexity" or "search" in model:
        return None  # a search in the web is paid for by itself
    known = orjson.loads(path.read_bytes())
    entries = (known.get(key) for key in _keys(provider, model))
    return next((p for entry in entries if entry and (p := _prices(entry, provider))), None)


def _named(address: str) -> tuple[str, str]:
    """Return litellm's words for the provider and the model of an address, empty where they are not known."""
    package, _, named = address.partition(":")
    url, _, model = named.partition("#") if package in ("openai", "litellm") else address.partition("#")
    if package == "litellm":
        provider, _, model = (model or url).partition("/")
        return provider, model
    if package == "openai" and not model:
        return "openai", url
    return _PROVIDERS.get(urlsplit(url).hostname or "", ""), model


def _keys(provider: str, model: str) -> Iterator[str]:
    """Yield the names under which a model may stand, the most exact first."""
    yield f"{provider}/{model}"
    yield model
    if model.startswith("ft:"):  # a fine-tuned one costs what its kind does
        yield ":".join(model.split(":")[:2])


def _prices(entry: Mapping[str, Any], provider: str) -> Prices | None:
    """Return the prices of an entry, if it is this provider's and holds them."""
    whose = str(entry.get("litellm_provider"))
    read, written = entry.get("input_cost_per_token"), entry.get("output_cost_per_token")
    if not whose.removeprefix("text-completion-").startswith(provider):
        return None
    if not (isinstance(read, int | float) and isinstance(written, int | float)):
        return None
    written = max(written, entry.get("output_cost_per_reasoning_token") or 0.0)
    return Prices(round(read * 1e6, 9), round(written * 1e6, 9))


def _locate() -> Path | None:
    spec = importlib.util.find_spec("litellm")
    folders = spec.submodule_search_locations if spec else None
    path = Path(folders[0], _LIST) if folders else None
    return path if path and path.is_file() else None

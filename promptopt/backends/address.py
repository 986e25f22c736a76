"""Addresses: how a model is named in a setting, and the backend that each kind of address opens.

A backend's file is imported only when an address asks for it.
"""

import difflib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from promptopt.backends.base import Backend
from promptopt.errors import ConfigError, UnknownNameError
from promptopt.example import Example
from promptopt.settings import TRUTH

if TYPE_CHECKING:
    from promptopt.backends.http import HTTPOptions
    from promptopt.backends.vllm_server import ServerOptions

KINDS = ("embedded", "http", "https", "litellm", "openai", "simulated", "vllm")


def open_backend(
    address: str,
    *,
    examples: Sequence[Example] = (),
    options: Mapping[str, str] | None = None,
    tell: Callable[[str, int, int], None] | None = None,
) -> Backend:
    """Open the backend of an address.

    Args:
        address: ``embedded:`` or ``embedded:path.gguf``; ``http://host:port/v1#model``, ``https://...``;
            ``openai:model``, ``litellm:provider/model``; ``vllm:folder-or-name``; ``simulated:additive?seed=3``.
        examples: What may be asked; only the simulated model looks at them.
        options: The backend's own settings, such as ``concurrency``; the fields of ``HTTPOptions``, for instance.
        tell: Told how a server's start goes.

    Raises:
        UnknownNameError: There is no such kind of backend, or no such option.
        ConfigError: The address or an option cannot be used.
    """
    kind, colon, rest = address.partition(":")
    given = dict(options or {})
    if address and not colon and not difflib.get_close_matches(kind, KINDS):
        raise ConfigError(
            f"'{address}' does not say how the model is reached; write openai:{address}, litellm:PROVIDER/{address}, "
            f"http://host:port/v1#{address} or vllm:{address}."
        )
    if kind not in KINDS and rest.partition("#")[0].partition("/")[0].isdecimal():  # a host and its port
        raise ConfigError(f"'{address}' does not say how the server is reached; write http://{address}.")
    if not colon or kind not in KINDS:
        raise UnknownNameError("kind of backend", kind, KINDS)
    if kind == "embedded":
        return _open_embedded(rest, given)
    if kind == "simulated":
        return _open_simulated(rest, examples, given)
    if kind == "vllm":
        return _open_vllm(rest, given, tell)
    return {"openai": _open_openai, "litellm": _open_litellm}.get(kind, _open_http)(address, given)


def _open_embedded(rest: str, given: Mapping[str, str]) -> Backend:
    from promptopt.backends.embedded import EmbeddedBackend
    from promptopt.backends.model_file import locate_or_pull

    settings = _read("embedded", given, {"threads": 0})
    path: Path = locate_or_pull(rest or None)
    return EmbeddedBackend(path, threads=settings.get("threads") or None, address=f"embedded:{rest}")


def _open_http(address: str, given: Mapping[str, str]) -> Backend:
    from promptopt.backends.http import HTTPBackend, HTTPOptions

    vllm = {"completion": "true"} if given.get("server") == "vllm" else {}
    options = HTTPOptions(**_read("http", {**vllm, **given}, _defaults(HTTPOptions())))
    if options.server == "vllm":
        from promptopt.backends.vllm import VLLMBackend

        return VLLMBackend(address, options)
    return HTTPBackend(address, options)


def _open_vllm(model: str, given: Mapping[str, str], tell: Callable[[str, int, int], None] | None) -> Backend:
    from promptopt.backends.vllm import OwnedVLLM

    start, options = read_vllm_options(given)
    return OwnedVLLM(model, start, options, tell)


def read_vllm_options(given: Mapping[str, str]) -> "tuple[ServerOptions, HTTPOptions]":
    """Return how a vLLM server of our own is started, and how it is used.

    Raises:
        UnknownNameError: There is no such option.
        ConfigError: An option cannot be used.
    """
    from promptopt.backends.vllm import OWN_OPTIONS
    from promptopt.backends.vllm_server import ServerOptions

    manner, start = _defaults(OWN_OPTIONS), _defaults(ServerOptions())
    settable = {
        name: default for name, default in manner.items() if name not in ("key_variable", "likelihood", "server")
    }
    settings = _read("vllm", given, {**settable, **start})
    return ServerOptions(**_pick(settings, start)), replace(OWN_OPTIONS, **_pick(settings, manner))


def _open_openai(address: str, given: Mapping[str, str]) -> Backend:
    from promptopt.backends.http import HTTPBackend, HTTPOptions

    _require("openai")
    from promptopt.backends.openai import OpenAITransport

    return HTTPBackend(address, HTTPOptions(**_read("openai", given, _defaults(HTTPOptions()))), OpenAITransport)


def _open_litellm(address: str, given: Mapping[str, str]) -> Backend:
    from promptopt.backends.http import HTTPBackend, HTTPOptions

    _require("litellm")
    from promptopt.backends.litellm import LiteLLMTransport

    # Where a provider has no raw completions, litellm would make a chat of them.
    known = {name: value for name, value in _defaults(HTTPOptions()).items() if name != "completion"}
    options = HTTPOptions(**_read("litellm", given, known))
    return HTTPBackend(address, options, LiteLLMTransport)


def _require(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise ConfigError(f'{package}: needs the package {package}; install it with: pip install -e ".[api]"')


def _open_simulated(rest: str, examples: Sequence[Example], given: Mapping[str, str]) -> Backend:
    from promptopt.backends.simulated import Faults, SimulatedBackend
    from promptopt.landscape import SHAPES, Landscape

    name, _, query = rest.partition("?")
    shape = next((known for known in SHAPES if known == (name or SHAPES[0])), None)
    if shape is None:
        raise UnknownNameError("landscape", name, SHAPES)
    world: dict[str, Any] = {"seed": 0, "common": False}
    manner: dict[str, Any] = {"latency_ms": 0.0, "concurrency": 64}
    faults = _defaults(Faults())
    settings = _read("simulated", {**dict(parse_qsl(query)), **given}, {**world, **manner, **faults})
    return SimulatedBackend(
        examples,
        Landscape(shape, **_pick(settings, world)),
        Faults(**_pick(settings, faults)),
        **_pick(settings, manner),
    )


def _defaults(options: Any) -> dict[str, Any]:
    return {name: getattr(options, name) for name in options.__dataclass_fields__}


def _pick(settings: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name in names}


def _read(kind: str, given: Mapping[str, str], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options given, each read as the type of its default."""
    read: dict[str, Any] = {}
    for name, text in given.items():
        if name not in defaults:
            raise UnknownNameError(f"option of {kind}:", name, defaults)
        wanted = type(defaults[name])
        try:
            read[name] = TRUTH[text.lower()] if wanted is bool else wanted(text)
        except (KeyError, ValueError):
            expected = {bool: "true or false", int: "a whole number", float: "a number"}[wanted]
            raise ConfigError(f"{kind}: {name} = {text!r} must be {expected}.") from None
    return read

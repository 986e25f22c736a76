"""Catalogue: what is installed and whether it works here, as plain data for every door.

Nothing here spends anything, but for the one word that ``examine`` asks of a model.
"""

import importlib.util
import os
import platform
import shlex
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from promptopt.backends.address import open_backend, read_vllm_options
from promptopt.backends.base import Request
from promptopt.docstring import Docstring
from promptopt.errors import ConfigError, PromptOptError, StrategyError, UnknownNameError
from promptopt.evaluation import ANSWERED
from promptopt.example import SPLITS, Example
from promptopt.layout import Message
from promptopt.plugins import load_task, ready_task_names
from promptopt.registry import configure, find_strategy, strategy_names
from promptopt.settings import describe_settings, settings_of

Progress = Callable[[str, int, int], None]

EXTRAS = {
    "embedded": "xllamacpp",
    "rouge": "rouge_score",
    "embed": "sentence_transformers",
    "huggingface": "datasets",
    "api": "litellm",
    "dspy": "dspy",
    "optuna": "optuna",
    "vllm": "vllm",
}
PROFILES = {
    "recommended": "What we advise; the defaults.",
    "paper": "As the paper sets it.",
    "reference-code": "As the authors' code does it, which is not always what their paper says.",
    "quick": "For a first look.",
}


def describe_strategies(name: str | None = None) -> list[dict[str, Any]]:
    """Return the installed strategies, or one: what its docstring says, needs, profiles and settings.

    Among all of them, one that cannot be imported says so in place of what it is.

    Raises:
        UnknownNameError: There is no such strategy.
        StrategyError: The one named cannot be imported.
    """
    if name:
        return [_described(name)]
    described = []
    for known in strategy_names():
        try:
            described.append(_described(known))
        except StrategyError as error:
            described.append({"name": known, "what": str(error), "needs": [], "version": "", "profiles": []})
    return described


def _described(name: str) -> dict[str, Any]:
    cls, strategy = find_strategy(name), configure(name)
    said, module = Docstring.of(cls), Docstring.of(sys.modules[cls.__module__])
    meanings = {
        name: text for base in reversed(cls.__mro__) for name, text in Docstring.of(base).entries("Args").items()
    }
    profiles = {**PROFILES, **module.entries("Profiles")}
    return {
        "name": name,
        "what": said.summary,
        "about": "\n\n".join(filter(None, [module.body, said.body])),
        "asks": said.sections.get("Asks", ""),
        "differences": module.sections.get("Differences", ""),
        "reference": said.sections.get("Reference") or module.sections.get("Reference", ""),
        "needs": sorted(strategy.needs),
        "control": strategy.control,
        "version": strategy.version,
        "settings": [
            {"setting": setting, **told, "meaning": meanings.get(setting, "")}
            for setting, told in describe_settings(strategy).items()
        ],
        "profiles": [
            {
                "profile": profile,
                "what": profiles.get(profile, "See what it exchanges."),
                "settings": settings_of(configure(name, profile)),
                "changes": dict(changes),
            }
            for profile, changes in strategy.profiles.items()
        ],
    }


def describe_tasks() -> list[dict[str, Any]]:
    """Return the tasks that come with promptopt: name, metric, sizes and description."""
    described = []
    for name in ready_task_names():
        task = load_task(name)
        sizes: dict[str, int] = {split: len(task.dataset.split(split)) for split in SPLITS}
        described.append({"name": name, "metric": task.metric.name, **sizes, "description": task.description})
    return described


def describe_models() -> list[dict[str, Any]]:
    """Return the ways of reaching a model, and whether the embedded one is here."""
    from promptopt.backends.model_file import describe

    return [
        describe(),
        {"address": "embedded:/path/to/model.gguf", "what": "any GGUF file, on the CPU", "state": "your file"},
        {
            "address": "http://host:port/v1#name",
            "what": "any OpenAI-compatible server",
            "state": "key from OPENAI_API_KEY",
        },
        {
            "address": "openai:name",
            "what": "OpenAI, or the server at OPENAI_BASE_URL, by the openai package",
            "state": _installed("openai", "key from OPENAI_API_KEY"),
        },
        {
            "address": "litellm:provider/name",
            "what": "a hundred providers, by litellm",
            "state": _installed("litellm", "keys from each provider's variable"),
        },
        _vllm(),
        {"address": "simulated:", "what": "no model: a landscape of known optimum for tests", "state": "ready"},
    ]


def _vllm() -> dict[str, str]:
    """Return what ``vllm:`` is, and whether there is a command to start it with."""
    from promptopt.backends.vllm_server import COMMAND_VARIABLE, find_command

    try:
        state = f"starts: {shlex.join(find_command())}"
    except ConfigError:
        state = f"no vllm command found; name one in {COMMAND_VARIABLE}, or with --model-option command=..."
    return {
        "address": "vllm:FOLDER or vllm:NAME",
        "what": "a vLLM server of our own, ended with the study",
        "state": state,
    }


def embedded_file(path: str, progress: Progress | None) -> Path:
    """Return the file of an embedded model, fetched first if it is the default one and not here.

    Args:
        path: The file; empty for the default model.
        progress: Told the stage, the bytes done and the bytes in all.

    Raises:
        ConfigError: There is no such file.
        FatalBackendError: It cannot be fetched; says how to put it there by hand.
    """
    from promptopt.backends.model_file import locate_or_pull

    return locate_or_pull(path or None, progress)


def keep_vllm(model: str, options: Mapping[str, str], progress: Progress | None) -> dict[str, Any]:
    """Start a vLLM server that stays, and return where it is; one of this model that is kept is returned as it is.

    Raises:
        ConfigError: There is no command to start it with, or an option is wrong.
        FatalBackendError: It does not start; quotes its log.
    """
    from promptopt.backends.vllm_kept import keep

    return keep(model.removeprefix("vllm:"), read_vllm_options(options)[0], progress).to_json()


def kept_vllm() -> list[dict[str, Any]]:
    """Return the vLLM servers that are kept: model, state, address and log."""
    from promptopt.backends.vllm_kept import kept

    return [server.to_json() for server in kept()]


def end_vllm(model: str | None = None) -> list[str]:
    """End the kept vLLM servers of a model, or all of them, and return their models.

    Raises:
        UnknownNameError: None is kept for this model.
    """
    from promptopt.backends.vllm_kept import kept

    servers = kept()
    wanted = [server for server in servers if model is None or server.model == model.removeprefix("vllm:")]
    if model is not None and not wanted:
        raise UnknownNameError("kept vLLM server", model, [server.model for server in servers])
    for server in wanted:
        server.end()
    return [server.model for server in wanted]


def _installed(package: str, state: str) -> str:
    return state if importlib.util.find_spec(package) else 'not installed; run: pip install -e ".[api]"'


def examine(address: str) -> list[dict[str, str]]:
    """Check this machine and one model; each check says ``good``, ``absent`` or ``wrong`` and why."""
    versions = {"promptopt": version("promptopt"), "python": platform.python_version()}
    checks = [{"check": name, "state": "good", "what": number} for name, number in versions.items()]
    checks += [_extra(name, module) for name, module in EXTRAS.items()]
    served = _vllm()["state"]
    checks.append({"check": "vllm:", "state": "good" if served.startswith("starts") else "absent", "what": served})
    folder = Path.cwd()
    writable = os.access(folder, os.W_OK)
    checks.append({"check": "store folder", "state": "good" if writable else "wrong", "what": str(folder)})
    checks.append(_model(address))
    return checks


def _extra(name: str, module: str) -> dict[str, str]:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:  # a mere folder of that name, such as datasets/ in a checkout
        return {"check": f"extra {name}", "state": "absent", "what": f'pip install -e ".[{name}]"'}
    try:
        what = f"{module} {version(module.replace('_', '-'))}"
    except PackageNotFoundError:
        what = module
    return {"check": f"extra {name}", "state": "good", "what": what}


def _model(address: str) -> dict[str, str]:
    question = Message("user", "Say yes.")
    try:
        backend = open_backend(address, examples=[Example({"input": question.content}, "yes")])
    except PromptOptError as error:
        return {"check": f"model {address}", "state": "wrong", "what": str(error)}
    try:
        request = Request("chat", (question,), max_tokens=4)
        reply = next(arrival for arrival in backend.run([("word", request)]) if arrival is not None)[1]
        state = "good" if reply.status in ANSWERED else "wrong"
        return {"check": f"model {address}", "state": state, "what": reply.text.strip() or reply.error}
    except PromptOptError as error:
        return {"check": f"model {address}", "state": "wrong", "what": str(error)}
    finally:
        backend.close()

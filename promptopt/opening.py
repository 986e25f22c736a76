"""Opening: from plain settings to open models and the stored study they belong to."""

import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import Any

from promptopt.backends.address import open_backend
from promptopt.backends.base import Backend
from promptopt.budget import Prices
from promptopt.catalogue import embedded_file
from promptopt.config import StrategySpec, StudySpec
from promptopt.embedder import Encoder, EndpointEncoder, HashEncoder, SentenceEncoder
from promptopt.errors import ConfigError, StoreError, StudyMismatchError, UnknownNameError
from promptopt.ids import content_hash
from promptopt.judge import Jury
from promptopt.metric import NO_METRIC
from promptopt.objective import Objective
from promptopt.prices import find_prices
from promptopt.prompt import Prompt
from promptopt.registry import configure
from promptopt.settings import settings_of
from promptopt.setup import Setup
from promptopt.store.rows import StudyRow
from promptopt.store.store import Store
from promptopt.strategy import Strategy, packages_of
from promptopt.task import Task
from promptopt.then import Then

Download = Callable[[str, int, int], None]

FORK_SEEDS = 3
THEN = "then."  # before the names of the second strategy's settings
OWN_MACHINE = ("embedded:", "simulated:", "vllm:")


def open_setup(
    stack: ExitStack, spec: StudySpec, task: Task, download: Download | None, model: Backend | None = None
) -> Setup:
    """Open the models of a spec and put the setup together.

    Args:
        stack: Closes the models.
        spec: The settings.
        task: The task.
        download: Told how the embedded model's file comes, and how a server of our own starts.
        model: The task model, if it is open already; it writes no prompts then unless it says that it can.

    Raises:
        ConfigError: A setting is wrong, a key is missing, or money is capped and a price is not known.
    """
    strategy = _strategy(spec.strategy)
    compares = "compare" in strategy.needs
    if spec.judge.by and not compares and not task.rubrics:
        raise ConfigError(
            f"judge: {strategy.name} compares no answers and task {task.name} has no rubric, so {spec.judge.by[0]} "
            "would never be asked; take a strategy that compares, such as pes, or leave the judge out."
        )
    for address in (spec.model.task, spec.model.optimizer or ""):
        if address.startswith("embedded:"):
            embedded_file(address.removeprefix("embedded:"), download)
    optimizer = model if model and "write" in model.abilities else None
    if model is None:
        optimizer = model = _opened(stack, spec.model.task, task, spec.model.options, download)
    if spec.model.optimizer and spec.model.optimizer != spec.model.task:
        optimizer = _opened(stack, spec.model.optimizer, task, {}, download)
    judge = _judge(stack, spec, task, model, download) if compares or task.rubrics else None
    jury = _jury(spec, task, judge) if compares else None
    prices = _prices(spec, model, optimizer, judge)
    return Setup(
        task,
        strategy,
        task_model=model,
        optimizer_model=optimizer,
        judge_model=judge,
        jury=jury,
        encoder=_encoder(stack, spec.model.embed),
        budget=spec.budget,
        prices=prices,
        objective=Objective(spec.length_penalty),
        rules=spec.guards,
        seed=spec.seed,
        cache=spec.cache,
        min_valid=spec.min_valid,
    )


def _strategy(spec: StrategySpec) -> Strategy:
    """Return the strategy of a spec, or two of them, one after the other."""
    if not spec.then:
        return configure(spec.name, spec.profile, spec.settings)
    later = {name: value for name, value in spec.settings.items() if name.startswith(THEN)}
    now = {name: value for name, value in spec.settings.items() if name not in later}
    second = configure(spec.then, settings={name.removeprefix(THEN): value for name, value in later.items()})
    return Then(configure(spec.name, spec.profile, now), second, spec.share)


def _judge(stack: ExitStack, spec: StudySpec, task: Task, model: Backend, download: Download | None) -> Backend | None:
    """Return the judge model, which may be the task model; None where none is named."""
    address = spec.judge.model
    if address is None:
        return None
    if address == spec.model.task and not spec.judge.options:
        return model
    if address.startswith("embedded:"):
        embedded_file(address.removeprefix("embedded:"), download)
    return _opened(stack, address, task, spec.judge.options, download)


def _jury(spec: StudySpec, task: Task, model: Backend | None) -> Jury | None:
    """Return who compares answers; None where nobody can."""
    by = spec.judge.by or (("metric",) if task.metric.name != NO_METRIC else ())
    if not by:
        return None
    if "metric" in by and task.metric.name == NO_METRIC:
        raise ConfigError("judge: metric, but this task has none; let people (human) or a model's address judge.")
    return Jury("human" in by, "metric" in by, model, spec.judge.criteria or task.description)


def _encoder(stack: ExitStack, name: str) -> Encoder:
    if name == "hash":
        return HashEncoder()
    if name.startswith("st:"):
        return SentenceEncoder(name.removeprefix("st:"))
    if not name.startswith(("http://", "https://")):
        raise ConfigError(
            f"embed = {name!r} must be hash, st:NAME, or the address of an endpoint (http://host/v1#NAME)."
        )
    from promptopt.backends.embeddings import EmbeddingsBackend

    backend = EmbeddingsBackend(name)
    stack.callback(backend.close)
    return EndpointEncoder(backend)


def _prices(spec: StudySpec, model: Backend, optimizer: Backend | None, judge: Backend | None) -> dict[str, Prices]:
    """Return what each model costs: the user's own figures, else those of litellm's price list."""
    given = {judge.address: spec.judge.price} if judge else {}
    given |= {optimizer.address: spec.model.optimizer_price} if optimizer else {}
    given |= {model.address: spec.model.price}
    known = {address: Prices(*price) if price else find_prices(address) for address, price in given.items()}
    for address, price in known.items():
        if spec.budget.usd is not None and price is None and not address.startswith(OWN_MACHINE):
            own = {spec.model.optimizer: "--optimizer-price", model.address: "--price"}
            option = own.get(address, "--judge-price")
            raise ConfigError(
                f"budget: usd = {spec.budget.usd}, but the price of {address} is not known; give it in dollars a "
                f"million tokens read and written, such as {option} 0.15,0.60 (litellm's list is read where litellm "
                'is installed: pip install -e ".[api]").'
            )
    return {address: price for address, price in known.items() if price}


def _opened(
    stack: ExitStack, address: str, task: Task, options: Mapping[str, str], download: Download | None
) -> Backend:
    examples = [*task.dataset.train, *task.dataset.dev, *task.dataset.test]
    backend = open_backend(address, examples=examples, options=options, tell=download)
    stack.callback(backend.close)
    return backend


def study_row(
    store: Store, spec: StudySpec, setup: Setup, added: Sequence[Prompt] = (), *, is_evaluation: bool = False
) -> StudyRow:
    """Return the stored study of these settings, made now if there is none.

    Commits:
        The study with its dataset and seed prompts; later only its budget.

    Raises:
        StudyMismatchError: The stored study of this name was made with other settings; says which.
    """
    identity = identity_of(spec, setup)
    digest = content_hash(identity)
    name = spec.name or f"{setup.task.name}-{setup.strategy.name}-{digest[:4]}"
    row = store.study(name)
    if row is not None and row.config_hash != digest:
        stored = row.config["identity"]
        changed = [key for key in identity if identity[key] != stored.get(key)]
        raise StudyMismatchError(
            f"The study '{name}' in {spec.store} was made with other settings ({', '.join(changed)}); give this one "
            f"another name with --study, or start from its best prompts with --fork {name}."
        )
    if row is None:
        store.put_dataset(setup.task.dataset)
        store.put_prompts(setup.task.seeds)
        row = StudyRow(
            id=0,
            name=name,
            config={
                "identity": identity,
                "spec": asdict(replace(spec, name=name)),
                "added_seeds": [prompt.id for prompt in added],
                "is_evaluation": is_evaluation,
            },
            budget=asdict(spec.budget),
            config_hash=digest,
            seed=spec.seed,
            versions=_versions(setup),
            dataset_hash=setup.task.dataset.hash,
            state="paused" if is_evaluation else "running",
        )
        try:
            return replace(row, id=store.create_study(row))
        except StoreError:
            if store.study(name) is None:
                raise
        # Somebody else has made it since we looked.
        return study_row(store, spec, setup, added, is_evaluation=is_evaluation)
    if asdict(spec.budget) != row.budget:
        store.update_study(row.id, budget=asdict(spec.budget))
    return row


def added_seeds(store: Store, spec: StudySpec, fork_of: str | None) -> list[Prompt]:
    """Return the seeds that a fork adds to those of its task: of the stored study, else of the one it forks.

    Raises:
        UnknownNameError: There is no study to fork.
        ConfigError: It has found no prompts yet.
    """
    row = store.study(spec.name) if spec.name else None
    if row is not None:
        return [store.prompt(prompt_id) for prompt_id in row.config.get("added_seeds", ())]
    return _best_prompts(store, fork_of) if fork_of else []


def identity_of(spec: StudySpec, setup: Setup) -> dict[str, Any]:
    """Return all that decides what a study does; caps on spending are not among it."""
    task = setup.task
    optimizer = setup.optimizer_model if setup.strategy.estimate(setup.context).writes else None
    return {
        **task.identity(),
        "task model": setup.task_model.model_key,
        "optimizer model": optimizer.model_key if optimizer else None,
        "strategy": [setup.strategy.name, setup.strategy.version],
        "strategy settings": settings_of(setup.strategy),
        "layout modes": sorted(setup.task_model.modes),
        "plan": setup.plan,
        "cache mode": spec.cache,
        "guards": asdict(spec.guards),
        "seed": spec.seed,
        **({"length penalty": spec.length_penalty} if spec.length_penalty else {}),
        **({"judge model": setup.judge_model.model_key} if task.rubrics and setup.judge_model else {}),
        **({"judges": _judges(setup.jury)} if setup.jury else {}),
        **({"embedding": setup.encoder.key} if "embed" in setup.strategy.needs else {}),
    }


def _judges(jury: Jury) -> dict[str, Any]:
    model = jury.model.model_key if jury.model else None
    return {"people": jury.people, "metric": jury.metric, "model": model, "criteria": jury.criteria}


def _versions(setup: Setup) -> dict[str, str]:
    names = ("promptopt", "numpy", "sqlalchemy", *packages_of(setup.strategy))
    strategy = {setup.strategy.name: setup.strategy.version}
    return {"python": platform.python_version(), **{name: version(name) for name in names}, **strategy}


def _best_prompts(store: Store, name: str) -> list[Prompt]:
    row = store.study(name)
    if row is None:
        raise UnknownNameError("study to fork", name, [known.name for known in store.studies()])
    said = [ask.payload for ask in store.journal(row.id) if ask.kind == "recommend" and ask.payload]
    if not said:
        raise ConfigError(
            f"The study to fork, '{name}', has found no prompts yet; let it go on first, or fork another."
        )
    return [store.prompt(prompt_id) for prompt_id in said[-1]["ranking"][:FORK_SEEDS]]

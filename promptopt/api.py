"""The Python door: optimize, evaluate and open a study from plain settings.

Every other door (command line, pages, pipelines) goes through here.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Unpack

from promptopt import plugins
from promptopt.agreement import GradeAudit
from promptopt.ask import Evaluate
from promptopt.backends.base import Backend
from promptopt.config import StudySpec, TaskSpec, read_spec
from promptopt.errors import ConfigError, StudyError, UnknownNameError
from promptopt.evaluation import Evaluation
from promptopt.example import SPLITS, Example, Split, by_task
from promptopt.health import Health, TooManyFailuresError
from promptopt.ids import content_hash
from promptopt.judge_model import MAX_TOKENS
from promptopt.layout import BYTES_A_TOKEN
from promptopt.ledger import BudgetSpentError, Ledger
from promptopt.metric import NO_METRIC
from promptopt.opening import Download, added_seeds, identity_of, open_setup, study_row
from promptopt.options import Data, Options, spec_of
from promptopt.prompt import Candidate
from promptopt.result import Progress, Result, evaluation_json
from promptopt.setup import Setup, open_evaluator
from promptopt.statistics import macro_interval
from promptopt.store.rows import AskRow
from promptopt.store.store import Store
from promptopt.study import Observer, Study
from promptopt.suite import Suite
from promptopt.task import Task
from promptopt.verdict import LEAST_EXAMPLES, per_class

FEW_TEST = 100
RUBRIC_TOKENS = 200  # of a judge's question, besides input and answer; a guess for estimates
OF_THE_SUITE = ("name", "max_tokens", "temperature", "scoring", "mode")  # settings that hold for all its tasks


def optimize(data: Data | Task, *, observer: Observer | None = None, **options: Unpack[Options]) -> Result:
    """Find a better prompt and prove it; the same call again resumes, or shows the finished study.

    Args:
        data: A ready task's name, a folder, a JSONL or CSV file, rows as mappings or Examples, such rows by split
            (``{"train": ..., "dev": ..., "test": ...}``), a Task, or a Suite of them.
        observer: Told how it goes, some ten times a second.
        **options: See Options; ``budget`` as a number means evaluations, ``metric`` may be a callable
            ``(output, example) -> float``, ``guards`` switches some off: ``{"urls": False}``.

    Returns:
        The result, with the prompt to use and the verdict.

    Raises:
        PromptOptError: See ``promptopt.errors``; the message says what to do.
    """
    spec = spec_of(data, options)
    task = data if isinstance(data, Task) else None
    if task is None and not spec.task.data:
        task = load_task(spec, data=data, metric=options.get("metric"))
    with open_study(spec, task=task, observer=observer) as study:
        return study.run()


@contextmanager
def open_study(
    spec: StudySpec,
    *,
    task: Task | None = None,
    model: Backend | None = None,
    fork_of: str | None = None,
    observer: Observer | None = None,
    download: Download | None = None,
) -> Iterator[Study]:
    """Open the study of these settings: a new one, or the stored one to be resumed.

    Args:
        spec: The settings.
        task: The task, if it is made already.
        model: The task model, if it is open already; who opened it closes it.
        fork_of: The name of a study whose best prompts become further seeds of this one.
        observer: Told how it goes.
        download: Told how the embedded model's file comes, if it has to be fetched: stage, bytes done, bytes in all.

    Raises:
        StudyMismatchError: The stored study of this name was made with other settings; says which.
    """
    with ExitStack() as stack:
        task = task or load_task(spec)  # first, so that bad data leaves no empty store behind
        store = stack.enter_context(Store.open(spec.store))
        added = added_seeds(store, spec, fork_of)
        task = replace(task, seeds=(*task.seeds, *added))
        setup = open_setup(stack, spec, task, download, model)
        yield Study(store, study_row(store, spec, setup, added), setup, observer)


def preview(study: Study) -> dict[str, Any]:
    """Return what a study will take at most, before anything is spent."""
    setup = study.setup
    estimate = setup.strategy.estimate(setup.context)
    proof, judged = setup.proof_calls, setup.judge_calls * estimate.evaluations
    graded = judged + setup.proof_gradings
    price = setup.prices.get(setup.task_model.address)
    return {
        "search_evaluations": estimate.evaluations,
        "optimizer_calls": estimate.writes,
        "judge_calls": judged,
        "proof_calls": proof,
        "calls": estimate.evaluations + estimate.writes + judged + proof,
        "usd": _estimated_usd(setup, estimate.evaluations + proof - setup.proof_gradings, graded) if price else None,
        "notes": _notes(setup),
    }


def _estimated_usd(setup: Setup, calls: int, graded: int) -> float:
    # A rule of thumb, on which the hard cap does not rest.
    examples = [group[0] for group in by_task(setup.task.dataset.search).values()]
    requests = [setup.task.template(setup.task.seeds[0], e.task).render(e) for e in examples]
    bytes_read = sum(len(message.content.encode()) for messages in requests for message in messages)
    prompt_tokens = bytes_read // (BYTES_A_TOKEN * len(requests))
    price = setup.prices[setup.task_model.address]
    written = setup.task.decoding.max_tokens
    judge = setup.prices.get(setup.judge_model.address) if graded and setup.judge_model else None
    grading = judge.cost_usd(prompt_tokens + written + RUBRIC_TOKENS, MAX_TOKENS) if judge else 0.0
    return calls * price.cost_usd(prompt_tokens, written) + graded * grading


def _notes(setup: Setup) -> list[str]:
    """Return what a user should know before the start."""
    notes = []
    if "write" in setup.strategy.needs and setup.optimizer_model and "write" not in setup.optimizer_model.abilities:
        notes.append(
            f"{setup.strategy.name} lets {setup.optimizer_model.address} write prompts, which a model this small "
            "hardly can; give a larger one with --optimizer, or take --strategy irace, which needs none."
        )
    dataset = setup.task.dataset
    if not dataset.test:
        notes.append("There is no test split, so the gain will not be measured; 300 held-out examples show 10 points.")
    elif len(dataset.test) < LEAST_EXAMPLES:
        notes.append(
            f"Only {len(dataset.test)} test examples: below {LEAST_EXAMPLES} nothing is decided, so the gain will not "
            "be measured."
        )
    elif len(dataset.test) < FEW_TEST:
        notes.append(f"Only {len(dataset.test)} test examples: a gain under 10 points will hardly show.")
    return notes


def load_task(spec: StudySpec, *, data: Any = None, metric: Any = None) -> Task:
    """Make the task of a spec, through the installed task loader.

    Args:
        spec: The settings.
        data: Rows or a path, in place of the spec's.
        metric: A callable, in place of the spec's name.

    Raises:
        DataError: The data is wrong; names file, line and field.
        ConfigError: A setting is wrong.
    """
    if spec.task.tasks:
        return _load_suite(spec)
    if not spec.task.data and data is None:
        raise ConfigError("there is no data: name a ready task, or give a file with --data.")
    settings = {k: v for k, v in asdict(spec.task).items() if k not in ("data", "mode") and v not in (None, {}, ())}
    settings["mode"] = spec.task.mode or ("completion" if spec.model.task.startswith("embedded") else "chat")
    if metric is not None:
        settings["metric"] = metric
    return plugins.load_task(spec.task.data if data is None else data, **settings)


def _load_suite(spec: StudySpec) -> Suite:
    """Make a suite: each task from a study file's section [task], or from what a single task's ``data`` may be."""
    given = {f.name for f in fields(TaskSpec) if getattr(spec.task, f.name) != f.default and f.name != "columns"}
    if own := sorted(given - {"tasks", *OF_THE_SUITE}):
        raise ConfigError(
            f"task: {own[0]} belongs to one task, and tasks = [...] names several; write it into the file of the one "
            "that it is for."
        )
    common = {name: getattr(spec.task, name) for name in OF_THE_SUITE if name != "name"}
    tasks = []
    for source in spec.task.tasks:
        own_spec = read_spec(Path(source)).task if source.endswith(".toml") else TaskSpec(data=source)
        missing = {name: value for name, value in common.items() if getattr(own_spec, name) is None}
        tasks.append(load_task(replace(spec, task=replace(own_spec, **missing))))
    return Suite(tuple(tasks), name=spec.task.name or "suite")


@dataclass(frozen=True, slots=True)
class Measured:
    """One prompt's evaluation on one split."""

    task: Task
    split: Split
    candidate: Candidate
    evaluation: Evaluation
    grades: GradeAudit | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the figures, the classes and the outcomes as plain data."""
        examples = {example.id: example for example in self.task.dataset.split(self.split)}
        rows = [
            {
                "inputs": dict(examples[outcome.example_id].inputs),
                "target": examples[outcome.example_id].target,
                **outcome._asdict(),
                "usage": asdict(outcome.usage),
            }
            for outcome in self.evaluation.outcomes
        ]
        figures = evaluation_json(self.evaluation)
        interval = asdict(macro_interval(list(self.evaluation.scores_by_task.values())))
        # The targets of several tasks are no classes of one.
        classes = [] if self.evaluation.tasks else per_class(self.evaluation, examples.values())
        return {
            "task": self.task.name,
            "split": self.split,
            **figures,
            **interval,
            "classes": [asdict(figure) for figure in classes],
            "judging": {"grades": asdict(self.grades)} if self.grades else {},
            "outcomes": rows,
        }


def evaluate(
    spec: StudySpec,
    split: Split = "dev",
    *,
    task: Task | None = None,
    repeat: int = 0,
    observer: Observer | None = None,
    download: Download | None = None,
) -> Measured:
    """Score the seed prompt of these settings on one split; a look at ``test`` is recorded as a use of it.

    What is known is not asked again, but for calls that failed.

    Args:
        spec: The settings; those of the search do not matter.
        split: Which examples.
        task: The task, if it is made already.
        repeat: Which independent draw of the answers is wanted, from 0; needs a temperature above 0.
        observer: Told how it goes.
        download: Told how the embedded model's file comes.

    Raises:
        ConfigError: There is no such split, it is empty, there is no metric, or a repeat is asked of a model that does
            not sample.
        StudyError: A cap was reached, or too many calls failed.
    """
    with ExitStack() as stack:
        task = task or load_task(spec)
        examples = _to_measure(task, split, repeat)
        store = stack.enter_context(Store.open(spec.store))
        setup = open_setup(stack, spec, task, download)
        digest = content_hash(identity_of(spec, setup))
        row = study_row(store, replace(spec, name=f"evaluate-{task.name}-{digest[:6]}"), setup, is_evaluation=True)
        ledger = Ledger(spec.budget, store.spend(row.id), setup.prices, Health(spec.min_valid))
        evaluator = open_evaluator(setup, store, ledger, row.id)
        begun = time.monotonic()

        def tick(done: int, total: int) -> None:
            if observer:
                pace = done / max(1e-9, time.monotonic() - begun)
                observer(Progress(split, done, total, 1, None, ledger.spend, pace))

        candidate, path = Candidate(task.seeds[0]), f"{split}/{repeat}" if repeat else split
        ask = Evaluate([candidate], examples, split, repeat)
        store.open_asks(row.id, [AskRow(repeat, path, ask.kind, ask.fingerprint())])
        if split == "test":
            for key in task.test_hashes:
                store.record_test_use(key, row.id)
        try:
            evaluation = evaluator.answer({path: ask}, tick)[path][0]
        except (BudgetSpentError, TooManyFailuresError) as stop:
            raise StudyError(f"Stopped: {stop}; what came in is stored and is not called again.") from None
        finally:
            store.charge(row.id, ledger.lost)
        store.update_study(row.id, state="finished")
        grades = evaluator.grader.audit(task.rubrics) if evaluator.grader else None
        return Measured(task, split, candidate, evaluation, grades)


def _to_measure(task: Task, split: Split, repeat: int) -> tuple[Example, ...]:
    """Return the examples of a split that is there and not empty, if a prompt can be scored on them so."""
    if split not in SPLITS:
        raise UnknownNameError("split", split, SPLITS)
    examples = task.dataset.split(split)
    if not examples:
        raise ConfigError(f"task {task.name}: the split {split} is empty; choose another with --split.")
    if task.metric.name == NO_METRIC:
        raise ConfigError(f"task {task.name} has no metric, so there is nothing to score by; name one with --metric.")
    if repeat and not task.decoding.temperature:
        raise ConfigError(f"--repeat {repeat} would bring the same answers at temperature 0; raise --temperature.")
    return examples

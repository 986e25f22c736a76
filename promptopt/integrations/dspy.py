"""DSPy: better instructions and demonstrations for a predictor of a DSPy program, with the proof that they are.

To us a program is a model: it is given a predictor's instruction and demonstrations beside an input, and answers with
its prediction. What DSPy does between the two (adapters, tools, further predictors) stays as it is.
"""

import asyncio
import inspect
import json
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from typing import Any, Unpack

import dspy
from dspy.utils.exceptions import AdapterParseError
from pydantic import BaseModel, TypeAdapter, ValidationError

from promptopt import plugins
from promptopt.api import open_study
from promptopt.backends.base import Again, K, Reply, Request, always
from promptopt.backends.loop import LoopThread, stream
from promptopt.budget import Usage
from promptopt.errors import ConfigError, DataError, StudyError, UnknownNameError
from promptopt.example import Dataset, Example
from promptopt.ids import content_hash
from promptopt.layout import Layout, Message, Mode, Turn, escape
from promptopt.metric import Score
from promptopt.metrics import CallableMetric
from promptopt.options import Options, spec_of
from promptopt.prompt import Demo, Prompt
from promptopt.result import Result
from promptopt.study import Observer
from promptopt.task import Task

PROGRAMS_KEPT = 64
PREDICTION, UNREADABLE = "prediction", "unreadable"  # what a program came to, in the JSON that is stored

Program = Any  # a dspy.Module; DSPy has no types that a checker could read
Row = Any  # a dspy.Example


class PromptOpt:
    """A DSPy optimizer: ``compile`` returns the program with a better instruction and better demonstrations.

    One predictor is optimized at a time, by one study that resumes like any other. Demonstrations are among what is
    searched where the program has a single predictor and the rows bring its outputs; otherwise the instruction is.

    Args:
        metric: DSPy's ``metric(example, prediction, trace=None)``, from 0 to 1; a number, or a Prediction with
            ``score`` and ``feedback``.
        predictor: Which, by its name in ``program.named_predictors()``; may be left out where there is only one.
        threads: How many inputs the program works on at a time.
        observer: Told how the study goes.
        **options: As ``promptopt.optimize`` takes them: ``strategy``, ``budget``, ``optimizer``, ``store``, ...

    Attributes:
        result: The result of the last ``compile``, with the verdict; None before.
    """

    def __init__(
        self,
        metric: Callable[..., Any],
        /,
        *,
        predictor: str | None = None,
        threads: int = 8,
        observer: Observer | None = None,
        **options: Unpack[Options],
    ) -> None:
        if unknown := sorted({"model", "prompt", "metric", "embed"} & options.keys()):
            raise ConfigError(f"{unknown[0]}: a DSPy program brings its own; leave it out.")
        if threads < 1:
            raise ConfigError(f"threads = {threads} must be at least 1.")
        self.metric, self.predictor, self.threads = metric, predictor, threads
        self.observer, self.options = observer, options
        self.result: Result | None = None

    def compile(
        self, student: Program, *, trainset: Sequence[Row], valset: Sequence[Row] = (), testset: Sequence[Row] = ()
    ) -> Program:
        """Search on ``trainset``, choose on ``valset``, prove on ``testset``; return a copy of the program.

        Where neither of the last two is given, all three are cut from ``trainset``.

        Args:
            student: The program, which is not changed.
            trainset: Rows whose inputs are named (``with_inputs``).
            valset: Likewise.
            testset: Likewise; without it (and with a ``valset``) the gain is not measured.

        Raises:
            PromptOptError: A row or a setting is wrong, or the study stopped; the message says what to do.
        """
        name = _predictor_name(student, self.predictor)
        rows = Rows.of({"train": trainset, "dev": valset, "test": testset})
        shows_demos = _shows_demos(student, rows)
        task = _task(student, name, rows, self.metric, shows_demos=shows_demos)
        table = rows.by_text(task, _own_demos(student, name, task.fields))
        backend = ProgramBackend(student, name, table, self.threads, shows_demos)
        spec = spec_of(task, self.options)
        spec = replace(spec, model=replace(spec.model, task=backend.address))
        with closing(backend), open_study(spec, task=task, model=backend, observer=self.observer) as study:
            self.result = study.run()
        if self.result.cause == "failures":
            raise StudyError(self.result.verdict)
        *shown, _ = self.result.prompt.template(task.fields).shared
        return backend.program(tuple(shown))


@dataclass(frozen=True)
class Rows:
    """DSPy's rows, and ours made of them.

    Args:
        splits: Ours, those that are not empty, in the order given.
        origin: DSPy's, by ours.
    """

    splits: Mapping[str, tuple[Example, ...]]
    origin: Mapping[Example, Row]

    @classmethod
    def of(cls, splits: Mapping[str, Sequence[Row]]) -> "Rows":
        """Return these rows.

        Raises:
            DataError: The inputs of a row are not named, or a row has no input.
        """
        ours: dict[str, tuple[Example, ...]] = {}
        origin: dict[Example, Row] = {}
        for split, rows in splits.items():
            made = tuple(_example(row, f"{split} row {number}") for number, row in enumerate(rows, 1))
            origin |= zip(made, rows, strict=True)
            ours |= {split: made} if made else {}
        return cls(ours, origin)

    def by_text(self, task: Task, demos: Mapping[Example, Row]) -> dict[str, Row]:
        """Return DSPy's rows by how their inputs read in a message, those of the program's own demonstrations too."""
        template = task.seeds[0].replace(demos=()).template(task.fields)
        rows = {**demos, **self.origin}
        return {_asked(template.render(example)[-1]): row for example, row in rows.items()}


class ProgramBackend:
    """A program as a model: the messages say which instruction and demonstrations its predictor gets, and which input.

    Args:
        program: The program, which is not changed.
        predictor: The name of the predictor that the messages are for.
        rows: DSPy's rows, by how their inputs read in a message.
        threads: How many inputs are worked on at a time.
        shows_demos: Whether the messages say which demonstrations there are; else the program keeps its own.
    """

    modes: frozenset[Mode] = frozenset({"chat"})
    abilities: frozenset[str] = frozenset()
    added_tokens = 0

    def __init__(
        self, program: Program, predictor: str, rows: Mapping[str, Row], threads: int, shows_demos: bool
    ) -> None:
        self._student, self._predictor, self._rows = program, predictor, rows
        self.concurrency, self._shows_demos = threads, shows_demos
        self.address = f"dspy:{type(program).__name__}"
        self.program = lru_cache(PROGRAMS_KEPT)(self._program)
        self._loop, self._pool = LoopThread.open(), ThreadPoolExecutor(threads, "dspy")

    @cached_property
    def model_key(self) -> str:
        """The hash of the program's code and state but for what is searched, its models, its adapter and DSPy."""
        predictors = dict(self._student.named_predictors())
        state = {name: predictor.dump_state() for name, predictor in predictors.items()}
        state[self._predictor]["signature"].pop("instructions")
        if self._shows_demos:
            state[self._predictor].pop("demos")
        signatures = [str(predictor.signature.fields) for predictor in predictors.values()]
        model, adapter = dspy.settings.lm, type(dspy.settings.adapter).__name__
        told = [state, signatures, model.dump_state() if model else None, adapter, _source(self._student)]
        return content_hash("dspy", dspy.__version__, json.dumps(told, sort_keys=True, default=str))

    def run(
        self, requests: Iterable[tuple[K, Request]], again: Again = always
    ) -> Generator[tuple[K, Reply] | None, None, None]:
        """Answer requests in the order in which replies come; DSPy itself tries again, so ``again`` is not asked."""
        del again
        here = copy_context()  # so that dspy.context(...) around compile holds in the threads

        async def answer(request: Request) -> Reply:
            work = partial(here.copy().run, self._answer, request)
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)

        return stream(self._loop, answer, requests, self.concurrency)

    def close(self) -> None:
        """End the threads; programs that run are waited for."""
        self._loop.close()
        self._pool.shutdown(cancel_futures=True)

    def _answer(self, request: Request) -> Reply:
        *shown, asked = request.messages
        row = self._rows[_asked(asked)]
        with dspy.track_usage() as used:
            try:
                prediction = self.program(tuple(shown))(**row.inputs())
                text = _json({PREDICTION: prediction.toDict()})
            except AdapterParseError as error:
                text = _json({UNREADABLE: str(error.lm_response)})
            except Exception as error:  # noqa: BLE001  # a program may raise anything; it is recorded with the call
                return Reply("failed", usage=_usage(used), error=_sentence(error))
        return Reply("ok", text, _usage(used))

    def _program(self, shown: tuple[Message, ...]) -> Program:
        """Return the program whose predictor has the instruction and the demonstrations of these messages."""
        program = self._student.deepcopy()
        predictor = dict(program.named_predictors())[self._predictor]
        instruction = "\n\n".join(message.content for message in shown if message.role == "system")
        predictor.signature = predictor.signature.with_instructions(instruction)
        if self._shows_demos:
            predictor.demos = [self._rows[_asked(message)] for message in shown if message.role == "user"]
        return program


@dataclass(frozen=True)
class ProgramMetric:
    """A DSPy metric on predictions that are kept as JSON.

    Args:
        metric: The metric.
        rows: DSPy's rows, by ours.
        types: What kind of value each output of the program's predictors is.
    """

    metric: Callable[..., Any]
    rows: Mapping[Example, Row]
    types: Mapping[str, Any]

    @cached_property
    def name(self) -> str:
        """The function's name."""
        return str(getattr(self.metric, "__name__", type(self.metric).__name__))

    @cached_property
    def key(self) -> str:
        """The hash of the function's name and source."""
        return CallableMetric(self.metric, self.name).key

    def score(self, output: str, example: Example) -> Score:
        """Score one prediction; an answer that DSPy could not read is a wrong one, as it is to DSPy."""
        told = json.loads(output)
        if UNREADABLE in told:
            return Score(0.0, f"The answer does not have the form that was asked for: {told[UNREADABLE]}")
        found = self.metric(self.rows[example], self._prediction(told[PREDICTION]))
        return Score(float(found), str(getattr(found, "feedback", "")))

    def check(self, dataset: Dataset) -> None:
        """Refuse nothing: only the metric knows what fits it."""

    def _prediction(self, values: dict[str, Any]) -> Any:
        for name in self.types.keys() & values.keys():
            try:
                values[name] = TypeAdapter(self.types[name]).validate_python(values[name])
            except ValidationError:  # the program has made something else of this output
                continue
        return dspy.Prediction(**values)


def _predictor_name(program: Program, wanted: str | None) -> str:
    names = [name for name, _ in program.named_predictors()]
    if not names:
        raise ConfigError(f"{type(program).__name__} has no predictor (dspy.Predict), so nothing to optimize.")
    if wanted is None and len(names) > 1:
        raise ConfigError(f"{type(program).__name__} has several predictors ({', '.join(names)}); say predictor=NAME.")
    if wanted not in (None, *names):
        raise UnknownNameError(f"predictor of {type(program).__name__}", str(wanted), names)
    return wanted or str(names[0])


def _task(program: Program, name: str, rows: Rows, metric: Callable[..., Any], *, shows_demos: bool) -> Task:
    if dspy.settings.lm is None and any(predictor.lm is None for _, predictor in program.named_predictors()):
        raise ConfigError("DSPy has no language model; set one with dspy.configure(lm=dspy.LM(...)).")
    if "train" not in rows.splits:
        raise DataError("trainset is empty; give at least some 30 rows.")
    data = rows.splits if len(rows.splits) > 1 else rows.splits["train"]
    signature = dict(program.named_predictors())[name].signature
    types = {k: f.annotation for _, p in program.named_predictors() for k, f in p.signature.output_fields.items()}
    scored = ProgramMetric(metric, rows.origin, types)
    instruction = signature.instructions
    task = plugins.load_task(data, name=type(program).__name__, prompt="Answer.", metric=scored)
    labels = {field: field for field in task.fields}
    layout = Layout("chat", (Turn("system", ("{instruction}",)), Turn("demos"), Turn("user", ("{fields}",))), labels)
    own = _own_demos(program, name, task.fields) if shows_demos else ()
    seed = Prompt.of(escape(instruction, task.fields), layout, demos=tuple(map(Demo.of, own)))
    editable = ("instruction", "demos") if shows_demos else ("instruction",)
    return replace(task, description=instruction, seeds=(seed,), editable=editable)


def _shows_demos(program: Program, rows: Rows) -> bool:
    """Say whether rows can stand as demonstrations: a single predictor, whose inputs and some outputs they have."""
    predictors = program.named_predictors()
    row = next(iter(rows.origin.values()), None)
    if len(predictors) != 1 or row is None:
        return False
    signature = predictors[0][1].signature
    return set(signature.input_fields) <= set(row.keys()) and bool(set(signature.output_fields) & set(row.keys()))


def _own_demos(program: Program, name: str, fields: Sequence[str]) -> dict[Example, Row]:
    """Return the demonstrations that the predictor has already, by ours."""
    predictor = dict(program.named_predictors())[name]
    rows = [dspy.Example(**given).with_inputs(*predictor.signature.input_fields) for given in predictor.demos]
    return {Example({field: _text(row.get(field, "")) for field in fields}, _target(row)): row for row in rows}


def _example(row: Row, place: str) -> Example:
    try:
        inputs = row.inputs().toDict()
    except (AttributeError, ValueError):
        raise DataError(f"{place}: its inputs are not named; add .with_inputs(...) to it.") from None
    if not inputs:
        raise DataError(f"{place} has none of the inputs that it names; see with_inputs.")
    return Example({name: _text(value) for name, value in inputs.items()}, _target(row))


def _asked(message: Message) -> str:
    return message.content.strip(" ")  # as demonstrations are


def _target(row: Row) -> str:
    labels = row.labels().toDict()
    return _text(next(iter(labels.values()))) if len(labels) == 1 else _text(labels)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"the program returned a {type(value).__name__}, which cannot be stored as JSON")


def _usage(tracker: Any) -> Usage:
    """Return what all its models took; what came from DSPy's own cache took nothing."""
    used = tracker.get_total_tokens().values()
    read = sum(model.get("prompt_tokens") or 0 for model in used)
    return Usage(read, sum(model.get("completion_tokens") or 0 for model in used))


def _sentence(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]


def _source(program: Program) -> str:
    try:
        return inspect.getsource(type(program))
    except (OSError, TypeError):  # written in a shell
        return type(program).__qualname__

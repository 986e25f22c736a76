"""The rows that go into and come out of a store: frozen, plain data.

Mappings in them hold plain JSON data; times are UTC in ISO 8601 and set by the store.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from promptopt.budget import Usage
from promptopt.duel import Source, Verdict
from promptopt.evaluation import Status

StudyState = Literal["running", "paused", "waiting", "finished"]
TrialState = Literal["running", "refused", "finalist", "winner"]
DuelState = Literal["asked", "open", "settled"]
AskState = Literal["open", "answered"]


@dataclass(frozen=True, slots=True)
class StudyRow:
    """A study.

    Args:
        id: Given by the store; ignored when a study is created.
        name: Unique in the store.
        config: All settings that decide what the search does.
        config_hash: Their hash.
        seed: Of every random stream; 64 bits at most.
        versions: Of whatever decides what the search does: package, strategy, templates.
        state: Where it stands.
        summary: What it came to, with the verdict at the end.
        dataset_hash: The dataset that it works on.
        created: When it was made.
        updated: When the row was last changed.
        budget: Its limits, by unit.
        is_held: Whether a process works on it; ignored when a study is created.
    """

    id: int
    name: str
    config: Mapping[str, Any]
    config_hash: str
    seed: int
    versions: Mapping[str, Any]
    state: StudyState = "running"
    summary: Mapping[str, Any] = field(default_factory=dict)
    dataset_hash: str = ""
    created: str = ""
    updated: str = ""
    budget: Mapping[str, Any] = field(default_factory=dict)
    is_held: bool = False


@dataclass(frozen=True, slots=True)
class AskRow:
    """One ask in a study's journal.

    Args:
        number: The step it belongs to.
        path: Names it in the study: ``12``, ``12/0/3`` inside a batch, ``proof/0`` after the search.
        kind: ``write``, ``evaluate``, ``recommend``, ...
        fingerprint: By which a resumed study recognises it.
        state: Whether it is answered.
        digest: The hash of its answer.
        metric_key: The metric under which it was answered, if any.
        payload: What it asked, where that is kept.
        answer: A small answer, where that is kept here.
        opened: When.
        answered: When.
    """

    number: int
    path: str
    kind: str
    fingerprint: str
    state: AskState = "open"
    digest: str = ""
    metric_key: str | None = None
    payload: Any = None
    answer: Any = None
    opened: str = ""
    answered: str = ""


@dataclass(slots=True)  # not frozen only because that makes each of thousands five times as slow to build
class OutcomeRow:
    """What a model said to one prompt on one example.

    Args:
        request_key: The hash of the rendered request, the model and the repeat.
        prompt_id: The prompt for which it was first asked.
        example_id: The example.
        model_key: The hash of all that decides what the model says.
        repeat: Counts independent answers to one request, from 0.
        status: How the call ended.
        output: What the model wrote.
        usage: What it took.
        attempts: How often it was sent; the study is charged one call all the same.
        study_id: The study that paid; None if that is deleted.
        error: Why there is no output.
    """

    request_key: str
    prompt_id: str
    example_id: str
    model_key: str
    repeat: int
    status: Status
    output: str = ""
    usage: Usage = Usage()
    attempts: int = 1
    study_id: int | None = None
    error: str = ""


class ScoreRow(NamedTuple):  # like ConsumedRow
    """What a metric, named by its key, says of an outcome; the value is in [0, 1]."""

    request_key: str
    metric_key: str
    value: float
    feedback: str = ""


@dataclass(frozen=True, slots=True)
class ReadingRow:
    """One reply of a judge model about an outcome, under the key of what was asked.

    Args:
        request_key: The outcome.
        key: Names the judge, the rubric and the question.
        value: In [0, 1], of a remark 0; None where nothing could be read, which is paid and not kept.
        text: What the judge wrote, or the chances of the levels as JSON, where they are wanted.
        usage: What the call took.
    """

    request_key: str
    key: str
    value: float | None
    text: str = ""
    usage: Usage = Usage()


class ConsumedRow(NamedTuple):  # in the form that its table takes, since there is one for every evaluation
    """An outcome, new or cached, that an ask of a study used.

    Args:
        study_id: The study.
        path: The ask.
        request_key: The outcome.
        prompt_id: The prompt that was asked about, which need not be the outcome's own: prompts that render alike
            share their outcomes.
    """

    study_id: int
    path: str
    request_key: str
    prompt_id: str


@dataclass(frozen=True, slots=True)
class TextRow:
    """One text that the optimizer model wrote for an ask; ``index`` counts from 0."""

    index: int
    text: str
    status: Status = "ok"
    usage: Usage = Usage()
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class TrialRow:
    """A candidate in a study.

    Args:
        number: Counted from 0 in the order in which the search first asked for it.
        prompt_id: Its prompt.
        parents: The ids of the prompts it was made from.
        operator: What made it.
        note: A small remark for the report; its length in tokens, or why a guard refused it, stands there too.
        state: Where it stands; ``refused`` by a guard, before any call.
    """

    number: int
    prompt_id: str
    parents: tuple[str, ...] = ()
    operator: str = "seed"
    note: Mapping[str, Any] = field(default_factory=dict)
    state: TrialState = "running"


@dataclass(frozen=True, slots=True)
class TrialScoreRow:
    """How a trial did on the search examples so far.

    Args:
        number: The trial.
        prompt_id: Its prompt.
        mean: The mean score; 0 if there is none.
        standard_error: Of the mean; infinite below two scores.
        n_valid: How many examples have a score.
        n: How many examples were asked for.
        calls: Calls that its outcomes took when they were made.
        tokens: Tokens likewise.
        usd: US dollars likewise.
    """

    number: int
    prompt_id: str
    mean: float
    standard_error: float
    n_valid: int
    n: int
    calls: int
    tokens: int
    usd: float


@dataclass(frozen=True, slots=True)
class DuelRow:
    """A duel that a study asked for.

    Args:
        id: Names it.
        path: The ask.
        number: The ask's step.
        place: The duel's place in the ask.
        left_id: The prompt on the left.
        right_id: The prompt on the right.
        example_id: The example shown.
        quorum: How many people's verdicts are wanted; 0 where none are.
        state: ``asked`` until both outputs are there, ``open`` while it waits for people, then ``settled``.
        left_key: The outcome of the left prompt.
        right_key: That of the right one.
    """

    id: str
    path: str
    number: int
    place: int
    left_id: str
    right_id: str
    example_id: str
    quorum: int = 1
    state: DuelState = "asked"
    left_key: str | None = None
    right_key: str | None = None


@dataclass(frozen=True, slots=True)
class Vote:
    """A verdict to be recorded.

    Args:
        duel_id: On which duel.
        labeller: Who gives it.
        verdict: What, with the duel's own sides.
        source: A person, a judge model, a metric, or the outputs themselves.
        remark: Free words.
        catch: Whether the duel was shown again only to measure consistency.
        shown_first: The prompt that stood on the left of the screen; empty where sides were not drawn.
        millis: How long it took, in milliseconds.
        detail: What a judge model said in each order.
    """

    duel_id: str
    labeller: str
    verdict: Verdict
    source: Source = "human"
    remark: str = ""
    catch: bool = False
    shown_first: str = ""
    millis: int | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shown:
    """A duel as one labeller sees it; nothing here says which prompt is which.

    Args:
        duel_id: Names it, for ``record_verdict``.
        inputs: What both prompts were asked.
        left: The output on the left of the screen.
        right: The one on the right.
        expires: Until when it is kept for this labeller, in seconds since 1970.
    """

    duel_id: str
    inputs: Mapping[str, str]
    left: str
    right: str
    expires: float


@dataclass(frozen=True, slots=True)
class FileRow:
    """A duel with a verdict of a person, or without one, as it goes into a file, on sides drawn once for all."""

    duel_id: str
    inputs: Mapping[str, str]
    left: str
    right: str
    verdict: str = ""
    labeller: str = ""
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Labelling:
    """Where the labelling of a study stands.

    Args:
        open: Duels that wait for people.
        settled: Duels that do not, or not any more.
        given: Valid verdicts of people, catch trials left out.
        by_labeller: The same by who gave them.
    """

    open: int
    settled: int
    given: int
    by_labeller: Mapping[str, int]

"""Task: what is to be done well, a description with data, metric and seed prompts.

It also says how outputs are decoded and which parts of the prompt a study may change.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

from promptopt.errors import ConfigError, DataError
from promptopt.example import SPLITS, Dataset
from promptopt.layout import Message, Template, unknown_slots
from promptopt.metric import Metric
from promptopt.metrics.rubric import Rubric
from promptopt.prompt import PARTS, Prompt


@dataclass(frozen=True, slots=True)
class Decoding:
    """How the task model answers.

    Args:
        max_tokens: The most tokens an answer may have.
        temperature: 0 is greedy.
        seed: The sampling seed sent to the backend, where it takes one.
        scoring: ``generate`` reads the answer from text; ``choice`` too, but lets the model write nothing but one of
            the choices; ``likelihood`` takes the likeliest of the choices.
        score_truncated: Whether an answer cut at ``max_tokens`` is scored (right for short answers, where a cut
            one has missed the format) or is missing data (right for long reasoning).
    """

    max_tokens: int = 16
    temperature: float = 0.0
    seed: int | None = None
    scoring: Literal["generate", "choice", "likelihood"] = "generate"
    score_truncated: bool = True


@dataclass(frozen=True)
class Task:
    """A description, a dataset, a metric, seed prompts, and what may change.

    Raises:
        ConfigError: A seed shows the model no field of the data; a part is unknown.
        DataError: An example lacks a field that the first one has.
    """

    name: str
    description: str
    dataset: Dataset
    metric: Metric
    seeds: tuple[Prompt, ...]
    decoding: Decoding = Decoding()
    editable: tuple[str, ...] = PARTS

    def __post_init__(self) -> None:
        if not self.seeds:
            raise ConfigError(f"task {self.name}: there is no seed prompt; give one with --prompt.")
        if unknown := sorted(set(self.editable) - set(PARTS)):
            raise ConfigError(f"task {self.name}: no part is called {unknown[0]}; known: {', '.join(PARTS)}.")
        for split in SPLITS:
            for row, example in enumerate(self.dataset.split(split), 1):
                if lacking := set(self.fields) - example.inputs.keys():
                    raise DataError(f"{self.dataset.name}: {split} row {row} has no field '{min(lacking)}'; add it.")
        if self.fields and not all(seed.template(self.fields).slots for seed in self.seeds):
            have = _listed(self.fields)
            raise ConfigError(f"task {self.name}: the prompt shows the model no input; put one of {have} into it.")

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The names of the input fields."""
        return self.dataset.fields

    @property
    def members(self) -> "tuple[Task, ...]":
        """The tasks of a suite; of a single task, itself."""
        return (self,)

    @cached_property
    def rubrics(self) -> tuple[Rubric, ...]:
        """The rubrics by which a judge model has to grade outputs; of most tasks none."""
        return tuple(task.metric for task in self.members if isinstance(task.metric, Rubric))

    def member(self, name: str) -> "Task":  # noqa: ARG002  # a single task has one member, whatever its name
        """Return the task that an example belongs to, by ``Example.task``."""
        return self

    def template(self, prompt: Prompt, task: str = "") -> Template:  # noqa: ARG002  # likewise
        """Compile a prompt for the examples of one task."""
        return prompt.template(self.fields)

    def prompt_tokens(self, prompt: Prompt) -> float:
        """Return how long a prompt is: what every request has, inputs left out, in tokens of four bytes.

        Of a suite it is the mean over the tasks.
        """
        return sum(self.template(prompt, task.name).tokens for task in self.members) / len(self.members)

    def messages(self, prompt: Prompt) -> tuple[Message, ...]:
        """Return what people see of a prompt: its messages, with inputs as ``{field}``."""
        return prompt.template(self.fields).messages()

    def identity(self) -> dict[str, Any]:
        """Return all that decides what is asked and how it is scored, as plain data."""
        return {
            "dataset": self.dataset.hash,
            "metric": self.metric.key,
            "seed prompts": [seed.id for seed in self.seeds],
            "description": self.description,
            "decoding": asdict(self.decoding),
            "editable parts": list(self.editable),
        }

    @property
    def test_hashes(self) -> tuple[str, ...]:
        """The hashes by which looks at the test examples are counted."""
        return (self.dataset.test_hash,)

    @cached_property
    def choices(self) -> tuple[str, ...]:
        """The answers allowed, if every example allows the same; else empty."""
        sets = {example.choices for split in SPLITS for example in self.dataset.split(split)}
        return sets.pop() if len(sets) == 1 else ()


def check_placeholders(texts: Iterable[str], fields: Iterable[str]) -> None:
    """Refuse a user's text with a placeholder that the data does not have; ``{{name}}`` means the braces themselves.

    Raises:
        ConfigError: Says which placeholder, and which fields there are.
    """
    for text in texts:
        if unknown := unknown_slots(text, fields):
            raise ConfigError(
                f"The prompt has the placeholder {{{unknown[0]}}}, but the data has {_listed(fields)}; "
                f"correct the name, or write {{{{{unknown[0]}}}}} if you mean the braces."
            )


def _listed(fields: Iterable[str]) -> str:
    return ", ".join("{" + field + "}" for field in fields)

"""Suite: several tasks that share the searched part of their prompts, the system text.

Each example carries its task, and by it everything else is chosen: wording, layout, decoding, answers and metric.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

from promptopt.errors import ConfigError
from promptopt.example import SPLITS, Dataset, Example
from promptopt.ids import content_hash
from promptopt.layout import Message, Template
from promptopt.metric import Metric, Score
from promptopt.prompt import PartValue, Prompt
from promptopt.task import Decoding, Task

SHARED = "system"


@dataclass(frozen=True)
class MacroMean:
    """The metric of a suite: each output is scored by the metric of its example's task, from 0 to 1.

    Args:
        metrics: By the task's name.
    """

    metrics: Mapping[str, Metric]

    @property
    def name(self) -> str:
        """The metrics that it is the macro mean of."""
        return f"macro mean of {', '.join(sorted({metric.name for metric in self.metrics.values()}))}"

    @property
    def key(self) -> str:
        """The hash of every task's metric."""
        return content_hash("macro mean", {name: metric.key for name, metric in self.metrics.items()})

    def score(self, output: str, example: Example) -> Score:
        """Score one output by its task's own metric."""
        return self.metrics[example.task].score(output, example)

    def check(self, dataset: Dataset) -> None:
        """Do nothing: each task's metric has checked its targets when the task was made."""


@dataclass(frozen=True)
class Suite(Task):
    """Several tasks that share the system text; all else of a prompt is each task's own and stays as it is.

    The prompt of a suite has the part ``system`` and the parts ``NAME/instruction``, ``NAME/layout`` and so on of its
    tasks. A score is the mean of the tasks' means, so that each task counts the same.

    Args:
        tasks: At least one; their names differ, and they start from the same system text.
        name: What to call it.
        seeds: The prompts to start from; made of the tasks' first ones if left out.

    Raises:
        ConfigError: The tasks do not go together; says which and why.

    Reference: Zhang et al., SPRIG, arXiv 2410.14826, section 3: the mean over benchmarks is what is optimized.
    """

    tasks: tuple[Task, ...]
    name: str = field(default="suite", kw_only=True)
    seeds: tuple[Prompt, ...] = field(default=(), kw_only=True)
    description: str = field(init=False)
    dataset: Dataset = field(init=False)
    metric: Metric = field(init=False)
    decoding: Decoding = field(init=False)
    editable: tuple[str, ...] = field(init=False, default=(SHARED,))

    def __post_init__(self) -> None:
        tasks = tuple(self.tasks)
        _check(self.name, tasks)
        made: dict[str, Any] = {
            "tasks": tasks,
            "seeds": tuple(self.seeds) or (_joined(tasks),),
            "description": "; ".join(f"{task.name}: {task.description or 'no description'}" for task in tasks),
            "dataset": _merged(self.name, tasks),
            "metric": MacroMean({task.name: task.metric for task in tasks}),
            # What a call takes at most, for estimates; each task's own is what holds.
            "decoding": Decoding(
                max(task.decoding.max_tokens for task in tasks), max(task.decoding.temperature for task in tasks)
            ),
        }
        for name, value in made.items():
            object.__setattr__(self, name, value)

    @property
    def members(self) -> tuple[Task, ...]:
        """The tasks."""
        return self.tasks

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The names of the input fields of any task."""
        return tuple(dict.fromkeys(name for task in self.tasks for name in task.fields))

    def member(self, name: str) -> Task:
        """Return the task of this name."""
        return self._by_name[name]

    def template(self, prompt: Prompt, task: str = "") -> Template:
        """Compile a prompt of the suite for the examples of one task."""
        return self.member(task).template(prompt.scope(task))

    def messages(self, prompt: Prompt) -> tuple[Message, ...]:
        """Return the system text, which is all that a search may change."""
        return (Message("system", prompt.system),)

    def identity(self) -> dict[str, Any]:
        """Return all that decides what is asked and how it is scored, with each task's own decoding."""
        return {**super().identity(), "tasks": {task.name: asdict(task.decoding) for task in self.tasks}}

    @property
    def test_hashes(self) -> tuple[str, ...]:
        """The hashes of the tasks' test splits, so that looks at them count wherever they happen."""
        return tuple(task.dataset.test_hash for task in self.tasks)

    @cached_property
    def _by_name(self) -> dict[str, Task]:
        return {task.name: task for task in self.tasks}


def _check(name: str, tasks: tuple[Task, ...]) -> None:
    """Refuse tasks that do not go together."""
    if not tasks:
        raise ConfigError(f"suite {name}: there are no tasks; name at least one.")
    for task in tasks:
        if isinstance(task, Suite):
            raise ConfigError(f"suite {name}: {task.name} is a suite itself; give its tasks instead.")
        if task.seeds[0].system != tasks[0].seeds[0].system:
            raise ConfigError(
                f"suite {name}: {task.name} has another system text than {tasks[0].name}, but a suite shares one; "
                "make them the same, or move what belongs to one task into its instruction."
            )
        for split in SPLITS:
            if bool(task.dataset.split(split)) != bool(tasks[0].dataset.split(split)):
                lacking, other = sorted((task, tasks[0]), key=lambda t: len(t.dataset.split(split)))
                raise ConfigError(
                    f"suite {name}: {lacking.name} has no {split} examples and {other.name} has some; give it some, or "
                    "leave it out, since a mean over other tasks would be compared."
                )
    names = Counter(task.name for task in tasks)
    if twice := [name for name, count in names.items() if count > 1]:
        raise ConfigError(f"suite {name}: two tasks are called {twice[0]}; give one another name.")


def _joined(tasks: tuple[Task, ...]) -> Prompt:
    parts: dict[str, PartValue] = {SHARED: tasks[0].seeds[0].system}
    for task in tasks:
        own = {part: value for part, value in task.seeds[0].parts.items() if part != SHARED}
        parts |= {f"{task.name}/{part}": value for part, value in own.items()}
    return Prompt(parts)


def _merged(name: str, tasks: tuple[Task, ...]) -> Dataset:
    splits = {
        split: tuple(replace(example, task=task.name) for task in tasks for example in task.dataset.split(split))
        for split in SPLITS
    }
    return Dataset(name, splits["train"], splits["dev"], splits["test"])

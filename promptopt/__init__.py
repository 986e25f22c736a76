"""promptopt finds a better prompt, proves that it is better, and keeps every step.

The names below are loaded when they are first used, so that importing promptopt costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from promptopt.api import evaluate, open_study, optimize
    from promptopt.ask import Compare, Effect, Embed, Evaluate, Recommend, Write, together
    from promptopt.budget import Budget, Spend
    from promptopt.config import JudgeSpec, ModelSpec, StrategySpec, StudySpec, TaskSpec
    from promptopt.errors import PromptOptError
    from promptopt.evaluation import Evaluation, Outcome
    from promptopt.example import Dataset, Example
    from promptopt.layout import Layout
    from promptopt.metric import Metric, Score
    from promptopt.prompt import Candidate, Demo, Prompt
    from promptopt.result import Progress, Result
    from promptopt.strategy import Context, Dialogue, Strategy
    from promptopt.suite import Suite
    from promptopt.task import Decoding, Task

__version__ = "0.1.0"

_HOMES = {
    "api": ("evaluate", "open_study", "optimize"),
    "ask": ("Compare", "Effect", "Embed", "Evaluate", "Recommend", "Write", "together"),
    "budget": ("Budget", "Spend"),
    "config": ("JudgeSpec", "ModelSpec", "StrategySpec", "StudySpec", "TaskSpec"),
    "errors": ("PromptOptError",),
    "evaluation": ("Evaluation", "Outcome"),
    "example": ("Dataset", "Example"),
    "layout": ("Layout",),
    "metric": ("Metric", "Score"),
    "prompt": ("Candidate", "Demo", "Prompt"),
    "result": ("Progress", "Result"),
    "strategy": ("Context", "Dialogue", "Strategy"),
    "suite": ("Suite",),
    "task": ("Decoding", "Task"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Budget", "Candidate", "Compare", "Context", "Dataset", "Decoding", "Demo", "Dialogue", "Effect", "Embed",
    "Evaluate", "Evaluation", "Example", "JudgeSpec", "Layout", "Metric", "ModelSpec", "Outcome", "Progress", "Prompt",
    "PromptOptError", "Recommend", "Result", "Score", "Spend", "Strategy", "StrategySpec", "StudySpec", "Suite",
    "Task", "TaskSpec", "Write", "evaluate", "open_study", "optimize", "together",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'promptopt' has no attribute '{name}'")
    return getattr(import_module(f"promptopt.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])

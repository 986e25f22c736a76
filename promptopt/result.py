"""Result and Progress: what a study came to, and where it stands meanwhile.

``Result.to_json`` is the one plain form that the store keeps and that every door shows.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from promptopt.ask import Effect
from promptopt.budget import Spend
from promptopt.evaluation import Evaluation
from promptopt.objective import Objective
from promptopt.prompt import Candidate, Prompt
from promptopt.proof import Finalist, Proof
from promptopt.statistics import Interval, macro_interval
from promptopt.task import Task

Cause = Literal["end", "interrupt", "cap", "failures", "labels"]


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a running study stands.

    Args:
        phase: ``search``, then ``dev`` and ``test``.
        done: Evaluations consumed in this phase, the ones in progress included.
        total: Evaluations planned for this phase.
        trials: Candidates seen.
        best: The recommended candidate's evaluation on search examples so far.
        spend: What has been paid.
        calls_per_s: Calls a second in this session.
    """

    phase: str
    done: int
    total: int
    trials: int
    best: Evaluation | None
    spend: Spend
    calls_per_s: float

    @property
    def best_interval(self) -> Interval | None:
        """The 95 % interval of the best mean so far; None where nothing is scored yet."""
        strata = list(self.best.scores_by_task.values()) if self.best else []
        return macro_interval(strata) if strata else None

    @property
    def seconds_left(self) -> float | None:
        """The time that this phase still needs at the present pace."""
        return max(0, self.total - self.done) / self.calls_per_s if self.calls_per_s else None


@dataclass(frozen=True, repr=False)
class Result:
    """What a study came to.

    Args:
        name: The study.
        state: ``finished``, or before its end ``paused``, or ``waiting`` for people's verdicts.
        reason: Why the search stopped.
        task: What was to be done well.
        best: The prompt to use: the proved winner, else the seed; of a paused study the recommended one so far.
        proof: The final; None of a paused study.
        effects: Which choices matter, where the strategy says so.
        evaluations: Evaluations consumed by the search.
        trials: Candidates tried, the refused ones not among them.
        search_spend: What the search paid.
        spend: What all of it paid, the proof included.
        test_use: How often this test split has been looked at, this time included.
        earlier: What this study had said before its search went on or its failures were asked again.
        cause: What ended the work on it: its ``end``, an ``interrupt``, a ``cap``, ``failures``, or missing ``labels``.
        refusals: How many prompts the guards refused, by guard.
        unscored: How many answers the metric could not score: they are missing, not wrong.
        judging: Where answers were compared: how many verdicts of whom, and the audit of judges and people.
        p_best: The probability that the recommended prompt is the best of those compared, where that is known.
        cached_share: The share of the task model's prompt tokens that its server had in a prefix cache; None where
            no server tells.
        objective: What was maximised; the verdict is in plain score all the same.
    """

    name: str
    state: Literal["finished", "paused", "waiting"]
    reason: str
    task: Task
    best: Candidate
    proof: Proof | None
    effects: tuple[Effect, ...]
    evaluations: int
    trials: int
    search_spend: Spend
    spend: Spend
    test_use: int = 0
    earlier: tuple[str, ...] = ()
    cause: Cause = "end"
    refusals: Mapping[str, int] = field(default_factory=dict)
    unscored: int = 0
    judging: Mapping[str, Any] = field(default_factory=dict)
    p_best: float | None = None
    cached_share: float | None = None
    objective: Objective = Objective()

    def __repr__(self) -> str:
        return f"<Result of the study {self.name}, {self.state}. {self.verdict}>"

    @property
    def prompt(self) -> Prompt:
        """The prompt to use."""
        return self.best.prompt

    @property
    def seed(self) -> Prompt:
        """The first seed prompt."""
        return self.task.seeds[0]

    @property
    def verdict(self) -> str:
        """The verdict in one plain sentence."""
        return self.proof.verdict.sentence if self.proof else f"Not finished: {self.reason}."

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain data."""
        return {
            "name": self.name,
            "state": self.state,
            "reason": self.reason,
            "cause": self.cause,
            "sentence": self.verdict,
            "seed": self._prompt_json(self.seed),
            "best": self._prompt_json(self.prompt),
            "decoding": {"max_tokens": self.task.decoding.max_tokens, "temperature": self.task.decoding.temperature},
            "evaluations": self.evaluations,
            "trials": self.trials,
            "search": asdict(self.search_spend),
            "spend": asdict(self.spend),
            "effects": [asdict(effect) for effect in self.effects],
            "test_use": self.test_use,
            "earlier": list(self.earlier),
            "refusals": dict(self.refusals),
            "unscored": self.unscored,
            "judging": dict(self.judging),
            "p_best": self.p_best,
            "cached_share": self.cached_share,
            "objective": self.objective.name,
            **(_proof_json(self.proof, self.objective) if self.proof else {}),
        }

    def _prompt_json(self, prompt: Prompt) -> dict[str, Any]:
        messages = [message._asdict() for message in self.task.messages(prompt)]
        mode = "completion" if messages and messages[0]["role"] == "text" else "chat"
        return {"id": prompt.id, "mode": mode, "messages": messages, "n_demos": len(prompt.demos)}


def _proof_json(proof: Proof, objective: Objective) -> Mapping[str, Any]:
    test = {"seed": proof.seed_test, "chosen": proof.chosen_test}
    return {
        "verdict": asdict(proof.verdict),
        "chosen": proof.finalists[proof.chosen].role,
        "finalists": [_finalist_json(finalist, objective) for finalist in proof.finalists],
        "test": {name: evaluation_json(e) for name, e in test.items() if e is not None},
    }


def _finalist_json(finalist: Finalist, objective: Objective) -> dict[str, Any]:
    return {
        "role": finalist.role,
        "id": finalist.candidate.id,
        "dev": evaluation_json(finalist.dev),
        "tokens": finalist.tokens,
        "objective": finalist.dev.mean - objective.cost(finalist.tokens),
    }


def cached_share(evaluations: Iterable[Evaluation]) -> float | None:
    """Return the share of prompt tokens that a server had in its prefix cache; None if none tells of any."""
    outcomes = (outcome for evaluation in evaluations for outcome in evaluation.outcomes)
    usages = {(outcome.prompt_id, outcome.example_id): outcome.usage for outcome in outcomes}  # each once
    cached = sum(usage.cached_tokens for usage in usages.values())
    return cached / sum(usage.prompt_tokens for usage in usages.values()) if cached else None


def evaluation_json(evaluation: Evaluation) -> dict[str, Any]:
    """Return an evaluation's figures as plain data, those of each task of a suite too."""
    tasks = [{"task": name, **_figures(evaluation.of_task(name))} for name in evaluation.tasks]
    return {**_figures(evaluation), **({"tasks": tasks} if tasks else {})}


def _figures(evaluation: Evaluation) -> dict[str, Any]:
    """Return the figures; tokens and dollars are means a call."""
    n = max(1, evaluation.n)
    error = evaluation.standard_error
    interval = macro_interval(list(evaluation.scores_by_task.values()))
    return {
        "mean": evaluation.mean,
        "standard_error": error if math.isfinite(error) else None,
        "low": interval.low,
        "high": interval.high,
        "n_valid": evaluation.n_valid,
        "n": evaluation.n,
        "prompt_tokens": sum(outcome.usage.prompt_tokens for outcome in evaluation.outcomes) / n,
        "completion_tokens": sum(outcome.usage.completion_tokens for outcome in evaluation.outcomes) / n,
        "usd": sum(outcome.usage.cost_usd for outcome in evaluation.outcomes) / n,
    }

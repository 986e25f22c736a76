"""Setup: all that a study is made of, and the services that answer its asks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from promptopt.backends.base import Backend
from promptopt.budget import Budget, Prices
from promptopt.duel_proof import duel_calls
from promptopt.embedder import Embedder, Encoder, HashEncoder
from promptopt.errors import ConfigError
from promptopt.evaluation import Evaluation
from promptopt.evaluator import CacheMode, Evaluator
from promptopt.grader import CALLS, Grader
from promptopt.guards import Guards, Rules
from promptopt.health import LEAST_VALID
from promptopt.journal import Services
from promptopt.judge import Judge, Jury
from promptopt.ledger import Ledger
from promptopt.metric import NO_METRIC
from promptopt.objective import Objective
from promptopt.prompt import Candidate
from promptopt.proof import baselines, calls_needed
from promptopt.store.store import Store
from promptopt.strategy import Context, Strategy
from promptopt.task import Task
from promptopt.writer import Writer

FINALISTS = 2


@dataclass(frozen=True)
class Setup:
    """All that a study is made of.

    Args:
        task: What is to be done well.
        strategy: The search algorithm.
        task_model: The model whose prompt is sought.
        optimizer_model: The model that writes prompts; None where the strategy needs none.
        budget: ``evaluations`` is the plan, the rest are caps.
        seed: Of every random stream.
        cache: ``on``, or ``off`` to use only outcomes that this study has paid for.
        prices: What tokens cost, by backend address.
        min_valid: Pause when less than this share of calls brings an answer.
        rules: Which guards stand.
        jury: Who judges duels; None where the strategy asks for none.
        encoder: What turns texts into vectors.
        objective: What the search maximises and the final chooses by.
        judge_model: The model that grades outputs where a task's metric is a rubric.
    """

    task: Task
    strategy: Strategy
    task_model: Backend
    optimizer_model: Backend | None
    budget: Budget
    seed: int = 0
    cache: CacheMode = "on"
    prices: Mapping[str, Prices] = field(default_factory=dict)
    min_valid: float = LEAST_VALID
    rules: Rules = Rules()
    jury: Jury | None = None
    encoder: Encoder = HashEncoder()
    objective: Objective = Objective()
    judge_model: Backend | None = None

    def __post_init__(self) -> None:
        if self.budget.evaluations is None:
            raise ConfigError("budget: evaluations is missing; it is the plan of the search, for example 400.")
        needs = self.strategy.needs
        if "write" in needs and self.optimizer_model is None:
            raise ConfigError(
                f"The strategy {self.strategy.name} needs write, which this study has nobody to answer; give an "
                "optimizer model, or take a strategy that needs none, such as irace."
            )
        if "compare" in needs and self.jury is None:
            raise ConfigError(
                f"The strategy {self.strategy.name} needs somebody who compares answers; say who with --judge: human, "
                "metric, or a model's address."
            )
        if not self.is_scored and "compare" not in needs:
            raise ConfigError(
                f"The strategy {self.strategy.name} needs a metric and task {self.task.name} has none; take one that "
                "learns from comparisons, such as pes with --judge human, or give a metric."
            )
        if self.task.rubrics and self.judge_model is None:
            raise ConfigError(
                f"The metric of task {self.task.name} is a rubric, which a judge model has to grade by; name one with "
                "--judge, such as --judge http://HOST/v1#NAME."
            )
        if self.objective.length_penalty and not self.is_scored:
            raise ConfigError(
                f"length_penalty = {self.objective.length_penalty:g} is taken off scores, which task {self.task.name} "
                "has not, being without a metric; leave it out."
            )
        if not self.task.dataset.search:
            raise ConfigError(f"task {self.task.name}: there are no training examples to search on.")

    @property
    def plan(self) -> int:
        """How many evaluations the search may consume."""
        return self.budget.evaluations or 0

    @property
    def proof_calls(self) -> int:
        """How many calls the proof makes at most."""
        if not self.is_scored:
            return duel_calls(self.task.dataset, by_model=self.jury is not None and self.jury.model is not None)
        return self._proof_answers + self.proof_gradings

    @property
    def proof_gradings(self) -> int:
        """How many of these the judge of a rubric makes at most."""
        return CALLS * self._proof_answers if self.task.rubrics else 0

    @property
    def _proof_answers(self) -> int:
        return calls_needed(len(baselines(self.task)) + FINALISTS, self.task.dataset)

    @property
    def judge_calls(self) -> int:
        """How many calls of the judge model an evaluation of the search takes at most."""
        return (CALLS + bool(self.remarked)) if self.task.rubrics else 0

    @cached_property
    def remarked(self) -> frozenset[str]:
        """The ids of the examples on which a judge's remarks are read: the training rows of searches that write."""
        if not self.task.rubrics or not self.strategy.estimate(self.context).writes:
            return frozenset()
        return frozenset(example.id for example in self.task.dataset.train)

    @cached_property
    def guards(self) -> Guards:
        """What refuses prompts; never the user's own and the baselines."""
        task, free = self.task, frozenset(candidate.id for candidate in baselines(self.task).values())
        rows, pool = task.dataset.search, task.dataset.pool
        return Guards(self.rules, task.seeds, task.fields, rows, pool, task.description, free)

    def priced(self, candidates: Sequence[Candidate], evaluations: Sequence[Evaluation]) -> tuple[Evaluation, ...]:
        """Return the evaluations of these candidates as the search is told them, by the objective."""
        if not self.objective.length_penalty:
            return tuple(evaluations)
        return self.objective.priced(evaluations, [self.task.prompt_tokens(c.prompt) for c in candidates])

    @property
    def is_scored(self) -> bool:
        """Whether the task has a metric; else only comparisons tell what is better."""
        return self.task.metric.name != NO_METRIC

    @property
    def context(self) -> Context:
        """What the strategy may know."""
        task, able = self.task, self.optimizer_model.abilities if self.optimizer_model else frozenset()
        return Context(
            description=task.description,
            seeds=task.seeds,
            pool=task.dataset.pool,
            search=task.dataset.search,
            evaluations=self.plan,
            metric=task.metric.name,
            fields=task.fields,
            choices=task.choices,
            editable=task.editable,
            modes=self.task_model.modes,
            guards=self.guards,
            seed=self.seed,
            answers=frozenset({"write"}) if "write" in able else frozenset(),
        )


def open_evaluator(setup: Setup, store: Store, ledger: Ledger, study_id: int) -> Evaluator:
    """Return who scores prompts in a study, with who grades outputs if a rubric wants it."""
    evaluator = Evaluator(setup.task, setup.task_model, store, ledger, study_id=study_id, cache=setup.cache)
    if setup.task.rubrics and setup.judge_model:
        evaluator.grade_with(Grader(setup.judge_model, store, ledger, study_id=study_id, remarked=setup.remarked))
    return evaluator


def open_services(setup: Setup, store: Store, ledger: Ledger, study_id: int) -> Services:
    """Return who answers the asks of a study."""
    optimizer, jury = setup.optimizer_model, setup.jury
    evaluator = open_evaluator(setup, store, ledger, study_id)
    writer = Writer(optimizer, store, ledger, study_id=study_id, seed=setup.seed) if optimizer else None
    judge = Judge(jury, evaluator, store, ledger, study_id=study_id, guards=setup.guards) if jury else None
    return Services(evaluator, writer, setup.guards, judge, Embedder(setup.encoder, store, ledger))

"""Simulation: a search driven to its end in a made-up world, without a study, a store or a model.

The world answers as a study would: a pair of prompt and example counts once, and the plan's end ends the search.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from typing import Any

from promptopt.ask import (
    Ask,
    Batch,
    Compare,
    Compared,
    Embed,
    Embedded,
    Evaluate,
    Evaluated,
    Recommend,
    Write,
    Written,
    flatten,
    outputs_of,
)
from promptopt.duel import Duel, Preference, Verdict
from promptopt.evaluation import Evaluation, Outcome, refused
from promptopt.example import Example
from promptopt.guards import MOST_IN_A_ROW, Guards
from promptopt.ids import content_hash
from promptopt.landscape import Landscape, uniform
from promptopt.layout import Template, chat_layout
from promptopt.prompt import PARTS, Candidate, Prompt
from promptopt.strategy import Context, Strategy

Scorer = Callable[[Candidate, Example], float | None]
Labeller = Callable[[Duel], Verdict]
WriteText = Callable[[Write], Written]

WORDS = ("river", "market", "engine", "garden", "winter", "letter", "signal", "harbour", "orchard", "theatre")
LABELS = ("nature", "trade", "craft")
KEENNESS = 2.0  # of the simulated labeller: log-odds of preference for one log-odd of a right answer


@dataclass(frozen=True)
class Simulation:
    """What came of a search.

    Args:
        asks: Everything it asked, in order, batches as one.
        answers: What it was told, one an ask.
        evaluations: Different pairs of prompt and example it was given.
        overspent: Whether it asked for more than the plan had left, and was stopped there.
    """

    asks: tuple[Ask[Any], ...]
    answers: tuple[Any, ...]
    evaluations: int
    overspent: bool = False

    @property
    def recommendations(self) -> tuple[Recommend, ...]:
        """Every Recommend, in order."""
        return tuple(ask for ask in self.simple_asks if isinstance(ask, Recommend))

    @property
    def simple_asks(self) -> tuple[Ask[Any], ...]:
        """Every ask, batches taken apart."""
        return tuple(inner for number, ask in enumerate(self.asks) for _, inner in flatten(ask, str(number)))

    @cached_property
    def fingerprints(self) -> tuple[str, ...]:
        """The fingerprint of everything it asked, in order."""
        return tuple(ask.fingerprint() for ask in self.asks)

    @property
    def exchanges(self) -> tuple[tuple[Ask[Any], Any], ...]:
        """Every simple ask with its answer."""
        return tuple(
            pair for ask, answer in zip(self.asks, self.answers, strict=True) for pair in _exchanges(ask, answer)
        )

    @property
    def best(self) -> Candidate:
        """What the search would return."""
        return self.recommendations[-1].ranking[0]


@dataclass
class World:
    """Answers asks.

    Args:
        scorer: The score of a candidate on an example; None is a failed call.
        write: Answers Write.
        plan: Evaluations that the search may consume.
        prefer: Answers the duels of Compare.
        guards: Refuse prompts.
    """

    scorer: Scorer
    write: WriteText
    plan: int
    prefer: Labeller
    guards: Guards = field(default_factory=Guards)
    consumed: set[tuple[str, str, int]] = field(default_factory=set)
    preferences: list[Preference] = field(default_factory=list)
    refused_in_a_row: int = 0

    def affords(self, ask: Ask[Any]) -> bool:
        """Say whether the plan has enough left for this ask."""
        return len(self.consumed | self._cost(ask)) <= self.plan

    @property
    def is_stuck(self) -> bool:
        """Whether nothing but refused prompts comes any more."""
        return self.refused_in_a_row >= MOST_IN_A_ROW

    def answer(self, ask: Ask[Any]) -> Any:
        """Return the answer to an ask."""
        if isinstance(ask, Batch):
            return tuple(self.answer(inner) for inner in ask.asks.values())
        if isinstance(ask, Evaluate):
            cost = self._cost(ask)
            self.consumed |= cost
            self.refused_in_a_row = 0 if cost else self.refused_in_a_row + len(ask.candidates)
            return Evaluated(tuple(self._evaluate(c, ask.examples) for c in ask.candidates), self.left)
        if isinstance(ask, Write):
            return self.write(ask)
        if isinstance(ask, Compare):
            self.consumed |= self._cost(ask)
            self.preferences += [self._preference(duel, n) for n, duel in enumerate(ask.duels, len(self.preferences))]
            return Compared(tuple(self.preferences), self.left)
        if isinstance(ask, Embed):
            return Embedded(tuple(_vector(text) for text in ask.texts))
        return None

    def recall(self, ask: Ask[Any], answer: Any) -> Any:
        """Return an answer that was given before; what it consumed is consumed."""
        self.consumed |= self._cost(ask)
        if isinstance(answer, Compared):
            self.preferences = list(answer.preferences)
        return answer

    @property
    def left(self) -> int:
        """Evaluations that the plan has left."""
        return self.plan - len(self.consumed)

    def _cost(self, ask: Ask[Any]) -> set[tuple[str, str, int]]:
        asks = [evaluate for _, inner in flatten(ask, "") for evaluate in outputs_of(inner)]
        return {pair for evaluate in asks for pair in evaluate.pairs(self.guards)}

    def _preference(self, duel: Duel, number: int) -> Preference:
        ids = duel.left.id, duel.right.id, duel.example.id
        if any(self.guards.refusal(candidate.prompt) for candidate in (duel.left, duel.right)):
            return Preference(f"{number:06d}", *ids, "skip", "the outputs", "outputs")
        return Preference(f"{number:06d}", *ids, self.prefer(duel), "simulated")

    def _evaluate(self, candidate: Candidate, examples: Sequence[Example]) -> Evaluation:
        if why := self.guards.refusal(candidate.prompt):
            return refused(candidate.id, examples, why)
        return Evaluation(candidate.id, tuple(_outcome(candidate, e, self.scorer(candidate, e)) for e in examples))


def simulate(
    strategy: Strategy,
    context: Context,
    landscape: Landscape | Scorer,
    writer: WriteText | None = None,
    *,
    max_asks: int | None = None,
    recorded: Sequence[Any] = (),
) -> Simulation:
    """Drive a strategy to its end, or until its plan is used or ``max_asks`` are answered.

    Args:
        strategy: The strategy.
        context: What it may know; ``context.evaluations`` is the plan, ``context.guards`` refuse prompts.
        landscape: The world, or a function of candidate and example that gives the score.
        writer: Answers Write; by default every text fails.
        max_asks: Stop after so many answers.
        recorded: The answers to the first asks, as an earlier simulation gave them; the world answers the others.
    """
    scorer = landscape_scorer(landscape, context.fields) if isinstance(landscape, Landscape) else landscape
    prefer = landscape_labeller(landscape, context) if isinstance(landscape, Landscape) else score_labeller(scorer)
    world = World(scorer, writer or failing_writer, context.evaluations, prefer, context.guards)
    search = strategy.search(context)
    asks: list[Ask[Any]] = []
    answers: list[Any] = []
    for number in count():
        try:
            ask = search.send(answers[-1] if answers else None)
        except StopIteration:
            return Simulation(tuple(asks), tuple(answers), len(world.consumed))
        if number == max_asks or not world.affords(ask) or world.is_stuck:
            search.close()
            break
        asks.append(ask)
        answers.append(world.recall(ask, recorded[number]) if number < len(recorded) else world.answer(ask))
    return Simulation(tuple(asks), tuple(answers), len(world.consumed), overspent=not world.affords(ask))


def landscape_scorer(landscape: Landscape, fields: tuple[str, ...]) -> Scorer:
    """Return the function that says whether a candidate's answer is right in this world."""
    templates: dict[tuple[str, str], Template] = {}

    def score(candidate: Candidate, example: Example) -> float:
        place = candidate.id, example.task
        if place not in templates:
            prompt = candidate.prompt.scope(example.task) if example.task else candidate.prompt
            templates[place] = prompt.template(tuple(example.inputs) if example.task else fields)
        return float(landscape.is_right(templates[place].render(example), example))

    return score


def landscape_labeller(landscape: Landscape, context: Context) -> Labeller:
    """Return somebody who prefers the better prompt by Bradley and Terry's law, and never sees a tie."""

    def prefer(duel: Duel) -> Verdict:
        left, right = (
            landscape.height(c.prompt.template(context.fields).render(duel.example), duel.example)
            for c in (duel.left, duel.right)
        )
        chance = 1 / (1 + math.exp(KEENNESS * (right - left)))
        luck = uniform("labeller", context.seed, duel.left.id, duel.right.id, duel.example.id)
        return "left" if luck < chance else "right"

    return prefer


def score_labeller(scorer: Scorer) -> Labeller:
    """Return somebody who prefers the higher score; a missing one is skipped."""

    def prefer(duel: Duel) -> Verdict:
        left, right = (scorer(candidate, duel.example) for candidate in (duel.left, duel.right))
        if left is None or right is None:
            return "skip"
        return "left" if left > right else "right" if right > left else "tie"

    return prefer


def failing_writer(ask: Write) -> Written:
    """Answer a Write with nothing: every call failed."""
    return Written((), failed=ask.n)


def sample_context(evaluations: int = 300, editable: Sequence[str] = PARTS, seed: int = 0) -> Context:
    """Return a small classification task with 120 training rows, to drive a strategy with."""
    rows = [f"Note {n} from the {WORDS[n % 10]} near the {WORDS[n * 7 // 10 % 10]}" for n in range(120)]
    examples = tuple(Example({"input": row}, LABELS[n % 3], LABELS) for n, row in enumerate(rows))
    prompt = Prompt.of("Name the kind of the note.", chat_layout({"input": "Note"}), answer_cue="Kind:")
    return Context(
        description="Say of which kind a short note is: nature, trade or craft.",
        seeds=(prompt,),
        pool=examples[:24],
        search=examples[24:],
        evaluations=evaluations,
        metric="exact-match",
        choices=LABELS,
        editable=tuple(editable),
        modes=frozenset({"chat", "completion"}),
        seed=seed,
    )


def _exchanges(ask: Ask[Any], answer: Any) -> list[tuple[Ask[Any], Any]]:
    if not isinstance(ask, Batch):
        return [(ask, answer)]
    return [pair for inner, told in zip(ask.asks.values(), answer, strict=True) for pair in _exchanges(inner, told)]


def _outcome(candidate: Candidate, example: Example, score: float | None) -> Outcome:
    if score is None:
        return Outcome(candidate.id, example.id, "failed", task=example.task)
    output = example.target if score == 1 else f"not {example.target}"
    feedback = "" if score == 1 else "another answer is right"
    return Outcome(candidate.id, example.id, "ok", output, score, feedback, task=example.task)


def _vector(text: str) -> tuple[float, ...]:
    digits = content_hash(text)
    return tuple(int(digits[n : n + 4], 16) / 0xFFFF for n in range(0, 32, 4))

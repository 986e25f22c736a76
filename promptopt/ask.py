"""The asks: what a strategy may want, and what it is told.

A strategy writes ``answer = yield from Evaluate(candidates, examples)``; the type checker knows the answer.
"""

import math
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Generic, Literal, TypeVar

from promptopt.duel import Duel, Preference
from promptopt.errors import StrategyError
from promptopt.evaluation import Evaluation
from promptopt.example import Example
from promptopt.guards import Guards
from promptopt.ids import content_hash
from promptopt.layout import Message
from promptopt.prompt import Candidate, distinct

A = TypeVar("A")
T = TypeVar("T")

Search = Generator["Ask[Any]", Any, T]


class Ask(Generic[A]):
    """A request to the study; iterating over it yields it once and returns the answer."""

    kind: ClassVar[str]

    def __iter__(self) -> Generator["Ask[Any]", Any, A]:
        answer: A = yield self
        return answer

    def payload(self) -> Any:
        """Return the plain data that names this ask; equal asks have equal payloads."""
        raise NotImplementedError

    def fingerprint(self) -> str:
        """Return the hash by which a resumed study recognises this ask."""
        return content_hash(self.kind, self.payload())


@dataclass(frozen=True, slots=True)
class Written:
    """The answer to Write: the texts that came (failed calls are missing) and how many failed."""

    texts: tuple[str, ...]
    failed: int = 0


@dataclass(frozen=True)
class Write(Ask[Written]):
    """Let the optimizer model write texts.

    Args:
        messages: The conversation to continue; the last one is the user's.
        n: How many independent texts.
        temperature: The sampling temperature.
        max_tokens: The most tokens of each text.
        purpose: What it is for (``critique``, ``edit``, ...), for the report.
    """

    kind: ClassVar[str] = "write"
    messages: tuple[Message, ...]
    n: int = 1
    temperature: float = 1.0
    max_tokens: int = 1024
    purpose: str = "write"

    def payload(self) -> Any:
        """Return messages and sampling."""
        messages = [[message.role, message.content] for message in self.messages]
        return [messages, self.n, self.temperature, self.max_tokens, self.purpose]


@dataclass(frozen=True)
class Evaluated:
    """The answer to Evaluate.

    Args:
        evaluations: One a candidate, in the order asked.
        remaining: Evaluations left in the plan of the study.
    """

    evaluations: tuple[Evaluation, ...]
    remaining: int


@dataclass(frozen=True)
class Evaluate(Ask[Evaluated]):
    """Score prompts on examples: the product of the two lists.

    Args:
        candidates: Different prompts.
        examples: Different examples, of the ones the context shows: those to search on, or such of the pool as none of
            the candidates shows.
        purpose: What it is for (``screen``, ``race``, ...), for the report.
        repeat: Which independent draw is wanted, from 0, of a model that samples.
    """

    kind: ClassVar[str] = "evaluate"
    candidates: tuple[Candidate, ...]
    examples: tuple[Example, ...]
    purpose: str = "screen"
    repeat: int = 0

    def __init__(
        self, candidates: Iterable[Candidate], examples: Iterable[Example], purpose: str = "screen", repeat: int = 0
    ) -> None:
        object.__setattr__(self, "candidates", tuple(candidates))
        object.__setattr__(self, "examples", tuple(examples))
        object.__setattr__(self, "purpose", purpose)
        object.__setattr__(self, "repeat", repeat)

    def pairs(self, guards: Guards) -> set[tuple[str, str, int]]:
        """Return what it takes of a plan, each if it is new: every prompt that is not refused, on every example."""
        admitted = [candidate.id for candidate in self.candidates if not guards.refusal(candidate.prompt)]
        return {(prompt_id, example.id, self.repeat) for prompt_id in admitted for example in self.examples}

    def payload(self) -> Any:
        """Return the two id lists, and the draw if it is not the first."""
        draw = [self.repeat] if self.repeat else []
        return [[c.id for c in self.candidates], [e.id for e in self.examples], self.purpose, *draw]


@dataclass(frozen=True, slots=True)
class Compared:
    """The answer to Compare.

    Args:
        preferences: Every preference of the study that is valid now, of all its duels, in the order of these.
        remaining: Evaluations left in the plan of the study.
    """

    preferences: tuple[Preference, ...]
    remaining: int


@dataclass(frozen=True)
class Compare(Ask[Compared]):
    """Have somebody say which of two prompts is better.

    Both prompts answer the example first, which takes up to two evaluations of the plan. It is answered as soon as
    no more than ``ahead`` duels of the study still wait for each person at work, so that nobody has to wait for the
    next pair: verdicts on these come with a later answer, as do those that are taken back.

    Args:
        duels: The pairs, each on an example.
        quorum: How many people's verdicts each duel wants, where people judge; 0 asks judges alone.
        ahead: How many duels may still be open for each person at work when this is answered.
        purpose: What it is for: ``duel``, ``replay`` against the seed, ``test``.
    """

    kind: ClassVar[str] = "compare"
    duels: tuple[Duel, ...]
    quorum: int = 1
    ahead: int = 0
    purpose: str = "duel"

    def payload(self) -> Any:
        """Return the ids of each duel."""
        return [[[d.left.id, d.right.id, d.example.id] for d in self.duels], self.quorum, self.ahead, self.purpose]


def outputs_of(ask: Ask[Any]) -> list[Evaluate]:
    """Return what an ask has prompts answer: itself if it scores, one Evaluate an example if it compares."""
    if isinstance(ask, Evaluate):
        return [ask]
    if not isinstance(ask, Compare):
        return []
    seen: dict[str, tuple[Example, list[Candidate]]] = {}
    for duel in ask.duels:
        seen.setdefault(duel.example.id, (duel.example, []))[1].extend((duel.left, duel.right))
    return [Evaluate(distinct(candidates), [example], ask.purpose) for example, candidates in seen.values()]


@dataclass(frozen=True, slots=True)
class Embedded:
    """The answer to Embed: one vector a text, shape (n, d)."""

    vectors: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Embed(Ask[Embedded]):
    """Turn texts into vectors."""

    kind: ClassVar[str] = "embed"
    texts: tuple[str, ...]

    def payload(self) -> Any:
        """Return the texts."""
        return list(self.texts)


Basis = Literal["mean", "rank", "utility", "model"]


@dataclass(frozen=True, slots=True)
class Effect:
    """What one choice is worth, with its 95 % interval and the evaluations that showed it.

    Args:
        choice: What is chosen.
        level: How.
        estimate: The gain in score, from -1 to 1.
        low: The lower end of the interval.
        high: The upper end.
        n: Evaluations of prompts that had the level.
        against: The level that it is compared with: the seed's for what the first of the ranking changed; empty for the
            average.
    """

    choice: str
    level: str
    estimate: float
    low: float
    high: float
    n: int
    against: str = ""


@dataclass(frozen=True)
class Recommend(Ask[None]):
    """What the strategy would return if it were stopped now; wants no answer.

    Args:
        ranking: Best first.
        basis: What the ranking rests on; ranks and utilities are not means.
        estimates: One number a candidate, on the basis' own scale; may be empty.
        p_best: The probability that the first is the best, where the strategy knows it.
        chances: The probability that each of the ranking is the best, where the strategy knows it; else empty.
        regret: What the first is expected to lack to the best, on the scale of the estimates; where it is known.
        may_stop: Whether more of the same would hardly change the recommendation.
        effects: Which choices matter, where the strategy knows it.

    Raises:
        StrategyError: The ranking is empty, or a number is not finite.
    """

    kind: ClassVar[str] = "recommend"
    ranking: tuple[Candidate, ...]
    basis: Basis = "mean"
    estimates: tuple[float, ...] = ()
    p_best: float | None = None
    chances: tuple[float, ...] = ()
    regret: float | None = None
    may_stop: bool = False
    effects: tuple[Effect, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        known = [number for number in (self.p_best, self.regret) if number is not None]
        of_effects = (number for e in self.effects for number in (e.estimate, e.low, e.high))
        if not self.ranking:
            raise StrategyError("a Recommend with an empty ranking; rank at least the seed.")
        if not all(map(math.isfinite, (*self.estimates, *self.chances, *known, *of_effects))):
            raise StrategyError("a Recommend with a number that is not finite; leave out what is not known.")

    def payload(self) -> Any:
        """Return the ranking; numbers are rounded, so that the last bit of a sum does not matter."""
        estimates = [round(estimate, 9) for estimate in self.estimates]
        return [[c.id for c in self.ranking], self.basis, estimates]

    def to_json(self) -> dict[str, Any]:
        """Return all that it says as plain data, for the journal."""
        return {
            "ranking": [candidate.id for candidate in self.ranking],
            "basis": self.basis,
            "estimates": list(self.estimates),
            "p_best": self.p_best,
            "chances": list(self.chances),
            "regret": self.regret,
            "may_stop": self.may_stop,
            "effects": [asdict(effect) for effect in self.effects],
        }


@dataclass(frozen=True)
class Batch(Ask[tuple[Any, ...]]):
    """Asks of several sub-searches, answered together; made by ``together``."""

    kind: ClassVar[str] = "batch"
    asks: Mapping[str, Ask[Any]]

    def payload(self) -> Any:
        """Return the inner fingerprints by path key."""
        return {key: ask.fingerprint() for key, ask in self.asks.items()}


def together(*searches: "Search[T] | Ask[T]") -> "Search[tuple[T, ...]]":
    """Run sub-searches side by side: each round yields one Batch of what they ask, and waits for all of it.

    Returns:
        What each sub-search returned, in the order given.
    """
    live = {str(index): iter(search) for index, search in enumerate(searches)}
    results: dict[str, T] = {}
    answers: Mapping[str, Any] = dict.fromkeys(live)
    while live:
        asks: dict[str, Ask[Any]] = {}
        for key, search in list(live.items()):
            try:
                asks[key] = search.send(answers[key])
            except StopIteration as stop:
                results[key] = stop.value
                del live[key]
        if asks:
            answers = dict(zip(asks, (yield from Batch(asks)), strict=True))
    return tuple(results[str(index)] for index in range(len(searches)))


def flatten(ask: Ask[Any], path: str) -> Sequence[tuple[str, Ask[Any]]]:
    """Return the simple asks inside an ask with their paths: ``12`` alone, ``12/0`` and so on for a batch."""
    if not isinstance(ask, Batch):
        return [(path, ask)]
    return [leaf for key, inner in ask.asks.items() for leaf in flatten(inner, f"{path}/{key}")]


def unflatten(ask: Ask[Any], path: str, answers: Mapping[str, Any]) -> Any:
    """Return the answer to an ask from the answers to its simple asks."""
    if not isinstance(ask, Batch):
        return answers[path]
    return tuple(unflatten(inner, f"{path}/{key}", answers) for key, inner in ask.asks.items())

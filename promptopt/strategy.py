"""Strategy, Context and Dialogue: the contract of a search algorithm and how to drive one.

A strategy is a frozen dataclass whose fields are its settings; its one method is a generator of asks.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from promptopt.ask import Ask, Evaluate, Search
from promptopt.errors import StrategyError
from promptopt.example import Example
from promptopt.guards import Guards
from promptopt.ids import content_hash
from promptopt.layout import Mode
from promptopt.phrase import Level, Segmenter, cut
from promptopt.prompt import PARTS, Prompt

Need = Literal["write", "compare", "embed"]


@dataclass(frozen=True)
class Context:
    """What a strategy may know: the task without its dev and test examples, a plan, and a source of chance.

    Args:
        description: What the task is, in words.
        seeds: The prompts to start from; never empty.
        pool: Training examples to draw demonstrations from.
        search: Training examples to score candidates on; disjoint from the pool.
        evaluations: How many pairs of prompt and example the search may consume.
        metric: The metric's name.
        fields: The names of the input fields.
        choices: The answers allowed, where all examples share them.
        editable: The parts that may change.
        modes: The layout modes that the task model takes.
        guards: What prompts are refused for; ``guards.refusal(prompt)`` says it before anything is asked.
        seed: The seed of every random stream.
        segmenter: Cuts a text into phrases that joined give it back, where there is a parser; see ``phrases``.
        answers: What this study has somebody to answer, besides Evaluate.
    """

    description: str
    seeds: tuple[Prompt, ...]
    pool: tuple[Example, ...]
    search: tuple[Example, ...]
    evaluations: int
    metric: str = ""
    fields: tuple[str, ...] = ("input",)
    choices: tuple[str, ...] = ()
    editable: tuple[str, ...] = PARTS
    modes: frozenset[Mode] = frozenset({"chat"})
    guards: Guards = Guards()
    seed: int = 0
    segmenter: Segmenter = cut
    answers: frozenset[Need] = frozenset()

    def rng(self, *place: object) -> random.Random:
        """Return the random stream of this place; the same place always gives the same stream."""
        return random.Random(int(content_hash("rng", self.seed, [str(p) for p in place]), 16))

    def phrases(self, text: str, level: Level = "phrase") -> tuple[str, ...]:
        """Cut a text into pieces that joined give it back, phrases by the environment's own segmenter.

        Raises:
            StrategyError: The pieces of the segmenter do not give the text back.
        """
        pieces = tuple(self.segmenter(text)) if level == "phrase" else cut(text, level)
        if "".join(pieces) != text:
            raise StrategyError("the segmenter of the context loses text; its pieces joined must give the text back.")
        return pieces

    def fault(self, ask: Evaluate) -> str:
        """Say what the contract forbids about this ask; empty where it may be answered.

        Rows of the pool may be asked for by prompts that do not show them, so that what comes may become a
        demonstration; all other scoring is on the rows to search on.
        """
        if not ask.candidates or not ask.examples:
            return "evaluates nothing"
        if len({example.id for example in ask.examples}) < len(ask.examples):
            return "names an example twice"
        search, pool = ({example.id for example in part} for part in (self.search, self.pool))
        for example in (e for e in ask.examples if e.id not in search):
            if example.id not in pool:
                return f"names an example outside the training rows ({example.id})"
            if any(candidate.prompt.shows(example) for candidate in ask.candidates):
                return f"scores a prompt on a row that it shows ({example.id})"
        return ""


@dataclass(frozen=True, slots=True)
class Estimate:
    """How many asks of each kind a search will make, at most.

    Args:
        evaluations: Pairs of prompt and example.
        writes: Texts by the optimizer model.
        duels: Comparisons.
    """

    evaluations: int
    writes: int = 0
    duels: int = 0


@runtime_checkable
class Strategy(Protocol):
    """The search algorithm: a frozen dataclass of settings with a generator method.

    ``profiles`` are named sets of its settings. All but ``Then`` have the other four as attributes of the class. It may
    have ``uses``, the asks that it makes only where the context says that somebody can answer them, and ``packages``,
    the libraries that it leaves decisions to, whose versions the study records.
    """

    profiles: ClassVar[Mapping[str, Mapping[str, Any]]]

    @property
    def name(self) -> str:
        """How people call it."""

    @property
    def version(self) -> str:
        """A word that changes whenever it would ask differently."""

    @property
    def needs(self) -> frozenset[Need]:
        """The asks that it cannot do without."""

    @property
    def control(self) -> bool:
        """Whether it is a baseline."""

    def search(self, context: Context) -> Search[None]:
        """Search for better prompts, by asks."""

    def estimate(self, context: Context) -> Estimate:
        """Say how much it will ask for, before anything is spent."""


def asks_of(strategy: Strategy) -> frozenset[Need]:
    """Return the asks that a strategy may make: those it needs, and those it uses where it can."""
    uses: frozenset[Need] = getattr(strategy, "uses", frozenset())
    return strategy.needs | uses


def packages_of(strategy: Strategy) -> tuple[str, ...]:
    """Return the libraries that a strategy leaves decisions to; most name none."""
    return tuple(getattr(strategy, "packages", ()))


@dataclass
class Dialogue:
    """Drives a strategy by hand: ``ask`` what it wants, ``tell`` it the answer, until ``ask`` gives None.

    Args:
        strategy: The strategy.
        context: What it may know.
    """

    strategy: Strategy
    context: Context
    _search: "Search[None] | None" = field(default=None, init=False)
    _asked: Ask[Any] | None = field(default=None, init=False)
    _closed: bool = field(default=False, init=False)

    def ask(self) -> Ask[Any] | None:
        """Return the open ask; the same one until it is answered, None when the search has ended."""
        if self._search is None and not self._closed:
            self._search = self.strategy.search(self.context)
            self._advance(None)
        return self._asked

    def tell(self, answer: Any) -> None:
        """Answer the open ask.

        Raises:
            StrategyError: Nothing was asked.
        """
        if self._search is None or self._asked is None:
            raise StrategyError("tell() without an open ask; call ask() first.")
        self._advance(answer)

    def close(self) -> None:
        """Stop the search; ``ask`` gives None from then on."""
        if self._search is not None:
            self._search.close()
        self._asked, self._closed = None, True

    def _advance(self, answer: Any) -> None:
        if self._search is None:
            return
        try:
            self._asked = self._search.send(answer)
        except StopIteration:
            self._asked = None

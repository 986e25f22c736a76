"""Then: one strategy after another, as a strategy; the second starts from the best that the first has found.

It only passes asks and answers on, so it is journaled, resumed and replayed like any other search.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from promptopt.ask import Compared, Evaluated, Recommend, Search, flatten, outputs_of
from promptopt.errors import ConfigError
from promptopt.prompt import Candidate
from promptopt.strategy import Context, Estimate, Need, Strategy, packages_of

SEEDS = 3


@dataclass(frozen=True)
class Then:
    """Searches with one strategy on a share of the plan, and with another on all that is left.

    The seeds of the second are the first few of what the first recommends last. Its random streams are its own, so that
    a strategy may follow itself.

    Args:
        first: The strategy that begins; it is stopped when its share is used.
        second: The strategy that goes on.
        share: The first one's share of the plan, between 0 and 1.

    Raises:
        ConfigError: The share leaves one of them nothing.
    """

    first: Strategy
    second: Strategy
    share: float = 0.5

    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ConfigError(f"share = {self.share} must be between 0 and 1: it is the first strategy's of the plan.")

    @property
    def name(self) -> str:
        """Both names."""
        return f"{self.first.name}-then-{self.second.name}"

    @property
    def version(self) -> str:
        """Both versions."""
        return f"{self.first.version}, {self.second.version}"

    @property
    def needs(self) -> frozenset[Need]:
        """What either needs."""
        return self.first.needs | self.second.needs

    @property
    def control(self) -> bool:
        """Whether both are baselines."""
        return self.first.control and self.second.control

    @property
    def packages(self) -> tuple[str, ...]:
        """The libraries of both."""
        return (*packages_of(self.first), *packages_of(self.second))

    def estimate(self, context: Context) -> Estimate:
        """Return what both ask for at most; the second gets all that the first leaves, which may be the whole plan."""
        parts = self.first.estimate(self._begin(context)), self.second.estimate(context)
        return Estimate(context.evaluations, sum(part.writes for part in parts), sum(part.duels for part in parts))

    def search(self, context: Context) -> Search[None]:
        """Search with the first, then with the second from what the first has found."""
        begin = self._begin(context)
        found = _Found(context.evaluations)
        yield from found.follow(self.first.search(begin), begin)
        if found.left > 0:
            seeds = tuple(candidate.prompt for candidate in found.ranking[:SEEDS]) or context.seeds
            seed = context.rng("then").getrandbits(32)
            yield from self.second.search(replace(context, seeds=seeds, evaluations=found.left, seed=seed))

    def _begin(self, context: Context) -> Context:
        return replace(context, evaluations=max(1, round(self.share * context.evaluations)))


@dataclass
class _Found:
    """What the first strategy leaves to the second.

    Args:
        left: Evaluations left in the whole plan.
        ranking: What it recommended last, but for what a guard refuses.
    """

    left: int
    ranking: Sequence[Candidate] = ()

    def follow(self, search: Search[None], context: Context) -> Search[None]:
        """Pass a search's asks on until it ends or asks for more than its plan, and show it no more than that."""
        consumed, answer, kept = set[tuple[str, str, int]](), None, self.left - context.evaluations
        with closing(search):
            while True:
                try:
                    ask = search.send(answer)
                except StopIteration:
                    return
                for _, inner in flatten(ask, ""):
                    for evaluate in outputs_of(inner):
                        consumed |= evaluate.pairs(context.guards)
                    if isinstance(inner, Recommend):
                        self.ranking = [c for c in inner.ranking if not context.guards.refusal(c.prompt)]
                if len(consumed) > context.evaluations:
                    return
                answer = self._shown((yield ask), kept)

    def _shown(self, answer: Any, kept: int) -> Any:
        """Return an answer in which what is kept for the second strategy is not left."""
        if isinstance(answer, tuple):
            return tuple(self._shown(inner, kept) for inner in answer)
        if isinstance(answer, Evaluated | Compared):
            self.left = answer.remaining
            return replace(answer, remaining=max(0, answer.remaining - kept))
        return answer

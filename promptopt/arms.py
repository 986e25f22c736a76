"""Arms and Ranking: the bookkeeping that all selectors share, and what they return.

An arm is a candidate that a selector pulls; a pull is one new pair of candidate and example.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Literal

from promptopt.ask import Evaluate, Search, together
from promptopt.evaluation import Evaluation, Outcome
from promptopt.example import Example
from promptopt.prompt import Candidate, distinct


@dataclass(frozen=True)
class Ranking:
    """What a selector found.

    Args:
        candidates: Best first; texts that came twice stand once.
        evaluations: What each was seen to do in this selection, by prompt id.
        spent: Pulls: pairs of candidate and example that were new.
        basis: ``mean`` where the means decide the order, ``rank`` where the order of leaving does.
        beaten: Ids of those that left a race by its rule, and not for want of budget.
    """

    candidates: tuple[Candidate, ...]
    evaluations: Mapping[str, Evaluation]
    spent: int
    basis: Literal["mean", "rank"] = "mean"
    beaten: Set[str] = frozenset()


class Arms:
    """The arms of one selection: what each has seen of the common order, and what is left of the budget.

    Args:
        candidates: The arms; a prompt that comes twice is one.
        examples: The common order.
        budget: Pulls at most.
        known: Outcomes from before; their pairs are not asked for again and cost nothing.
    """

    def __init__(
        self,
        candidates: Iterable[Candidate],
        examples: Sequence[Example],
        budget: int,
        known: Iterable[Evaluation] = (),
    ) -> None:
        self.all = distinct(candidates)
        self.left, self.spent = budget, 0
        self.seen = {arm.id: Evaluation(arm.id, ()) for arm in self.all}
        self._examples = tuple(examples)
        self._known: dict[str, dict[str, Outcome]] = {arm.id: {} for arm in self.all}
        for evaluation in known:
            if evaluation.prompt_id in self._known:
                self._known[evaluation.prompt_id].update({o.example_id: o for o in evaluation.outcomes})

    def pull(self, arms: Sequence[Candidate], level: int) -> Search[None]:
        """Show these arms the first ``level`` examples, or as many as the budget allows."""
        level = min(level, len(self._examples))
        while level > 0 and self.cost(arms, level) > self.left:
            level -= 1
        yield from self._pull([(arm, level) for arm in arms])

    def eliminate(self, levels: Sequence[int], keep: int) -> Search[Ranking]:
        """Show the survivors so many examples and drop the one with the lowest mean, a phase a level."""
        alive, dropped = list(self.all), list[Candidate]()
        for level in levels:
            if len(alive) <= keep:
                break
            yield from self.pull(alive, level)
            *alive, worst = self.order(alive)
            dropped.insert(0, worst)
        return self.ranking([*self.order(alive), *dropped])

    def climb(self, bound: Callable[[float, int], float], width: int, step: int) -> Search[Ranking]:
        """Pull the ``width`` arms with the highest bounds again and again; of equal ones, those with fewer pulls."""

        def place(arm: Candidate) -> tuple[float, int, str]:
            seen = self.seen[arm.id]
            return -bound(seen.mean, seen.n), seen.n, arm.id

        while self.left > 0:
            levels, left = list[tuple[Candidate, int]](), self.left
            for arm in sorted(self._unfinished(), key=place)[:width]:
                have = self.seen[arm.id].n
                more = min(step, len(self._examples) - have, left)
                left -= more
                levels.append((arm, have + more))
            if not levels:
                break
            yield from self._pull(levels)
        return self.ranking()

    def cost(self, arms: Iterable[Candidate], level: int) -> int:
        """Return how many pulls it takes to show these arms the first ``level`` examples."""
        return sum(len(self._missing(arm, level)) for arm in arms)

    def order(self, arms: Iterable[Candidate]) -> list[Candidate]:
        """Return these arms by mean, best first; equal ones by id, and those without a score last."""
        seen = self.seen
        return sorted(arms, key=lambda arm: (not seen[arm.id].n_valid, -round(seen[arm.id].mean, 9), arm.id))

    def standing(self, arms: Iterable[Candidate]) -> list[Candidate]:
        """Return these arms by mean as ``order`` does, without those that a guard has refused."""
        return [arm for arm in self.order(arms) if not self.seen[arm.id].refusal]

    def ranking(self, arms: Sequence[Candidate] | None = None, beaten: Set[str] = frozenset()) -> Ranking:
        """Return the arms in this order of rank, or by their means; refused ones that it leaves out stand last."""
        ranked = self.order(self.all) if arms is None else arms
        best_first = distinct([*ranked, *self.all])
        basis: Literal["mean", "rank"] = "mean" if arms is None else "rank"
        return Ranking(best_first, self.seen, self.spent, basis, frozenset(beaten))

    def _unfinished(self) -> list[Candidate]:
        return [c for c in self.all if self.seen[c.id].n < len(self._examples) and not self.seen[c.id].refusal]

    def _missing(self, arm: Candidate, level: int) -> tuple[Example, ...]:
        if self.seen[arm.id].refusal:
            return ()
        return tuple(example for example in self._examples[:level] if example.id not in self._known[arm.id])

    def _pull(self, levels: Sequence[tuple[Candidate, int]]) -> Search[None]:
        groups: dict[tuple[Example, ...], list[Candidate]] = {}
        for arm, level in levels:
            if missing := self._missing(arm, level):
                groups.setdefault(missing, []).append(arm)
        asks = [Evaluate(arms, examples) for examples, arms in groups.items()]
        # One group is the rule; a batch of one would only lengthen the journal.
        answers = ((yield from asks[0]),) if len(asks) == 1 else (yield from together(*asks))
        evaluations = [evaluation for answer in answers for evaluation in answer.evaluations]
        for evaluation in evaluations:
            self._known[evaluation.prompt_id].update({o.example_id: o for o in evaluation.outcomes})
        refused = {evaluation.prompt_id: evaluation for evaluation in evaluations if evaluation.refusal}
        cost = sum(evaluation.n for evaluation in evaluations if not evaluation.refusal)
        self.left, self.spent = self.left - cost, self.spent + cost
        for arm, level in levels:
            known = self._known[arm.id]
            if not self.seen[arm.id].refusal:
                shown = tuple(known[example.id] for example in self._examples[:level])
                self.seen[arm.id] = refused.get(arm.id) or Evaluation(arm.id, shown)

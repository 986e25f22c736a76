"""Judge: answers Compare asks; has both outputs produced, then lets a metric, a model and people say which is better.

People are waited for in the store: they may label while nothing runs, and what they say or take back is an event.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from promptopt.agreement import refusal
from promptopt.ask import Compare, Evaluate, outputs_of
from promptopt.backends.base import Backend
from promptopt.budget import Spend
from promptopt.duel import Duel, Preference, Verdict
from promptopt.evaluation import ANSWERED, Evaluation, Outcome, refused
from promptopt.evaluator import Evaluator
from promptopt.guards import Guards
from promptopt.ids import content_hash
from promptopt.judge_model import ORDERS, JudgeModel, Pair
from promptopt.ledger import Ledger
from promptopt.store.duels import preference_id
from promptopt.store.rows import AskRow, DuelRow, Vote
from promptopt.store.store import Store

POLL_S = 0.1

Tick = Callable[[int, int], None]


class LabelsMissingError(Exception):
    """People have to say something first: a state of the study (waiting), not a fault."""

    def __init__(self, n_open: int) -> None:
        super().__init__(f"{n_open} duel{'s wait' if n_open != 1 else ' waits'} for somebody's verdict")


class JudgeRefusedError(Exception):
    """A judge model agrees too little with people to decide alone: a state of the study (paused), not a fault."""


def never() -> bool:
    """Do not wait for people while the study runs."""
    return False


@dataclass(frozen=True)
class Jury:
    """Who judges the duels of a study; all of them say something of every duel.

    Args:
        people: Whether people do; then each duel waits for its quorum of them.
        metric: Whether the task's metric does: the higher score wins, equal ones are a tie.
        model: The judge model, if one does.
        criteria: What makes an answer good, in words, for the judge model and for people.
        waits: Asked now and then whether to go on waiting for people; if not, the study is left waiting.
    """

    people: bool = False
    metric: bool = False
    model: Backend | None = None
    criteria: str = ""
    waits: Callable[[], bool] = never


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What came of a Compare: the preferences that are valid, and the event up to which that is so."""

    preferences: tuple[Preference, ...]
    upto: int


class Judge:
    """Has duels judged.

    Args:
        jury: Who judges.
        evaluator: Has the outputs produced.
        store: Where duels and verdicts are.
        ledger: The caps.
        study_id: Whose duels.
        guards: Refuse prompts; a refused prompt answers nothing.
    """

    def __init__(
        self,
        jury: Jury,
        evaluator: Evaluator,
        store: Store,
        ledger: Ledger,
        *,
        study_id: int,
        guards: Guards,
    ) -> None:
        self.jury = jury
        self._evaluator = evaluator
        self._store = store
        self._ledger = ledger
        self._study_id = study_id
        self._guards = guards

    def answer(self, number: int, path: str, ask: Compare, on_tick: Tick) -> Verdicts:
        """Answer an ask: outputs, automatic verdicts, and people's as far as they are needed.

        Commits:
            Duels, outputs and automatic verdicts as they come.

        Raises:
            LabelsMissingError: People have not said enough yet.
            JudgeRefusedError: The judge model may not decide alone.
            BudgetSpentError: A cap was reached first, that on labels among them.
        """
        rows = self._open(number, path, ask)
        shown = self._produce(number, path, ask, on_tick)
        self._show(rows, ask, shown)
        waiting = {row.id: duel for row, duel in zip(rows, ask.duels, strict=True) if not self._is_plain(duel, shown)}
        self._store.record_votes(self._votes_of_metric(waiting, shown))
        self._ask_model(waiting, shown, on_tick)
        self._wait_for_people(number, ask, on_tick)
        verdicts = self._valid(self._store.newest_event())
        if self.jury.model and not self.jury.people and (why := refusal(verdicts.preferences)):
            raise JudgeRefusedError(why)
        return verdicts

    def recorded(self, upto: int) -> Verdicts:
        """Return the answer that was given as of an event."""
        return self._valid(upto)

    def outputs(self, path: str, ask: Compare) -> list[tuple[Evaluate, tuple[Evaluation, ...]]]:
        """Return what all prompts of an ask brought, as it is recorded; of refused ones, that they are."""
        shown = [(inner, self._evaluator.recorded(key, inner)) for key, inner in self._inner(path, ask).items()]
        for inner in outputs_of(ask):
            reasons = [(candidate, self._guards.refusal(candidate.prompt)) for candidate in inner.candidates]
            barred = [(candidate, reason) for candidate, reason in reasons if reason]
            if barred:
                told = tuple(refused(candidate.id, inner.examples, reason) for candidate, reason in barred)
                shown.append((replace(inner, candidates=tuple(candidate for candidate, _ in barred)), told))
        return shown

    def _open(self, number: int, path: str, ask: Compare) -> list[DuelRow]:
        self._store.put_prompts(c.prompt for duel in ask.duels for c in (duel.left, duel.right))
        quorum = ask.quorum if self.jury.people else 0
        rows = [
            DuelRow(
                content_hash("duel", self._study_id, path, place),
                path,
                number,
                place,
                duel.left.id,
                duel.right.id,
                duel.example.id,
                quorum,
            )
            for place, duel in enumerate(ask.duels)
        ]
        self._store.open_duels(self._study_id, rows)
        return rows

    def _produce(self, number: int, path: str, ask: Compare, on_tick: Tick) -> dict[tuple[str, str], Outcome]:
        """Have both prompts of every duel answer its example, as asks of their own, and return what they said."""
        asks = self._inner(path, ask)
        known = self._store.answered(self._study_id, list(asks))  # where this ask waited or was stopped before
        fresh = {key: inner for key, inner in asks.items() if key not in known}
        rows = [AskRow(number, key, inner.kind, inner.fingerprint()) for key, inner in fresh.items()]
        self._store.open_asks(self._study_id, rows)
        answers = self._evaluator.answer(fresh, on_tick)
        for key, evaluations in answers.items():
            digest = content_hash([[o.status, o.output] for e in evaluations for o in e.outcomes])
            self._store.answer_ask(self._study_id, key, digest, self._evaluator.metric_key)
        answers |= {key: self._evaluator.recorded(key, asks[key]) for key in known}
        outcomes = [o for evaluations in answers.values() for e in evaluations for o in e.outcomes]
        sides = [(candidate, duel.example) for duel in ask.duels for candidate in (duel.left, duel.right)]
        silent = {
            (c.id, e.id): Outcome(c.id, e.id, "refused", feedback=self._guards.refusal(c.prompt)) for c, e in sides
        }
        return silent | {(outcome.prompt_id, outcome.example_id): outcome for outcome in outcomes}

    def _inner(self, path: str, ask: Compare) -> dict[str, Evaluate]:
        """Return the evaluations that an ask's duels need, but for refused prompts, by the paths of their own asks."""
        admitted = [
            replace(inner, candidates=tuple(c for c in inner.candidates if not self._guards.refusal(c.prompt)))
            for inner in outputs_of(ask)
        ]
        return {f"{path}/outputs/{n}": inner for n, inner in enumerate(admitted) if inner.candidates}

    def _show(self, rows: Sequence[DuelRow], ask: Compare, shown: Mapping[tuple[str, str], Outcome]) -> None:
        """Open the duels to people; those that need nobody are settled: one output is missing, or both are the same."""
        keys = {
            (pair.prompt.id, pair.example.id): pair.key
            for inner in self._inner("", ask).values()
            for pair in self._evaluator.pairs(inner)
        }
        plain, open_ = [], []
        for row, duel in zip(rows, ask.duels, strict=True):
            left, right = ((c.id, duel.example.id) for c in (duel.left, duel.right))
            usable = {shown[left].status, shown[right].status} <= ANSWERED
            if self._is_plain(duel, shown):
                plain.append(Vote(row.id, "the outputs", "tie" if usable else "skip", "outputs"))
            if usable:
                open_.append((row.id, keys[left], keys[right]))
        self._store.record_votes(plain)
        for shows in open_:
            self._store.show_outputs(*shows)

    def _is_plain(self, duel: Duel, shown: Mapping[tuple[str, str], Outcome]) -> bool:
        """Whether nobody has to be asked."""
        left, right = _answers(duel, shown)
        return not {left.status, right.status} <= ANSWERED or left.output.strip() == right.output.strip()

    def _votes_of_metric(self, duels: Mapping[str, Duel], shown: Mapping[tuple[str, str], Outcome]) -> list[Vote]:
        if not self.jury.metric:
            return []
        votes = []
        for duel_id, duel in duels.items():
            left, right = (outcome.score for outcome in _answers(duel, shown))
            verdict: Verdict = "skip"
            if left is not None and right is not None:
                verdict = "left" if left > right else "right" if right > left else "tie"
            votes.append(Vote(duel_id, self._evaluator.task.metric.name, verdict, "metric"))
        return votes

    def _ask_model(self, duels: Mapping[str, Duel], shown: Mapping[tuple[str, str], Outcome], on_tick: Tick) -> None:
        """Let the judge model say something of the duels that it has not judged yet."""
        if self.jury.model is None:
            return
        name = self.jury.model.address
        said = {preference.id for preference in self._store.preferences(self._study_id)}
        pairs = [
            Pair(duel_id, duel.example, *(outcome.output for outcome in _answers(duel, shown)))
            for duel_id, duel in duels.items()
            if preference_id(duel_id, name) not in said
        ]
        judge = JudgeModel(self.jury.model, self._ledger, self.jury.criteria)
        done = 0
        with closing(judge.judge(pairs)) as arrivals:
            for arrival in arrivals:
                if arrival is not None:
                    pair, opinion = arrival
                    vote = Vote(pair.key, name, opinion.verdict, "model", detail=opinion.detail)
                    self._store.record_votes([vote])
                    paid = Spend(calls=ORDERS, tokens=opinion.usage.tokens, usd=opinion.usage.cost_usd)
                    self._store.charge(self._study_id, paid)
                    done += 1
                on_tick(done, len(pairs))

    def _wait_for_people(self, number: int, ask: Compare, on_tick: Tick) -> None:
        if not self.jury.people or not ask.quorum:
            return
        seen = -1
        while (n_open := self._store.count_open(self._study_id, number)) > ask.ahead * self._n_people():
            if (newest := self._store.newest_event()) != seen:
                seen = newest
                self._ledger.check(Spend(labels=self._store.labelling(self._study_id).given + 1))
            if not self.jury.waits():
                raise LabelsMissingError(n_open)
            on_tick(0, n_open)
            time.sleep(POLL_S)

    def _n_people(self) -> int:
        """Return for how many people pairs are kept ready: those who have one on screen, and at least for one."""
        return max(1, self._store.count_at_work(self._study_id))

    def _valid(self, upto: int) -> Verdicts:
        return Verdicts(tuple(self._store.preferences(self._study_id, upto)), upto)


def _answers(duel: Duel, shown: Mapping[tuple[str, str], Outcome]) -> tuple[Outcome, Outcome]:
    return shown[duel.left.id, duel.example.id], shown[duel.right.id, duel.example.id]


def as_record(verdicts: Verdicts) -> dict[str, Any]:
    """Return what the journal keeps of an answer."""
    return {"upto": verdicts.upto}


def digest_of(verdicts: Verdicts) -> str:
    """Return the hash of what an answer says, whatever numbers its events have."""
    return content_hash(
        [
            [p.id, p.left_id, p.right_id, p.example_id, p.verdict, p.labeller, p.source, p.remark, p.catch]
            for p in verdicts.preferences
        ]
    )

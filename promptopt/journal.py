"""Journal: every ask of a study with its answer; what is recorded is replayed, what is open is served.

An ask is written down before anything is spent on it, and its answer is final. The guards stand before the evaluator.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from promptopt.ask import Ask, Compare, Embed, Embedded, Evaluate, Recommend, Write
from promptopt.embedder import Embedder
from promptopt.errors import ReplayError, StrategyError
from promptopt.evaluation import Evaluation, Outcome, refused
from promptopt.evaluator import Evaluator
from promptopt.guards import Guards
from promptopt.ids import content_hash, nested_hash
from promptopt.judge import Judge, Verdicts, as_record, digest_of
from promptopt.round import Round
from promptopt.store.rows import AskRow
from promptopt.store.store import Store
from promptopt.writer import Writer

Tick = Callable[[int, int], None]


@dataclass(frozen=True)
class Services:
    """Who answers the asks of a study, and the guards that let a prompt through to them."""

    evaluator: Evaluator
    writer: Writer | None
    guards: Guards = field(default_factory=Guards)
    judge: Judge | None = None
    embedder: Embedder | None = None


class Journal:
    """The asks of one study, by path.

    Args:
        store: Where they are kept.
        study_id: Whose they are.
        services: Who answers the open ones.
    """

    def __init__(self, store: Store, study_id: int, services: Services) -> None:
        self._store = store
        self._study_id = study_id
        self._services = services
        self._rows = {row.path: row for row in store.journal(study_id)}
        self.round = Round.newest(self._rows.values())

    def answer(self, number: int, asks: Mapping[str, Ask[Any]], on_tick: Tick) -> dict[str, Any]:
        """Answer the asks of one step, by path.

        Commits:
            The open asks before they are served, the answers after.

        Raises:
            ReplayError: An ask differs from the recorded one of its path.
            StrategyError: Nobody can answer it.
        """
        for path, ask in asks.items():
            self._check(path, ask)
        fresh = {path: ask for path, ask in asks.items() if not self.is_answered(path)}
        self._store.open_asks(self._study_id, [_row(number, path, ask) for path, ask in fresh.items()])
        answers = {path: self._recorded(path, ask) for path, ask in asks.items() if path not in fresh}
        for path, answer in answers.items():
            if _digest(answer) != self._rows[path].digest:
                raise ReplayError(f"The stored answer to ask {path} is not the one that was given; fork the study.")
        answers |= self._serve(number, fresh, on_tick)
        return answers

    def is_answered(self, path: str) -> bool:
        """Whether the answer to the ask of this path is recorded."""
        return path in self._rows and self._rows[path].state == "answered"

    def holds(self, path: str) -> bool:
        """Whether there is an ask of this path."""
        return path in self._rows

    def begin(self, round_: Round) -> None:
        """Begin a further round.

        Commits:
            At once.
        """
        self._store.open_asks(self._study_id, [round_.row])
        self._store.answer_ask(self._study_id, round_.row.path, round_.row.fingerprint)
        self._rows[round_.row.path] = round_.row
        self.round = round_

    def _check(self, path: str, ask: Ask[Any]) -> None:
        row = self._rows.get(path)
        if row is not None and (row.kind, row.fingerprint) != (ask.kind, ask.fingerprint()):
            raise ReplayError(
                f"Ask {path} is another one than the journal holds ({ask.kind} now, {row.kind} then): the strategy or "
                "one of its libraries has changed since this study was made; start a new one from it with --fork."
            )

    def _recorded(self, path: str, ask: Ask[Any]) -> Any:
        if isinstance(ask, Evaluate):
            admitted = self._admitted(ask)
            seen = self._services.evaluator.recorded(path, admitted) if admitted.candidates else ()
            return self._with_refused(ask, seen)
        if isinstance(ask, Write) and self._services.writer:
            return self._services.writer.recorded(path)
        if isinstance(ask, Compare) and self._services.judge:
            return self._services.judge.recorded(self._rows[path].answer["upto"])
        if isinstance(ask, Embed) and self._services.embedder:
            return self._services.embedder.answer(ask)
        return None

    def _serve(self, number: int, asks: Mapping[str, Ask[Any]], on_tick: Tick) -> dict[str, Any]:
        evaluates = {path: ask for path, ask in asks.items() if isinstance(ask, Evaluate)}
        writes = {path: ask for path, ask in asks.items() if isinstance(ask, Write)}
        answers: dict[str, Any] = {path: None for path, ask in asks.items() if isinstance(ask, Recommend)}
        if writes and self._services.writer:
            answers |= self._services.writer.answer(writes)
        if evaluates:
            admitted = {path: self._admitted(ask) for path, ask in evaluates.items()}
            seen = self._services.evaluator.answer({p: ask for p, ask in admitted.items() if ask.candidates}, on_tick)
            answers |= {path: self._with_refused(ask, seen.get(path, ())) for path, ask in evaluates.items()}
        for path, ask in asks.items():
            if isinstance(ask, Embed) and self._services.embedder:
                answers[path] = self._services.embedder.answer(ask)
            elif isinstance(ask, Compare) and self._services.judge:
                answers[path] = self._services.judge.answer(number, path, ask, on_tick)
        if unserved := asks.keys() - answers.keys():
            path = min(unserved)
            raise StrategyError(f"Ask {path} is a {asks[path].kind}, which this study has nobody to answer.")
        for path, ask in asks.items():
            answer = answers[path]
            record = as_record(answer) if isinstance(answer, Verdicts) else None
            self._store.answer_ask(self._study_id, path, _digest(answer), self._metric_key(ask), record)
        return answers

    def _admitted(self, ask: Evaluate) -> Evaluate:
        """Return the ask without the prompts that a guard refuses."""
        guards = self._services.guards
        admitted = [candidate for candidate in ask.candidates if not guards.refusal(candidate.prompt)]
        return Evaluate(admitted, ask.examples, ask.purpose, ask.repeat)

    def _with_refused(self, ask: Evaluate, seen: Sequence[Evaluation]) -> tuple[Evaluation, ...]:
        """Return what was seen of the admitted prompts, and for the others that they were refused."""
        by_id = {evaluation.prompt_id: evaluation for evaluation in seen}
        return tuple(
            by_id.get(c.id) or refused(c.id, ask.examples, self._services.guards.refusal(c.prompt))
            for c in ask.candidates
        )

    def _metric_key(self, ask: Ask[Any]) -> str | None:
        return self._services.evaluator.metric_key if isinstance(ask, Evaluate) else None


def _row(number: int, path: str, ask: Ask[Any]) -> AskRow:
    payload = ask.to_json() if isinstance(ask, Recommend) else None
    return AskRow(number=number, path=path, kind=ask.kind, fingerprint=ask.fingerprint(), payload=payload)


def _digest(answer: Any) -> str:
    """Return the hash of what an answer says; what it took to get it does not count."""
    if isinstance(answer, tuple):
        return nested_hash(map(_outcome, e.outcomes) for e in answer if isinstance(e, Evaluation))
    if isinstance(answer, Verdicts):
        return digest_of(answer)
    if isinstance(answer, Embedded):
        return content_hash(answer.vectors)
    return content_hash([answer.texts, answer.failed] if answer is not None else None)


def _outcome(outcome: Outcome) -> list[Any]:
    return [outcome.prompt_id, outcome.example_id, outcome.status, outcome.output, outcome.score]

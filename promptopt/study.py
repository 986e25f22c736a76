"""Study: the only loop; it drives a strategy's search and then the proof, and resumes by replaying the journal.

Whatever stops it, a cap, a failing model, Ctrl-C or a kill, the same command goes on where it stood.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Literal, TypeVar

from promptopt.agreement import describe
from promptopt.ask import Ask, Compare, Compared, Evaluate, Evaluated, Recommend, Search, flatten, outputs_of, unflatten
from promptopt.budget import Budget, Spend
from promptopt.duel_proof import prove_by_duels
from promptopt.errors import ConfigError, PromptOptError, StrategyError
from promptopt.guards import MOST_IN_A_ROW
from promptopt.health import Health, TooManyFailuresError
from promptopt.journal import Journal
from promptopt.judge import JudgeRefusedError, LabelsMissingError
from promptopt.ledger import BudgetSpentError, Ledger
from promptopt.objective import shorter_first
from promptopt.prompt import Candidate
from promptopt.proof import Proof, baselines, prove
from promptopt.result import Cause, Progress, Result, cached_share
from promptopt.round import Round
from promptopt.setup import FINALISTS, Setup, open_services
from promptopt.store.rows import StudyRow
from promptopt.store.store import Store
from promptopt.tally import Tally

T = TypeVar("T")
Observer = Callable[[Progress], None]

END = ("search", "search_end", "search_cap")  # of a summary: what the search had paid, why it ended, under which cap
PROGRESS_S = 0.1
RENEW_S = 60.0


class SearchEndedError(Exception):
    """The search goes no further, though it asks for more; says why."""


class Study:
    """A named, stored, resumable search with its proof.

    Args:
        store: The open store.
        row: The study's row in it, made with this setup.
        setup: What the study is made of.
        observer: Told how it goes, some ten times a second.
    """

    def __init__(self, store: Store, row: StudyRow, setup: Setup, observer: Observer | None = None) -> None:
        self.store = store
        self.row = row
        self.setup = setup
        self._observer = observer
        self._begin()

    def wait_for_people(self, waits: Callable[[], bool]) -> None:
        """Let ``run`` wait for people's verdicts as long as this says so, and not leave the study waiting at once."""
        if self.setup.jury:
            self.setup = replace(self.setup, jury=replace(self.setup.jury, waits=waits))

    def extend(self, more: Budget, *, retry_failed: bool = False) -> None:
        """Allow more of the caps, or have what failed in the proof asked again; ``run`` then goes on.

        A search that ended under a cap goes on where it stood, and a further proof comes after it. What failed in an
        answer that the search has gone on from stays missing: another answer would be another search.

        Args:
            more: What is added to the caps.
            retry_failed: Whether the proof is made again where its calls failed.

        Commits:
            The caps, and where the search had ended a further round.

        Raises:
            ConfigError: There is no such cap, or the search ended by itself.
            StudyBusyError: Another process works on the study.
        """
        self.store.acquire_lease(self.row.id)
        try:
            self._begin()
            searches = bool(more.caps()) and self._is_closed and self.row.summary.get("search_cap") is not None
            if more.caps() and self._is_finished and not searches:
                raise ConfigError(
                    f"The search of '{self.row.name}' ended by itself, so a higher cap changes nothing; start another "
                    f"from its best prompts: the same command with --study NAME --fork {self.row.name}."
                )
            self.setup = replace(self.setup, budget=self.setup.budget.extend(more))
            if searches or (retry_failed and self._has_failed_proof()):
                self._journal.begin(self._next_round(searches=searches))
                self.store.update_study(self.row.id, state="paused")
            self.store.update_study(self.row.id, budget=asdict(self.setup.budget))
        finally:
            self.store.release_lease(self.row.id)

    def run(self) -> Result:
        """Run or resume the study to its end, or until a cap, a failing model or Ctrl-C pauses it.

        Commits:
            Every ask, call and answer as it comes; the result at the end.

        Raises:
            ConfigError: The cap on calls leaves nothing for the search.
            StudyBusyError: Another process works on it.
            ReplayError: The strategy asks something else than the journal holds.
            FatalBackendError: The model cannot be used at all.
        """
        if self.setup.budget.calls is not None and self.setup.budget.calls <= self.setup.proof_calls:
            raise ConfigError(
                f"budget: calls = {self.setup.budget.calls} leaves nothing for the search: the proof alone takes up "
                f"to {self.setup.proof_calls}; allow more, or give fewer dev and test examples."
            )
        self.store.acquire_lease(self.row.id)
        try:
            self._begin()
            if not self._is_finished:
                self.store.update_study(self.row.id, state="running")
            reason = self._note_end(self._search())
            proof = self._prove()
        except KeyboardInterrupt:
            return self._pause("stopped by Ctrl-C", "interrupt")
        except BudgetSpentError as stop:
            return self._pause(self._spent(stop), "cap")
        except LabelsMissingError as stop:
            return self._pause(str(stop), "labels")
        except (TooManyFailuresError, JudgeRefusedError) as stop:
            return self._pause(str(stop), "failures")
        except PromptOptError as error:
            self._pause(str(error), "failures")
            raise
        else:
            return self._finish(reason, proof)
        finally:
            self._store_spend()
            self.store.release_lease(self.row.id)

    def _begin(self) -> None:
        """Read what the store holds; once the lease is held, nobody else changes it."""
        self.row = self.store.study(self.row.name) or self.row
        self._is_finished = self.row.state == "finished"
        self._cap: str | None = None
        spent = self.store.spend(self.row.id)
        self._ledger = Ledger(self.setup.budget, spent, self.setup.prices, Health(self.setup.min_valid))
        self._stored = Spend(seconds=spent.seconds)
        self._first_spend = spent
        services = open_services(self.setup, self.store, self._ledger, self.row.id)
        self._judge = services.judge
        self._grader = services.evaluator.grader
        self._journal = Journal(self.store, self.row.id, services)
        told = self.row.summary if self._is_closed else {}
        self._end: dict[str, Any] = {name: told.get(name) for name in END} if "search_end" in told else {}
        self._shown = 0.0
        self._renewed = time.monotonic()
        self._tally = Tally(self.store, self.row.id, self.setup.guards, self.setup.task.prompt_tokens)
        self._recommended: Recommend | None = None
        self._test_use = 0

    def _search(self) -> str:
        """Drive the strategy until it ends, its plan is used or a cap is reached; return which."""
        search = self.setup.strategy.search(self.setup.context)
        try:
            self._drive(search, self._search_step)
        except SearchEndedError as end:
            return str(end)
        except BudgetSpentError as spent:
            if self._recommended is None:
                raise
            self._cap = spent.unit
            return self._spent(spent)
        finally:
            search.close()
            self._ledger.hold(Spend())
        return "the search ended"

    def _spent(self, spent: BudgetSpentError) -> str:
        """Return what is spent; while the search runs, part of a cap is kept back and only looks unspent."""
        if self._is_closed:
            return str(spent)
        return f"{spent}, but for what the proof needs (up to {self.setup.proof_calls} calls)"

    def _note_end(self, reason: str) -> str:
        """Return why the search ended; that and what it paid are written down before the proof adds to it."""
        if not self._end:
            search = self._ledger.spend - self._journal.round.proofs
            self._end = {"search": asdict(search), "search_end": reason, "search_cap": self._cap}
            self.store.update_study(self.row.id, summary={**self.row.summary, **self._end})
        return str(self._end["search_end"])

    def _prove(self) -> Proof:
        if not self.setup.is_scored:
            seed, jury = Candidate(self.setup.task.seeds[0]), self.setup.jury
            best = self._recommended.ranking[0] if self._recommended else seed
            by_model = jury is not None and jury.model is not None
            return self._drive(prove_by_duels(seed, best, self.setup.task.dataset, by_model=by_model), self._proof_step)
        entrants = baselines(self.setup.task)
        known = {candidate.id for candidate in entrants.values()}
        fresh = [candidate for candidate in self._ranking if candidate.id not in known][:FINALISTS]
        entrants |= {f"finalist {place}": candidate for place, candidate in enumerate(fresh, 1)}
        return self._drive(prove(entrants, self.setup.task, self.setup.objective), self._proof_step)

    def _drive(self, search: Search[T], step: Callable[[int, Ask[Any]], Any]) -> T:
        """Send a search the answers to what it asks until it returns."""
        answer, number = None, 0
        while True:
            try:
                ask = search.send(answer)
            except StopIteration as stop:
                value: T = stop.value
                return value
            answer, number = step(number, ask), number + 1

    def _search_step(self, number: int, ask: Ask[Any]) -> Any:
        asks = dict(flatten(ask, str(number)))
        self._plan(number, asks)
        if self._is_closed and not all(map(self._journal.is_answered, asks)):
            raise SearchEndedError("the search was closed before its plan was used")
        self._hold()
        begun = len(self._tally.consumed)
        answers = self._journal.answer(number, asks, lambda done, _: self._tick("search", begun + done))
        for path, inner in asks.items():
            if isinstance(inner, Evaluate):
                self._tally.take(inner, answers[path])
                told = self.setup.priced(inner.candidates, answers[path])
                answers[path] = Evaluated(told, self.setup.plan - len(self._tally.consumed))
            elif isinstance(inner, Compare) and self._judge:
                for shown, evaluations in self._judge.outputs(path, inner):
                    self._tally.take(shown, evaluations)
                answers[path] = Compared(answers[path].preferences, self.setup.plan - len(self._tally.consumed))
            elif isinstance(inner, Recommend):
                self._recommended = inner
                self.store.put_prompts([candidate.prompt for candidate in inner.ranking])
        self._store_spend()
        if self._tally.is_stuck:
            raise SearchEndedError(f"the guards refused its last {MOST_IN_A_ROW} prompts and more")
        return unflatten(ask, str(number), answers)

    def _proof_step(self, number: int, ask: Ask[Any]) -> Any:
        step, path = self._journal.round.proof(number)
        purpose = ask.purpose if isinstance(ask, Evaluate | Compare) else ask.kind
        if purpose == "test":
            uses = [self.store.record_test_use(key, self.row.id) for key in self.setup.task.test_hashes]
            self._test_use = max(uses) + len(self._journal.round.verdicts)
        answers = self._journal.answer(step, {path: ask}, lambda done, total: self._tick(purpose, done, total))
        self._store_spend()
        return Compared(answers[path].preferences, 0) if isinstance(ask, Compare) else Evaluated(answers[path], 0)

    def _plan(self, number: int, asks: Mapping[str, Ask[Any]]) -> None:
        """Hold the asks against the contract and against what the plan has left."""
        if len(asks) > 1 and any(isinstance(ask, Compare) for ask in asks.values()):
            raise StrategyError(f"{self.setup.strategy.name}: ask {number} mixes Compare, which may wait, with others.")
        wanted, context = set(self._tally.consumed), self.setup.context
        for evaluate in (inner for ask in asks.values() for inner in outputs_of(ask)):
            if fault := context.fault(evaluate):
                raise StrategyError(f"{self.setup.strategy.name}: ask {number} {fault}.")
            wanted |= evaluate.pairs(self.setup.guards)
        if len(wanted) > self.setup.plan:
            raise SearchEndedError("the plan is used")

    def _hold(self) -> None:
        """Keep back what the proof will need, at the pace seen so far."""
        calls, spend = self.setup.proof_calls, self._ledger.spend
        pace = calls / spend.calls if spend.calls else 0.0
        held = Spend(calls=calls, tokens=round(spend.tokens * pace), usd=spend.usd * pace, seconds=spend.seconds * pace)
        self._ledger.hold(held)

    @property
    def _is_closed(self) -> bool:
        """Whether the search goes no further, since its proof has begun."""
        return not self._journal.round.searches or self._journal.holds(self._journal.round.proof(0)[1])

    def _next_round(self, *, searches: bool) -> Round:
        now, summary = self._journal.round, self.row.summary
        proofs = self._ledger.spend - Spend(**summary["search"])
        said = (str(summary["sentence"]),) if self._is_finished else ()
        return Round(now.number + 1, searches, proofs, (*now.verdicts, *said))

    def _has_failed_proof(self) -> bool:
        """Return whether outcomes failed in the answers of the present round's proof."""
        place = self._journal.round.proof(0)[1].removesuffix("0")
        paths = self.store.failures(self.row.id)
        return any(path.startswith(place) and self._journal.is_answered(path) for path in paths)

    def _finish(self, reason: str, proof: Proof) -> Result:
        result = self._result("finished", reason, proof)
        if self._is_finished:  # it was only to be shown again
            return result
        finalists = [finalist.candidate for finalist in proof.finalists]
        trials = self._tally.trials
        rows = [
            replace(trials[c.id], state="winner" if c.id == proof.winner.id else "finalist")
            for c in finalists
            if c.id in trials
        ]
        self.store.put_trials(self.row.id, rows)
        self.store.close_duels(self.row.id)
        self.store.update_study(self.row.id, state="finished", summary={**result.to_json(), **self._end})
        return result

    def _pause(self, reason: str, cause: Cause) -> Result:
        state: Literal["paused", "waiting"] = "waiting" if cause == "labels" else "paused"
        result = replace(self._result(state, reason.rstrip("."), None), cause=cause)
        if not self._is_finished:  # else it was only to be shown again, and keeps what it found
            self.store.update_study(self.row.id, state=state, summary={**result.to_json(), **self._end})
        return result

    def _result(self, state: Literal["finished", "paused", "waiting"], reason: str, proof: Proof | None) -> Result:
        ranking = self._ranking or (Candidate(self.setup.task.seeds[0]),)
        best = proof.winner if proof else ranking[0]
        effects = self._recommended.effects if self._recommended else ()
        return Result(
            name=self.row.name,
            state=state,
            reason=reason,
            task=self.setup.task,
            best=best,
            proof=proof,
            effects=tuple(e for e in effects if best.id == ranking[0].id or not e.against),
            evaluations=len(self._tally.consumed),
            trials=len(self._tally.trials) - sum(self._tally.refusals.values()),
            refusals=self._tally.refusals,
            search_spend=Spend(**self._end["search"]) if self._end else self._ledger.spend,
            spend=self._first_spend if self._is_finished else self._ledger.spend,
            test_use=self._test_use,
            earlier=self._journal.round.verdicts,
            judging=self._judging(),
            p_best=self._recommended.p_best if self._recommended else None,
            unscored=self._n_unscored(proof),
            objective=self.setup.objective,
            cached_share=cached_share([*self._tally.evaluations.values(), *(proof.evaluations if proof else ())]),
        )

    def _n_unscored(self, proof: Proof | None) -> int:
        if not self.setup.is_scored:
            return 0
        seen = [*self._tally.evaluations.values(), *(proof.evaluations if proof else ())]
        return sum(o.status == "ok" and o.score is None for evaluation in seen for o in evaluation.outcomes)

    def _judging(self) -> dict[str, Any]:
        """Return what judges said and how far they can be trusted."""
        audit = self._grader.audit(self.setup.task.rubrics) if self._grader else None
        return describe(self.store.preferences(self.row.id)) | ({"grades": asdict(audit)} if audit else {})

    @property
    def _ranking(self) -> Sequence[Candidate]:
        """What the search would return, without what a guard refuses; of equals the shorter first."""
        told, seen = self._recommended, self._tally.evaluations
        if told is None:
            return ()
        ranking: Sequence[Candidate] = told.ranking
        if told.estimates:
            counts = [seen[candidate.id].n_valid if candidate.id in seen else 0 for candidate in ranking]
            grounds = list(zip((round(estimate, 9) for estimate in told.estimates), counts, strict=True))
            ranking = shorter_first(ranking, grounds, self.setup.task.prompt_tokens)
        return [candidate for candidate in ranking if not self.setup.guards.refusal(candidate.prompt)]

    def _tick(self, phase: str, done: int, total: int | None = None) -> None:
        now = time.monotonic()
        if now - self._renewed > RENEW_S:
            self._renewed = now
            self.store.renew_lease(self.row.id)
        if self._observer is None or now - self._shown < PROGRESS_S:
            return
        self._shown = now
        session = self._ledger.spend.seconds - self._first_spend.seconds
        calls = self._ledger.spend.calls - self._first_spend.calls
        best = self._recommended.ranking[0].id if self._recommended else ""
        progress = Progress(
            phase=phase,
            done=done,
            total=total or self.setup.plan,
            trials=len(self._tally.trials),
            best=self._tally.evaluations.get(best),
            spend=self._ledger.spend,
            calls_per_s=calls / session if session > 0 else 0.0,
        )
        self._observer(progress)

    def _store_spend(self) -> None:
        """Store what no outcome stands for: time, and calls that were lost."""
        if self._is_finished:  # showing a result again is no work on it
            return
        now = replace(self._ledger.lost, seconds=self._ledger.spend.seconds)
        self.store.charge(self.row.id, now - self._stored)
        self._stored = now

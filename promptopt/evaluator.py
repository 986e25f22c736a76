"""Evaluator: answers Evaluate asks; scores prompts on examples against the task model.

What the store already knows is not called again; what comes in is stored before anything else happens to it.
"""

import hashlib
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import closing
from dataclasses import replace
from typing import Literal

from promptopt.ask import Evaluate
from promptopt.backends.base import Backend, Reply, Request
from promptopt.errors import ConfigError, MetricError, ReplayError
from promptopt.evaluation import Evaluation, Outcome, Status
from promptopt.example import Example
from promptopt.garbage import seldom_collected
from promptopt.grader import CALLS, UNREAD, Grader, Work
from promptopt.ids import content_hash
from promptopt.ledger import Ledger
from promptopt.metric import NO_METRIC, SHOWN, score_by
from promptopt.metrics.rubric import Rubric
from promptopt.prompt import Prompt
from promptopt.sheet import Form, Pair, Sheet
from promptopt.store.buffer import OutcomeBuffer
from promptopt.store.rows import ConsumedRow, OutcomeRow, ScoreRow
from promptopt.store.store import Store
from promptopt.task import Task

AT_ONCE = 2_000

CacheMode = Literal["on", "off"]
Tick = Callable[[int, int], None]


class Evaluator:
    """Scores prompts on examples: cached, grouped by prompt, under the ledger.

    Args:
        task: Fields, metric and decoding.
        backend: The task model.
        store: Where outcomes live.
        ledger: The caps.
        study_id: Who pays.
        cache: ``on``, or ``off`` to use only what this study itself has paid for.
    """

    def __init__(
        self, task: Task, backend: Backend, store: Store, ledger: Ledger, *, study_id: int, cache: CacheMode = "on"
    ) -> None:
        for member in task.members:
            _check_scoring(member, backend)
        self.task = task
        self._backend = backend
        self._store = store
        self._ledger = ledger
        self.study_id = study_id
        self._cache = cache
        self.grader: Grader | None = None
        self.metric_key = task.metric.key
        self._model_key = backend.model_key
        self._forms: dict[tuple[str, str], Form] = {}
        self._n_scored = 0  # outputs, since they were last noted
        self._faults: list[tuple[str, str]] = []  # likewise: examples, and what the metric says

    def grade_with(self, grader: Grader) -> None:
        """Have the outputs of tasks whose metric is a rubric graded; scores are then the judge's too."""
        self.grader, self.metric_key = grader, content_hash(self.task.metric.key, grader.key)

    @seldom_collected()
    def answer(self, asks: Mapping[str, Evaluate], on_tick: Tick | None = None) -> dict[str, tuple[Evaluation, ...]]:
        """Answer asks that are open side by side, by their journal paths.

        Raises:
            BudgetSpentError: A cap was reached first; what came in is stored.
            TooManyFailuresError: Too few calls succeeded, or too few outputs could be scored; likewise.
            FatalBackendError: The model cannot be used at all.
        """
        self._store.put_prompts([candidate.prompt for ask in asks.values() for candidate in ask.candidates])
        sheet = Sheet(asks)
        twins: list[tuple[Pair, Pair]] = []
        buffer = OutcomeBuffer(self._store)
        requests = ((pair, self._request(pair)) for pair in self._unknown(asks, sheet, twins))
        try:
            with closing(self._ledger.run(self._backend, requests)) as arrivals:
                for arrival in arrivals:
                    if arrival is not None:
                        pair, reply = arrival
                        row = self._row(pair, reply)
                        score = self._score(row.request_key, row.status, row.output, pair.example)
                        buffer.add(row, score)
                        sheet.put(pair, _outcome(row, score))
                        if self._faults:
                            self._note_scores()
                    if on_tick:
                        # An answer that a judge has to grade is not done yet when it comes.
                        on_tick((sheet.n_done + len(twins)) // (1 + CALLS if self.grader else 1), sheet.n)
                    buffer.tick()
        finally:
            buffer.flush()
        self._take_first_ones(asks, sheet, buffer.dropped)
        if self.grader:
            self._grade(asks, sheet, on_tick)
        for twin, first in twins:
            sheet.put(twin, sheet[first])
        for path, ask in asks.items():
            self._consume(path, ask, sheet)
        return {path: sheet.evaluations(path) for path in asks}

    @seldom_collected()
    def recorded(self, path: str, ask: Evaluate) -> tuple[Evaluation, ...]:
        """Return the answer that the journal holds for this ask, without any call.

        Raises:
            ReplayError: The prompts render to other requests than when it was answered.
        """
        found = self._store.consumed_outcomes(self.study_id, path, self.metric_key)
        sheet = Sheet({path: ask})
        for pair in self.pairs(ask, path):
            outcome = found.get(pair.key) or found.get(self._failed_key(pair))
            if outcome is None:
                raise ReplayError(
                    f"Ask {path} was answered for other requests than its prompts make now: the layout, the cache mode "
                    "or this release differs from when the study was made; start a new one from it with --fork."
                )
            sheet.put(pair, outcome)
        return sheet.evaluations(path)

    def pairs(self, ask: Evaluate, path: str = "") -> Iterator[Pair]:
        """Return the product of an ask's two lists, grouped by prompt."""
        place = itertools.count()
        for candidate in ask.candidates:
            forms: dict[str, tuple[Form, str]] = {}
            for example in ask.examples:
                if example.task not in forms:
                    form = self._form(candidate.prompt, example.task)
                    forms[example.task] = form, form.prefix + (f"#{ask.repeat}" if ask.repeat else "")
                form, beginning = forms[example.task]
                key = hashlib.blake2b((beginning + example.id).encode(), digest_size=16).hexdigest()
                yield Pair(path, next(place), candidate.prompt, form, example, key, ask.repeat)

    def _form(self, prompt: Prompt, name: str) -> Form:
        if (prompt.id, name) not in self._forms:
            task, template = self.task.member(name), self.task.template(prompt, name)
            decoding = task.decoding
            sampling = [decoding.max_tokens, decoding.temperature, decoding.seed, decoding.scoring]
            own = [self.study_id] if self._cache == "off" else []
            prefix = content_hash(template.digest, self._model_key, sampling, *own)
            self._forms[prompt.id, name] = Form(task, template, _room(task), prefix)
        return self._forms[prompt.id, name]

    def _unknown(self, asks: Mapping[str, Evaluate], sheet: Sheet, twins: list[tuple[Pair, Pair]]) -> Iterator[Pair]:
        """Return the pairs that have to be called, as they are wanted, and write down what the store knows.

        A pair that makes the same request as an earlier one is a twin of it and waits for its outcome.
        """
        pairs = self._distinct(asks, twins)
        while batch := _batch(pairs):
            yield from self._recall(batch, sheet)

    def _recall(self, batch: list[Pair], sheet: Sheet) -> list[Pair]:
        """Write down what the store knows of these pairs, and return the others."""
        stored = self._store.recall([pair.key for pair in batch], self.metric_key)
        self._ledger.health.note_known(len(stored))
        self._n_scored += sum(outcome.score is not None for outcome in stored.values())
        self._put_stored([(pair, stored[pair.key]) for pair in batch if pair.key in stored], sheet)
        return [pair for pair in batch if pair.key not in stored]

    def _put_stored(self, stored: Iterable[tuple[Pair, Outcome]], sheet: Sheet) -> None:
        """Write down outcomes that the store holds; those that have no score by this metric get one."""
        fresh = []
        for pair, outcome in stored:
            if outcome.score is None and (score := self._score(pair.key, outcome.status, outcome.output, pair.example)):
                fresh.append(score)
                outcome = outcome._replace(score=score.value, feedback=score.feedback)
            sheet.put(pair, outcome)
        self._store.add_outcomes([], fresh, [])
        self._note_scores()

    def _distinct(self, asks: Mapping[str, Evaluate], twins: list[tuple[Pair, Pair]]) -> Iterator[Pair]:
        everything = itertools.chain.from_iterable(self.pairs(ask, path) for path, ask in asks.items())
        beginnings = [
            self._form(candidate.prompt, name).prefix
            for ask in asks.values()
            for name in {example.task for example in ask.examples}
            for candidate in ask.candidates
        ]
        if len(set(beginnings)) == len(beginnings):  # as nearly always; then no two requests can be the same
            yield from everything
            return
        firsts: dict[str, Pair] = {}
        for pair in everything:
            if pair.key in firsts:
                twins.append((pair, firsts[pair.key]))
            else:
                firsts[pair.key] = pair
                yield pair

    def _take_first_ones(self, asks: Mapping[str, Evaluate], sheet: Sheet, dropped: Set[str]) -> None:
        """Put down the outcomes that the store kept instead of those that came, as replaying will find them.

        Another study may have stored its own outcome of a request first, and this one an earlier failure.
        """
        if not dropped and not sheet.n_failed:
            return
        doubtful = {
            self._stored_key(pair, sheet[pair]): pair
            for path, ask in asks.items()
            for pair in self.pairs(ask, path)
            if pair in sheet and (sheet[pair].status == "failed" or pair.key in dropped)
        }
        kept = self._store.recall(list(doubtful), self.metric_key, failed=True)
        self._put_stored([(doubtful[key], outcome) for key, outcome in kept.items()], sheet)

    def _grade(self, asks: Mapping[str, Evaluate], sheet: Sheet, on_tick: Tick | None) -> None:
        """Have a judge grade what came and is for a judge to grade; what it is not heard on is missing, and no zero."""
        works = [
            (pair, Work(pair.key, pair.example, outcome.output, pair.form.task.metric))
            for path, ask in asks.items()
            for pair in self.pairs(ask, path)
            if pair in sheet
            and (outcome := sheet[pair]).score is None
            and isinstance(pair.form.task.metric, Rubric)
            and _is_scored(outcome.status, pair.form.task)
        ]
        if not works or self.grader is None:
            return
        scores, unread = [], []

        def tick(share: float) -> None:
            if on_tick:
                on_tick(round(sheet.n * (1 + CALLS * share) / (1 + CALLS)), sheet.n)

        graded = self.grader.grade([work for _, work in works], tick)
        for (pair, _), (_, score) in zip(works, graded, strict=True):
            outcome = sheet[pair]
            if score is not None:
                scores.append(ScoreRow(pair.key, self.metric_key, score.value, score.feedback))
                continue
            # The answer is paid and stays known; what fails is this study's attempt to have it graded.
            reply = Reply("failed", outcome.output, error=UNREAD)
            unread.append(replace(self._row(pair, reply), study_id=None))
            sheet.put(pair, outcome._replace(status="failed", feedback=UNREAD))
        self._store.add_outcomes(unread, scores, [])
        # Another study may have had the same outcome graded otherwise meanwhile: what the store kept is what holds.
        kept = self._store.recall([score.request_key for score in scores], self.metric_key)
        for pair, _ in works:
            if pair.key in kept:
                sheet.put(pair, kept[pair.key])
        self._take_first_ones(asks, sheet, frozenset())

    def _request(self, pair: Pair) -> Request:
        task, template = pair.form.task, pair.form.template
        decoding = task.decoding
        return Request(
            template.mode,
            template.render(pair.example),
            pair.form.max_tokens,
            decoding.temperature,
            template.stop,
            seed=None if decoding.seed is None else decoding.seed + pair.repeat,
            choices=task.choices if decoding.scoring == "likelihood" else (),
            allowed=task.choices if decoding.scoring == "choice" else (),
            group=pair.prompt.id,
            shared=template.shared,
        )

    def _row(self, pair: Pair, reply: Reply) -> OutcomeRow:
        return OutcomeRow(
            pair.key if reply.status != "failed" else self._failed_key(pair),
            pair.prompt.id,
            pair.example.id,
            self._model_key,
            pair.repeat,
            reply.status,
            output=sys.intern(reply.text),  # a classifier says the same few words thousands of times
            usage=reply.usage,
            attempts=reply.attempts,
            study_id=self.study_id,
            error=reply.error,
        )

    def _score(self, key: str, status: Status, output: str, example: Example) -> ScoreRow | None:
        """Score an outcome; what the metric cannot score has no score, as a call that failed has none."""
        task = self.task.member(example.task)
        if not _is_scored(status, task) or task.metric.name == NO_METRIC or isinstance(task.metric, Rubric):
            return None
        try:
            score = score_by(task.metric, output, example)
        except MetricError as error:
            begins = " / ".join(example.inputs.values())[:SHOWN]
            self._faults.append((example.id, f"{str(error).rstrip('.')}; its row begins '{begins}'"))
            return None
        self._n_scored += 1
        return ScoreRow(key, self.metric_key, score.value, score.feedback)

    def _note_scores(self) -> None:
        """Have the health of the study looked at.

        Raises:
            TooManyFailuresError: Too many outputs could not be scored.
        """
        n_scored, faults = self._n_scored, self._faults
        self._n_scored, self._faults = 0, []
        examples = [example for example, _ in faults]
        self._ledger.health.note_scores(n_scored, examples, faults[-1][1] if faults else "")

    def _stored_key(self, pair: Pair, outcome: Outcome) -> str:
        return pair.key if outcome.status != "failed" else self._failed_key(pair)

    def _failed_key(self, pair: Pair) -> str:
        # A failure belongs to the study that saw it and must never answer somebody else's question.
        return content_hash(pair.key, self.study_id)

    def _consume(self, path: str, ask: Evaluate, sheet: Sheet) -> None:
        pairs = self.pairs(ask, path)
        while batch := _batch(pairs):
            rows = [ConsumedRow(self.study_id, path, self._stored_key(p, sheet[p]), p.prompt.id) for p in batch]
            self._store.add_outcomes([], [], rows)


def _check_scoring(task: Task, backend: Backend) -> None:
    scoring = task.decoding.scoring
    if scoring != "generate" and not task.choices:
        raise ConfigError(
            f"task {task.name}: scoring = {scoring} needs the same closed set of choices on every example; "
            "give choices or use scoring = generate."
        )
    if scoring != "generate" and scoring not in backend.abilities:
        raise ConfigError(f"{backend.address} cannot do scoring = {scoring}; use scoring = generate.")


def _is_scored(status: Status, task: Task) -> bool:
    """Whether an answer that came so may have a score."""
    return status == "ok" or (status == "truncated" and task.decoding.score_truncated)


def _room(task: Task) -> int:
    """Return the most tokens of an answer; one bound to the choices ends by itself, so it gets room for any of them."""
    bound = task.decoding.scoring == "choice"
    longest = max(len(choice.encode()) for choice in task.choices) + 2 if bound else 0  # a byte a token at worst
    return max(task.decoding.max_tokens, longest)


def _outcome(row: OutcomeRow, score: ScoreRow | None) -> Outcome:
    return Outcome(
        row.prompt_id,
        row.example_id,
        row.status,
        row.output,
        score.value if score else None,
        score.feedback if score else row.error,
        row.usage,
    )


def _batch(pairs: Iterator[Pair]) -> list[Pair]:
    """Take the next pairs."""
    return list(itertools.islice(pairs, AT_ONCE))

"""Evaluator: answers Evaluate asks; scores prompts on examples against the task model.

What the store already knows is not called again; what comes in is stored before anything else happens to it.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Literal

from promptopt.ask import Evaluate
from promptopt.backends.base import Backend, Reply, Request
from promptopt.errors import ConfigError, MetricError, ReplayError
from promptopt.evaluation import Evaluation, Outcome
from promptopt.example import Example
from promptopt.ids import content_hash
from promptopt.layout import Template
from promptopt.ledger import Ledger
from promptopt.prompt import Prompt
from promptopt.store.buffer import OutcomeBuffer
from promptopt.store.rows import ConsumedRow, OutcomeRow, ScoreRow
from promptopt.store.store import Store
from promptopt.task import Task

CacheMode = Literal["on", "off"]
Tick = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Pair:
    """One prompt on one example, with the key under which its outcome is stored, and which draw of it is wanted."""

    prompt: Prompt
    template: Template
    example: Example
    key: str
    repeat: int


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
        scoring = task.decoding.scoring
        if scoring != "generate" and not task.choices:
            raise ConfigError(
                f"task {task.name}: scoring = {scoring} needs the same closed set of choices on every example; "
                "give choices or use scoring = generate."
            )
        if scoring != "generate" and scoring not in backend.abilities:
            raise ConfigError(f"{backend.address} cannot do scoring = {scoring}; use scoring = generate.")
        self.task = task
        self.backend = backend
        self.store = store
        self.ledger = ledger
        self.study_id = study_id
        self.cache = cache
        self._model_key = backend.model_key
        # An answer bound to the choices ends by itself, so it gets room for any of them, a byte a token at worst.
        longest = max(len(choice.encode()) for choice in task.choices) + 2 if scoring == "choice" else 0
        self._max_tokens = max(task.decoding.max_tokens, longest)
        self._templates: dict[str, tuple[Template, str]] = {}

    def answer(self, asks: Mapping[str, Evaluate], on_tick: Tick | None = None) -> dict[str, tuple[Evaluation, ...]]:
        """Answer asks that are open side by side, by their journal paths.

        Raises:
            BudgetSpentError: A cap was reached first; what came in is stored.
            TooManyFailuresError: Too few calls succeeded; likewise.
            FatalBackendError: The model cannot be used at all.
            MetricError: An output could not be scored; it is stored, and scored again when the study goes on.
        """
        self.store.put_prompts([candidate.prompt for ask in asks.values() for candidate in ask.candidates])
        pairs = {path: self.pairs(ask) for path, ask in asks.items()}
        wanted = {pair.key: pair for group in pairs.values() for pair in group}
        known = self._recall(wanted)
        missing = [pair for key, pair in wanted.items() if key not in known]

        def tick(done: int) -> None:
            if on_tick:
                on_tick(len(wanted) - len(missing) + done, len(wanted))

        known |= self._call(missing, tick)
        for path, group in pairs.items():
            self._consume(path, group, known)
        return {path: _evaluations(ask, pairs[path], known) for path, ask in asks.items()}

    def recorded(self, path: str, ask: Evaluate) -> tuple[Evaluation, ...]:
        """Return the answer that the journal holds for this ask, without any call.

        Raises:
            ReplayError: The prompts render to other requests than when it was answered.
        """
        group = self.pairs(ask)
        rows = self.store.consumed_outcomes(self.study_id, path, self.task.metric.key)
        found = {row.request_key: _outcome(row, score) for row, score in rows}
        known = {p.key: found.get(p.key) or found.get(self._failed_key(p)) for p in group}
        if None in known.values():
            raise ReplayError(
                f"Ask {path} was answered for other requests than its prompts make now: the layout, the cache mode or "
                "this release differs from when the study was made; start a new one from it with --fork."
            )
        return _evaluations(ask, group, {key: outcome for key, outcome in known.items() if outcome})

    def pairs(self, ask: Evaluate) -> list[Pair]:
        """Return the product of an ask's two lists, grouped by prompt."""
        pairs: list[Pair] = []
        for candidate in ask.candidates:
            template, prefix = self._template(candidate.prompt)
            draw = f"#{ask.repeat}" if ask.repeat else ""
            head = hashlib.blake2b((prefix + draw).encode(), digest_size=16)
            for example in ask.examples:
                digest = head.copy()
                digest.update(example.id.encode())
                pairs.append(Pair(candidate.prompt, template, example, digest.hexdigest(), ask.repeat))
        return pairs

    def _template(self, prompt: Prompt) -> tuple[Template, str]:
        if prompt.id not in self._templates:
            template = prompt.template(self.task.fields)
            decoding = self.task.decoding
            sampling = [decoding.max_tokens, decoding.temperature, decoding.seed, decoding.scoring]
            own = [self.study_id] if self.cache == "off" else []
            self._templates[prompt.id] = template, content_hash(template.digest, self._model_key, sampling, *own)
        return self._templates[prompt.id]

    def _recall(self, wanted: Mapping[str, Pair]) -> dict[str, Outcome]:
        rows = self.store.find_outcomes(list(wanted))
        metric = self.task.metric
        scores = self.store.scores(list(rows), metric.key)
        fresh = []
        for key, row in rows.items():
            if key not in scores and (score := self._score(row, wanted[key].example)):
                scores[key] = score
                fresh.append(score)
        self.store.add_outcomes([], fresh, [])
        return {key: _outcome(row, scores.get(key)) for key, row in rows.items()}

    def _call(self, missing: Sequence[Pair], on_done: Callable[[int], None]) -> dict[str, Outcome]:
        known: dict[str, Outcome] = {}
        buffer = OutcomeBuffer(self.store)
        requests = ((pair, self._request(pair)) for pair in missing)
        try:
            with closing(self.ledger.run(self.backend, requests)) as arrivals:
                for arrival in arrivals:
                    if arrival is not None:
                        pair, reply = arrival
                        row = self._row(pair, reply)
                        score = self._scored(row, pair.example, buffer)
                        known[pair.key] = _outcome(row, score)
                    on_done(len(known))
                    buffer.tick()
        finally:
            buffer.flush()
        return known | self._first_ones(missing, known, buffer.dropped)

    def _first_ones(
        self, missing: Sequence[Pair], known: Mapping[str, Outcome], dropped: Set[str]
    ) -> dict[str, Outcome]:
        """Return the outcomes that the store kept instead of those that came, as replaying will find them.

        Another study may have stored its own outcome of a request first, and this one an earlier failure.
        """
        failed = {self._failed_key(p): p.key for p in missing if known[p.key].status == "failed"}
        kept = self.store.find_outcomes([*failed, *dropped], failed=True)
        scores = self.store.scores(list(dropped), self.task.metric.key)
        return {failed.get(key, key): _outcome(row, scores.get(key)) for key, row in kept.items()}

    def _request(self, pair: Pair) -> Request:
        decoding = self.task.decoding
        return Request(
            mode=pair.template.mode,
            messages=pair.template.render(pair.example),
            max_tokens=self._max_tokens,
            temperature=decoding.temperature,
            stop=pair.template.stop,
            seed=None if decoding.seed is None else decoding.seed + pair.repeat,
            choices=self.task.choices if decoding.scoring == "likelihood" else (),
            allowed=self.task.choices if decoding.scoring == "choice" else (),
            group=pair.prompt.id,
            shared=pair.template.shared,
        )

    def _row(self, pair: Pair, reply: Reply) -> OutcomeRow:
        return OutcomeRow(
            request_key=pair.key if reply.status != "failed" else self._failed_key(pair),
            prompt_id=pair.prompt.id,
            example_id=pair.example.id,
            model_key=self._model_key,
            repeat=pair.repeat,
            status=reply.status,
            output=reply.text,
            usage=reply.usage,
            attempts=reply.attempts,
            study_id=self.study_id,
            error=reply.error,
        )

    def _scored(self, row: OutcomeRow, example: Example, buffer: OutcomeBuffer) -> ScoreRow | None:
        """Score an outcome that has just come and store both; it is paid, so it is stored whatever the metric says."""
        try:
            score = self._score(row, example)
        except MetricError:
            buffer.add(row)
            raise
        buffer.add(row, score)
        return score

    def _score(self, row: OutcomeRow, example: Example) -> ScoreRow | None:
        if row.status != "ok" and not (row.status == "truncated" and self.task.decoding.score_truncated):
            return None
        score = self.task.metric.score(row.output, example)
        if not 0 <= score.value <= 1:  # also true of NaN
            raise MetricError(
                f"the metric {self.task.metric.name} gave {score.value} for example {example.id[:8]}, which is not "
                "from 0 to 1; scale it."
            )
        return ScoreRow(row.request_key, self.task.metric.key, score.value, score.feedback)

    def _failed_key(self, pair: Pair) -> str:
        # A failure belongs to the study that saw it and must never answer somebody else's question.
        return content_hash(pair.key, self.study_id)

    def _consume(self, path: str, group: Sequence[Pair], known: Mapping[str, Outcome]) -> None:
        keys = (p.key if known[p.key].status != "failed" else self._failed_key(p) for p in group)
        rows = [ConsumedRow(self.study_id, path, key, p.prompt.id) for key, p in zip(keys, group, strict=True)]
        self.store.add_outcomes([], [], rows)


def _outcome(row: OutcomeRow, score: ScoreRow | None) -> Outcome:
    return Outcome(
        prompt_id=row.prompt_id,
        example_id=row.example_id,
        status=row.status,
        output=row.output,
        score=score.value if score else None,
        feedback=score.feedback if score else row.error,
        usage=row.usage,
    )


def _evaluations(ask: Evaluate, group: Sequence[Pair], known: Mapping[str, Outcome]) -> tuple[Evaluation, ...]:
    width = len(ask.examples)
    evaluations = []
    for index, candidate in enumerate(ask.candidates):
        outcomes = (_of_pair(known[pair.key], pair) for pair in group[index * width : (index + 1) * width])
        evaluations.append(Evaluation(candidate.id, tuple(outcomes)))
    return tuple(evaluations)


def _of_pair(outcome: Outcome, pair: Pair) -> Outcome:
    """Return the outcome under the ids of the pair: two prompts may render to the same request."""
    if outcome.prompt_id == pair.prompt.id and outcome.example_id == pair.example.id:
        return outcome
    return replace(outcome, prompt_id=pair.prompt.id, example_id=pair.example.id)

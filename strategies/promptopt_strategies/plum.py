"""Plum and Walk: what Plum's six metaheuristics share, their common settings and a running search.

The six files ``plum_*.py`` hold what is their own: which neighbours are made, and what is accepted.

Reference: Pan et al., Plum: Prompt Learning using Metaheuristics, ACL 2024 (Findings), arXiv 2311.08364, on Prasad et
al., GrIPS, EACL 2023, arXiv 2203.07281. Its code is research4pan/Plum, commit cf4eadd. The paper's own defaults are
known from the code's README alone.

Profiles:
    paper: The README's experiments: 10 neighbours of one edit, 50 iterations, patience 7, 100 rows, 1,000 requests of
        20 rows, entropy bonus with weight 10; the incumbent is reported.
    reference-code: The defaults of the command line: 5 neighbours, 10 iterations, patience 2, requests of 4 rows.
    recommended: Ours. The mean score is the objective. Neighbours of 4 edits are raced against the incumbent, first on
        rows that it has seen and then on fresh ones; half of the edits add a sentence of the component library, since
        a seed of few phrases has little to edit; a last race on fresh rows decides which of the best few is reported.

Differences from the code, in every profile:
    - Edits work on a list of phrases, found without a parser; the code replaces a text wherever it stands.
    - Other words come from a word list, or from the optimizer model with ``paraphraser = model``; the code has Pegasus.
    - A phrase with a place for an input is not edited, and a splice that loses or doubles one is drawn again.
    - A candidate without a letter is drawn again alone; the code redraws a batch, and only if its last one is empty.
    - Every prompt carries its own delete pool, so one line of descent never adds what another deleted.
    - Outputs are read for labels, and one without a label earns no entropy bonus; without labels there is no bonus. The
      code compares first-token probabilities, so there every output has a label.
    - Requests are counted as if no row had been scored before, as the code does; the study's plan counts new rows only,
      and no search asks for more than its plan has left.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from promptopt.ask import Recommend, Search
from promptopt.errors import ConfigError
from promptopt.evaluation import Evaluation
from promptopt.example import Example, by_hash
from promptopt.phrase import Level
from promptopt.prompt import Candidate, distinct
from promptopt.selection import Drop
from promptopt.settings import require_at_least, require_at_most
from promptopt.strategy import Context, Estimate, Need
from promptopt_strategies.objective import Objective
from promptopt_strategies.phrase_edits import PART, Editor, Phrasing, library_of
from promptopt_strategies.scoreboard import PRIOR_ROWS, Scoreboard, common_rows

RECOMMENDED = 5
BEHIND = 1.0  # a neighbour so many points of score behind leaves a race

_AS_PUBLISHED: Mapping[str, Any] = MappingProxyType(
    {
        "rows": 100,
        "block": 0,
        "final": 0.0,
        "edits": 1,
        "entropy": 10.0,
        "library": 0.0,
        "report": "incumbent",
        "requests": 1000,
    }
)
PAPER: Mapping[str, Any] = MappingProxyType(
    {**_AS_PUBLISHED, "neighbours": 10, "iterations": 50, "patience": 7, "batch": 20}
)
REFERENCE_CODE: Mapping[str, Any] = MappingProxyType(
    {**_AS_PUBLISHED, "neighbours": 5, "iterations": 10, "patience": 2, "batch": 4}
)


@dataclass(frozen=True)
class Plum(ABC):
    """The settings that Plum's metaheuristics share.

    Args:
        neighbours: Candidates of one iteration (m).
        iterations: Iterations at most (n).
        patience: The search ends after so many iterations in a row that improve nothing (P).
        edits: Edits that make one neighbour (l).
        level: What an edit moves: a ``phrase``, ``word``, ``sentence`` or ``span``.
        rows: Examples that the seeds are scored on, and without races every candidate.
        block: Race an iteration's candidates against the incumbent, with a look after so many rows; at 0 all of them
            are scored on all ``rows``, the same ones throughout.
        fresh: After the rows that the incumbent has seen, a race goes on over so many new ones, where its luck ends.
        final: The share of the plan that is kept for a last race of the best few and the seeds on fresh rows.
        entropy: The weight of the bonus for labels of even frequency (alpha), with balanced accuracy; 0 for the mean.
        library: The share of edits that add a sentence of the component library; else phrases deleted before alone can
            be added.
        paraphraser: Where other wordings come from: exchange of ``words``, offline, or the optimizer ``model``.
        paraphrases: Other wordings of a phrase to choose from, at most.
        reworded: How many phrases the optimizer model is asked to reword, at most; the rest is done offline.
        report: What is recommended first: the ``best`` seen, or the ``incumbent``, which may be worse.
        requests: The search ends after so many requests of ``batch`` rows each; at 0 the plan alone ends it.
        batch: Rows in one request, for counting requests. The study's plan counts rows.
    """

    neighbours: int = 4
    iterations: int = 400
    patience: int = 100
    edits: int = 4
    level: Level = "phrase"
    rows: int = 15
    block: int = 5
    fresh: int = 10
    final: float = 0.2
    entropy: float = 0.0
    library: float = 0.5
    paraphraser: Literal["words", "model"] = "words"
    paraphrases: int = 10
    reworded: int = 20
    report: Literal["best", "incumbent"] = "best"
    requests: int = 0
    batch: int = 20

    name: ClassVar[str]
    version: ClassVar[str] = "1"
    needs: ClassVar[frozenset[Need]] = frozenset()
    control: ClassVar[bool] = False
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]]

    def __post_init__(self) -> None:
        require_at_least(self, 1, "neighbours", "iterations", "patience", "edits", "rows", "batch", "paraphrases")
        require_at_least(self, 0, "block", "fresh", "final", "entropy", "reworded", "requests")
        require_at_most(self, 1, "final")
        if self.paraphraser == "model":  # then, and only then, somebody must write
            object.__setattr__(self, "needs", frozenset({"write"}))

    @abstractmethod
    def search(self, context: Context) -> Search[None]:
        """Search for a better instruction."""

    def estimate(self, context: Context) -> Estimate:
        """Say how much it asks for at most: no neighbour is seen twice, and every phrase is reworded."""
        rows = self.fitted_rows(context)
        generation = self.generation()
        evaluations = (len(context.seeds) + self.iterations * generation) * rows
        if self.requests:
            # The last iteration may begin one request before the end.
            evaluations = min(evaluations, (self.requests + generation * math.ceil(rows / self.batch)) * self.batch)
        writes = self.reworded * self.paraphrases if self.paraphraser == "model" else 0
        return Estimate(min(evaluations, context.evaluations) if not self.block else context.evaluations, writes)

    def generation(self) -> int:
        """Return how many candidates one iteration scores at most."""
        return self.neighbours

    def fitted_rows(self, context: Context) -> int:
        """Return the rows of a candidate: no more than leave the plan room for a neighbour besides the seeds."""
        return max(1, min(self.rows, len(context.search), context.evaluations // (len(context.seeds) + 1)))


@dataclass
class Walk:
    """A running search: what was seen, where it stands, and when it ends.

    Args:
        settings: The strategy.
        context: The task.
        editor: Makes neighbours.
        objective: What is maximised.
        rows: The examples that the seeds, and without races all candidates, are scored on.
        board: What every candidate was seen to do, and what the plan has left.
        known: Every phrasing that was scored, by id.
        incumbent: Where it stands.
        iteration: The number of the iteration, from 1.
        idle: One more than the iterations since the last that improved; the search ends when it passes the patience.
        requests: Requests made so far.
        said: The last Recommend.
        measured: The points of every evaluation, by prompt id, so that they are reckoned once.
    """

    settings: Plum
    context: Context
    editor: Editor
    objective: Objective
    rows: list[Example]
    board: Scoreboard
    known: dict[str, Phrasing]
    incumbent: Phrasing
    iteration: int = 0
    idle: int = 1
    requests: int = 0
    said: Recommend | None = None
    measured: dict[str, tuple[Evaluation, float]] = field(default_factory=dict)

    def rng(self, *place: object) -> Random:
        """Return the random stream of a place in this iteration."""
        return self.context.rng(self.settings.name, self.iteration, *place)

    def open(self) -> Search[None]:
        """Score the seeds and start at the best of them."""
        yield from self._score([seed.candidate for seed in self.known.values()])
        self.incumbent = self.order(self.known.values())[0]
        yield from self.recommend()

    def goes_on(self) -> bool:
        """Begin the next iteration, if there is one."""
        self.iteration += 1
        reserve = int(self.settings.final * self.context.evaluations)
        return (
            self.iteration <= self.settings.iterations
            and self.idle <= self.settings.patience
            and self.board.remaining - reserve >= (self.settings.block or len(self.rows))
            and (not self.settings.requests or self.requests < self.settings.requests)
        )

    def neighbours(self, base: Phrasing, *place: object) -> Search[list[Phrasing]]:
        """Return the edited neighbours of a phrasing, m of them; other ones at each place of an iteration."""
        wanted, edits = self.settings.neighbours, self.settings.edits
        return (yield from self.editor.neighbours(base, wanted, edits, self.rng("edit", *place)))

    def score(self, phrasings: Sequence[Phrasing]) -> Search[list[Phrasing]]:
        """Score phrasings and return them with the best first; those that no example answered are left out."""
        wanted = {phrasing.id: phrasing for phrasing in phrasings}
        if self.settings.block:
            ranked = yield from self._race([phrasing.candidate for phrasing in wanted.values()])
        else:
            ranked = yield from self._score([phrasing.candidate for phrasing in wanted.values()])
        scored = [
            wanted[candidate.id] for candidate in ranked if candidate.id in wanted and self._seen(candidate).n_valid
        ]
        self.known |= {phrasing.id: phrasing for phrasing in scored}
        return scored

    def gain(self, one: Phrasing, other: Phrasing) -> float:
        """Return by how many points one is ahead of the other, on the examples that both answered."""
        left, right = self.board.seen[one.id], self.board.seen[other.id]
        common = left.scores.keys() & right.scores.keys()
        return round(self.objective.points(left, common) - self.objective.points(right, common), 9)

    def order(self, phrasings: Iterable[Phrasing]) -> list[Phrasing]:
        """Return phrasings with the best first.

        Points of few rows say little, so all are drawn towards the mean of all as by ``PRIOR_ROWS`` more rows.
        """
        prior = math.fsum(map(self._points, self.board.seen)) / max(1, len(self.board.seen))

        def place(phrasing: Phrasing) -> tuple[float, int, str]:
            n = self._seen(phrasing.candidate).n_valid
            standing = (n * self._points(phrasing.id) + PRIOR_ROWS * prior) / (n + PRIOR_ROWS)
            return -round(standing, 9), -n, phrasing.id

        return sorted(phrasings, key=place)

    def tournament(self, pool: Sequence[Phrasing], size: int, rng: Random) -> Phrasing:
        """Return the best of so many draws with replacement."""
        return self.order([rng.choice(pool) for _ in range(size)])[0]

    def settle(self, phrasing: Phrasing | None, *, improved: bool) -> Search[None]:
        """Move to a phrasing, or stay, and say what would be returned now."""
        self.incumbent = phrasing or self.incumbent
        self.idle = 1 if improved else self.idle + 1
        yield from self.recommend()

    def recommend(self) -> Search[None]:
        """Say what would be returned now, if it is not what was said last."""
        recommend = self._recommend()
        if recommend != self.said:
            self.said = recommend
            yield from recommend

    def close(self) -> Search[None]:
        """Race the best few and the seeds on the rest of the rows, and recommend by all that was seen."""
        if not self.settings.final:
            return
        best = [phrasing.candidate for phrasing in self.order(self.known.values())[:RECOMMENDED]]
        seeds = [Candidate(seed) for seed in self.context.seeds]
        rows = by_hash(self.context.search, f"final {self.context.seed}")
        yield from self.board.race(distinct([*best, *seeds]), rows, self.settings.block or len(self.rows), Drop())
        yield from self.recommend()

    def _race(self, candidates: Sequence[Candidate]) -> Search[Sequence[Candidate]]:
        """Race candidates against the incumbent, first on rows that it has seen, which cost half as much."""
        seen = {outcome.example_id for outcome in self._seen(self.incumbent.candidate).outcomes}
        shuffled = by_hash(self.context.search, f"race {self.context.seed} {self.iteration}")
        course = sorted(shuffled, key=lambda row: row.id not in seen)[: len(seen) + self.settings.fresh]
        drop = Drop(deficit=BEHIND, z=0.0, spared=frozenset({self.incumbent.id}))
        racers = [self.incumbent.candidate, *candidates]
        ranking = yield from self.board.race(racers, course, self.settings.block, drop)
        self.requests += math.ceil(ranking.spent / self.settings.batch)
        return ranking.candidates

    def _score(self, candidates: Sequence[Candidate]) -> Search[Sequence[Candidate]]:
        """Score as many candidates as the plan reaches for, all on the same rows."""
        candidates = candidates[: self.board.remaining // len(self.rows)]
        yield from self.board.score(candidates, self.rows)
        self.requests += len(candidates) * math.ceil(len(self.rows) / self.settings.batch)
        return sorted(candidates, key=lambda candidate: (-round(self._points(candidate.id), 9), candidate.id))

    def _seen(self, candidate: Candidate) -> Evaluation:
        return self.board.seen.get(candidate.id, Evaluation(candidate.id, ()))

    def _points(self, prompt_id: str) -> float:
        seen = self.board.seen.get(prompt_id)
        if seen is None:
            return 0.0
        if prompt_id not in self.measured or self.measured[prompt_id][0] is not seen:
            self.measured[prompt_id] = seen, self.objective.points(seen)
        return self.measured[prompt_id][1]

    def _recommend(self) -> Recommend:
        """Return the ranking: by points, or with the incumbent in front, which makes it one of rank alone."""
        best = tuple(phrasing.candidate for phrasing in self.order(self.known.values())[:RECOMMENDED])
        if self.settings.report == "incumbent":
            return Recommend(distinct([self.incumbent.candidate, *best]), "rank")
        if self.objective.is_mean:
            return Recommend(best, "mean", tuple(map(self.board.mean, best)))
        return Recommend(best, "utility", tuple(self._points(candidate.id) for candidate in best))


def open_walk(settings: Plum, context: Context) -> Search[Walk]:
    """Score the seeds and return the search that starts at the best of them."""
    if PART not in context.editable:
        raise ConfigError(
            f"{settings.name} edits the instruction, which this task keeps fixed; allow it, or use irace."
        )
    editor = Editor(
        context,
        settings.level,
        library_of(context),
        settings.library,
        settings.reworded if settings.paraphraser == "model" else 0,
        settings.paraphrases,
    )
    seeds = {seed.id: editor.open(seed) for seed in context.seeds}
    rows = common_rows(context)[: settings.fitted_rows(context)]
    board, objective = Scoreboard(context.evaluations), Objective.of(context, settings.entropy)
    walk = Walk(settings, context, editor, objective, rows, board, seeds, incumbent=seeds[context.seeds[0].id])
    yield from walk.open()
    return walk

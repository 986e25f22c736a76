"""SprigBeam: beam search over single edits of a list of components, the first form of SPRIG.

One system text serves every task of a suite; a single task is a suite of one.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import chain
from random import Random
from types import MappingProxyType
from typing import Any, ClassVar

from promptopt.ask import Effect, Evaluate, Recommend, Search, together
from promptopt.evaluation import Evaluation, gather
from promptopt.example import Example, by_task, in_turn
from promptopt.ids import content_hash
from promptopt.prompt import distinct
from promptopt.selection import Drop, race
from promptopt.settings import require_at_least, require_at_most
from promptopt.strategy import Context, Estimate, Need
from promptopt_strategies.assembly import (
    Assembly,
    Child,
    additions,
    seed_assemblies,
    single_edits,
)
from promptopt_strategies.corpus import KINDS, Component, Kind, load_corpus
from promptopt_strategies.credit import Credit
from promptopt_strategies.evidence import Evidence
from promptopt_strategies.ranker import Scores
from promptopt_strategies.rewording import reword_component

SHOWN = 10  # prompts in a Recommend
FINALISTS = 5
OTHERS = 0.25  # the share of sampled edits that add nothing
STAGES = 2  # halvings that the sampled pool of a step is sized for
SMALLEST = 4  # prompts in the sampled pool of a step, or there are fewer steps
TRUST = 12.0  # questions that the ranker's opinion weighs against a prompt's own


@dataclass
class _Run:
    """What a running search knows.

    ``latest`` is each prompt's last score.
    """

    context: Context
    corpus: tuple[Component, ...]
    seeds: tuple[Child, ...]
    evidence: Evidence
    scores: Scores
    credit: Credit = field(default_factory=Credit)
    latest: dict[str, Evaluation] = field(default_factory=dict)
    wordings: dict[str, tuple[Component, ...]] = field(default_factory=dict)
    tried: dict[str, Child] = field(default_factory=dict)

    def questions(self, step: int, most: int) -> list[list[Example]]:
        """Return the questions of a step by task, at most so many of each, drawn anew."""
        groups = by_task(self.context.search)
        return [self.context.rng("questions", step, name).sample(g, min(most, len(g))) for name, g in groups.items()]


@dataclass(frozen=True)
class SprigBeam:
    """System prompt optimization by beam search over components (SPRIG, first form).

    Start from the empty system text. A step makes every single edit of every prompt in the beam (add, delete, swap,
    rephrase), scores all of them on the same newly drawn questions of every task, credits each component with the
    difference that its coming or going made, and keeps the best. Only the components with the highest confidence
    bounds are offered for adding.

    Deviations from paper and code, in every profile: a step that the plan cannot pay is not begun; risky components
    are left out unless asked for; the corpus is ours; other wordings come from the optimizer model where one can
    write, else from a table of phrases, and not from a fine-tuned paraphraser; test scores are left to the study.
    ``recommended`` moreover sizes its steps to the plan, some thousand times smaller: it draws a sample of the edits,
    finds the best by successive halving from one question a task on, keeps parents in the running, chooses additions
    by a draw from a ridge model of all scores, and races the best of all steps with the seed at the end.

    Args:
        steps: Most steps.
        beam: How many prompts survive a step.
        arms: Components offered for adding, once something is known of them.
        paraphrases: Other wordings of each component.
        questions: Questions of each task in a step; of a step that halves, at most so many.
        parents_stay: Whether a parent competes with its children, or survives only if an edit makes it again.
        halve: Sample the edits and find the best by halving, to fit the plan.
        reserve: With ``halve``, the share of the plan that is kept for the final.
        first_questions: With ``halve``, the fewest questions that each edit sees; at least one of each task.
        kinds: The classes of components.
        risky: Whether risky components are among them.

    Asks: each step, one Write for each new component in the beam (where a model can write), then one Evaluate, or
    one for each halving; then a Recommend with what each component was worth.

    Reference: Zhang et al., SPRIG: Improving Large Language Model Performance by System Prompt Optimization, arXiv
    2410.14826 v1 (2024), section 3 and algorithm 1.
    """

    steps: int = 25
    beam: int = 3
    arms: int = 60
    paraphrases: int = 2
    questions: int = 16
    parents_stay: bool = True
    halve: bool = True
    reserve: float = 0.2
    first_questions: int = 2
    kinds: tuple[Kind, ...] = KINDS
    risky: bool = False

    name: ClassVar[str] = "sprig-beam"
    version: ClassVar[str] = "1"
    needs: ClassVar[frozenset[Need]] = frozenset()
    uses: ClassVar[frozenset[Need]] = frozenset({"write"})
    control: ClassVar[bool] = False
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "paper": {
                "steps": 25,
                "beam": 10,
                "paraphrases": 10,
                "questions": 10,
                "parents_stay": False,
                "halve": False,
            },
            "reference-code": {
                "steps": 5000,
                "beam": 10,
                "paraphrases": 10,
                "questions": 10,
                "parents_stay": False,
                "halve": False,
            },
            "recommended": {},
        }
    )

    def __post_init__(self) -> None:
        require_at_least(self, 1, "steps", "beam", "arms", "questions", "first_questions")
        require_at_least(self, 0, "paraphrases", "reserve")
        require_at_most(self, 1, "reserve")

    def search(self, context: Context) -> Search[None]:
        """Edit the beam, score the pool, keep the best, and again."""
        seeds = distinct(map(_seed, seed_assemblies(context)))
        corpus = load_corpus(self.kinds, risky=self.risky)
        run = _Run(context, corpus, seeds, Evidence(context.evaluations), Scores(corpus))
        beam: Sequence[Child] = seeds
        yield Recommend(tuple(child.candidate for child in seeds), "rank")
        if not self.halve:
            beam = (yield from self._score(run, seeds, 0)) or seeds
        for step in range(1, self._steps(context) + 1):
            yield from self._reword(run, beam)
            ranked = yield from (self._halve if self.halve else self._score)(run, self._pool(run, beam, step), step)
            if not ranked:
                break
            beam = ranked[: self.beam]
            yield self._recommend(run, ranked[:SHOWN])
        if self.halve:
            yield from self._final(run)

    def estimate(self, context: Context) -> Estimate:
        """Say how much it asks for at most: the plan, and a Write for each component that can get into a beam."""
        first = sum(len(assembly.components) for assembly in seed_assemblies(context))
        writes = first + self._steps(context) * self.beam if "write" in context.answers and self.paraphrases else 0
        return Estimate(context.evaluations, writes)

    def _pool(self, run: _Run, beam: Sequence[Child], step: int) -> list[Child]:
        """Return the children of the beam, each prompt once: all single edits, or a sample that the plan can pay."""
        if self.halve:
            return self._sample(run, beam, run.context.rng("pool", step), self._share(run, step))
        arms = run.credit.top(run.corpus, self.arms)
        edits = chain.from_iterable(single_edits(parent.assembly, arms, run.wordings) for parent in beam)
        stay = beam if self.parents_stay else ()
        return list({child.id: child for child in reversed([*stay, *edits])}.values())[::-1]

    def _sample(self, run: _Run, beam: Sequence[Child], rng: Random, share: int) -> list[Child]:
        """Return the parents, some of their other edits, and additions that the ranker thinks worth trying."""
        pool = {parent.id: parent for parent in beam if self.parents_stay}
        size = max(1, share // (STAGES * self._block(run.context)) - len(pool))
        others = [edit for parent in beam for edit in single_edits(parent.assembly, (), run.wordings)]
        n_others = sum(rng.random() < OTHERS for _ in range(size))
        drawn = rng.sample(others, min(len(others), n_others))
        for _ in range(size - len(drawn)):
            drawn += self._addition(run, beam, rng, {child.id for child in drawn} | pool.keys())
        return list(distinct([*pool.values(), *drawn]))

    def _addition(self, run: _Run, beam: Sequence[Child], rng: Random, known: Set[str]) -> list[Child]:
        """Return the addition that is best by one draw from what the ranker knows (Thompson sampling), if any is new.

        Where a component stands does not matter to the ranker, so its place is drawn.
        """
        ranker, best = run.scores.ranker.draw(rng), list[tuple[float, str, Child]]()
        worth = {component.origin: round(ranker.worth(component), 9) for component in run.corpus}
        for parent in beam:
            has = {component.origin for component in parent.assembly.components}
            new = [component for component in run.corpus if component.origin not in has]
            arm = max(new, key=lambda component: worth[component.origin], default=None)
            for child in additions(parent.assembly, [arm] if arm else ()):
                if child.id not in known:
                    value = round(ranker.predict(child.assembly.components), 9)
                    best.append((-value, content_hash(rng.random()), child))
        return [min(best, key=lambda found: found[:2])[2]] if best else []

    def _reword(self, run: _Run, beam: Sequence[Child]) -> Search[None]:
        """Find other wordings of every component that has come into the beam."""
        new = {c.text: c for child in beam for c in child.assembly.components if c.text not in run.wordings}
        if self.paraphrases and new:
            asks = (reword_component(component, run.context, self.paraphrases) for component in new.values())
            run.wordings |= dict(zip(new, (yield from together(*asks)), strict=True))

    def _score(self, run: _Run, pool: Sequence[Child], step: int) -> Search[list[Child]]:
        """Score the whole pool on the same new questions, and return it best first; nothing if that is too dear."""
        rows = list(chain.from_iterable(run.questions(step, self.questions)))
        if not pool or len(pool) * len(rows) > run.evidence.left:
            return []
        answer = yield from Evaluate([child.candidate for child in pool], rows, "step")
        return self._ranked(run, pool, {evaluation.prompt_id: evaluation for evaluation in answer.evaluations}, step)

    def _halve(self, run: _Run, pool: Sequence[Child], step: int) -> Search[list[Child]]:
        """Score the pool on few questions of every task, the better half on twice as many more, and so on."""
        rows, share = in_turn(run.questions(step, self.questions)), self._share(run, step)
        alive, scores, seen, block = list(pool), dict[str, Evaluation](), 0, self._block(run.context)
        while seen < len(rows) and len(alive) * len(fresh := rows[seen : seen + block]) <= share:
            answer = yield from Evaluate([child.candidate for child in alive], fresh, "step")
            gather(scores, answer.evaluations)
            share, seen, block = share - len(alive) * len(fresh), seen + len(fresh), 2 * block
            ranked = sorted(alive, key=lambda child: _place(scores[child.id]))
            alive = ranked[: max(self.beam, len(alive) // 2)]
        return self._ranked(run, pool, scores, step) if scores else []

    def _ranked(self, run: _Run, pool: Sequence[Child], scores: Mapping[str, Evaluation], step: int) -> list[Child]:
        """Take in the scores of a step and return the pool best first: by them alone, or by all that is known."""
        run.evidence.add(scores.values())
        self._credit(run, pool, scores)
        run.latest |= scores
        run.tried |= {child.id: child for child in pool}
        if not self.halve:
            return sorted(pool, key=lambda child: _place(scores[child.id]))
        for child in pool:
            # Who has seen as many questions of a step has seen the same.
            run.scores.add(child.assembly.components, f"{step} {scores[child.id].n}", scores[child.id])
        run.scores.refit()
        standings = run.scores.standings(TRUST)
        return sorted(pool, key=lambda child: (child.id not in standings, -standings.get(child.id, 0.0), child.id))

    def _credit(self, run: _Run, pool: Sequence[Child], scores: Mapping[str, Evaluation]) -> None:
        """Credit each component added or deleted with the difference between child and parent."""
        for child in pool:
            own, before = scores[child.id], (scores if self.parents_stay else run.latest).get(child.parent)
            if child.component is None or child.operator not in ("add", "delete") or before is None:
                continue
            base = before.on(own.scores) if self.parents_stay else before  # the parent's latest score, as it comes
            if own.n_valid and base.n_valid:
                gain = own.mean - base.mean
                run.credit.add(child.component, gain if child.operator == "add" else -gain, own.n_valid)

    def _recommend(self, run: _Run, ranked: Sequence[Child]) -> Recommend:
        means = tuple(run.latest[child.id].mean for child in ranked)
        candidates = tuple(child.candidate for child in ranked)
        return Recommend(candidates, "rank" if self.halve else "mean", means, effects=self._effects(run))

    def _effects(self, run: _Run) -> tuple[Effect, ...]:
        return run.scores.ranker.effects() if self.halve else run.credit.effects(run.corpus)

    def _final(self, run: _Run) -> Search[None]:
        """Race the best of all steps and the seeds on common questions, with all that is left."""
        rows = in_turn(run.questions(-1, len(run.context.search)))
        standings = run.scores.standings(TRUST)
        best = sorted(standings, key=lambda prompt_id: (-standings[prompt_id], prompt_id))[:FINALISTS]
        entrants = {child.id: child for child in (*run.seeds, *(run.tried[prompt_id] for prompt_id in best))}
        ranking = yield from race(
            [child.candidate for child in entrants.values()],
            rows,
            budget=run.evidence.left,
            block=max(5, len(by_task(rows))),
            drop=Drop(),
            known=run.evidence.seen.values(),
        )
        run.evidence.add(ranking.evaluations.values())
        means = tuple(ranking.evaluations[c.id].mean for c in ranking.candidates)
        if any(evaluation.n for evaluation in ranking.evaluations.values()):
            yield Recommend(ranking.candidates, ranking.basis, means, effects=self._effects(run))

    def _steps(self, context: Context) -> int:
        """Return how many steps the plan is shared out over: each should have room for some dozen edits."""
        if not self.halve:
            return self.steps
        smallest = SMALLEST * STAGES * self._block(context)
        return max(1, min(self.steps, int((1 - self.reserve) * context.evaluations) // smallest))

    def _block(self, context: Context) -> int:
        """Return how many questions every edit sees at first: as many of each task."""
        n_tasks = len(by_task(context.search))
        return n_tasks * -(-self.first_questions // n_tasks)

    def _share(self, run: _Run, step: int) -> int:
        """Return the evaluations of a step: the first gets two shares, since it meets the whole corpus."""
        kept = int(self.reserve * run.context.evaluations)
        to_come = self._steps(run.context) - step + 1 + (step == 1)
        return max(0, run.evidence.left - kept) * (1 + (step == 1)) // to_come


def _seed(assembly: Assembly) -> Child:
    return Child(assembly, "seed")


def _place(evaluation: Evaluation) -> tuple[bool, float, str]:
    return not evaluation.n_valid, -round(evaluation.mean, 9), evaluation.prompt_id

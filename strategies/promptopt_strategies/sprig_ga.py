"""SprigGA: a population of component lists bred under a learned ranker, the second form of SPRIG.

The ranker foretells scores from components, so that most prompts are never run; only true scores teach it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from random import Random
from types import MappingProxyType
from typing import Any, ClassVar

from promptopt.ask import Evaluate, Evaluated, Recommend, Search, together
from promptopt.evaluation import Evaluation
from promptopt.example import Example, by_hash, by_task, in_turn
from promptopt.prompt import Candidate, distinct
from promptopt.selection import Drop, race
from promptopt.settings import require_at_least, require_at_most
from promptopt.statistics import rank_correlation
from promptopt.strategy import Context, Estimate, Need
from promptopt_strategies.assembly import Assembly, seed_assemblies
from promptopt_strategies.corpus import KINDS, Component, Kind, load_corpus
from promptopt_strategies.evidence import Evidence
from promptopt_strategies.heredity import ACTIONS, Family, breed, draw_action, random_list
from promptopt_strategies.ranker import Scores

PARENTS = 0.1  # the best share of the survivors, who are first parents
PARTNERS = 0.5
SHOWN = 10  # prompts in a Recommend
TRIES = 8
TRUST = 12.0


@dataclass(frozen=True)
class Individual:
    """A member of the population: its list, what made it, and of whom."""

    assembly: Assembly
    operator: str = "random"
    parents: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The id of the prompt."""
        return self.assembly.id


@dataclass
class _Run:
    """What a running search knows; ``known`` is everybody with a true score."""

    context: Context
    corpus: tuple[Component, ...]
    questions: Mapping[str, Sequence[Example]]
    validation: tuple[Example, ...]
    evidence: Evidence
    scores: Scores
    known: dict[str, Individual] = field(default_factory=dict)
    correlation: float | None = None

    def by_prediction(self, members: Sequence[Individual]) -> list[Individual]:
        """Return individuals with the best predicted first."""
        return sorted(members, key=lambda m: (-round(self.scores.ranker.predict(m.assembly.components), 9), m.id))

    def by_truth(self, trust: float) -> list[Individual]:
        """Return everybody with a true score, best first; the ranker's opinion weighs as so many questions."""
        standings = self.scores.standings(trust)
        return [self.known[prompt_id] for prompt_id in sorted(standings, key=lambda key: (-standings[key], key))]


@dataclass(frozen=True)
class SprigGA:
    """System prompt optimization by a genetic algorithm with a learned ranker (SPRIG, second form).

    Score random lists of components for real and teach a ranker with them. Then, generation by generation: the half
    that the ranker thinks worse dies, children of the rest take its place, some prompts are scored for real, and the
    ranker learns from these too. What is best by true scores is decided on questions kept for that.

    Deviations from paper and code, in every profile: the ranker is a ridge model of component counts, refitted to all
    true scores, in place of a fine-tuned ModernBERT encoder trained on pairs with a margin loss; the corpus is ours, of
    some 300 components; without a model that can write, adding and merging draw on the corpus by the ranker, and other
    wordings come from a table; replies are read between tags and never run; a merge removes what it merged and
    nothing else is shown; nothing that the plan cannot pay is begun, and what it cannot pay in full is made smaller.
    ``recommended`` shares the plan out, lets no twin be born, and races the last few.

    Args:
        pretrain: Random lists that are scored first.
        longest: The most components of a random list.
        shortest: The fewest.
        population: How many individuals; 0 for one a component of the corpus, each alone.
        generations: How many.
        truth_best: In each generation, how many of the best predicted are scored for real.
        truth_random: How many others.
        questions: Questions of each task for a true score.
        shared_questions: Whether all prompts of a generation answer the same.
        add_useless: Whether a child may get a component that is meant to be of no use.
        twins: Whether a child may equal somebody who is alive.
        finalists: How many are compared on validation questions.
        validation: The share of each task's questions that is kept for that.
        fit_to_plan: Share the study's evaluations out: a third for the first lists, a fifth for the last comparison.
        kinds: The classes of components.
        risky: Whether risky components are among them.

    Asks: one Evaluate for the first lists; each generation one Write a child that a model writes for (where one can
    write) and one Evaluate; then those of the validation; a Recommend after each.

    Reference: Zhang et al., SPRIG, arXiv 2410.14826 v3 (ICLR 2026), section 3 and its table of actions.
    """

    pretrain: int = 1000
    longest: int = 6
    shortest: int = 0
    population: int = 120
    generations: int = 12
    truth_best: int = 8
    truth_random: int = 4
    questions: int = 4
    shared_questions: bool = True
    add_useless: bool = False
    twins: bool = False
    finalists: int = 8
    validation: float = 0.25
    fit_to_plan: bool = True
    kinds: tuple[Kind, ...] = KINDS
    risky: bool = False

    name: ClassVar[str] = "sprig-ga"
    version: ClassVar[str] = "1"
    needs: ClassVar[frozenset[Need]] = frozenset()
    uses: ClassVar[frozenset[Need]] = frozenset({"write"})
    control: ClassVar[bool] = False
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "paper": {
                "pretrain": 10_000,
                "longest": 30,
                "population": 1000,
                "generations": 25,
                "truth_best": 0,
                "truth_random": 100,
                "questions": 10,
                "twins": True,
                "finalists": 10,
                "fit_to_plan": False,
            },
            "reference-code": {
                "pretrain": 10_000,
                "longest": 30,
                "shortest": 1,
                "population": 0,
                "generations": 50,
                "truth_best": 10,
                "truth_random": 100,
                "questions": 10,
                "shared_questions": False,
                "add_useless": True,
                "twins": True,
                "finalists": 10,
                "fit_to_plan": False,
            },
            "recommended": {},
        }
    )

    def __post_init__(self) -> None:
        require_at_least(self, 1, "longest", "generations", "questions", "finalists")
        require_at_least(self, 0, "pretrain", "shortest", "population", "truth_best", "truth_random", "validation")
        require_at_most(self, 0.9, "validation")
        require_at_most(self, self.longest, "shortest")

    def search(self, context: Context) -> Search[None]:
        """Teach the ranker, breed under it, and decide by true scores."""
        run = self._begin(context)
        seeds = [Individual(assembly, "seed") for assembly in seed_assemblies(context)]
        yield Recommend(tuple(_candidate(seed) for seed in seeds), "rank")
        yield from self._pretrain(run, seeds)
        members = self._first(run, seeds)
        for generation in range(1, self._generations(context) + 1):
            survivors = run.by_prediction(members)[: (len(members) + 1) // 2]
            children = yield from self._children(run, survivors, len(members) - len(survivors), generation)
            yield from self._learn(run, survivors, children, generation)
            members = [*survivors, *children]
        yield from self._validate(run, seeds)

    def estimate(self, context: Context) -> Estimate:
        """Say how much it asks for at most: the plan, and a Write for every child."""
        size = self.population or len(load_corpus(self.kinds, risky=self.risky)) or 1
        tries = 1 if self.twins else TRIES
        writes = self._generations(context) * (size // 2) * tries if "write" in context.answers else 0
        return Estimate(context.evaluations, writes)

    def _begin(self, context: Context) -> _Run:
        """Keep a share of every task's questions for the validation."""
        questions, kept = dict[str, Sequence[Example]](), []
        for name, group in by_task(context.search).items():
            ordered = by_hash(group, f"validation {context.seed}")
            n_kept = min(len(ordered) - 1, round(self.validation * len(ordered)))
            kept.append(ordered[:n_kept])
            questions[name] = ordered[n_kept:]
        corpus = load_corpus(self.kinds, risky=self.risky)
        return _Run(context, corpus, questions, in_turn(kept), Evidence(context.evaluations), Scores(corpus))

    def _pretrain(self, run: _Run, seeds: Sequence[Individual]) -> Search[None]:
        """Score the seeds and random lists."""
        rng, n = run.context.rng("ga", "pretrain"), self.pretrain
        if self.fit_to_plan:
            n = min(n, run.context.evaluations // 3 // self._rows(run))
        made = [Individual(_random(seeds[0], run, rng, self.shortest, self.longest)) for _ in range(n)]
        yield from self._score(run, [*seeds, *made], "pretrain")

    def _first(self, run: _Run, seeds: Sequence[Individual]) -> list[Individual]:
        """Return the first population: the seeds with random lists, or with every component alone."""
        rng, frame = run.context.rng("ga", "population"), seeds[0].assembly
        if self.population:
            n = self.population - len(seeds)
            others = [Individual(_random(seeds[0], run, rng, self.shortest, self.longest)) for _ in range(n)]
        else:
            others = [Individual(frame.with_components([component])) for component in run.corpus]
        return [*seeds, *others]

    def _children(
        self, run: _Run, survivors: Sequence[Individual], n: int, generation: int
    ) -> Search[list[Individual]]:
        """Breed n children; the survivors stand best predicted first."""
        alive = {member.id for member in survivors}
        children: list[Individual] = []
        for attempt in range(1 if self.twins else TRIES):
            places = range(n - len(children))
            made = yield from together(
                *(self._child(run, survivors, run.context.rng("ga", generation, attempt, place)) for place in places)
            )
            for child in made:
                if self.twins or child.id not in alive:
                    children.append(child)
                    alive.add(child.id)
        # Where a small corpus has nothing new to give, the next best survive a second time.
        return [*children, *(survivors[at % len(survivors)] for at in range(n - len(children)))]

    def _child(self, run: _Run, survivors: Sequence[Individual], rng: Random) -> Search[Individual]:
        """Breed one child of a parent from the top and, for a crossover, a partner from the better half."""
        parent = rng.choice(survivors[: max(1, round(PARENTS * len(survivors)))])
        partner = rng.choice(survivors[: max(1, round(PARTNERS * len(survivors)))])
        action = draw_action(rng, ACTIONS if self.add_useless else {**ACTIONS, "useless": 0.0})
        family = Family(run.context, run.corpus, run.scores.ranker, rng)
        components = yield from breed(action, parent.assembly.components, partner.assembly.components, family)
        parents = (parent.id, partner.id) if action == "crossover" else (parent.id,)
        return Individual(parent.assembly.with_components(components), action, parents)

    def _learn(
        self, run: _Run, survivors: Sequence[Individual], children: Sequence[Individual], generation: int
    ) -> Search[None]:
        """Score some of the population for real and refit the ranker."""
        best, others = self.truth_best, self.truth_random
        if self.fit_to_plan:
            share = (run.evidence.left - run.context.evaluations // 5) // self._rows(run)
            total = max(0, share // (self._generations(run.context) - generation + 1))
            best, others = total - total // 3, total // 3
        ranked = run.by_prediction(distinct([*survivors, *children]))
        # As coded, the best of the survivors; where the plan decides, children may be among them.
        top = (ranked if self.fit_to_plan else list(survivors))[:best]
        rest = [member for member in ranked if member.id not in {one.id for one in top}]
        drawn = run.context.rng("ga", "truth", generation).sample(rest, min(others, len(rest)))
        yield from self._score(run, [*top, *drawn], str(generation))

    def _score(self, run: _Run, members: Sequence[Individual], batch: str) -> Search[None]:
        """Score individuals for real, as many as the plan can pay, and teach the ranker."""
        rows = self._questions(run, batch)
        members = distinct(members)[: run.evidence.left // max(1, len(rows))]
        if not members or not rows:
            return
        note = {"batch": batch, "ranker": run.correlation}
        candidates = [_candidate(member, note) for member in members]
        if self.shared_questions:
            answers: Sequence[Evaluated] = ((yield from Evaluate(candidates, rows, "truth")),)
        else:
            own = (self._questions(run, batch, candidate.id) for candidate in candidates)
            answers = yield from together(*(Evaluate([c], r, "truth") for c, r in zip(candidates, own, strict=True)))
        scores = {e.prompt_id: e for e in chain.from_iterable(answer.evaluations for answer in answers)}
        self._teach(run, members, scores, batch)
        ranked = run.by_truth(self._trust)[:SHOWN] or members[:1]
        yield Recommend(tuple(map(_candidate, ranked)), "rank", effects=run.scores.ranker.effects())

    def _teach(self, run: _Run, members: Sequence[Individual], scores: Mapping[str, Evaluation], batch: str) -> None:
        """Note how well the ranker foretold those it had not seen, then refit it on everything true."""
        run.evidence.add(scores.values())
        scored = [member for member in members if scores[member.id].n_valid]
        fresh = [member for member in scored if member.id not in run.known]
        foretold = [run.scores.ranker.predict(member.assembly.components) for member in fresh]
        if batch != "pretrain":
            run.correlation = rank_correlation(foretold, [scores[member.id].mean for member in fresh])
        for member in scored:
            run.known.setdefault(member.id, member)
            run.scores.add(member.assembly.components, batch, scores[member.id])
        run.scores.refit()

    def _validate(self, run: _Run, seeds: Sequence[Individual]) -> Search[None]:
        """Compare the best by true scores, and the seeds, on questions that nobody has been scored on."""
        finalists = distinct([*seeds, *run.by_truth(self._trust)[: self.finalists]])
        rows = run.validation or in_turn(list(run.questions.values()))
        candidates = [_candidate(member) for member in finalists]
        if self.fit_to_plan:
            block = max(5, len(run.questions))
            ranking = yield from race(candidates, rows, budget=run.evidence.left, block=block, drop=Drop())
            order, scores = list(ranking.candidates), ranking.evaluations
        else:
            rows = rows[: run.evidence.left // len(candidates)]
            if not rows:
                return
            answer = yield from Evaluate(candidates, rows, "validation")
            scores = {evaluation.prompt_id: evaluation for evaluation in answer.evaluations}
            order = sorted(candidates, key=lambda c: (-round(scores[c.id].mean, 9), c.id))
        if any(evaluation.n for evaluation in scores.values()):
            means = tuple(scores[candidate.id].mean for candidate in order)
            yield Recommend(
                tuple(order), "rank" if self.fit_to_plan else "mean", means, effects=run.scores.ranker.effects()
            )

    def _questions(self, run: _Run, *place: str) -> list[Example]:
        """Return new questions of every task."""
        most = self._rows(run) // len(run.questions) if self.fit_to_plan else self.questions
        drawn = (
            run.context.rng("ga", "questions", *place, name).sample(list(group), min(most, len(group)))
            for name, group in run.questions.items()
        )
        return list(chain.from_iterable(drawn))

    @property
    def _trust(self) -> float:
        """How many questions the ranker weighs in choosing whom to validate; the last word has the validation."""
        return TRUST if self.fit_to_plan else 0.0

    def _rows(self, run: _Run) -> int:
        """Return how many questions a true score takes where the plan decides: few, but of every task the same."""
        n_tasks = len(run.questions)
        return n_tasks * max(1, round(self.questions / n_tasks))

    def _generations(self, context: Context) -> int:
        """Return how many generations there are: each should score a few prompts for real."""
        if not self.fit_to_plan:
            return self.generations
        return max(1, min(self.generations, context.evaluations // (8 * self.questions)))


def _random(seed: Individual, run: _Run, rng: Random, shortest: int, longest: int) -> Assembly:
    return seed.assembly.with_components(random_list(run.corpus, rng, shortest, longest))


def _candidate(member: Individual, note: Mapping[str, Any] = MappingProxyType({})) -> Candidate:
    return Candidate(member.assembly.prompt, member.parents, member.operator, dict(note))

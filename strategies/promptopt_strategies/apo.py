"""APO: textual gradients and beam search, published as ProTeGi.

A critique of a prompt's errors is its gradient, an edit that follows the critique is a step against it, and a selector
decides which prompts the next round starts from.

Reference: Pryzant, Iter, Li, Lee, Zhu and Zeng, Automatic Prompt Optimization with "Gradient Descent" and Beam Search,
EMNLP 2023, arXiv 2305.03495: section 2.1 and figure 1 (the gradient), section 2.2 and algorithm 1 (the search),
section 2.2.1 and algorithm 2 (expansion), section 2.2.2 and algorithms 3 and 4 (selection). Its code is
microsoft/LMOps, folder prompt_optimization, commit 4f2a9de. Paper and code disagree, so each has a profile.

Profiles:
    paper: 6 rounds, beam 4, a minibatch of 64 for each prompt, one group of 4 errors with 4 critiques, 2 paraphrases of
        each edit, at most 8 children a parent, UCB with c = 2 and 50 evaluations a candidate, temperature 1.
    reference-code: As the code runs by default: one minibatch a round, 4 groups with one critique each, paraphrases of
        the parent too, a critique even where there is no error, uniform selection with 2,048 evaluations, temperature
        0.7.
    recommended: Ours. Errors are read off the evaluations that a parent has had already; rounds and families are sized
        so that the plan is used, each candidate with 8 evaluations or more; successive rejects selects; what is left at
        the end goes to fresh examples for the last beam, which is ranked by all that it has shown.

Differences from the code, in every profile:
    - Only the part that is edited changes; the code replaces a text wherever it stands, and a header-like line in an
      edit cut the next round's prompt short.
    - What the optimizer model writes is never rendered as a template, so braces stay braces.
    - A reply with more critiques or edits than were asked for is cut, since costs are told beforehand.
    - A child equal to its parent is discarded and counted. Where no child is new, nothing is spent on selection.
    - With fewer examples than a minibatch all are used; the code stops there. Failed calls are no errors.
    - No search asks for more than its plan has left. Of equal estimates the smaller id goes first, not the later text.
    - There is no test score of each round's beam: the study proves one winner on held-out examples.
"""

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from promptopt.ask import Evaluate, Recommend, Search, together
from promptopt.errors import ConfigError
from promptopt.evaluation import Evaluation
from promptopt.example import Example
from promptopt.prompt import Candidate, Prompt, distinct
from promptopt.selection import Ranking
from promptopt.settings import require_at_least
from promptopt.strategy import Context, Estimate, Need
from promptopt_strategies.evidence import Evidence
from promptopt_strategies.gradient import Author, Draft
from promptopt_strategies.selectors import SELECTORS, Selector, Terms
from promptopt_strategies.writing import Error, clip, errors_of, read_part, write_part

PART = "instruction"
FILTER_ERRORS = 16  # errors of the parent that the error filter scores children on
NOTE_CHARACTERS = 300


@dataclass
class Run:
    """What a running search knows.

    Args:
        context: The task and the plan.
        evidence: Every outcome so far.
        number: Of the round, from 0.
        reserve: Evaluations that this round leaves to later ones.
    """

    context: Context
    evidence: Evidence
    number: int = 0
    reserve: int = 0

    @property
    def left(self) -> int:
        """Evaluations that this round may still ask for; a pair that was seen before costs nothing again."""
        return self.evidence.left - self.reserve

    def begin(self, number: int, parts: int) -> None:
        """Begin a round that may spend one of so many equal parts of what is left."""
        self.number, self.reserve = number, 0
        self.reserve = self.left - self.left // parts

    def outcomes(self, candidate: Candidate) -> Evaluation:
        """Return all that a candidate has shown."""
        return self.evidence.seen.get(candidate.id, Evaluation(candidate.id, ()))

    def rng(self, *place: object) -> random.Random:
        """Return the random stream of a place in this round."""
        return self.context.rng("apo", self.number, *place)

    def draw(self, *place: object, size: int | None = None) -> list[Example]:
        """Draw so many search examples, or all, in random order."""
        rows = self.context.search
        return self.rng(*place).sample(rows, len(rows) if size is None else size)


@dataclass(frozen=True)
class APO:
    """Critiques of errors become edits, edits are paraphrased, and a bandit keeps the best few.

    Only the instruction is edited; every other part of a child is that of its parent, byte for byte.

    Over 30 simulated worlds, with an optimizer model that knows nothing of what is good, it is clearly better than
    ``random`` from some 1,500 evaluations on, and no better at 300.

    Args:
        rounds: Most expansions of the beam.
        beam: How many prompts survive a round.
        minibatch: Examples on which a parent's errors are looked for.
        minibatch_scope: One minibatch a ``round``, one a ``prompt``, or what was ``seen`` while it was selected.
        errors_per_critique: Most errors shown to one critique.
        critique_groups: Groups of errors that are drawn for a parent.
        critiques_per_group: Critiques asked of one group.
        edits_per_critique: Edits asked of one critique.
        paraphrases: Paraphrases of each edit.
        paraphrase_parents: Whether the parent's own text is paraphrased too.
        successors: Most children that a parent brings into selection.
        reject_on_errors: Choose them by their score on the parent's errors, from twice as many, and not at random.
        critique_without_errors: Ask for critiques even if the parent made no error.
        selector: What spends the evaluations of a round; those ``as_coded`` may overspend, as the released code does.
        exploration: The constant c of ``ucb`` and ``ucb_e``.
        selector_budget: Most evaluations of one selection.
        fit_to_plan: Share the study's evaluations out over the rounds.
        pulls_per_candidate: With ``fit_to_plan``, the evaluations that each candidate of a round has at least.
        temperature: Of the optimizer model.
        max_tokens: Of each text it writes.

    Asks: each round, for each parent, one Evaluate of the minibatch, one Write a group for critiques, one a critique
    for edits, one an edit for paraphrases; then the Evaluates of the selector; then a Recommend.

    Reference: Pryzant et al., EMNLP 2023, arXiv 2305.03495, algorithms 1 to 4.
    """

    rounds: int = 8
    beam: int = 3
    minibatch: int = 64
    minibatch_scope: Literal["round", "prompt", "seen"] = "seen"
    errors_per_critique: int = 4
    critique_groups: int = 4
    critiques_per_group: int = 1
    edits_per_critique: int = 1
    paraphrases: int = 2
    paraphrase_parents: bool = True
    successors: int = 8
    reject_on_errors: bool = False
    critique_without_errors: bool = False
    selector: Selector = "successive_rejects"
    exploration: float = 1.0
    selector_budget: int = 2048
    fit_to_plan: bool = True
    pulls_per_candidate: int = 8
    temperature: float = 1.0
    max_tokens: int = 1024

    name: ClassVar[str] = "apo"
    version: ClassVar[str] = "2"
    needs: ClassVar[frozenset[Need]] = frozenset({"write"})
    control: ClassVar[bool] = False
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "paper": {
                "rounds": 6,
                "beam": 4,
                "minibatch_scope": "prompt",
                "critique_groups": 1,
                "critiques_per_group": 4,
                "paraphrase_parents": False,
                "selector": "ucb",
                "exploration": 2.0,
                "selector_budget": 1800,  # 50 for each of 4 parents and 32 children
                "fit_to_plan": False,
            },
            "reference-code": {
                "rounds": 6,
                "beam": 4,
                "minibatch_scope": "round",
                "critique_without_errors": True,
                "selector": "uniform_as_coded",
                "fit_to_plan": False,
                "temperature": 0.7,
            },
            "recommended": {},
        }
    )

    def __post_init__(self) -> None:
        require_at_least(self, 1, "rounds", "beam", "minibatch", "errors_per_critique", "critique_groups")
        require_at_least(self, 1, "critiques_per_group", "edits_per_critique", "successors", "selector_budget")
        require_at_least(self, 1, "pulls_per_candidate", "max_tokens")
        require_at_least(self, 0, "paraphrases", "exploration", "temperature")

    def search(self, context: Context) -> Search[None]:
        """Expand the beam, select from the pool, and again (algorithm 1); round 0 only compares the seeds."""
        if PART not in context.editable:
            raise ConfigError("apo edits the instruction, which this task keeps fixed; allow it, or use irace.")
        run, beam = Run(context, Evidence(context.evaluations)), list(distinct(map(Candidate, context.seeds)))
        yield from Recommend(tuple(beam), "rank")
        rounds = self._rounds(context)
        for number in range(rounds + 1):
            run.begin(number, rounds - max(0, number - 1) if self.fit_to_plan else 1)
            pool = (yield from self._expand(run, beam)) if number else beam
            if len(pool) == (len(beam) if number else 1):
                continue  # nothing new to choose from, so nothing is spent
            if run.left < len(pool):
                break
            ranking = yield from self._select(run, pool)
            run.evidence.add(ranking.evaluations.values())
            beam = list(ranking.candidates[: self.beam])
            yield from Recommend(tuple(beam), ranking.basis)
        if self.fit_to_plan:
            yield from self._settle(run, beam)

    def estimate(self, context: Context) -> Estimate:
        """Say how much it asks for at most: every parent errs and every reply can be read."""
        rounds = self._rounds(context)
        parents = min(self.beam, len(context.seeds)) + self.beam * (rounds - 1)
        critiques = self.critique_groups * self.critiques_per_group
        edits = critiques * self.edits_per_critique
        texts = self.critique_groups + critiques + self.paraphrases * (edits + self.paraphrase_parents)
        if self.fit_to_plan:
            return Estimate(context.evaluations, writes=parents * texts)
        on_errors = min(self.minibatch, len(context.search))
        on_children = 2 * self.successors * FILTER_ERRORS if self.reject_on_errors else 0
        selections = rounds + (len(context.seeds) > 1)
        evaluations = selections * self.selector_budget + parents * (on_errors + on_children)
        return Estimate(min(evaluations, context.evaluations), writes=parents * texts)

    def _expand(self, run: Run, beam: Sequence[Candidate]) -> Search[list[Candidate]]:
        """Return the parents and the children of each (algorithm 2)."""
        errors = yield from self._find_errors(run, beam)
        cap = self._cap(run, beam)
        families = yield from together(*(self._breed(run, p, e, cap) for p, e in zip(beam, errors, strict=True)))
        return list(distinct(chain(beam, *families)))

    def _find_errors(self, run: Run, beam: Sequence[Candidate]) -> Search[list[list[Error]]]:
        """Return what each parent got wrong on its minibatch."""
        known = dict(run.evidence.seen) if self.minibatch_scope == "seen" else {}
        # At most half a round goes into looking for errors: without a selection they would be of no use.
        size = min(self.minibatch, len(run.context.search), run.left // (2 * len(beam)))
        fresh = [parent for parent in beam if parent.id not in known] if size else []
        scopes = {parent.id: "" if self.minibatch_scope == "round" else parent.id for parent in fresh}
        minibatches = {key: run.draw("minibatch", scope, size=size) for key, scope in scopes.items()}
        answers = yield from together(*(Evaluate([parent], minibatches[parent.id], "errors") for parent in fresh))
        found = [evaluation for answer in answers for evaluation in answer.evaluations]
        run.evidence.add(found)
        known |= {evaluation.prompt_id: evaluation for evaluation in found}
        return [errors_of(known.get(parent.id, Evaluation(parent.id, ())), run.context.search) for parent in beam]

    def _breed(self, run: Run, parent: Candidate, errors: list[Error], cap: int) -> Search[list[Candidate]]:
        """Return at most ``cap`` children of one parent."""
        author = self._author
        text = read_part(parent.prompt, PART, run.context.fields)
        lines = [author.descend(text, group) for group in self._groups(run, parent, errors)]
        if self.paraphrase_parents:
            lines.append(author.paraphrase(Draft(text, "seed")))
        children = _children(run, parent, chain(*(yield from together(*lines))))
        if len(children) <= cap:
            return children
        if self.reject_on_errors and errors:
            return (yield from self._filter(run, children, errors, cap))
        return run.rng("cap", parent.id).sample(children, cap)

    @property
    def _author(self) -> Author:
        counts = self.critiques_per_group, self.edits_per_critique, self.paraphrases
        return Author(*counts, temperature=self.temperature, max_tokens=self.max_tokens)

    def _groups(self, run: Run, parent: Candidate, errors: list[Error]) -> list[list[Error]]:
        """Draw the groups of errors that one critique each is asked of."""
        if not errors and not self.critique_without_errors:
            return []
        rng, size = run.rng("groups", parent.id), min(self.errors_per_critique, len(errors))
        return [rng.sample(errors, size) for _ in range(self.critique_groups)]

    def _filter(self, run: Run, children: list[Candidate], errors: list[Error], cap: int) -> Search[list[Candidate]]:
        """Keep the children that do best on some of their parent's errors (``reject_on_errors`` of the code)."""
        rng = run.rng("filter", children[0].parents)
        drawn = rng.sample(children, min(2 * cap, len(children)))
        rows = [example for example, _ in rng.sample(errors, min(FILTER_ERRORS, len(errors)))]
        if len(drawn) * len(rows) > run.left // (2 * self.beam):
            return drawn[:cap]  # too dear for what the plan has left
        answer = yield from Evaluate(drawn, rows, "filter")
        run.evidence.add(answer.evaluations)
        means = {evaluation.prompt_id: round(evaluation.mean, 9) for evaluation in answer.evaluations}
        return sorted(drawn, key=lambda child: (-means[child.id], child.id))[:cap]

    def _select(self, run: Run, pool: Sequence[Candidate]) -> Search[Ranking]:
        """Spend the round on finding the best of the pool (algorithms 3 and 4)."""
        terms = Terms(min(self.selector_budget, run.left), self.beam, self.exploration, run.rng("select"))
        return SELECTORS[self.selector](pool, run.draw("rows"), terms)

    def _settle(self, run: Run, beam: Sequence[Candidate]) -> Search[None]:
        """Spend what is left on fresh examples for the last beam, and rank it by all that it has shown."""
        run.reserve, asks = 0, []
        share, rows = run.left // len(beam), run.draw("settle")
        for candidate in beam:
            seen = {outcome.example_id for outcome in run.outcomes(candidate).outcomes}
            fresh = [row for row in rows if row.id not in seen][:share]
            asks += [Evaluate([candidate], fresh, "settle")] if fresh else []
        answers = yield from together(*asks)
        run.evidence.add(evaluation for answer in answers for evaluation in answer.evaluations)
        means = {candidate.id: round(run.outcomes(candidate).mean, 9) for candidate in beam}
        ranked = sorted(beam, key=lambda candidate: (-means[candidate.id], candidate.id))
        yield from Recommend(tuple(ranked), "mean", tuple(means[candidate.id] for candidate in ranked))

    def _rounds(self, context: Context) -> int:
        """Return how many rounds the plan is enough for."""
        if not self.fit_to_plan:
            return self.rounds
        smallest = 3 * self.beam * self.pulls_per_candidate  # the beam and two children each
        return max(1, min(self.rounds, context.evaluations // smallest))

    def _cap(self, run: Run, beam: Sequence[Candidate]) -> int:
        """Return how many children a parent may have, so that the round can tell them apart."""
        if not self.fit_to_plan:
            return self.successors
        pool = min(self.selector_budget, run.left) // self.pulls_per_candidate
        return max(1, min(self.successors, (pool - len(beam)) // len(beam)))


def _children(run: Run, parent: Candidate, drafts: Iterable[Draft]) -> list[Candidate]:
    """Return the different children that the drafts make, with what was discarded in the note of each."""
    kept: dict[str, tuple[Prompt, Draft]] = {}
    discarded: Counter[str] = Counter()
    for draft in drafts:
        prompt = write_part(parent.prompt, PART, draft.text, run.context.fields)
        if not draft.text:
            discarded["empty"] += 1
        elif prompt.id == parent.id:
            discarded["equal to its parent"] += 1
        elif prompt.id in kept:
            discarded["repeated"] += 1
        else:
            kept[prompt.id] = prompt, draft
    note = {"round": run.number, "discarded": dict(discarded)}
    return [
        Candidate(prompt, (parent.id,), draft.operator, {**note, "critique": clip(draft.critique, NOTE_CHARACTERS)})
        for prompt, draft in kept.values()
    ]

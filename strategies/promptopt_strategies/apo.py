"""APO: textual gradients and beam search, also known as ProTeGi.

A critique of a prompt's errors is its gradient, an edit that follows the critique is the step, and a selector from
``promptopt.selection`` decides which prompts the next round starts from.
"""

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple

from promptopt.ask import Evaluate, Recommend, Search, Write, together
from promptopt.errors import ConfigError
from promptopt.evaluation import Evaluation, Outcome
from promptopt.example import Example
from promptopt.prompt import Candidate, Prompt, distinct
from promptopt.selection import Ranking
from promptopt.settings import require_at_least
from promptopt.strategy import Context, Estimate, Need
from promptopt_strategies.selectors import SELECTORS, Selector, Terms
from promptopt_strategies.writing import (
    ask_writer,
    clip,
    count_of,
    parse_tagged,
    read_part,
    render_template,
    show_error,
    write_part,
)

PART = "instruction"
REJECT_POOL = 16  # children, and errors of their parent, that the error filter looks at
NOTE_CHARACTERS = 300

Error = tuple[Example, Outcome]


class Draft(NamedTuple):
    """A text that may become a child, and the critique that it follows."""

    text: str
    operator: str
    critique: str = ""


@dataclass
class Evidence:
    """Every outcome that the search has seen, by prompt; that is also what it has used of its plan."""

    plan: int
    seen: dict[str, Evaluation] = field(default_factory=dict)

    def add(self, evaluations: Iterable[Evaluation]) -> None:
        """Take in evaluations; a pair that was seen before counts once, as it does in the study."""
        for evaluation in evaluations:
            before = self.seen.get(evaluation.prompt_id)
            self.seen[evaluation.prompt_id] = before + evaluation if before else evaluation

    @property
    def left(self) -> int:
        """Evaluations that the plan has left."""
        return self.plan - sum(evaluation.n for evaluation in self.seen.values())


@dataclass(frozen=True)
class Round:
    """One expansion and selection: its number from 0, and the evaluations that it leaves to later rounds."""

    context: Context
    evidence: Evidence
    number: int
    reserve: int

    @property
    def left(self) -> int:
        """Evaluations that this round may still ask for."""
        return self.evidence.left - self.reserve

    def rng(self, *place: object) -> random.Random:
        """Return the random stream of a place in this round."""
        return self.context.rng("apo", self.number, *place)


@dataclass(frozen=True)
class APO:
    """Automatic prompt optimization with textual gradients and beam search (ProTeGi).

    Only the instruction is edited; every other part of a child is that of its parent, byte for byte.

    Deviations from paper and code, in every profile: no search asks for more than its plan has left; what the
    optimizer model writes is never rendered as a template; a child equal to its parent is discarded and counted; the
    held-out score of each beam is left to the study. ``recommended`` moreover reads errors off the evaluations that a
    parent already has, sizes rounds and families so that a plan of 300 to 2,000 evaluations is used, and ranks the
    last beam by all the outcomes seen.

    On the simulated additive landscape it needs some 1,000 evaluations to be clearly better than ``random``, which
    is ahead at 300.

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
        reject_on_errors: Choose them by their score on the parent's errors, and not at random.
        critique_without_errors: Ask for critiques even if the parent made no error.
        selector: What spends the evaluations of a round; those ``as_coded`` may overspend, as the released code does.
        exploration: The constant c of ``ucb`` and ``ucb_e``.
        selector_budget: Most evaluations of one selection.
        fit_to_plan: Share the study's evaluations out over the rounds.
        pulls_per_candidate: With ``fit_to_plan``, the evaluations that each candidate of a round has at least.
        temperature: Of the optimizer model.
        max_tokens: Of each text it writes.

    *Asks*: each round, for each parent, one Evaluate of the minibatch, one Write a group for critiques, one a critique
    for edits, one an edit for paraphrases; then the Evaluates of the selector; then a Recommend.

    Reference: Pryzant et al., Automatic Prompt Optimization with "Gradient Descent" and Beam Search, EMNLP 2023,
    arXiv 2305.03495, algorithms 1 (search), 2 (expansion), 3 and 4 (selection).
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
    version: ClassVar[str] = "1"
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
        """Search for a better instruction: expand the beam, select from the pool, and again (algorithm 1)."""
        if PART not in context.editable:
            raise ConfigError("apo edits the instruction, which this task keeps fixed; allow it, or use irace.")
        beam = list(distinct(Candidate(seed) for seed in context.seeds))
        evidence = Evidence(context.evaluations)
        yield from Recommend(tuple(beam), "rank")
        for number in range(self._rounds(context) + 1):
            turn = Round(context, evidence, number, self._reserve(context, evidence.left, number))
            pool = (yield from self._expand(turn, beam)) if number else beam
            if len(pool) == len(beam) and (number or len(beam) == 1):
                continue  # nothing new to choose from, so nothing is spent
            if turn.left < len(pool):
                break
            ranking = yield from self._select(turn, pool)
            evidence.add(ranking.evaluations.values())
            beam = list(ranking.candidates[: self.beam])
            yield from Recommend(tuple(beam), ranking.basis)
        if self.fit_to_plan:
            yield from self._settle(context, evidence, beam)

    def estimate(self, context: Context) -> Estimate:
        """Say how much it asks for at most: every parent errs and every reply can be read."""
        rounds, selections = self._rounds(context), self._rounds(context) + (len(context.seeds) > 1)
        parents = min(self.beam, len(context.seeds)) + self.beam * (rounds - 1)
        critiques = self.critique_groups * self.critiques_per_group
        edits = critiques * self.edits_per_critique
        texts = self.critique_groups + critiques + self.paraphrases * (edits + self.paraphrase_parents)
        on_errors = min(self.minibatch, len(context.search)) + REJECT_POOL**2 * self.reject_on_errors
        evaluations = selections * self.selector_budget + parents * on_errors
        return Estimate(evaluations=min(evaluations, context.evaluations), writes=parents * texts)

    def _expand(self, turn: Round, beam: Sequence[Candidate]) -> Search[list[Candidate]]:
        """Return the parents and the children of each (algorithm 2)."""
        errors = yield from self._errors(turn, beam)
        cap = self._cap(turn, beam)
        families = yield from together(*(self._family(turn, p, e, cap) for p, e in zip(beam, errors, strict=True)))
        return list(distinct(chain(beam, *families)))

    def _errors(self, turn: Round, beam: Sequence[Candidate]) -> Search[list[list[Error]]]:
        """Run the parents on their minibatches and return what each got wrong."""
        seen = turn.evidence.seen if self.minibatch_scope == "seen" else {}
        # At most half a round goes into looking for errors: without a selection they would be of no use.
        size = min(self.minibatch, len(turn.context.search), turn.left // (2 * len(beam)))
        fresh = [parent for parent in beam if parent.id not in seen] if size else []
        asks = (Evaluate([parent], self._minibatch(turn, parent, size), "errors") for parent in fresh)
        answers = yield from together(*asks)
        evaluations = [evaluation for answer in answers for evaluation in answer.evaluations]
        turn.evidence.add(evaluations)
        latest = {**seen, **{evaluation.prompt_id: evaluation for evaluation in evaluations}}
        return [_errors_of(latest.get(parent.id), turn.context) for parent in beam]

    def _minibatch(self, turn: Round, parent: Candidate, size: int) -> list[Example]:
        scope = "" if self.minibatch_scope == "round" else parent.id
        return turn.rng("minibatch", scope).sample(turn.context.search, size)

    def _family(self, turn: Round, parent: Candidate, errors: list[Error], cap: int) -> Search[list[Candidate]]:
        """Return at most ``cap`` children of one parent."""
        section = read_part(parent.prompt, PART, turn.context.fields)
        lines = [self._critique(section, group) for group in self._groups(turn, parent, errors)]
        if self.paraphrase_parents:
            lines.append(self._paraphrase(Draft(section, "seed")))
        drafts = chain(*(yield from together(*lines)))
        children = _children(parent, drafts, turn)
        if len(children) <= cap:
            return children
        rng = turn.rng("cap", parent.id)
        if self.reject_on_errors and errors:
            return (yield from self._filter(turn, children, errors, cap))
        return rng.sample(children, cap)

    def _groups(self, turn: Round, parent: Candidate, errors: list[Error]) -> list[list[Error]]:
        if not errors and not self.critique_without_errors:
            return []
        rng = turn.rng("groups", parent.id)
        shown = min(self.errors_per_critique, len(errors))
        return [rng.sample(errors, shown) for _ in range(self.critique_groups)]

    def _critique(self, section: str, errors: Sequence[Error]) -> Search[list[Draft]]:
        """Ask why the prompt fails on these errors, and follow each reason given."""
        shown = "\n\n".join(show_error(number, *error) for number, error in enumerate(errors, 1)) or "(none)"
        count = count_of(self.critiques_per_group, "reason")
        text = render_template("apo-critique", instruction=section, errors=shown, count=count)
        written = yield from self._write(text, "critique")
        critiques = [reason for reply in written.texts for reason in parse_tagged(reply, "reason") if reason]
        followed = yield from together(
            *(self._edit(section, shown, critique) for critique in critiques[: self.critiques_per_group])
        )
        return list(chain(*followed))

    def _edit(self, section: str, errors: str, critique: str) -> Search[list[Draft]]:
        """Ask for edits that follow a critique, and for paraphrases of each."""
        count = count_of(self.edits_per_critique, "new version")
        text = render_template("apo-edit", instruction=section, errors=errors, critique=critique, count=count)
        written = yield from self._write(text, "edit")
        texts = [task for reply in written.texts for task in parse_tagged(reply, "task")]
        edits = [Draft(text, "edit", critique) for text in texts[: self.edits_per_critique]]
        return edits + list(chain(*(yield from together(*(self._paraphrase(edit) for edit in edits)))))

    def _paraphrase(self, draft: Draft) -> Search[list[Draft]]:
        """Ask for the same in other words."""
        if not self.paraphrases or not draft.text:
            return []
        text = render_template("apo-paraphrase", instruction=draft.text)
        written = yield from self._write(text, "paraphrase", n=self.paraphrases)
        return [Draft(reply.strip(), "paraphrase", draft.critique) for reply in written.texts]

    def _write(self, text: str, purpose: str, n: int = 1) -> Write:
        return ask_writer(text, purpose, n=n, temperature=self.temperature, max_tokens=self.max_tokens)

    def _filter(self, turn: Round, children: list[Candidate], errors: list[Error], cap: int) -> Search[list[Candidate]]:
        """Keep the children that do best on some of their parent's errors (``reject_on_errors`` of the code)."""
        rng = turn.rng("filter", children[0].parents)
        drawn = rng.sample(children, min(REJECT_POOL, len(children)))
        rows = [example for example, _ in rng.sample(errors, min(REJECT_POOL, len(errors)))]
        if len(drawn) * len(rows) > turn.left // (2 * self.beam):
            return drawn[:cap]  # too dear for what the plan has left
        answer = yield from Evaluate(drawn, rows, "filter")
        turn.evidence.add(answer.evaluations)
        means = {evaluation.prompt_id: evaluation.mean for evaluation in answer.evaluations}
        return sorted(drawn, key=lambda child: -means[child.id])[:cap]

    def _select(self, turn: Round, pool: Sequence[Candidate]) -> Search[Ranking]:
        """Spend the round on finding the best of the pool (algorithms 3 and 4)."""
        rng = turn.rng("select")
        rows = rng.sample(turn.context.search, len(turn.context.search))
        terms = Terms(min(self.selector_budget, turn.left), self.beam, self.exploration, rng)
        return SELECTORS[self.selector](pool, rows, terms)

    def _settle(self, context: Context, evidence: Evidence, beam: Sequence[Candidate]) -> Search[None]:
        """Spend what is left on fresh examples for the last beam, and rank it by all that it has shown."""
        rows = context.rng("apo", "settle").sample(context.search, len(context.search))
        asks = []
        for candidate in beam:
            seen = {o.example_id for o in evidence.seen[candidate.id].outcomes} if candidate.id in evidence.seen else ()
            fresh = [row for row in rows if row.id not in seen][: evidence.left // len(beam)]
            asks += [Evaluate([candidate], fresh, "settle")] if fresh else []
        answers = yield from together(*asks)
        evidence.add(evaluation for answer in answers for evaluation in answer.evaluations)
        means = {c.id: evidence.seen[c.id].mean for c in beam if c.id in evidence.seen}
        ranked = sorted(beam, key=lambda c: -means.get(c.id, 0.0))
        yield from Recommend(tuple(ranked), "mean", tuple(means.get(c.id, 0.0) for c in ranked))

    def _rounds(self, context: Context) -> int:
        if not self.fit_to_plan:
            return self.rounds
        smallest = 3 * self.beam * self.pulls_per_candidate  # the beam and two children each
        return max(1, min(self.rounds, context.evaluations // smallest))

    def _reserve(self, context: Context, left: int, number: int) -> int:
        """Return what this round must leave to later ones; round 0 only compares the seeds."""
        to_come = self._rounds(context) - number + (number > 0)
        return left - left // to_come if self.fit_to_plan else 0

    def _cap(self, turn: Round, beam: Sequence[Candidate]) -> int:
        if not self.fit_to_plan:
            return self.successors
        pool = min(self.selector_budget, turn.left) // self.pulls_per_candidate
        return max(1, min(self.successors, (pool - len(beam)) // len(beam)))


def _errors_of(evaluation: Evaluation | None, context: Context) -> list[Error]:
    """Return what was scored and not fully right; a failed call says nothing about the prompt."""
    examples = {example.id: example for example in context.search}
    outcomes = evaluation.outcomes if evaluation else ()
    return [(examples[o.example_id], o) for o in outcomes if o.score is not None and o.score < 1]


def _children(parent: Candidate, drafts: Iterable[Draft], turn: Round) -> list[Candidate]:
    """Return the different children that the drafts make, with what was discarded in the note of each."""
    kept: dict[str, tuple[Prompt, Draft]] = {}
    discarded: Counter[str] = Counter()
    for draft in drafts:
        prompt = write_part(parent.prompt, PART, draft.text, turn.context.fields)
        if not draft.text:
            discarded["empty"] += 1
        elif prompt.id == parent.id:
            discarded["equal to its parent"] += 1
        elif prompt.id in kept:
            discarded["repeated"] += 1
        else:
            kept[prompt.id] = prompt, draft
    note = {"round": turn.number, "discarded": dict(discarded)}
    return [
        Candidate(prompt, (parent.id,), draft.operator, {**note, "critique": clip(draft.critique, NOTE_CHARACTERS)})
        for prompt, draft in kept.values()
    ]

"""OPRO: the optimizer model reads a list of scored texts and writes better ones.

The list, the history, is all the state there is; a step shows its best part and scores what comes back.

Reference: Yang, Wang, Lu, Liu, Le, Zhou and Chen, Large Language Models as Optimizers, ICLR 2024, arXiv 2309.03409:
section 2 and figure 2 (the loop), section 3 (linear regression and travelling salesman: benchmarks/opro_maths.py),
section 4 (prompts; 4.2 the meta-prompt), section 5 (settings and ablations). Its code is google-deepmind/opro, commit
e81b2f5.

Profiles:
    paper: 200 steps of 8 samples at temperature 1; the best 20 texts and 3 random exemplars are shown; every text is
        scored on the same fifth of the training examples; the text stands at the beginning of the question.
    reference-code: As the code runs by default with a GPT scorer: texts below a score of 0.3 are not shown, which the
        paper does not say, and the optimizer model writes 512 tokens at most.
    recommended: Ours. The subset is sized so that a plan of 300 to 2,000 evaluations scores some 50 texts or more; the
        meta-prompt tells the task; the search ends when nothing new comes; a fifth of the plan goes to fresh examples
        for the best few, since the best of many on one small subset was also the luckiest; the text stays where the
        seed has it.

Differences from the code, in every profile:
    - Seeds are known texts: they are not proposed and scored again.
    - Exemplars depend on the seed of the study; in the code they are the same in every repetition.
    - A text without any valid score does not enter the history. Failed calls are no misses.
    - Only the whole placeholder counts as a leak, not a part of a longer word.
    - The range of scores that the meta-prompt names is the real one, and nothing is said of exemplars that is not so.
    - There is no validation every 3 steps: the study proves one winner on held-out examples.
    - No search asks for more than its plan has left.
    - A text may open the answer, or stand before the question, where the prompt has no labels; the code refuses that.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from promptopt.ask import Evaluate, Recommend, Search, Write
from promptopt.errors import ConfigError
from promptopt.example import Example
from promptopt.prompt import Candidate
from promptopt.settings import require_at_least, require_at_most
from promptopt.strategy import Context, Estimate, Need
from promptopt_strategies.history import Entry, best_first, best_last
from promptopt_strategies.meta_prompt import MetaPrompt, Shape
from promptopt_strategies.place import SLOT, Place, Position
from promptopt_strategies.writing import ask_writer

ARITHMETIC = frozenset({"numeric", "math"})  # metrics where a digit in the instruction may be an answer
RECOMMENDED = 10  # prompts in a Recommend
PLAN_TEXTS = 60  # texts that a plan should be enough for, as long as each is scored on so many rows
PLAN_ROWS = (10, 50)


@dataclass
class Sieve:
    """Lets new and allowed texts through, and counts the others by reason.

    Args:
        place: Where the texts go.
        max_characters: Longer texts are refused.
        digits: Whether a text may have digits.
        seen: The ids of all prompts that were proposed before.
        refused: How many texts were refused so far, by reason.
    """

    place: Place
    max_characters: int
    digits: bool
    seen: set[str]
    refused: Counter[str] = field(default_factory=Counter)

    def sift(self, texts: Iterable[str]) -> list[str]:
        """Return the texts that may be scored; all of them are known from now on."""
        kept = []
        for text in texts:
            prompt_id = self.place.put(text).id
            if reason := self._reason(text, prompt_id):
                self.refused[reason] += 1
            else:
                kept.append(text)
            self.seen.add(prompt_id)
        return kept

    def _reason(self, text: str, prompt_id: str) -> str:
        if not text:
            return "empty"
        if prompt_id in self.seen:
            return "seen before"
        if len(text) > self.max_characters:
            return f"longer than {self.max_characters} characters"
        if not self.digits and re.search(r"\d", text):
            return "has a digit"
        return "has the placeholder" if SLOT in text else ""


@dataclass(frozen=True)
class OPRO:
    """The optimizer model writes 8 new texts a step, after a look at the best texts so far and their scores.

    Over 30 simulated worlds, with an optimizer model that knows nothing of what is good, it is clearly better than
    ``random`` from some 2,000 evaluations on, and no better at 300.

    Args:
        steps: Most steps.
        samples: Texts asked for in a step.
        shown: How many of the best texts the meta-prompt shows.
        exemplars: How many training examples it shows.
        exemplar_policy: Which: ``random`` in each step, ``constant``, those that the texts shown miss most often, or
            random ones of those that any text has missed.
        meta_prompt: Its shape: ``tagged``, ``bracketed``, or ``instructions_only`` for optimizers that are base models,
            which shows all texts and no exemplars.
        position: Where the text goes: ``as_is`` where the seed has its instruction, ``before_q`` before the question's
            label, ``q_begin`` behind that label, ``q_end`` after the question, ``a_begin`` as the opening words of the
            answer, which suits base models.
        exemplars_first: Show the exemplars before the history.
        describe_task: Begin the meta-prompt with the task's description.
        temperature: Of the optimizer model in the first step.
        final_temperature: What it goes to, in equal steps; none keeps it constant.
        buckets: Scores are shown as whole numbers from 0 to this.
        threshold: Of the texts to be shown, those with a lower score are not.
        max_characters: Longer texts are refused.
        refuse_digits: When texts with digits are refused: where the metric is ``arithmetic``, always, or never.
        subset_share: The share of the search examples on which every text is scored.
        fit_to_plan: Choose the subset by the study's evaluations, not by that share.
        gate: How many of the best are scored again at the end, on examples that the search did not use; 0 for none.
        gate_share: The share of the plan that is kept for this; it also gets what the steps leave.
        idle_steps: The search ends when so many steps, in all, brought no new text; 0 never ends it.
        max_tokens: Of each text that is written.

    Asks: one Evaluate of the seeds; each step one Write of ``samples`` texts, one Evaluate of the new ones on the
    same subset, one Recommend; one Evaluate for the gate.

    Reference: Yang et al., ICLR 2024, arXiv 2309.03409, sections 2 and 4.
    """

    steps: int = 200
    samples: int = 8
    shown: int = 20
    exemplars: int = 3
    exemplar_policy: Literal["random", "constant", "current_most_frequent", "accumulative_most_frequent"] = "random"
    meta_prompt: Shape = "tagged"
    position: Position = "as_is"
    exemplars_first: bool = False
    describe_task: bool = True
    temperature: float = 1.0
    final_temperature: float | None = None
    buckets: int = 100
    threshold: float = 0.0
    max_characters: int = 500
    refuse_digits: Literal["arithmetic", "always", "never"] = "arithmetic"
    subset_share: float = 0.2
    fit_to_plan: bool = True
    gate: int = 5
    gate_share: float = 0.2
    idle_steps: int = 5
    max_tokens: int = 1024

    name: ClassVar[str] = "opro"
    version: ClassVar[str] = "2"
    needs: ClassVar[frozenset[Need]] = frozenset({"write"})
    control: ClassVar[bool] = False
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "paper": {"position": "q_begin", "describe_task": False, "fit_to_plan": False, "gate": 0, "idle_steps": 0},
            "reference-code": {
                "position": "q_begin",
                "describe_task": False,
                "threshold": 0.3,
                "fit_to_plan": False,
                "gate": 0,
                "idle_steps": 0,
                "max_tokens": 512,
            },
            "recommended": {},
        }
    )

    def __post_init__(self) -> None:
        require_at_least(self, 1, "steps", "samples", "shown", "buckets", "max_characters", "max_tokens")
        require_at_least(self, 0, "exemplars", "temperature", "threshold", "subset_share")
        require_at_least(self, 0, "gate", "gate_share", "idle_steps")
        require_at_most(self, 1, "threshold", "subset_share", "gate_share")

    def search(self, context: Context) -> Search[None]:
        """Show the history, score what is written, append it, and again (figure 2)."""
        places = self._places(context)
        rows = context.rng("opro", "subset").sample(context.search, self._subset_size(context, len(places)))
        seeds = [Candidate(place.prompt) for place in places]
        scored = yield from Evaluate(seeds, rows, "score")
        history = list(map(Entry, [place.text for place in places], seeds, scored.evaluations))
        yield from _recommend(history)
        place = places[history.index(best_first(history)[0])]
        meta_prompt = self._meta_prompt(context, place)
        known = {place.prompt.id for place in places}
        sieve = Sieve(place, self.max_characters, digits=self._digits_allowed(context), seen=known)
        idle = 0
        for step in range(self.steps):
            affordable = (scored.remaining - self._reserve(context, len(rows))) // len(rows)
            if affordable < 1 or 0 < self.idle_steps <= idle:
                break
            shown = self._shown(history)
            exemplars = self._exemplars(context, rows, history, step)
            replies = yield from self._write(meta_prompt.show(shown, exemplars), step)
            texts = sieve.sift(map(meta_prompt.read, replies.texts))[:affordable]
            if not texts:
                idle += 1
                continue
            note = {"step": step, "refused": dict(sieve.refused)}
            parents = tuple(entry.candidate.id for entry in shown)
            candidates = [Candidate(place.put(text), parents, "propose", note) for text in texts]
            scored = yield from Evaluate(candidates, rows, "score")
            history += map(Entry, texts, candidates, scored.evaluations)
            yield from _recommend(history)
        yield from self._pass_gate(context, rows, history, scored.remaining)

    def estimate(self, context: Context) -> Estimate:
        """Say how much it asks for at most: in every step something new is written."""
        seeds = len(self._places(context))
        rows = self._subset_size(context, seeds)
        affordable = max(0, (context.evaluations - self._reserve(context, rows)) // rows - seeds)
        steps = min(self.steps, affordable + self.idle_steps) if self.idle_steps else self.steps
        scored = (seeds + min(affordable, steps * self.samples)) * rows
        evaluations = scored + self.gate * (len(context.search) - rows)
        return Estimate(evaluations=min(evaluations, context.evaluations), writes=steps * self.samples)

    def _places(self, context: Context) -> list[Place]:
        """Return where the text goes in each seed; the parts that this changes must be editable."""
        part = "answer_cue" if self.position == "a_begin" else "instruction"
        seeds = context.seeds[: context.evaluations]
        places = [Place.of(seed, context.fields, self.position) for seed in seeds]
        moved = any(place.prompt.layout != seed.layout for place, seed in zip(places, seeds, strict=True))
        for needed in [part] + ["layout"] * moved:
            if needed not in context.editable:
                raise ConfigError(
                    f"opro with position = {self.position} changes the {needed}, which this task keeps fixed; "
                    "allow it, or choose another position."
                )
        return list({place.prompt.id: place for place in places}.values())

    def _subset_size(self, context: Context, seeds: int) -> int:
        """Return on how many examples every text is scored: always the same ones, always all of them."""
        size = int(self.subset_share * len(context.search))
        if self.fit_to_plan:
            size = max(PLAN_ROWS[0], min(PLAN_ROWS[1], context.evaluations // PLAN_TEXTS))
        return max(1, min(size, len(context.search), context.evaluations // seeds))

    def _meta_prompt(self, context: Context, place: Place) -> MetaPrompt:
        task = context.description if self.describe_task else ""
        return MetaPrompt(self.meta_prompt, place, self.buckets, exemplars_first=self.exemplars_first, task=task)

    def _digits_allowed(self, context: Context) -> bool:
        arithmetic = self.refuse_digits == "arithmetic" and context.metric in ARITHMETIC
        return not arithmetic and self.refuse_digits != "always"

    def _shown(self, history: Sequence[Entry]) -> list[Entry]:
        """Return the part of the history that a meta-prompt shows, worst first."""
        valid = [entry for entry in history if entry.evaluation.n_valid]
        if self.meta_prompt == "instructions_only":
            return best_last(valid, len(valid), 0)
        return best_last(valid, self.shown, self.threshold)

    def _exemplars(
        self, context: Context, rows: Sequence[Example], history: Sequence[Entry], step: int
    ) -> list[Example]:
        """Choose training examples for the meta-prompt; random ones where the policy finds too few."""
        policy = self.exemplar_policy
        rng = context.rng("opro", "exemplars", *([] if policy == "constant" else [step]))
        order = rng.sample(rows, len(rows))
        if policy == "current_most_frequent":
            missed = Counter(example for entry in self._shown(history) for example in entry.missed)
            order.sort(key=lambda row: -missed[row.id])
        if policy == "accumulative_most_frequent":
            ever_missed = {example for entry in history for example in entry.missed}
            order.sort(key=lambda row: row.id not in ever_missed)
        return order[: self.exemplars]

    def _write(self, meta: str, step: int) -> Write:
        final = self.temperature if self.final_temperature is None else self.final_temperature
        temperature = self.temperature + step / self.steps * (final - self.temperature)
        return ask_writer(meta, "propose", n=self.samples, temperature=temperature, max_tokens=self.max_tokens)

    def _reserve(self, context: Context, rows: int) -> int:
        """Return what is kept for the gate, which can be passed on unused examples only."""
        return min(round(self.gate_share * context.evaluations), self.gate * (len(context.search) - rows))

    def _pass_gate(
        self, context: Context, rows: Sequence[Example], history: Sequence[Entry], remaining: int
    ) -> Search[None]:
        """Score the best few on fresh examples and recommend by all that they have shown."""
        best = best_first(history)[: self.gate]
        used = {row.id for row in rows}
        unused = [row for row in context.search if row.id not in used]
        size = min(len(unused), remaining // len(best)) if best else 0
        if not size:
            return
        fresh = context.rng("opro", "gate").sample(unused, size)
        answer = yield from Evaluate([entry.candidate for entry in best], fresh, "gate")
        pairs = zip(best, answer.evaluations, strict=True)
        yield from _recommend([replace(entry, evaluation=entry.evaluation + more) for entry, more in pairs])


def _recommend(history: Sequence[Entry]) -> Recommend:
    best = best_first(history)[:RECOMMENDED]
    return Recommend(tuple(e.candidate for e in best), "mean", tuple(e.score for e in best))

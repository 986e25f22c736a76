"""OPRO: the optimizer model reads a list of scored texts and writes better ones.

The list, the history, is all the state there is; a step shows its best part and scores what comes back.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Self

from promptopt.ask import Evaluate, Recommend, Search, Write
from promptopt.errors import ConfigError
from promptopt.example import Example
from promptopt.layout import Layout, Turn
from promptopt.prompt import Candidate, Prompt
from promptopt.settings import require_at_least, require_at_most
from promptopt.strategy import Context, Estimate, Need
from promptopt_strategies.history import Entry, best_first, best_last, bucket
from promptopt_strategies.writing import ask_writer, parse_tagged, read_part, render_template, write_part

SLOT = "<SLOT>"
ARITHMETIC = frozenset({"numeric", "math"})  # metrics where a digit in the instruction may be an answer
RECOMMENDED = 10  # prompts in a Recommend
PLAN_TEXTS = 60  # texts that a plan should be enough for, as long as each is scored on so many rows
PLAN_ROWS = (10, 50)
KINDS = {
    "instruction": ("an instruction", "instructions"),
    "answer_cue": ("the opening words of the answer", "opening words of an answer"),
}
EXEMPLARS = {
    "tagged": "Problem:\n{}\nRight answer: {}",
    "bracketed": "input:\n{}\noutput:\n{}",
}

Shape = Literal["tagged", "bracketed", "instructions_only"]
Position = Literal["as_is", "q_begin", "q_end", "a_begin"]


@dataclass(frozen=True)
class Place:
    """Where the text under search stands in a prompt.

    Args:
        prompt: The prompt around it.
        fields: The names of the input fields.
        part: The part that holds it.
        lead: What stands before it in that part.
    """

    prompt: Prompt
    fields: tuple[str, ...]
    part: Literal["instruction", "answer_cue"] = "instruction"
    lead: str = ""

    @classmethod
    def of(cls, seed: Prompt, fields: tuple[str, ...], position: Position) -> Self:
        """Return the place in a seed: before the fields, after them, or as the opening words of the answer."""
        if position == "a_begin":
            return cls(seed, fields, "answer_cue", f"{seed.answer_cue} " if seed.answer_cue else "")
        return cls(seed if position == "as_is" else seed.replace(layout=_arrange(seed.layout, position)), fields)

    @property
    def text(self) -> str:
        """The text that the prompt has here; an answer begins with none."""
        return read_part(self.prompt, self.part, self.fields) if self.part == "instruction" else ""

    def put(self, text: str) -> Prompt:
        """Return the prompt with this text instead."""
        return write_part(self.prompt, self.part, self.lead + text, self.fields)

    def show(self, example: Example) -> str:
        """Return what the task model sees of an example, with the slot where the text goes."""
        template = self.put(SLOT).replace(demos=()).template(self.fields)
        return "\n".join(message.content for message in template.render(example))


@dataclass
class Sieve:
    """Lets a text through if it is new and allowed, and counts the others by reason.

    Args:
        max_characters: Longer texts are refused.
        digits: Whether a text may have digits.
        seen: The ids of all prompts that were proposed before.
        refused: How many texts were refused so far, by reason.
    """

    max_characters: int
    digits: bool
    seen: set[str]
    refused: Counter[str] = field(default_factory=Counter)

    def lets_through(self, text: str, prompt: Prompt) -> bool:
        """Say whether this text may be scored; it is known from now on."""
        reason = self._reason(text, prompt)
        self.refused.update([reason] if reason else [])
        self.seen.add(prompt.id)
        return not reason

    def _reason(self, text: str, prompt: Prompt) -> str:
        if not text:
            return "empty"
        if prompt.id in self.seen:
            return "seen before"
        if len(text) > self.max_characters:
            return f"longer than {self.max_characters} characters"
        if not self.digits and re.search(r"\d", text):
            return "has a digit"
        return "has the placeholder" if SLOT in text else ""


@dataclass(frozen=True)
class OPRO:
    """Optimization by prompting: 8 new texts a step, written after a look at the best texts so far.

    Deviations from paper and code, in every profile: no search asks for more than its plan has left; seeds are known
    texts and are not proposed again; exemplars depend on the seed of the study; a prompt without any valid score does
    not enter the history; only the whole placeholder counts as a leak; the score's range in the meta-prompt is the
    real one. ``recommended`` moreover sizes the subset so that a plan of 300 to 2,000 evaluations scores some 50
    prompts or more, tells the optimizer model the task, ends when nothing new comes, and keeps a fifth of the plan to
    score the best few on fresh examples, since the best of many on one small subset was also the luckiest.

    On the simulated additive landscape it needs some 1,000 evaluations to be clearly better than ``random``, which
    is ahead at 300.

    Args:
        steps: Most steps.
        samples: Texts asked for in a step.
        shown: How many of the best texts the meta-prompt shows.
        exemplars: How many training examples it shows.
        exemplar_policy: Which: ``random`` in each step, ``constant``, those that the texts shown miss most often, or
            random ones of those that any text has missed.
        meta_prompt: Its shape: ``tagged``, ``bracketed``, or ``instructions_only`` for optimizers that are base models.
        position: Where the text goes: where the seed has its instruction, before the question, after it, or as the
            opening words of the answer.
        exemplars_first: Show the exemplars before the history.
        describe_task: Begin the meta-prompt with the task's description.
        temperature: Of the optimizer model in the first step.
        final_temperature: What it goes to, in equal steps; none keeps it constant.
        buckets: Scores are shown as whole numbers from 0 to this.
        threshold: Texts with a lower score are not shown.
        max_characters: Longer texts are refused.
        refuse_digits: When texts with digits are refused: where the metric is ``arithmetic``, always, or never.
        subset_share: The share of the search examples on which every text is scored.
        fit_to_plan: Choose the subset by the study's evaluations, not by that share.
        gate: How many of the best are scored again at the end, on examples that the search did not use; 0 for none.
        gate_share: The share of the plan that this may take.
        idle_steps: The search ends after so many steps that brought no new text; 0 never ends it.
        max_tokens: Of each text that is written.

    *Asks*: one Evaluate of the seeds; each step one Write of ``samples`` texts, one Evaluate of the new ones on the
    same subset, one Recommend.

    Reference: Yang et al., Large Language Models as Optimizers, ICLR 2024, arXiv 2309.03409, sections 2 and 4.
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
    version: ClassVar[str] = "1"
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
        """Search for better texts: show the history, score what is written, append it, and again (figure 2)."""
        places = self._places(context)
        rows = self._subset(context, len(places))
        seeds = [Candidate(place.prompt) for place in places]
        scored = yield from Evaluate(seeds, rows, "score")
        history = list(map(Entry, [place.text for place in places], seeds, scored.evaluations))
        yield from _recommend(history)
        place = places[history.index(best_first(history)[0])]
        sieve = Sieve(self.max_characters, self._digits_allowed(context), {place.prompt.id for place in places})
        idle = 0
        for step in range(self.steps):
            affordable = (scored.remaining - self._reserve(context, len(rows))) // len(rows)
            if affordable < 1 or 0 < self.idle_steps <= idle:
                break
            visible = self._visible(history)
            meta = self._meta(context, place, visible, self._exemplars(context, rows, history, step))
            written = yield from self._write(meta, step)
            texts = [text for text in self._read(written.texts) if sieve.lets_through(text, place.put(text))]
            if not texts:
                idle += 1
                continue
            texts = texts[:affordable]
            note = {"step": step, "refused": dict(sieve.refused)}
            parents = tuple(entry.candidate.id for entry in visible)
            candidates = [Candidate(place.put(text), parents, "propose", note) for text in texts]
            scored = yield from Evaluate(candidates, rows, "score")
            history += map(Entry, texts, candidates, scored.evaluations)
            yield from _recommend(history)
        yield from self._pass_gate(context, rows, history, scored.remaining)

    def estimate(self, context: Context) -> Estimate:
        """Say how much it asks for at most: in every step something new is written."""
        seeds = len(context.seeds)
        rows = self._subset_size(context, seeds)
        reserve = self._reserve(context, rows)
        affordable = (context.evaluations - reserve) // rows - seeds
        steps = min(self.steps, affordable + self.idle_steps) if self.idle_steps else self.steps
        evaluations = (seeds + steps * self.samples) * rows + reserve
        return Estimate(evaluations=min(evaluations, context.evaluations), writes=steps * self.samples)

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

    def _reserve(self, context: Context, rows: int) -> int:
        """Return what is kept for the gate, which can be passed on unused examples only."""
        return min(round(self.gate_share * context.evaluations), self.gate * (len(context.search) - rows))

    def _places(self, context: Context) -> list[Place]:
        part = "answer_cue" if self.position == "a_begin" else "instruction"
        places = [Place.of(seed, context.fields, self.position) for seed in context.seeds[: context.evaluations]]
        moved = any(place.prompt.layout != seed.layout for place, seed in zip(places, context.seeds, strict=False))
        for needed in [part] + ["layout"] * moved:
            if needed not in context.editable:
                raise ConfigError(
                    f"opro with position = {self.position} changes the {needed}, which this task keeps fixed; "
                    "allow it, or choose another position."
                )
        return list({place.prompt.id: place for place in places}.values())

    def _subset(self, context: Context, seeds: int) -> list[Example]:
        """Return the examples on which every text is scored: always the same ones, always all of them."""
        return context.rng("opro", "subset").sample(context.search, self._subset_size(context, seeds))

    def _subset_size(self, context: Context, seeds: int) -> int:
        size = round(self.subset_share * len(context.search))
        if self.fit_to_plan:
            size = max(PLAN_ROWS[0], min(PLAN_ROWS[1], context.evaluations // PLAN_TEXTS))
        return max(1, min(size, len(context.search), context.evaluations // seeds))

    def _digits_allowed(self, context: Context) -> bool:
        arithmetic = self.refuse_digits == "arithmetic" and context.metric in ARITHMETIC
        return not arithmetic and self.refuse_digits != "always"

    def _visible(self, history: Sequence[Entry]) -> list[Entry]:
        """Return the part of the history that a meta-prompt shows, worst first."""
        valid = [entry for entry in history if entry.evaluation.n_valid]
        if self.meta_prompt == "instructions_only":
            return best_last(valid, len(valid), 0)
        return best_last(valid, self.shown, self.threshold)

    def _temperature(self, step: int) -> float:
        final = self.temperature if self.final_temperature is None else self.final_temperature
        return self.temperature + step / self.steps * (final - self.temperature)

    def _exemplars(
        self, context: Context, rows: Sequence[Example], history: Sequence[Entry], step: int
    ) -> list[Example]:
        """Choose training examples for the meta-prompt; random ones where the policy finds too few."""
        policy, count = self.exemplar_policy, min(self.exemplars, len(rows))
        rng = context.rng("opro", "exemplars", *([] if policy == "constant" else [step]))
        order = rng.sample(rows, len(rows))
        missed = Counter(m for entry in history for m in entry.missed)
        if policy == "current_most_frequent":
            missed = Counter(m for entry in self._visible(history) for m in entry.missed)
            order = sorted(rows, key=lambda row: -missed[row.id])
        elif policy == "accumulative_most_frequent":
            order.sort(key=lambda row: not missed[row.id])
        return order[:count]

    def _meta(self, context: Context, place: Place, visible: Sequence[Entry], exemplars: Sequence[Example]) -> str:
        """Return the meta-prompt, which is the same for all samples of a step."""
        history = "\n\n".join(self._line(entry) for entry in visible)
        task = f"The task: {context.description.strip()}\n\n" if self.describe_task and context.description else ""
        kind, kinds = KINDS[place.part]
        if self.meta_prompt == "instructions_only":
            return render_template(
                "opro-instructions-only", task=task, kinds=kinds, buckets=self.buckets, history=history
            )
        evidence = [render_template("opro-history", buckets=self.buckets, history=history)] if visible else []
        if exemplars:
            form = EXEMPLARS[self.meta_prompt]
            shown = "\n\n".join(form.format(place.show(row), row.target) for row in exemplars)
            block = render_template(f"opro-exemplars-{self.meta_prompt}", slot=SLOT, exemplars=shown)
            evidence.insert(0 if self.exemplars_first else len(evidence), block)
        shape = f"opro-{self.meta_prompt}"
        return render_template(shape, task=task, kind=kind, kinds=kinds, evidence="\n\n".join(evidence))

    def _line(self, entry: Entry) -> str:
        score = bucket(entry.score, self.buckets)
        if self.meta_prompt == "instructions_only":
            return f"score: {score}\n<text>{entry.text}</text>"
        return f"text:\n{entry.text}\nscore:\n{score}"

    def _write(self, meta: str, step: int) -> Write:
        temperature = self._temperature(step)
        return ask_writer(meta, "propose", n=self.samples, temperature=temperature, max_tokens=self.max_tokens)

    def _read(self, replies: Iterable[str]) -> list[str]:
        return [normalise(extract(reply, self.meta_prompt)) for reply in replies]


def extract(reply: str, shape: Shape) -> str:
    """Return the text that a reply proposes; empty if it has none.

    In the tagged shape a missing opening tag means from the start and a missing closing tag to the end, so that an
    untagged reply is taken whole.
    """
    if shape == "bracketed":
        span = re.search(r"\[(.*?)\]", reply, re.DOTALL)
        return span[1] if span else ""
    if shape == "instructions_only":
        return next(iter(parse_tagged(reply, "text")), "")
    return reply.rpartition("<text>")[2].partition("</text>")[0]


def normalise(text: str) -> str:
    """Return the text without bold markers and outer space, its first letter a capital."""
    text = text.replace("**", "").strip()
    return text[0].upper() + text[1:] if len(text) > 1 else text


def _recommend(history: Sequence[Entry]) -> Recommend:
    best = best_first(history)[:RECOMMENDED]
    return Recommend(tuple(e.candidate for e in best), "mean", tuple(e.score for e in best))


def _arrange(layout: Layout, position: Position) -> Layout:
    """Return the layout with the instruction before all inputs, or between the input and the answer."""
    before = ("{instruction}", "{demos}", "{fields}\n{answer_cue}")
    after = ("{demos}", "{fields}", "{instruction}\n{answer_cue}")
    blocks = before if position == "q_begin" else after
    if layout.mode == "completion":
        return replace(layout, turns=(Turn("text", ("{system}", *blocks)),))
    return replace(layout, turns=(Turn("system", ("{system}",)), Turn("user", blocks)))

"""Proposer: where the prompts of a search by duels come from, an optimizer model or operators without one."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from promptopt.ask import Search
from promptopt.duel import Preference
from promptopt.prompt import Candidate
from promptopt.strategy import Context
from promptopt_strategies.breeder import Breeder
from promptopt_strategies.space import Space
from promptopt_strategies.writing import ask_writer, clip, read_part, read_prompt, render_template, write_part

PART = "instruction"
TRIES = 3  # of the optimizer model, before a pool stays smaller than wanted
PARENTS = 3
SHOWN_LOSERS = 2
SHOWN_PAIRS = 5
SHOWN_REMARKS = 12
REMARK_CHARACTERS = 200
TEXT_CHARACTERS = 1_500
CROSS = 0.3


@dataclass
class Proposer:
    """Makes new prompts.

    Args:
        context: What the search may know.
        source: ``operators``, ``induction`` or ``rephrase``.
        breeder: The operators; None where the optimizer model writes.
    """

    context: Context
    source: str
    breeder: Breeder | None = None
    _made: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, context: Context, source: str) -> "Proposer":
        """Return the proposer of a setting; ``auto`` takes what there is."""
        source = resolve(source, context)
        made = {seed.id for seed in context.seeds}
        return cls(context, source, None if source != "operators" else Breeder(Space.of(context)), made)

    @staticmethod
    def writes(source: str, context: Context, start: int, grown: int) -> int:
        """Return how many texts it asks for at most."""
        return 0 if resolve(source, context) == "operators" else TRIES * (start + grown)

    def start(self, rng: random.Random, n: int) -> Search[list[Candidate]]:
        """Return up to n prompts for the first pool.

        Asks:
            Where the optimizer model makes them, up to three Writes.
        """
        if n <= 0:
            return []
        if self.breeder is not None:
            near = self.breeder.edits(rng, n // 2)
            return [*near, *self.breeder.random(rng, n - len(near))]
        return (yield from self._write(n, lambda: self._first_request(rng), self.source))

    def improve(
        self, rng: random.Random, n: int, ranking: Sequence[Candidate], preferences: Sequence[Preference]
    ) -> Search[list[Candidate]]:
        """Return up to n new prompts made from the best of a ranking, with what people said of them.

        Asks:
            Where the optimizer model makes them, up to three Writes.
        """
        if self.breeder is not None:
            parents = [candidate for candidate in ranking if candidate.id in self.breeder.points][:PARENTS]
            children = [self.breeder.child(rng, parents, 1, CROSS) for _ in range(n)]
            return [child for child in children if child is not None]
        text = self._improvement(ranking, preferences)
        return (yield from self._write(n, lambda: text, "improve", [candidate.id for candidate in ranking[:PARENTS]]))

    def _write(
        self, n: int, request: Callable[[], str], operator: str, parents: Sequence[str] = ()
    ) -> Search[list[Candidate]]:
        """Let the optimizer model write until n new prompts are there, or three rounds have passed."""
        made: list[Candidate] = []
        for _ in range(TRIES):
            if len(made) == n:
                break
            answer = yield from ask_writer(request(), operator, n=n - len(made))
            for reply in answer.texts:
                candidate = self._read(reply, operator, parents)
                if candidate is not None:
                    made.append(candidate)
        return made

    def _read(self, reply: str, operator: str, parents: Sequence[str]) -> Candidate | None:
        """Return the prompt that a reply holds; None if it holds none or one that was there before."""
        text = read_prompt(reply)
        if not text:
            return None
        seed = self.context.seeds[0]
        prompt = write_part(seed, PART, text, self.context.fields)
        if prompt.id in self._made:
            return None
        self._made.add(prompt.id)
        return Candidate(prompt, tuple(parents) or (seed.id,), operator)

    def _first_request(self, rng: random.Random) -> str:
        if self.source == "rephrase":
            seed = Candidate(self.context.seeds[0])
            return render_template("duel-rephrase", task=self._task(), instruction=self._text(seed))
        pairs = rng.sample(self.context.pool, min(SHOWN_PAIRS, len(self.context.pool)))
        shown = "\n\n".join(
            f"Input: {_short(' / '.join(p.inputs.values()))}\nOutput: {_short(p.target)}" for p in pairs
        )
        return render_template("duel-induce", task=self._task(), pairs=shown)

    def _improvement(self, ranking: Sequence[Candidate], preferences: Sequence[Preference]) -> str:
        winners = "\n".join(f"<current>{self._text(c)}</current>" for c in ranking[:PARENTS])
        losers = "\n".join(f"<worse>{self._text(c)}</worse>" for c in ranking[PARENTS:][-SHOWN_LOSERS:])
        said = [clip(" ".join(p.remark.split()), REMARK_CHARACTERS) for p in preferences if p.remark.strip()]
        remarks = "\n".join(f"- {remark}" for remark in said[-SHOWN_REMARKS:])
        heard = f"\n\nWhat people said when they compared answers:\n{remarks}" if remarks else ""
        return render_template("duel-improve", task=self._task(), winners=winners, losers=losers, remarks=heard)

    def _task(self) -> str:
        return f"The task: {self.context.description.strip()}\n\n" if self.context.description.strip() else ""

    def _text(self, candidate: Candidate) -> str:
        return _short(read_part(candidate.prompt, PART, self.context.fields))


def _short(text: str) -> str:
    return clip(text, TEXT_CHARACTERS)


def resolve(source: str, context: Context) -> str:
    """Return where prompts come from: what was asked for, where it is possible."""
    if PART not in context.editable:
        return "operators"
    if source == "auto":
        return "rephrase" if "write" in context.answers else "operators"
    return source

"""SPO: self-supervised prompt optimization, which needs no right answers: a judge compares outputs.

One prompt stands at a time. Each round the optimizer model reads it with what it brings on a few inputs and writes
another one, which takes its place if the judge prefers its outputs.

Profiles:
    paper: Three inputs, ten rounds, no replay.
    reference-code: The same.
    recommended: Five inputs and as many rounds as the plan pays for; the optimizer model is shown the rewrites that
        lost, and where none can write, operators change the prompt; in the end a replay against the seed on inputs that
        the chain has not seen, since comparisons are not transitive: a chain of wins can drift.

Differences from the code, in every profile:
    - Each input is judged by itself and not all of them in one message, which long outputs overflow.
    - A judge model sees each pair in both orders; in the code a coin decides which of four judgements is turned.
    - A text that was there before, or that a guard refuses, is not compared.
    - Known right answers are shown to the optimizer model only if that is wanted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from promptopt.ask import Compare, Evaluate, Recommend, Search
from promptopt.duel import Duel, Preference
from promptopt.evaluation import Evaluation
from promptopt.example import Example, by_hash
from promptopt.prompt import Candidate
from promptopt.settings import require_at_least
from promptopt.strategy import Context, Estimate, Need
from promptopt_strategies.breeder import Breeder
from promptopt_strategies.proposals import PART, resolve
from promptopt_strategies.space import Space
from promptopt_strategies.writing import (
    SHOWN_CHARACTERS,
    ask_writer,
    clip,
    read_part,
    read_prompt,
    render_template,
    write_part,
)

REPLAYED = 1 / 8  # of the plan at most, as inputs of two evaluations each


@dataclass(frozen=True)
class SPO:
    """One prompt is rewritten after a look at its outputs, and the rewrite stays if its outputs are preferred.

    Args:
        rounds: How often outputs are produced at most: once for the seed, then for each rewrite.
        inputs: How many inputs a rewrite is compared on, always the same.
        quorum: How many people's verdicts each comparison wants, where people judge.
        replay: On how many other inputs the last prompt meets the seed in the end; 0 leaves that to the proof.
        source: Who rewrites: the optimizer model (``rewrite``), or ``operators`` without a model; ``auto`` takes the
            model where it can write.
        losers: How many rewrites that lost to the prompt that stands are shown to the optimizer model.
        show_targets: Show it the right answers, where the data has some.
        temperature: Of the optimizer model.
        max_tokens: Of each text that it writes.

    Asks: one Evaluate of the seed; each round one Write, one Evaluate and one Compare; one Compare of the replay.

    Reference: Xiang et al. 2025, Self-supervised prompt optimization, arXiv 2502.06855.
    """

    rounds: int = 100
    inputs: int = 5
    quorum: int = 1
    replay: int = 20
    source: Literal["auto", "rewrite", "operators"] = "auto"
    losers: int = 3
    show_targets: bool = False
    temperature: float = 0.7
    max_tokens: int = 1024

    name: ClassVar[str] = "spo"
    version: ClassVar[str] = "1"
    needs: ClassVar[frozenset[Need]] = frozenset({"compare"})
    uses: ClassVar[frozenset[Need]] = frozenset({"write"})
    control: ClassVar[bool] = False
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "recommended": {},
            "paper": {"rounds": 10, "inputs": 3, "replay": 0, "source": "rewrite", "losers": 0},
            "reference-code": {"rounds": 10, "inputs": 3, "replay": 0, "source": "rewrite", "losers": 0},
        }
    )

    def __post_init__(self) -> None:
        require_at_least(self, 1, "rounds", "inputs", "quorum", "max_tokens")
        require_at_least(self, 0, "replay", "losers", "temperature")

    def estimate(self, context: Context) -> Estimate:
        """Say how much it asks for at most: every rewrite is new."""
        rounds = self.rounds - 1
        evaluations = self.inputs * self.rounds + 2 * self.replay
        writes = 0 if resolve(self.source, context) == "operators" else rounds
        return Estimate(min(evaluations, context.evaluations), writes, self.inputs * rounds + self.replay)

    def search(self, context: Context) -> Search[None]:
        """Rewrite and compare, round after round; in the end meet the seed again."""
        seed = Candidate(context.seeds[0])
        yield Recommend((seed,), "rank")
        order = by_hash(context.search, f"spo {context.seed}")
        rows, fresh = order[: min(self.inputs, context.evaluations)], order[self.inputs :]
        replayed = fresh[: min(self.replay, int(context.evaluations * REPLAYED))]
        writer = _Writer.of(context, self)
        answer = yield from Evaluate([seed], rows, "outputs")
        chain, outputs, known, lost = [seed], answer.evaluations[0], {seed.id}, list[Candidate]()
        for _ in range(self.rounds - 1):
            if answer.remaining < len(rows) + 2 * len(replayed):
                break
            challenger = yield from writer.rewrite(chain[-1], outputs, rows, lost)
            if challenger is None or challenger.id in known:
                continue
            known.add(challenger.id)
            answer = yield from Evaluate([challenger], rows, "outputs")
            if answer.evaluations[0].refusal:
                continue
            compared = yield from Compare(_duels(chain[-1], challenger, rows), self.quorum)
            if is_preferred(challenger, chain[-1], compared.preferences):
                chain.append(challenger)
                outputs, lost = answer.evaluations[0], []
                yield _recommend(chain)
            else:
                lost.append(challenger)
        yield from self._replay(chain, replayed)

    def _replay(self, chain: Sequence[Candidate], rows: Sequence[Example]) -> Search[None]:
        """Compare the last prompt with the seed on inputs that the chain has not seen; who loses stands behind."""
        seed, last = chain[0], chain[-1]
        if last.id == seed.id or not rows:
            return
        compared = yield from Compare(_duels(seed, last, rows), self.quorum, purpose="replay")
        new = {row.id for row in rows}
        if is_preferred(last, seed, [p for p in compared.preferences if p.example_id in new]):
            yield _recommend(chain)
        else:
            yield _recommend((*chain[1:], seed))


@dataclass
class _Writer:
    """Rewrites the prompt that stands.

    Args:
        context: What the search may know.
        settings: Of the search.
        breeder: The operators; None where the optimizer model writes.
    """

    context: Context
    settings: SPO
    breeder: Breeder | None

    @classmethod
    def of(cls, context: Context, settings: SPO) -> "_Writer":
        """Return who rewrites by these settings."""
        by_operators = resolve(settings.source, context) == "operators"
        return cls(context, settings, Breeder(Space.of(context)) if by_operators else None)

    def rewrite(
        self, incumbent: Candidate, outputs: Evaluation, rows: Sequence[Example], lost: Sequence[Candidate]
    ) -> Search[Candidate | None]:
        """Return another prompt; None if nothing new turns up, or nothing that can be read.

        Asks:
            One Write, where the optimizer model rewrites.
        """
        if self.breeder is not None:
            return self.breeder.child(self.context.rng("spo", len(self.breeder.points)), [incumbent], 1, cross=0.0)
        said = {outcome.example_id: outcome.output for outcome in outputs.outcomes}
        shown = "\n\n".join(self._show(row, said.get(row.id, "")) for row in rows)
        tried = "\n".join(
            f"<worse>{self._text(loser)}</worse>" for loser in lost[max(0, len(lost) - self.settings.losers) :]
        )
        wanted = self.context.description.strip()
        text = render_template(
            "spo-rewrite",
            task=f"What is wanted: {wanted}\n\n" if wanted else "",
            current=self._text(incumbent),
            outputs=shown,
            tried=f"\n\nThese were tried, and their answers were no better:\n\n{tried}" if tried else "",
        )
        settings = self.settings
        answer = yield from ask_writer(
            text, "rewrite", temperature=settings.temperature, max_tokens=settings.max_tokens
        )
        return self._read(incumbent, next(iter(answer.texts), ""))

    def _read(self, incumbent: Candidate, reply: str) -> Candidate | None:
        text = read_prompt(reply)
        if not text:
            return None
        return Candidate(write_part(incumbent.prompt, PART, text, self.context.fields), (incumbent.id,), "rewrite")

    def _show(self, row: Example, output: str) -> str:
        asked = clip(" / ".join(row.inputs.values()), SHOWN_CHARACTERS)
        is_told = self.settings.show_targets and row.target
        target = f"\nIdeal: {clip(row.target, SHOWN_CHARACTERS)}" if is_told else ""
        return f"Input: {asked}\nOutput: {clip(output, SHOWN_CHARACTERS)}{target}"

    def _text(self, candidate: Candidate) -> str:
        return read_part(candidate.prompt, PART, self.context.fields)


def is_preferred(challenger: Candidate, incumbent: Candidate, preferences: Sequence[Preference]) -> bool:
    """Say whether more verdicts are for the challenger than against it; a tie, a skip and no verdict are neither."""
    pair = {challenger.id, incumbent.id}
    winners = [p.winner_id for p in preferences if {p.left_id, p.right_id} == pair and p.is_evidence]
    return winners.count(challenger.id) > winners.count(incumbent.id)


def _duels(left: Candidate, right: Candidate, rows: Sequence[Example]) -> tuple[Duel, ...]:
    return tuple(Duel(left, right, row) for row in rows)


def _recommend(chain: Sequence[Candidate]) -> Recommend:
    """Return the recommendation of a chain, in which each prompt has beaten the one before."""
    return Recommend(tuple(reversed(chain)), "rank")

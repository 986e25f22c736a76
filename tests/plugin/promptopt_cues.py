"""Cues: a strategy of another package, as short as one can be."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from promptopt import Candidate, Context, Evaluate, Recommend
from promptopt.ask import Search
from promptopt.strategy import Estimate


@dataclass(frozen=True)
class Cues:
    """Tries some answer cues and keeps the best.

    Args:
        cues: The words before the answer that are tried.
    """

    cues: tuple[str, ...] = ("Answer:", "So it is:", "Verdict:")

    name: ClassVar[str] = "cues"
    version: ClassVar[str] = "1"
    needs: ClassVar[frozenset[str]] = frozenset()
    control: ClassVar[bool] = True
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {"recommended": {}, "short": {"cues": ["A:"]}}

    def estimate(self, context: Context) -> Estimate:
        return Estimate(context.evaluations)

    def search(self, context: Context) -> Search[None]:
        seed = Candidate(context.seeds[0])
        wanted = self.cues if "answer_cue" in context.editable else ()
        others = [Candidate(seed.prompt.replace(answer_cue=cue), (seed.id,), "cue") for cue in wanted]
        rows = context.search[: context.evaluations // (1 + len(others))]
        answer = yield from Evaluate([seed, *others], rows)
        ranked = sorted(zip(answer.evaluations, (seed, *others), strict=True), key=lambda pair: -round(pair[0].mean, 9))
        yield from Recommend(tuple(candidate for _, candidate in ranked))

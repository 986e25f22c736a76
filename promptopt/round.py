"""Round: one go at a study, a search with its proof; more budget or a second try at failures begins a further one.

The journal holds rounds as rows that nobody asks, so that what came before stays as it was.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from promptopt.budget import Spend
from promptopt.ids import content_hash
from promptopt.store.rows import AskRow

KIND = "round"
PROOF_NUMBER = 1_000_000  # a round's proof stands behind all asks of the search, however long that gets


@dataclass(frozen=True, slots=True)
class Round:
    """One go at a study.

    Args:
        number: Counted from 0, which is the study as it was made.
        searches: Whether the search goes on; else only the proof is made again.
        proofs: What the proofs of earlier rounds have paid.
        verdicts: What earlier rounds have said, each in a sentence.
    """

    number: int = 0
    searches: bool = True
    proofs: Spend = Spend()
    verdicts: tuple[str, ...] = ()

    @classmethod
    def newest(cls, rows: Iterable[AskRow]) -> Self:
        """Return the round that a journal is in."""
        begun = [row for row in rows if row.kind == KIND]
        return cls._of(max(begun, key=lambda row: row.number).payload) if begun else cls()

    @classmethod
    def _of(cls, told: Mapping[str, Any]) -> Self:
        return cls(told["number"], told["searches"], Spend(**told["proofs"]), tuple(told["verdicts"]))

    @property
    def row(self) -> AskRow:
        """How the journal holds it."""
        told = asdict(self)
        return AskRow(
            number=PROOF_NUMBER * self.number,
            path=f"round/{self.number}",
            kind=KIND,
            fingerprint=content_hash(KIND, told),
            payload=told,
        )

    def proof(self, number: int) -> tuple[int, str]:
        """Return the step and the path of an ask of its proof."""
        place = f"round/{self.number}/proof" if self.number else "proof"
        return PROOF_NUMBER * (self.number + 1) + number, f"{place}/{number}"

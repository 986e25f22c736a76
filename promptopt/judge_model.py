"""JudgeModel: a model that says which of two answers is better, asked in both orders always.

Where the backend gives log-probabilities, the log-odds of the two letters are read and averaged over the orders, so
that a liking for the first place cancels. Else the answer is read as text, and only what both orders agree on counts.
"""

import math
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from promptopt.backends.base import Backend, Reply, Request
from promptopt.budget import Usage
from promptopt.duel import Verdict, swapped
from promptopt.evaluation import ANSWERED
from promptopt.example import Example
from promptopt.layout import Message
from promptopt.ledger import Ledger

LETTERS = ("A", "B")
ORDERS = 2
MOST_CHARACTERS = 6_000  # of each answer
EVEN = 1e-9  # log-odds so near to 0 are a tie
MAX_TOKENS = 4
LEAST_CHANCE = 1e-12

QUESTION = (
    "Two answers were given to the same input. Decide which of them is better.",
    "What counts:",
    "Which answer is better? Reply with one letter, A or B, and nothing else.",
)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one input, under a key."""

    key: str
    example: Example
    left: str
    right: str


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a judge model makes of a pair.

    Args:
        verdict: ``left``, ``right``, ``tie``, or ``skip`` where an order brought no readable answer: that is no vote.
        detail: What it said in each order, and how long the answers were; for the audit.
        usage: What both calls took.
    """

    verdict: Verdict
    detail: Mapping[str, Any]
    usage: Usage = Usage()


class JudgeModel:
    """Asks a model for its opinion of pairs.

    Args:
        backend: The model.
        ledger: The caps.
        criteria: What makes an answer good, in words.
    """

    def __init__(self, backend: Backend, ledger: Ledger, criteria: str) -> None:
        self.backend = backend
        self._ledger = ledger
        self._criteria = criteria

    def judge(self, pairs: Sequence[Pair]) -> Generator[tuple[Pair, Opinion] | None, None, None]:
        """Yield the opinion on each pair as soon as both orders are answered; None while nothing arrives.

        Raises:
            BudgetSpentError: A cap was reached first.
            TooManyFailuresError: Too few calls succeeded.
            FatalBackendError: The model cannot be used at all.
        """
        heard: dict[str, dict[bool, Reply]] = {}
        requests = (
            ((pair, is_turned), self._request(pair, is_turned)) for pair in pairs for is_turned in (False, True)
        )
        try:
            with closing(self._ledger.run(self.backend, requests)) as arrivals:
                for arrival in arrivals:
                    if arrival is None:
                        yield None
                        continue
                    (pair, is_turned), reply = arrival
                    orders = heard.setdefault(pair.key, {})
                    orders[is_turned] = reply
                    if len(orders) == ORDERS:
                        del heard[pair.key]
                        opinion = weigh(pair, orders[False], orders[True])
                        yield pair, replace(opinion, usage=orders[False].usage + orders[True].usage)
        finally:
            for reply in (reply for orders in heard.values() for reply in orders.values()):
                self._ledger.write_off(reply.usage)  # half an opinion is none

    def _request(self, pair: Pair, is_turned: bool) -> Request:
        """Return the request; the judge sees the input, the answers and what counts, and never the prompts."""
        shown = (pair.right, pair.left) if is_turned else (pair.left, pair.right)
        intro, counts, question = QUESTION
        inputs = listed_inputs(pair.example)
        blocks = [f"{intro}\n{counts} {self._criteria}" if self._criteria else intro, f"Input\n{inputs}"]
        blocks += [f"Answer {letter}\n{cut(text)}" for letter, text in zip(LETTERS, shown, strict=True)]
        messages = (Message("user", "\n\n".join([*blocks, question])),)
        choices, allowed = ways_to_answer(LETTERS, self.backend)
        return Request("chat", messages, MAX_TOKENS, choices=choices, allowed=allowed, group="judge")


def weigh(pair: Pair, straight: Reply, turned: Reply) -> Opinion:
    """Return the opinion that two replies make: of the answers as they stand, and of the answers turned round."""
    lengths = [len(pair.left), len(pair.right)]
    odds = [_log_odds(straight), _log_odds(turned)]
    if odds[0] is not None and odds[1] is not None:
        mean = (odds[0] - odds[1]) / 2  # in the second order the right answer is A
        detail = {"orders": [_sign(odds[0]), swapped(_sign(odds[1]))], "log_odds": odds, "lengths": lengths}
        return Opinion(_sign(mean), detail)
    said = [_read(straight), swapped(_read(turned))]
    detail = {"orders": said, "lengths": lengths}
    if "skip" in said:
        return Opinion("skip", detail)
    return Opinion(said[0] if said[0] == said[1] else "tie", detail)


def _log_odds(reply: Reply) -> float | None:
    """Return the log-odds of A against B; None where the backend does not tell them."""
    if reply.status != "ok" or len(reply.chances) != len(LETTERS):
        return None
    first, second = (math.log(max(LEAST_CHANCE, chance)) for chance in reply.chances)
    return round(first - second, 6)


def _sign(odds: float) -> Verdict:
    return "tie" if abs(odds) < EVEN else "left" if odds > 0 else "right"


def _read(reply: Reply) -> Verdict:
    """Return what a reply says in words, A for left; anything but one of the letters is no vote."""
    letter = named_letter(reply, LETTERS)
    return "skip" if letter is None else "left" if letter == LETTERS[0] else "right"


def named_letter(reply: Reply, letters: Sequence[str]) -> str | None:
    """Return the letter that a reply consists of, but for marks around it; None if it says anything else."""
    text = reply.text.strip().strip(".:)(*\"'`").strip()
    return text if reply.status in ANSWERED and text in (*letters,) else None


def ways_to_answer(letters: tuple[str, ...], backend: Backend) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the letters as a request's choices to be scored, else as all that it allows, where a backend can do so."""
    if "likelihood" in backend.abilities:
        return letters, ()
    return (), letters if "choice" in backend.abilities else ()


def listed_inputs(example: Example) -> str:
    """Return the inputs of an example as a judge reads them."""
    return "\n".join(f"{name}: {value}" for name, value in example.inputs.items())


def cut(text: str) -> str:
    """Return a text as a judge reads it: no more of it than leaves room for the rest."""
    return text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS] + " [cut]"

"""Health: whether enough calls bring an answer, and enough answers a score, for scores to mean anything."""

import math
from collections.abc import Collection

from promptopt.backends.base import Reply
from promptopt.evaluation import ANSWERED

LEAST_VALID = 0.9
SILENT_AFTER = 40
CHANCE = 0.02
EMPTY = "without a word; give it more room (--answer-tokens), or see what stops it at once"


class TooManyFailuresError(Exception):
    """Too few calls or scores come for them to mean anything: a state of the study (paused), not a fault of ours."""


class Health:
    """Watches the share of calls that bring an answer, and of outputs that can be scored, over a session of a study.

    Args:
        floor: The least share, in [0, 1).
    """

    def __init__(self, floor: float = LEAST_VALID) -> None:
        self._floor = floor
        self._n = self._n_bad = self._n_silent = self._n_known = self._n_scored = self._n_unscored = 0
        self._unscored: set[str] = set()

    def note(self, reply: Reply, address: str) -> None:
        """Count a reply, and stop when it cannot be chance any more.

        Raises:
            TooManyFailuresError: The share, known answers among it, is under the floor by more than chance would do in
                one of fifty; or nothing is known and the first 40 calls were all refused or empty.
        """
        self._n += 1
        is_answer = reply.status in ANSWERED
        self._n_silent += not (is_answer and reply.text.strip())
        if self._n_silent == self._n == SILENT_AFTER and not self._n_known:
            said = EMPTY if is_answer else reply.error or reply.text[:80] or address
            raise TooManyFailuresError(
                f"none of the first {self._n} calls brought an answer that could be scored; the last one was "
                f"{reply.status}: {said.rstrip('.')}"
            )
        if reply.status not in ("failed", "malformed"):
            return
        self._n_bad += 1
        if self._is_too_many(self._n_bad, self._n + self._n_known):
            said = (reply.error or address).rstrip(".")
            raise TooManyFailuresError(
                f"{self._n_bad} of {self._n} calls failed, and with more than {1 - self._floor:.0%} missing scores "
                f"would mean little; the last one: {said}"
            )

    def note_known(self, n: int) -> None:
        """Count answers that the store had: where a search goes on, what is left of an ask may have failed before."""
        self._n_known += n

    def note_scores(self, n_scored: int, unscored: Collection[str] = (), why: str = "") -> None:
        """Count outputs that were scored or could not be; stop when the latter cannot be chance any more.

        A row that a metric cannot read fails with every prompt, so its outputs count as evidence once: the share is of
        outputs, and it is as sure as so many examples make it.

        Args:
            n_scored: How many were scored.
            unscored: The ids of the examples of those that could not be.
            why: What the metric says of the last one.

        Raises:
            TooManyFailuresError: The share is over what may be missing, likewise.
        """
        self._n_scored += n_scored
        self._n_unscored += len(unscored)
        n_before, n = len(self._unscored), self._n_scored + self._n_unscored
        self._unscored.update(unscored)
        n_examples = len(self._unscored)
        if n_examples > n_before and self._is_too_many(n_examples, n_examples * n / self._n_unscored):
            raise TooManyFailuresError(
                f"{self._n_unscored} of {n} outputs could not be scored (on {n_examples} examples), and with more than "
                f"{1 - self._floor:.0%} missing scores would mean little; the last one: {why}"
            )

    def _is_too_many(self, n_bad: int, n: float) -> bool:
        """Return whether Chernoff's bound on the chance of so many is under 2 %."""
        most, share = 1 - self._floor, n_bad / n
        if share <= most:
            return False
        divergence = share * math.log(share / most)
        if share < 1:
            divergence += (1 - share) * math.log((1 - share) / (1 - most))
        return n * divergence > -math.log(CHANCE)

"""Health: whether enough calls bring an answer for scores to mean anything."""

from promptopt.backends.base import Reply

LEAST_VALID = 0.9
SILENT_AFTER = 40


class TooManyFailuresError(Exception):
    """Too few calls succeed for scores to mean anything: a state of the study (paused), not a fault of ours."""


class Health:
    """Watches the share of calls that bring an answer, over all that a session of a study makes.

    Args:
        floor: The least share, in [0, 1).
    """

    def __init__(self, floor: float = LEAST_VALID) -> None:
        self._floor = floor
        self._n = self._n_bad = self._n_silent = 0

    def note(self, reply: Reply, address: str) -> None:
        """Count a reply, and stop when it cannot be chance any more.

        Raises:
            TooManyFailuresError: The share is under the floor by more than two standard errors, or the first 40 calls
                were all refused or cut before a word was written.
        """
        self._n += 1
        self._n_silent += reply.status not in ("ok", "truncated")
        if self._n_silent == self._n == SILENT_AFTER:
            raise TooManyFailuresError(
                f"none of the first {self._n} calls brought an answer that could be scored; the last one was "
                f"{reply.status}: {reply.error or reply.text[:80] or address}"
            )
        if reply.status not in ("failed", "malformed"):
            return
        self._n_bad += 1
        most = 1 - self._floor
        if self._n_bad > max(1.0, most * self._n + 2 * (most * self._floor * self._n) ** 0.5):
            raise TooManyFailuresError(
                f"{self._n_bad} of {self._n} calls failed, and with more than {most:.0%} missing scores would mean "
                f"little; the last one: {reply.error or address}"
            )

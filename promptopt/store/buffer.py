"""OutcomeBuffer: gathers outcomes for a moment, so that they are stored by hundreds and not one by one."""

import time
from collections.abc import Callable

from promptopt.store.outcomes import Outcomes
from promptopt.store.rows import OutcomeRow, ScoreRow

MAX_AGE_S = 0.05
MAX_ROWS = 500


class OutcomeBuffer:
    """Outcomes that have come in and are not stored yet: at most 500, none older than 50 ms at a tick.

    For one thread. A kill of the process loses what is in here and no more.

    Args:
        store: Where they go.
        clock: The time in seconds.
    """

    def __init__(self, store: Outcomes, clock: Callable[[], float] = time.monotonic) -> None:
        self.dropped: set[str] = set()
        self._store = store
        self._clock = clock
        self._outcomes: list[OutcomeRow] = []
        self._scores: list[ScoreRow] = []
        self._oldest = 0.0

    def __len__(self) -> int:
        return len(self._outcomes)

    def add(self, outcome: OutcomeRow, score: ScoreRow | None = None) -> None:
        """Take in an outcome with its score, if it has one."""
        if not self._outcomes:
            self._oldest = self._clock()
        self._outcomes.append(outcome)
        if score is not None:
            self._scores.append(score)

    def tick(self) -> None:
        """Store what is here if it is much or old.

        Commits:
            All of it, if there are 500 rows or the oldest waits for 50 ms.
        """
        n = len(self._outcomes)
        if n and (n >= MAX_ROWS or self._clock() - self._oldest >= MAX_AGE_S):
            self.flush()

    def flush(self) -> None:
        """Store what is here; if that fails it stays here. ``dropped`` grows by the keys that were known otherwise.

        Commits:
            All of it at once.
        """
        self.dropped |= self._store.add_outcomes(self._outcomes, self._scores, [])
        self._outcomes, self._scores = [], []

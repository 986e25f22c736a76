"""OutcomeBuffer: gathers outcomes for a moment, so that they are stored by hundreds and not one by one."""

import time
from collections.abc import Callable

from promptopt.store.outcomes import Outcomes
from promptopt.store.rows import ConsumedRow, OutcomeRow, ScoreRow

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
        self._store = store
        self._clock = clock
        self._outcomes: list[OutcomeRow] = []
        self._scores: list[ScoreRow] = []
        self._consumed: list[ConsumedRow] = []
        self._oldest = 0.0

    def __len__(self) -> int:
        return max(len(self._outcomes), len(self._scores), len(self._consumed))

    def add(
        self, outcome: OutcomeRow | None, score: ScoreRow | None = None, consumed: ConsumedRow | None = None
    ) -> None:
        """Take in an outcome, its score and its use, as far as they are there, and tick.

        Args:
            outcome: None if it came from the store.
            score: None if it has none, or a known one.
            consumed: The ask that used it.

        Commits:
            See ``tick``.
        """
        if not len(self):
            self._oldest = self._clock()
        if outcome is not None:
            self._outcomes.append(outcome)
        if score is not None:
            self._scores.append(score)
        if consumed is not None:
            self._consumed.append(consumed)
        self.tick()

    def tick(self) -> None:
        """Store what is here if it is much or old.

        Commits:
            All of it, if there are 500 rows or the oldest waits for 50 ms.
        """
        if len(self) >= MAX_ROWS or (len(self) and self._clock() - self._oldest >= MAX_AGE_S):
            self.flush()

    def flush(self) -> None:
        """Store what is here; if that fails it stays here.

        Commits:
            All of it at once.
        """
        self._store.add_outcomes(self._outcomes, self._scores, self._consumed)
        self._outcomes, self._scores, self._consumed = [], [], []

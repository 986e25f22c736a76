"""The golden test of resuming notices a strategy that remembers more than its answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from promptopt.ask import Evaluate, Recommend, Search
from promptopt.errors import ReplayError
from promptopt.prompt import Candidate
from promptopt.strategy import Context, Estimate, Need
from promptopt.testing.replay import resume_each, run_whole


@dataclass(frozen=True)
class Rows:
    """Scores the seed row after row; ``remembers`` makes it keep count over all searches."""

    remembers: bool = False
    name: ClassVar[str] = "rows"
    version: ClassVar[str] = "1"
    needs: ClassVar[frozenset[Need]] = frozenset()
    control: ClassVar[bool] = True
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    asked: ClassVar[list[int]] = []

    def search(self, context: Context) -> Search[None]:
        seed = Candidate(context.seeds[0])
        yield from Recommend((seed,))
        for row in context.search[:3]:
            rows = [row, context.search[10 + len(self.asked)]] if self.remembers else [row]
            self.asked.append(1)
            yield from Evaluate([seed], rows)

    def estimate(self, context: Context) -> Estimate:
        return Estimate(evaluations=6)


def test_every_stop_of_a_sound_strategy_ends_in_its_journal(tmp_path: Path) -> None:
    whole = run_whole(Rows(), tmp_path, plan=10)
    journals = list(resume_each(Rows(), tmp_path, plan=10))
    assert [line.count('"kind":"evaluate"') for line in whole.splitlines()] == [0, 1, 1, 1, 1]  # the last is the proof
    assert journals == [whole] * 10


def test_a_strategy_with_a_memory_of_its_own_is_caught(tmp_path: Path) -> None:
    run_whole(Rows(remembers=True), tmp_path, plan=10)
    with pytest.raises(ReplayError, match="Ask 1 is another one"):
        list(resume_each(Rows(remembers=True), tmp_path, plan=10))

"""Studies that compare, stopped while the judge model works: what has failed stays so, and every call is paid."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from promptopt import api
from promptopt.backends.base import Reply, Request
from promptopt.config import JudgeSpec, StrategySpec
from promptopt.embedder import EndpointEncoder
from promptopt.judge import Jury
from promptopt.result import Result
from tests.fakes import FakeBackend
from tests.toy import toy_spec, toy_task

SETTINGS = {"pool": 6, "duels": 8, "source": "operators"}

Say = Callable[[Request], Reply]


def session(store: Path, model: Say, judge: Say) -> Result:
    """Run a study whose duels a model judges; all that it paid is in the store, however it ends."""
    strategy = StrategySpec("dts", settings=SETTINGS)
    spec = replace(toy_spec(store, judge=JudgeSpec(("metric",)), min_valid=0.0), strategy=strategy)
    with api.open_study(spec, task=toy_task(60, 10, 60)) as study:
        study.setup = replace(
            study.setup,
            task_model=FakeBackend(model, concurrency=1),
            jury=Jury(model=FakeBackend(judge, concurrency=1)),
            encoder=EndpointEncoder(FakeBackend(lambda request: Reply("ok", json.dumps([0.5, checksum(request)])))),
        )
        result = study.run()
        assert study.store.spend(1).calls == result.spend.calls
    return result


def checksum(request: Request) -> float:
    return float(sum(map(ord, "".join(message.content for message in request.messages))) % 7)


def spoken(request: Request) -> Reply:
    return Reply("ok", str(checksum(request)))


def first(request: Request) -> Reply:
    return Reply("ok", "A", chances=(0.7, 0.3))


def interrupted_at(call: int) -> Say:
    """Judge until Ctrl-C at this call, and without end from then on."""
    left = [None] * call

    def say(request: Request) -> Reply:
        if left and left.pop() is None and not left:
            raise KeyboardInterrupt
        return first(request)

    return say


@pytest.mark.parametrize("call", [1, 2, 3, 4])
def test_a_study_stopped_while_it_is_judged_goes_on_with_the_answers_it_had(tmp_path: Path, call: int) -> None:
    n_asked = 0

    def flaky(request: Request) -> Reply:
        nonlocal n_asked
        n_asked += 1
        return Reply("failed", error="The server is gone.") if n_asked in (3, 9, 15) else spoken(request)

    judge = interrupted_at(call)
    assert session(tmp_path / "s.db", flaky, judge).reason == "stopped by Ctrl-C"
    assert session(tmp_path / "s.db", flaky, judge).state == "finished"

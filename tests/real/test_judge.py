"""A judge model for real: spo on the embedded model, judged by the embedded model, proved on held-out inputs."""

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("xllamacpp")

from promptopt import api
from promptopt.backends.address import open_backend
from promptopt.budget import Budget, Spend
from promptopt.config import JudgeSpec, StrategySpec
from promptopt.judge_model import JudgeModel, Pair
from promptopt.ledger import Ledger
from promptopt.metrics import open_metric
from promptopt.plugins import load_task
from tests.toy import small_plural, toy_spec

pytestmark = pytest.mark.real


def test_the_mean_of_both_orders_knows_better_though_each_order_alone_says_first() -> None:
    """The right plural against the chatter that the model falls into, on either side."""
    rows = load_task("plural", mode="completion").dataset.train[:16]
    chatter = [f"I am a helpful assistant and I would like to talk about {row.inputs['input']}" for row in rows]
    pairs = [
        Pair(str(n), row, *((row.target, talk) if n % 2 else (talk, row.target)))
        for n, (row, talk) in enumerate(zip(rows, chatter, strict=True))
    ]
    judge = JudgeModel(open_backend("embedded:"), Ledger(Budget(), Spend()), "Give the plural of the word.")
    said = {arrival[0].key: arrival[1] for arrival in judge.judge(pairs) if arrival}
    right = [said[str(n)].verdict == ("left" if n % 2 else "right") for n in range(len(pairs))]
    odds = [value for opinion in said.values() for value in opinion.detail["log_odds"]]
    assert sum(right) >= 10, "by chance 8"
    assert sum(value > 0 for value in odds) >= 0.8 * len(odds), "the first place is liked, whatever stands there"


@pytest.mark.parametrize("metric", ["exact", "none"])
def test_spo_and_a_judge_end_to_end_by_log_odds(tmp_path: Path, metric: str) -> None:
    store = tmp_path / "s.db"
    spec = toy_spec(store, "spo", "embedded:", judge=JudgeSpec(("embedded:",)), budget=Budget(evaluations=30))
    spec = replace(spec, strategy=StrategySpec("spo", settings={"inputs": 3, "replay": 3}))
    task = small_plural() if metric == "exact" else replace(small_plural(), metric=open_metric("none"))
    with api.open_study(spec, task=task) as study:
        result = study.run()
        judged = [p for p in study.store.preferences(1) if p.source == "model"]
    assert result.state == "finished"
    assert judged
    assert all(len(p.detail["log_odds"]) == 2 for p in judged), "by log-odds, in both orders"
    (audit,) = result.judging["judges"]
    assert (audit["judge"], audit["n"], audit["unread"]) == ("embedded:", len(judged), 0.0)
    assert audit["first_place"] is not None
    assert result.proof is not None
    assert result.verdict
    if metric == "exact":
        assert result.proof.verdict.n == len(task.dataset.test)
    elif result.proof.chosen:
        assert result.proof.verdict.n > 0, "the judge has compared held-out outputs"
        assert "the judge prefers" in result.verdict

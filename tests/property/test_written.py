"""apo and opro with any settings end by themselves, within their plan and their estimate."""

import random
from dataclasses import replace
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from promptopt.ask import Write
from promptopt.registry import configure
from promptopt.testing.simulation import Scorer, sample_context, simulate
from promptopt.testing.writer import scripted_writer
from promptopt_strategies.selectors import SELECTORS

APO = st.fixed_dictionaries(
    {
        "rounds": st.integers(1, 9),
        "beam": st.integers(1, 6),
        "minibatch": st.sampled_from([1, 8, 64]),
        "minibatch_scope": st.sampled_from(["round", "prompt", "seen"]),
        "errors_per_critique": st.integers(1, 5),
        "critique_groups": st.integers(1, 4),
        "critiques_per_group": st.integers(1, 3),
        "edits_per_critique": st.integers(1, 3),
        "paraphrases": st.integers(0, 3),
        "paraphrase_parents": st.booleans(),
        "successors": st.integers(1, 10),
        "reject_on_errors": st.booleans(),
        "critique_without_errors": st.booleans(),
        "selector": st.sampled_from([name for name in SELECTORS if not name.endswith("as_coded")]),
        "selector_budget": st.sampled_from([1, 10, 100, 2048]),
        "fit_to_plan": st.booleans(),
        "pulls_per_candidate": st.sampled_from([1, 8, 30]),
    }
)
OPRO = st.fixed_dictionaries(
    {
        "steps": st.sampled_from([1, 5, 50]),
        "samples": st.integers(1, 9),
        "shown": st.integers(1, 20),
        "exemplars": st.integers(0, 4),
        "exemplar_policy": st.sampled_from(
            ["random", "constant", "current_most_frequent", "accumulative_most_frequent"]
        ),
        "meta_prompt": st.sampled_from(["tagged", "bracketed", "instructions_only"]),
        "position": st.sampled_from(["as_is", "before_q", "q_begin", "q_end", "a_begin"]),
        "exemplars_first": st.booleans(),
        "threshold": st.sampled_from([0, 0.3, 0.9]),
        "subset_share": st.sampled_from([0, 0.1, 0.5, 1]),
        "fit_to_plan": st.booleans(),
        "gate": st.sampled_from([0, 1, 5, 20]),
        "gate_share": st.sampled_from([0, 0.2, 1]),
        "idle_steps": st.sampled_from([0, 1, 5]),
    }
)
PLANS, SEEDS, ROWS = st.sampled_from([1, 2, 3, 5, 10, 40, 300]), st.integers(1, 6), st.sampled_from([1, 5, 96])


def check(name: str, settings: dict[str, Any], plan: int, n_seeds: int, n_rows: int) -> None:
    strategy, context, luck = configure(name, settings=settings), sample_context(plan), random.Random(plan)
    texts = ["Name the kind of the note." + " Be brief." * n for n in range(n_seeds)]
    seeds = tuple(context.seeds[0].replace(instruction=text) for text in texts)
    context = replace(context, seeds=seeds, search=context.search[:n_rows])
    scorer: Scorer = lambda _candidate, _example: luck.choice([None, 0.0, 0.5, 1.0])  # noqa: E731
    simulation, estimate = simulate(strategy, context, scorer, scripted_writer()), strategy.estimate(context)
    assert not simulation.overspent
    assert simulation.recommendations
    assert simulation.evaluations <= estimate.evaluations <= plan
    assert sum(ask.n for ask in simulation.simple_asks if isinstance(ask, Write)) <= estimate.writes


@given(APO, PLANS, SEEDS, ROWS)
def test_apo_keeps_to_plan_and_estimate(settings: dict[str, Any], plan: int, n_seeds: int, n_rows: int) -> None:
    check("apo", settings, plan, n_seeds, n_rows)


@given(OPRO, PLANS, SEEDS, ROWS)
@example({"gate_share": 1, "fit_to_plan": False}, 10, 6, 96)
def test_opro_keeps_to_plan_and_estimate(settings: dict[str, Any], plan: int, n_seeds: int, n_rows: int) -> None:
    check("opro", settings, plan, n_seeds, n_rows)

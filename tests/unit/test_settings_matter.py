"""Every setting of a strategy does something: section 1h, line 10 of the algorithm notes tells of flags that do not."""

import random
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from itertools import count
from typing import Any

import pytest

from promptopt.ask import Write, Written
from promptopt.registry import configure, find_strategy
from promptopt.testing.simulation import Scorer, sample_context, simulate

Trials = Mapping[str, tuple[Mapping[str, Any], Any]]  # what a setting needs to matter, and another value

APO: Trials = {
    "rounds": ({}, 1),
    "beam": ({}, 2),
    "minibatch": ({"minibatch_scope": "round"}, 20),
    "minibatch_scope": ({}, "prompt"),
    "errors_per_critique": ({}, 2),
    "critique_groups": ({}, 2),
    "critiques_per_group": ({}, 2),
    "edits_per_critique": ({}, 2),
    "paraphrases": ({}, 1),
    "paraphrase_parents": ({}, False),
    "successors": ({}, 3),
    "reject_on_errors": ({"fit_to_plan": False}, True),
    "critique_without_errors": ({}, True),
    "selector": ({}, "ucb"),
    "exploration": ({"selector": "ucb", "pulls_per_candidate": 40}, 0.0),
    "selector_budget": ({}, 100),
    "fit_to_plan": ({}, False),
    "pulls_per_candidate": ({}, 16),
    "temperature": ({}, 0.5),
    "max_tokens": ({}, 99),
}
OPRO: Trials = {
    "steps": ({}, 2),
    "samples": ({}, 5),
    "shown": ({}, 3),
    "exemplars": ({}, 1),
    "exemplar_policy": ({}, "constant"),
    "meta_prompt": ({}, "bracketed"),
    "position": ({}, "q_end"),
    "exemplars_first": ({}, True),
    "describe_task": ({}, False),
    "temperature": ({}, 0.5),
    "final_temperature": ({}, 0.5),
    "buckets": ({}, 20),
    "threshold": ({}, 0.9),
    "max_characters": ({}, 10),
    "refuse_digits": ({}, "always"),
    "subset_share": ({"fit_to_plan": False}, 0.1),
    "fit_to_plan": ({}, False),
    "gate": ({}, 2),
    "gate_share": ({"steps": 100}, 0.5),
    "idle_steps": ({"steps": 10, "samples": 1}, 1),
    "max_tokens": ({}, 99),
}
PLUM: Trials = {
    "neighbours": ({}, 5),
    "iterations": ({}, 2),
    "patience": ({}, 1),
    "edits": ({}, 1),
    "level": ({}, "word"),
    "rows": ({}, 30),
    "block": ({}, 0),
    "fresh": ({}, 2),
    "final": ({}, 0.5),
    "entropy": ({}, 10.0),
    "library": ({}, 0.0),
    "paraphraser": ({}, "model"),
    "paraphrases": ({"library": 0}, 1),
    "reworded": ({"paraphraser": "model"}, 1),
    "report": ({}, "incumbent"),
    "requests": ({}, 3),
    "batch": ({"requests": 10}, 1),
}
TRIALS = {
    "apo": APO,
    "opro": OPRO,
    "plum-hc": PLUM,
    "plum-sa": {**PLUM, "temperature": ({}, 100.0), "cooling": ({}, 50.0)},
    "plum-ga": {**PLUM, "tournament": ({}, 1)},
    "plum-gac": {**PLUM, **{name: ({}, 1) for name in ("population", "offspring", "mutation", "tournament")}},
    "plum-tabu": {
        **PLUM,
        "tenure": ({"library": 0, "edits": 1}, 0),
        "aspiration": ({"library": 0, "edits": 1}, 0.0),
        "move_on": ({}, False),
    },
    "plum-harmony": {
        **PLUM,
        "edits": ({}, 2),
        "memory": ({}, 2),
        "segments": ({}, 2),
        "keep": ({}, 0.9),
        "adjust": ({"keep": 0.9}, 0.0),
        "whole_segments": ({}, False),
    },
}
at_random: Scorer = lambda candidate, example: float(random.Random(candidate.id + example.id).random() < 0.5)  # noqa: E731
all_right: Scorer = lambda _candidate, _example: 1.0  # noqa: E731


def asks(name: str, settings: Mapping[str, Any], scorer: Scorer) -> list[str]:
    numbers = count()

    def write(ask: Write) -> Written:
        tag = {"critique": "reason", "edit": "task", "propose": "text"}.get(ask.purpose)
        n_texts = ask.n * (4 if ask.purpose in ("critique", "edit") else 1)
        texts = [f"Text number {next(numbers) // 2}." for _ in range(n_texts)]  # each comes twice
        tagged = [f"<{tag}>{text}</{tag}>" if tag else text for text in texts]
        return Written(tuple(" ".join(tagged[n :: ask.n]) for n in range(ask.n)))

    simulation = simulate(configure(name, settings=settings), sample_context(800), scorer, write)
    return [ask.fingerprint() for ask in simulation.asks]


@pytest.mark.parametrize("strategy", TRIALS)
def test_every_setting_is_tried(strategy: str) -> None:
    assert set(TRIALS[strategy]) == {f.name for f in fields(find_strategy(strategy))}  # type: ignore[arg-type]


@pytest.mark.parametrize(("strategy", "setting"), [(s, name) for s, trials in TRIALS.items() for name in trials])
def test_every_setting_does_something(strategy: str, setting: str) -> None:
    needed, value = TRIALS[strategy][setting]
    scorer = all_right if setting == "critique_without_errors" else at_random
    assert usual_asks(strategy, tuple(needed.items()), scorer) != asks(strategy, {**needed, setting: value}, scorer)


@cache
def usual_asks(strategy: str, settings: tuple[tuple[str, Any], ...], scorer: Scorer) -> list[str]:
    once, again = (asks(strategy, dict(settings), scorer) for _ in range(2))
    assert once == again
    return once

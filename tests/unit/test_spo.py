"""SPO: the lines of systems.md on what makes it the method of the paper, and the replay against the seed."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from promptopt.ask import Compare, Compared, Evaluate, Evaluated, Recommend, Write, Written
from promptopt.backends.base import Reply
from promptopt.duel import Duel, Preference, Verdict
from promptopt.evaluation import Evaluation, Outcome, refused
from promptopt.example import Example
from promptopt.judge_model import Pair, weigh
from promptopt.prompt import Candidate
from promptopt.registry import configure
from promptopt.strategy import Context, Need
from promptopt.testing.answers import drive
from promptopt.testing.simulation import sample_context
from promptopt_strategies.spo import SPO, is_preferred

Opinion = Callable[[Duel], Verdict]


class World:
    """Writes prompts with a rising number, and lets an opinion judge."""

    def __init__(self, opinion: Opinion, write: Callable[[int], str] | None = None, remaining: int = 1_000) -> None:
        self.opinion = opinion
        self.write = write or (lambda n: f"<prompt>Name the kind, version {n}.</prompt>")
        self.refused = ""
        self.preferences: list[Preference] = []
        self.n_written = 0
        self.remaining = remaining

    def __call__(self, ask: Any) -> Any:
        if isinstance(ask, Write):
            self.n_written += 1
            return Written((self.write(self.n_written),))
        if isinstance(ask, Evaluate):
            return Evaluated(
                tuple(self._evaluate(candidate, ask.examples) for candidate in ask.candidates), self.remaining
            )
        if isinstance(ask, Compare):
            self.preferences += [
                Preference(
                    f"{len(self.preferences) + n}", d.left.id, d.right.id, d.example.id, self.opinion(d), "j", "model"
                )
                for n, d in enumerate(ask.duels)
            ]
            return Compared(tuple(self.preferences), self.remaining)
        return None

    def _evaluate(self, candidate: Candidate, examples: Sequence[Example]) -> Evaluation:
        if self.refused and self.refused in candidate.prompt.instruction:
            return refused(candidate.id, examples, "made up: it may not be")
        return Evaluation(candidate.id, tuple(_said(candidate.id, example) for example in examples))


def _said(prompt_id: str, example: Example) -> Outcome:
    return Outcome(prompt_id, example.id, "ok", f"answer of {prompt_id[:4]}")


def newer(duel: Duel) -> Verdict:
    return "right"


def older(duel: Duel) -> Verdict:
    return "left"


def searched(world: World, context: Context | None = None, **settings: Any) -> list[Any]:
    strategy = configure("spo", settings={"rounds": 4, "inputs": 3, "replay": 5, "source": "rewrite", **settings})
    return drive(strategy.search(context or sample_context(400)), world)[1]


def last(asks: list[Any]) -> Recommend:
    return [ask for ask in asks if isinstance(ask, Recommend)][-1]


def test_line_1_it_runs_with_every_right_answer_empty() -> None:
    context = sample_context(400)
    bare = tuple(Example(dict(row.inputs)) for row in context.search)
    asks = searched(World(newer), Context("Say the kind.", context.seeds, (), bare, 400))
    assert "version 3" in last(asks).ranking[0].prompt.instruction
    shown = next(ask for ask in asks if isinstance(ask, Write)).messages[0].content
    assert "Ideal" not in shown
    assert f"answer of {context.seeds[0].id[:4]}" in shown, "the optimizer model sees what the prompt brings"
    told = searched(World(newer), show_targets=True)
    assert "Ideal: " in next(ask for ask in told if isinstance(ask, Write)).messages[0].content


def test_line_2_a_judge_that_always_says_first_changes_nothing() -> None:
    def always_first(duel: Duel) -> Verdict:
        pair = Pair("d", duel.example, f"answer of {duel.left.id}", f"answer of {duel.right.id}")
        return weigh(pair, Reply("ok", "A"), Reply("ok", "A")).verdict

    assert last(searched(World(always_first))).ranking[0].id == sample_context().seeds[0].id


def test_line_3_a_tie_rejects_and_a_majority_of_one_accepts() -> None:
    seed = sample_context().seeds[0].id
    even = iter(["left", "right", "tie"] * 20)
    assert last(searched(World(lambda _: next(even)))).ranking[0].id == seed  # type: ignore[arg-type]
    most = iter(["right", "left", "right"] * 20)
    assert last(searched(World(lambda _: next(most)), replay=0)).ranking[0].id != seed  # type: ignore[arg-type]


@pytest.mark.parametrize("verdict", ["skip", "tie", "both_bad"])
def test_line_4_what_cannot_be_read_never_promotes(verdict: Verdict) -> None:
    asks = searched(World(lambda _: verdict))
    assert last(asks).ranking[0].id == sample_context().seeds[0].id


def test_line_6_exactly_k_inputs_are_used_in_the_chain() -> None:
    asks = searched(World(older))
    used = {duel.example.id for ask in asks if isinstance(ask, Compare) for duel in ask.duels}
    used |= {example.id for ask in asks if isinstance(ask, Evaluate) for example in ask.examples}
    assert len(used) == 3


def test_line_7_the_winner_meets_the_seed_on_inputs_that_the_chain_has_not_seen() -> None:
    asks = searched(World(newer))
    *chain, replay = [ask for ask in asks if isinstance(ask, Compare)]
    assert replay.purpose == "replay"
    assert len(replay.duels) == 5
    assert {d.left.id for d in replay.duels} == {sample_context().seeds[0].id}
    seen = {duel.example.id for ask in chain for duel in ask.duels}
    assert not seen & {duel.example.id for duel in replay.duels}
    assert "version 3" in last(asks).ranking[0].prompt.instruction


def test_line_7_who_loses_the_replay_is_not_recommended() -> None:
    def drifts(duel: Duel) -> Verdict:
        """Every step wins, and yet the end is worse than the beginning, as circles are."""
        return (
            "left"
            if "version 3" in duel.right.prompt.instruction and "version" not in duel.left.prompt.instruction
            else "right"
        )

    asks = searched(World(drifts))
    assert last(asks).ranking[0].id == sample_context().seeds[0].id
    assert "version 3" in last(asks).ranking[1].prompt.instruction


def test_line_8_the_number_of_asks_is_that_of_the_formula() -> None:
    asks = searched(World(newer), rounds=6, inputs=3, replay=4)
    assert sum(isinstance(ask, Write) for ask in asks) == 6 - 1
    assert sum(len(ask.examples) for ask in asks if isinstance(ask, Evaluate)) == 3 * 6, "k a round"
    assert sum(len(ask.duels) for ask in asks if isinstance(ask, Compare)) == (6 - 1) * 3 + 4
    estimate = SPO(rounds=6, inputs=3, replay=4, source="rewrite").estimate(sample_context(400))
    assert (estimate.evaluations, estimate.writes, estimate.duels) == (3 * 6 + 2 * 4, 5, 19)


@pytest.mark.parametrize(
    "text", ["", "<prompt></prompt>", "<reason>no prompt at all", "<prompt>Name the kind, version 1.</prompt>"]
)
def test_texts_that_bring_nothing_new_are_not_compared(text: str) -> None:
    asks = searched(World(newer, lambda _: text), replay=0)
    assert sum(isinstance(ask, Compare) for ask in asks) == (1 if "version 1" in text else 0)


def test_braces_that_a_model_writes_stay_braces_and_an_untagged_reply_is_taken_whole() -> None:
    asks = searched(World(newer, lambda n: f"Say {{kind}} {{input}} {n}"), rounds=2)
    instruction = last(asks).ranking[0].prompt.instruction
    assert instruction == "Say {kind} {{input}} 1"


def test_a_rewrite_that_a_guard_refuses_is_asked_for_and_never_compared() -> None:
    world = World(newer)
    world.refused = "version 2"
    asks = searched(world)
    asked = {c.prompt.instruction for ask in asks if isinstance(ask, Evaluate) for c in ask.candidates}
    compared = {d.right.prompt.instruction for ask in asks if isinstance(ask, Compare) for d in ask.duels}
    assert "Name the kind, version 2." in asked, "so that the study records it"
    assert "Name the kind, version 2." not in compared
    assert "version 3" in last(asks).ranking[0].prompt.instruction


def test_the_optimizer_model_is_shown_what_lost_to_the_prompt_that_stands() -> None:
    def shown(losers: int = 3) -> list[str]:
        asks = searched(World(older), rounds=6, losers=losers)
        return [ask.messages[0].content for ask in asks if isinstance(ask, Write)]

    first, *_, latest = shown()
    assert "<worse>" not in first
    assert [f"version {n}." in latest for n in range(1, 5)] == [False, True, True, True]
    assert len(set(shown(losers=0))) == 1
    accepted = [ask for ask in searched(World(newer)) if isinstance(ask, Write)]
    assert not any("<worse>" in ask.messages[0].content for ask in accepted)


def test_where_nobody_writes_operators_change_the_prompt_that_stands() -> None:
    asks = searched(World(newer), source="auto")
    assert not any(isinstance(ask, Write) for ask in asks)
    ranking = last(asks).ranking
    assert len(ranking) == 4
    assert [c.parents for c in ranking[:-1]] == [(c.id,) for c in ranking[1:]], "a chain"
    able = replace(sample_context(400), answers=frozenset[Need]({"write"}))
    assert any(isinstance(ask, Write) for ask in searched(World(newer), able, source="auto"))


def test_it_stops_before_the_plan_is_passed() -> None:
    asks = searched(World(newer, remaining=2))
    assert not any(isinstance(ask, Write) for ask in asks)
    assert last(asks).ranking


def test_only_verdicts_on_the_pair_count() -> None:
    context = sample_context()
    seed, other = ("a" * 32, "b" * 32)
    votes = [
        Preference("1", seed, other, context.search[0].id, "right", "j"),
        Preference("2", seed, "c" * 32, context.search[0].id, "left", "j"),
        Preference("3", other, seed, context.search[1].id, "left", "j"),
        Preference("4", seed, other, context.search[2].id, "left", "j", catch=True),
    ]

    class Named:
        def __init__(self, name: str) -> None:
            self.id = name

    assert is_preferred(Named(other), Named(seed), votes)  # type: ignore[arg-type]
    assert not is_preferred(Named(seed), Named(other), votes)  # type: ignore[arg-type]

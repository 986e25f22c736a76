"""The proof: who is in the final, and which prompt comes out of it."""

from dataclasses import replace

import pytest

from promptopt.ask import Compare, Compared
from promptopt.duel import Preference, Source, Verdict
from promptopt.duel_proof import prove_by_duels
from promptopt.example import Example
from promptopt.layout import inline_layout
from promptopt.prompt import Candidate, Prompt
from promptopt.proof import baselines
from promptopt.task import Task
from tests.toy import toy_task

TASK = toy_task()


def asking(instruction: str) -> Task:
    seed = Prompt.of(instruction, inline_layout("chat", {})) if "{" in instruction else TASK.seeds[0]
    return replace(TASK, seeds=(seed.replace(instruction=instruction),))


@pytest.mark.parametrize(
    ("instruction", "empty"),
    [
        ("Name the colour.", ""),
        ("Colour of {input}? Say it of {input}.", "{input}"),
        ("Is it red?\n{input}", "{input}"),
    ],
)
def test_the_empty_instruction_is_in_every_final(instruction: str, empty: str) -> None:
    entrants = baselines(asking(instruction))
    assert list(entrants) == ["seed", "empty instruction", "step by step"]
    assert entrants["empty instruction"].prompt.instruction == empty
    assert entrants["step by step"].prompt.instruction == f"{instruction} Let's think step by step."


@pytest.mark.parametrize("instruction", ["", "{input}"])
def test_a_seed_without_words_is_its_own_empty_instruction(instruction: str) -> None:
    assert list(baselines(asking(instruction))) == ["seed", "step by step"]


def test_an_instruction_that_may_not_change_has_no_baselines() -> None:
    assert list(baselines(replace(TASK, editable=("demos",)))) == ["seed"]


def test_the_judges_verdict_is_not_mixed_with_what_a_person_said_of_the_same_pairs() -> None:
    seed, chosen = Candidate(TASK.seeds[0]), Candidate(TASK.seeds[0].replace(instruction="Another one."))

    def said(by: Source, verdict: Verdict, example: Example) -> Preference:
        return Preference(f"{by} {example.id}", seed.id, chosen.id, example.id, verdict, f"z{by}", by)

    search = prove_by_duels(seed, chosen, TASK.dataset, by_model=True)
    ask = search.send(None)
    assert isinstance(ask, Compare)
    examples = [duel.example for duel in ask.duels]
    judged = [said("model", "right", example) for example in examples]
    audited = [said("human", "left", example) for example in examples[:30]]
    with pytest.raises(StopIteration) as end:
        search.send(Compared((*judged, *audited), 0))
    difference = end.value.value.verdict.difference
    assert (difference.wins, difference.losses) == (len(examples), 0)

"""APO does what "faithful means" of the algorithm notes, section 1i, says, and has none of the bugs of section 1h.

One test or more a line, named after it. The lines 6 to 9 are about selectors alone: test_selection.py.
"""

import random
import re
from dataclasses import replace
from itertools import count

import pytest

from promptopt.ask import Evaluate, Recommend, Write, Written
from promptopt.errors import ConfigError
from promptopt.example import Example
from promptopt.layout import chat_layout, completion_layout
from promptopt.prompt import Candidate, Demo, Prompt
from promptopt.registry import configure
from promptopt.strategy import Context
from promptopt.testing.simulation import Scorer, Simulation, WriteText, sample_context, simulate
from promptopt_strategies.apo import APO
from promptopt_strategies.selectors import SELECTORS
from promptopt_strategies.writing import parse_tagged

PROFILES = ("paper", "reference-code", "recommended")
OWN_SELECTORS = [name for name in SELECTORS if not name.endswith("as_coded")]


def half_right(_candidate: Candidate, example: Example) -> float:
    """Every prompt is right on the rows with an even number."""
    return float(int(example.inputs["input"].split()[1]) % 2 == 0)


def new_texts() -> WriteText:
    """Answer every Write in the form it asks for, never with the same text twice."""
    numbers = count()

    def write(ask: Write) -> Written:
        tag = {"critique": "reason", "edit": "task"}.get(ask.purpose)
        return Written(tuple(" ".join(_wrapped(f"Text {next(numbers)}.", tag) for _ in range(4)) for _ in range(ask.n)))

    return write


def _wrapped(text: str, tag: str | None) -> str:
    return f"<{tag}> {text} </{tag}>" if tag else text


def run(
    strategy: APO, context: Context | None = None, scorer: Scorer = half_right, writer: WriteText | None = None
) -> Simulation:
    return simulate(strategy, context or sample_context(4000), scorer, writer or new_texts())


def candidates_of(simulation: Simulation) -> list[Candidate]:
    seen = {c.id: c for ask in simulation.simple_asks if isinstance(ask, Evaluate) for c in reversed(ask.candidates)}
    return list(seen.values())


def writes_of(simulation: Simulation, purpose: str) -> list[tuple[Write, Written]]:
    return [(ask, told) for ask, told in simulation.exchanges if isinstance(ask, Write) and ask.purpose == purpose]


def settings(profile: str, **changes: object) -> APO:
    strategy = configure("apo", profile, changes)
    assert isinstance(strategy, APO)
    return strategy


@pytest.mark.parametrize("profile", PROFILES)
def test_apo_1i_01_children_come_from_edit_or_paraphrase_and_parents_stay(profile: str) -> None:
    simulation = run(settings(profile, selector="uniform"))
    edits = {
        text
        for _, told in writes_of(simulation, "edit")
        for reply in told.texts
        for text in parse_tagged(reply, "task")
    }
    paraphrases = {reply for _, told in writes_of(simulation, "paraphrase") for reply in told.texts}
    for candidate in candidates_of(simulation):
        assert candidate.operator in ("seed", "edit", "paraphrase")
        if candidate.operator == "edit":
            assert candidate.prompt.instruction in edits
        if candidate.operator == "paraphrase":
            assert candidate.prompt.instruction in paraphrases
    beam: tuple[Candidate, ...] = ()
    for ask in simulation.simple_asks:
        if isinstance(ask, Recommend):
            beam = ask.ranking
        elif isinstance(ask, Evaluate) and ask.purpose == "screen":
            assert {parent.id for parent in beam} <= {candidate.id for candidate in ask.candidates}


@pytest.mark.parametrize("profile", PROFILES)
def test_apo_1i_02_critiques_see_at_most_four_errors_of_the_minibatch(profile: str) -> None:
    context = sample_context(1500)
    simulation = run(settings(profile), context)
    asked = {e.inputs["input"] for e in context.search}
    wrong = {e.inputs["input"] for e in context.search if half_right(Candidate(context.seeds[0]), e) < 1}
    critiques = writes_of(simulation, "critique")
    assert critiques
    for ask, _ in critiques:
        shown = re.findall(r"^Input: (.*)$", ask.messages[-1].content, re.MULTILINE)
        assert 1 <= len(shown) <= 4
        assert len(set(shown)) == len(shown)
        assert set(shown) <= wrong <= asked
    if profile != "recommended":  # which also takes errors from the selection
        minibatch = {e.inputs["input"] for ask in minibatches(simulation) for e in ask.examples}
        assert {
            row for ask, _ in critiques for row in re.findall(r"Input: (.*)", ask.messages[-1].content)
        } <= minibatch


def minibatches(simulation: Simulation) -> list[Evaluate]:
    return [ask for ask in simulation.simple_asks if isinstance(ask, Evaluate) and ask.purpose == "errors"]


@pytest.mark.parametrize(("profile", "critiques"), [("paper", 0), ("reference-code", 4), ("recommended", 0)])
def test_apo_1i_02_a_parent_without_errors(profile: str, critiques: int) -> None:
    simulation = run(settings(profile, rounds=1), scorer=lambda _candidate, _example: 1.0)
    assert len(writes_of(simulation, "critique")) == critiques  # the released code asks with an empty list


@pytest.mark.parametrize("profile", PROFILES)
def test_apo_1i_02_failed_calls_are_no_errors(profile: str) -> None:
    simulation = run(settings(profile, critique_without_errors=False), scorer=lambda _candidate, _example: None)
    assert not writes_of(simulation, "critique")


def test_apo_1i_02_graded_scores_and_feedback_reach_the_critique() -> None:
    simulation = run(settings("recommended"), scorer=lambda _candidate, _example: 0.5)
    text = writes_of(simulation, "critique")[0][0].messages[-1].content
    assert "Right answer: " in text
    assert "The model's answer: not " in text
    assert "Remark: another answer is right" in text


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("different", [5, 14])
def test_apo_1i_03_the_cap_comes_after_deduplication(profile: str, different: int) -> None:
    numbers = count()

    def write(ask: Write) -> Written:
        tag = {"critique": "reason", "edit": "task"}.get(ask.purpose)
        return Written(tuple(_wrapped(f"Text {next(numbers) % different}.", tag) for _ in range(ask.n)))

    strategy = settings(profile, rounds=1, selector="uniform", paraphrase_parents=True, critique_groups=4)
    simulation = run(strategy, sample_context(20_000), writer=write)
    pool = next(a for a in simulation.simple_asks if isinstance(a, Evaluate) and a.purpose == "screen").candidates
    texts = {t for p in ("edit", "paraphrase") for _, told in writes_of(simulation, p) for r in told.texts for t in [r]}
    drafted = {(parse_tagged(text, "task") or (text,))[0] for text in texts}
    assert len(pool) - 1 == min(8, len(drafted))


def test_apo_1i_03_reject_on_errors_keeps_those_that_do_best_on_the_parents_errors() -> None:
    def score(candidate: Candidate, example: Example) -> float:
        text = candidate.prompt.instruction
        solved = text.startswith("Text") and int(text.split()[1].rstrip(".")) % 3 == 0
        return float(solved or half_right(candidate, example) == 1)

    simulation = run(settings("reference-code", rounds=1, reject_on_errors=True), sample_context(20_000), score)
    filtered = next(a for a in simulation.simple_asks if isinstance(a, Evaluate) and a.purpose == "filter")
    assert len(filtered.candidates) <= 16
    assert len(filtered.examples) <= 16
    assert all(half_right(filtered.candidates[0], example) == 0 for example in filtered.examples)
    pool = next(a for a in simulation.simple_asks if isinstance(a, Evaluate) and a.purpose == "screen").candidates
    solvers = {c.id for c in filtered.candidates if score(c, filtered.examples[0]) == 1}
    assert solvers <= {candidate.id for candidate in pool}
    assert len(pool) == 9


@pytest.mark.parametrize("profile", PROFILES)
def test_apo_1i_04_all_other_parts_stay_byte_identical(profile: str) -> None:
    text = "Name the kind. {braces} stay"
    seed = Prompt.of(
        text,
        completion_layout({"input": text}),
        system=f"  {text}\n",
        demos=(Demo({"input": text}, text),),
        answer_cue=text,
    )
    context = replace(sample_context(1500), seeds=(seed,))
    others = {name: value for name, value in seed.to_json().items() if name != "instruction"}
    for candidate in candidates_of(run(settings(profile), context)):
        assert {n: v for n, v in candidate.prompt.to_json().items() if n != "instruction"} == others


@pytest.mark.parametrize("profile", PROFILES)
def test_apo_1i_04_a_child_equal_to_its_parent_is_discarded_and_counted(profile: str) -> None:
    context = sample_context(1500)
    same, numbers = context.seeds[0].instruction, count()

    def write(ask: Write) -> Written:
        if ask.purpose == "critique":
            return Written(("<reason>Too vague.</reason>" * 4,) * ask.n)
        if ask.purpose == "edit":
            return Written((f"<task> {same} </task>",) * ask.n)
        return Written(tuple(f"Other {next(numbers)}." for _ in range(ask.n)))

    simulation = run(settings(profile, rounds=1), context, writer=write)
    children = [c for c in candidates_of(simulation) if c.operator != "seed"]
    assert children
    assert all(c.id != context.seeds[0].id for c in children)
    assert all(c.note["discarded"]["equal to its parent"] == 4 for c in children)


def test_apo_1i_05_tag_parser() -> None:
    text = "x <reason> one </reason> y <reason>two\nlines</reason><reason>three </reason> <reason>never closed"
    assert parse_tagged(text, "reason") == ("one", "two\nlines", "three")
    assert parse_tagged("<reason>lost <reason>kept</reason>", "reason") == ("kept",)
    assert parse_tagged("no tags", "reason") == ()


@pytest.mark.parametrize("selector", [None, *OWN_SELECTORS])
@pytest.mark.parametrize("profile", PROFILES)
def test_apo_1i_10_no_selection_passes_its_budget(profile: str, selector: str | None) -> None:
    strategy = settings(profile, selector_budget=120, **({"selector": selector} if selector else {}))
    spent = 0
    for ask in run(strategy, sample_context(20_000)).simple_asks:
        if isinstance(ask, Write):
            spent = 0
        elif isinstance(ask, Evaluate) and ask.purpose == "screen":
            spent += len(ask.candidates) * len(ask.examples)
            assert spent <= 120
    assert spent


@pytest.mark.parametrize("selector", list(SELECTORS))
@pytest.mark.parametrize("profile", PROFILES)
def test_apo_1i_11_selection_uses_search_examples_only(profile: str, selector: str) -> None:
    context = sample_context(1200)
    known = {example.id for example in context.search}
    asks = [ask for ask in run(settings(profile, selector=selector), context).simple_asks if isinstance(ask, Evaluate)]
    assert any(ask.purpose == "screen" for ask in asks)
    for ask in asks:
        assert {example.id for example in ask.examples} <= known


@pytest.mark.parametrize("profile", PROFILES)
def test_apo_1i_12_equal_seeds_and_outputs_give_equal_beams(profile: str) -> None:
    def beams(seed: int) -> list[list[str]]:
        context = sample_context(800, seed=seed)
        return [[c.id for c in r.ranking] for r in run(settings(profile), context).recommendations]

    assert beams(3) == beams(3)
    assert beams(3) != beams(4)


def test_apo_golden_8_2_requests_of_the_reference_code_run() -> None:
    examples = tuple(Example({"input": f"Note {n} of many"}, "x") for n in range(400))
    context = replace(sample_context(50_000), search=examples)
    strategy = settings("reference-code")
    simulation = run(strategy, context)
    writes = [ask for ask in simulation.simple_asks if isinstance(ask, Write)]
    assert len(writes) == 273
    assert [sum(ask.purpose == p for ask in writes) for p in ("critique", "edit", "paraphrase")] == [84, 84, 105]
    assert {ask.n for ask in writes if ask.purpose == "paraphrase"} == {2}
    estimate = strategy.estimate(context)
    assert estimate.writes == sum(ask.n for ask in writes) == 378
    assert estimate.evaluations == 6 * 2048 + 21 * 64 == 13_632
    asked = sum(len(a.candidates) * len(a.examples) for a in simulation.simple_asks if isinstance(a, Evaluate))
    assert asked == 21 * 64 + 9 * 227 + 5 * 36 * 56  # what 2,048 allows for 9 and for 36 prompts


@pytest.mark.parametrize("profile", PROFILES)
def test_apo_1h_03_and_04_what_is_written_is_text_and_stays_whole(profile: str) -> None:
    text = "# Task\nName the kind.\n\n# Output format\n  {{ 7 * 7 }} {% if x %} {input} {instruction} <reason>"
    numbers = count()

    def write(ask: Write) -> Written:
        if ask.purpose == "critique":
            return Written(("<reason>{input} {errors}</reason>",) * ask.n)
        texts = [f"{text} {next(numbers)}" for _ in range(ask.n)]
        return Written(tuple(f"<task>{t}</task>" if ask.purpose == "edit" else t for t in texts))

    context = sample_context(4000)
    simulation = run(settings(profile), context, writer=write)
    children = [candidate for candidate in candidates_of(simulation) if candidate.operator != "seed"]
    grandchildren = [c for c in children if c.parents[0] not in {seed.id for seed in context.seeds}]
    assert grandchildren
    for child in children:
        sent = child.prompt.template(context.fields).render(context.search[0])[-1].content
        assert text in sent
    shown = writes_of(simulation, "paraphrase")[-1][0].messages[-1].content
    assert text in shown


def test_profiles_are_those_of_the_table() -> None:
    paper, code = settings("paper"), settings("reference-code")
    assert (paper.rounds, paper.beam, paper.minibatch, paper.errors_per_critique, paper.successors) == (6, 4, 64, 4, 8)
    assert (code.rounds, code.beam, code.minibatch, code.errors_per_critique, code.successors) == (6, 4, 64, 4, 8)
    assert (paper.critique_groups, paper.critiques_per_group) == (1, 4)
    assert (code.critique_groups, code.critiques_per_group) == (4, 1)
    assert (paper.selector, paper.exploration, paper.temperature) == ("ucb", 2.0, 1.0)
    assert (code.selector, code.exploration, code.temperature) == ("uniform_as_coded", 1.0, 0.7)
    assert (paper.minibatch_scope, code.minibatch_scope) == ("prompt", "round")
    assert (paper.paraphrase_parents, code.paraphrase_parents) == (False, True)


@pytest.mark.parametrize(("scope", "sets"), [("round", 1), ("prompt", 4)])
def test_minibatch_scope(scope: str, sets: int) -> None:
    simulation = run(settings("paper", minibatch_scope=scope, rounds=2), sample_context(20_000))
    last_round = minibatches(simulation)[-4:]
    assert len({tuple(e.id for e in ask.examples) for ask in last_round}) == sets


def test_fewer_rows_than_a_minibatch_are_all_used() -> None:
    context = sample_context(400)
    context = replace(context, search=context.search[:10])
    simulation = run(settings("reference-code"), context)
    assert len(minibatches(simulation)[0].examples) == 10


def test_round_0_scores_several_seeds_and_a_single_one_costs_nothing() -> None:
    context = sample_context(1500)
    one = run(settings("reference-code", rounds=1), context).simple_asks
    assert [a.purpose for a in one if isinstance(a, Evaluate)] == ["errors", "screen"]
    seeds = (context.seeds[0], context.seeds[0].replace(instruction="Sort the note."))
    two = run(settings("reference-code", rounds=1), replace(context, seeds=seeds)).simple_asks
    assert [a.purpose for a in two if isinstance(a, Evaluate)] == ["screen", "errors", "errors", "screen"]


def test_an_inline_slot_survives_every_edit() -> None:
    seed = Prompt.of("Is {input} a kind of {thing}?", chat_layout({}))
    context = replace(sample_context(300), seeds=(seed,))
    children = [c.prompt for c in candidates_of(run(settings("recommended"), context)) if c.operator != "seed"]
    assert children
    assert all("{input}" in child.instruction for child in children)
    assert all("input" in child.template(context.fields).slots for child in children)


def test_a_fixed_instruction_is_refused_with_a_sentence() -> None:
    with pytest.raises(ConfigError, match="apo edits the instruction"):
        run(settings("recommended"), sample_context(300, editable=("demos",)))


@pytest.mark.parametrize("plan", [300, 1000, 2000])
def test_recommended_uses_the_plan(plan: int) -> None:
    rng = random.Random(1)
    simulation = run(settings("recommended"), sample_context(plan), lambda _candidate, _example: rng.random())
    assert 0.85 * plan <= simulation.evaluations <= plan

"""OPRO does what "faithful means" of the algorithm notes, section 2i, says, and has none of the bugs of section 2h.

One test or more a line, named after it. Line 10, the demonstrations on numbers, is test_opro_maths.py.
"""

import random
import re
from dataclasses import dataclass, replace
from itertools import count

import pytest

from promptopt.ask import Evaluate, Recommend, Write, Written
from promptopt.errors import ConfigError
from promptopt.example import Example
from promptopt.prompt import Candidate
from promptopt.registry import configure
from promptopt.strategy import Context
from promptopt.task import Decoding
from promptopt.testing.simulation import Scorer, Simulation, WriteText, sample_context, simulate
from promptopt_strategies.history import best_last, bucket
from promptopt_strategies.opro import OPRO, Sieve
from promptopt_strategies.place import SLOT, Place

PROFILES = ("paper", "reference-code", "recommended")
SHAPES = ("tagged", "bracketed", "instructions_only")
SHOWN_ENTRY = re.compile(r"^text:\n(.*?)\nscore:\n(\d+)$", re.DOTALL | re.MULTILINE)
TAGGED_ENTRY = re.compile(r"^score: (\d+)\n<text>(.*?)</text>$", re.DOTALL | re.MULTILINE)


def settings(profile: str = "paper", **changes: object) -> OPRO:
    strategy = configure("opro", profile, changes)
    assert isinstance(strategy, OPRO)
    return strategy


def by_text(candidate: Candidate, example: Example) -> float:
    """Give every text an accuracy of its own."""
    quality = random.Random(candidate.prompt.instruction + candidate.prompt.answer_cue).random()
    return float(random.Random(candidate.id + example.id).random() < quality)


def new_texts(form: str = "<text>{}</text>") -> WriteText:
    numbers = count()

    def write(ask: Write) -> Written:
        return Written(tuple(form.format(f"Text number {_word(next(numbers))}.") for _ in range(ask.n)))

    return write


def _word(number: int) -> str:
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))


def always(*texts: str) -> WriteText:
    return lambda ask: Written(texts)


def run(
    strategy: OPRO, context: Context | None = None, scorer: Scorer = by_text, writer: WriteText | None = None
) -> Simulation:
    return simulate(strategy, context or sample_context(1200), scorer, writer or new_texts())


def metas(simulation: Simulation) -> list[str]:
    return [ask.messages[-1].content for ask in simulation.simple_asks if isinstance(ask, Write)]


def evaluates(simulation: Simulation, purpose: str = "score") -> list[Evaluate]:
    return [a for a in simulation.simple_asks if isinstance(a, Evaluate) and a.purpose == purpose]


@pytest.mark.parametrize("profile", PROFILES)
def test_opro_2i_01_history_is_ascending_integers_at_most_20(profile: str) -> None:
    simulation = run(settings(profile), sample_context(4000))
    lengths = []
    for meta in metas(simulation):
        scores = [int(score) for _, score in SHOWN_ENTRY.findall(meta)]
        assert scores == sorted(scores)
        assert all(0 <= score <= 100 for score in scores)
        lengths.append(len(scores))
    assert max(lengths) == 20


def test_opro_2i_01_instructions_only_shows_everything() -> None:
    strategy = settings(meta_prompt="instructions_only", threshold=0.5)
    simulation = run(strategy, sample_context(1500))
    evaluated = sum(len(ask.candidates) for ask in evaluates(simulation)[:-1])
    shown = TAGGED_ENTRY.findall(metas(simulation)[-1])
    assert len(shown) == evaluated > 20
    assert [int(score) for score, _ in shown] == sorted(int(score) for score, _ in shown)
    assert not re.search("Right answer|output:", metas(simulation)[-1])


@pytest.mark.parametrize(
    ("score", "buckets", "shown"),
    [(0.125, 100, 12), (0.135, 100, 14), (0.625, 100, 62), (0.735, 100, 74), (0.725, 20, 14), (0, 20, 0), (1, 20, 20)],
)
def test_opro_2i_02_buckets_round_half_even(score: float, buckets: int, shown: int) -> None:
    assert bucket(score, buckets) == shown


def test_opro_2i_02_the_meta_prompt_names_the_real_range() -> None:
    meta = metas(run(settings(buckets=20)))[-1]
    assert "between 0 and 20" in meta
    assert all(int(score) <= 20 for _, score in SHOWN_ENTRY.findall(meta))


@pytest.mark.parametrize("profile", PROFILES)
def test_opro_2i_03_one_subset_scores_every_text_in_full(profile: str) -> None:
    asks = evaluates(run(settings(profile)))
    assert len(asks) > 2
    assert len({tuple(e.id for e in ask.examples) for ask in asks}) == 1
    if profile != "recommended":
        assert len(asks[0].examples) == round(0.2 * len(sample_context().search))
    assert Decoding().temperature == 0, "whoever scores is greedy, unless the task says otherwise"


@pytest.mark.parametrize("profile", PROFILES)
def test_opro_2i_04_eight_samples_of_one_meta_prompt(profile: str) -> None:
    simulation = run(settings(profile))
    writes = [ask for ask in simulation.simple_asks if isinstance(ask, Write)]
    assert {ask.n for ask in writes} == {8}
    questions = [ask for ask in simulation.simple_asks if not isinstance(ask, Recommend)]
    questions = [ask for ask in questions if not (isinstance(ask, Evaluate) and ask.purpose == "gate")]
    assert [ask.kind for ask in questions[::2]] == ["evaluate"] * len(questions[::2])
    assert [ask.kind for ask in questions[1::2]] == ["write"] * len(writes)


@pytest.mark.parametrize("profile", PROFILES)
def test_opro_2i_04_duplicates_fall_after_normalising_and_against_all_history(profile: str) -> None:
    context = sample_context(1200)
    seed = context.seeds[0].instruction
    texts = [
        f"<text>{t}</text>" for t in ("**be** brief.", "Be brief. ", "be brief.", "Über genau.", seed, f" {seed}\n")
    ]
    first, *others = evaluates(run(settings(profile, steps=3), context, writer=always(*texts)))
    assert [c.prompt.instruction for c in first.candidates] == [seed]
    assert [c.prompt.instruction for ask in others for c in ask.candidates] == ["Be brief.", "Über genau."]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("profile", PROFILES)
def test_opro_2i_05_parents_are_the_shown_history(profile: str, shape: str) -> None:
    form = "[{}]" if shape == "bracketed" else "<text>{}</text>"
    simulation = run(settings(profile, meta_prompt=shape), writer=new_texts(form))
    entry = TAGGED_ENTRY if shape == "instructions_only" else SHOWN_ENTRY
    texts = {c.id: c.prompt.instruction for ask in evaluates(simulation) for c in ask.candidates}
    for meta, ask in zip(metas(simulation), evaluates(simulation)[1:], strict=False):
        shown = [match[1] if shape == "instructions_only" else match[0] for match in entry.findall(meta)]
        for candidate in ask.candidates:
            assert candidate.operator == "propose"
            assert [texts[parent] for parent in candidate.parents] == shown


@pytest.mark.parametrize("policy", ["random", "constant", "current_most_frequent", "accumulative_most_frequent"])
@pytest.mark.parametrize("shape", ["tagged", "bracketed"])
@pytest.mark.parametrize("profile", PROFILES)
def test_opro_2i_06_exemplars_are_of_the_subset_with_answer_and_slot(profile: str, shape: str, policy: str) -> None:
    form = "[{}]" if shape == "bracketed" else "<text>{}</text>"
    simulation = run(settings(profile, meta_prompt=shape, exemplar_policy=policy), writer=new_texts(form))
    subset = {(e.inputs["input"], e.target) for e in evaluates(simulation)[0].examples}
    answer = "Right answer: " if shape == "tagged" else "output:\n"
    for meta in metas(simulation):
        problems = re.findall(rf"^(?:Problem|input):\n(.*?)\nKind:\n{answer}(.*?)$", meta, re.MULTILINE | re.DOTALL)
        assert all(problem.count(SLOT) == 1 for problem, _ in problems)
        notes = [next(line for line in problem.split("\n") if re.search(r"Note \d", line)) for problem, _ in problems]
        shown = {(note.removeprefix("Note: "), target) for note, (_, target) in zip(notes, problems, strict=True)}
        assert len(shown) == 3
        assert shown <= subset


def test_opro_2i_06_policies() -> None:
    context = sample_context(1200)

    def exemplars(policy: str, scorer: Scorer = by_text) -> list[tuple[str, ...]]:
        simulation = run(settings(exemplar_policy=policy), context, scorer)
        return [tuple(re.findall(r"^(Note \d.*)$", meta, re.MULTILINE)) for meta in metas(simulation)]

    assert len(set(exemplars("constant"))) == 1
    assert len(set(exemplars("random"))) > 1
    hard = [e.inputs["input"] for e in evaluates(run(settings(), context))[0].examples][:3]
    miss_hard: Scorer = lambda _candidate, example: float(example.inputs["input"] not in hard)  # noqa: E731
    for policy in ("current_most_frequent", "accumulative_most_frequent"):
        assert all(set(shown) == set(hard) for shown in exemplars(policy, miss_hard))


def test_opro_2i_07_the_threshold_comes_after_the_cut_to_20() -> None:
    @dataclass(frozen=True)
    class Point:
        score: float

    history = [Point(n / 40) for n in range(40)]
    assert [p.score for p in best_last(history, 20, 0.9)] == [36 / 40, 37 / 40, 38 / 40, 39 / 40]
    assert len(best_last(history, 20, 0.0)) == 20
    assert best_last(history[:5], 20, 0.5) == []


@pytest.mark.parametrize(("profile", "threshold"), [("paper", 0), ("reference-code", 30), ("recommended", 0)])
def test_opro_2i_07_threshold_of_the_profile(profile: str, threshold: int) -> None:
    shown = [int(s) for meta in metas(run(settings(profile))) for _, s in SHOWN_ENTRY.findall(meta)]
    assert min(shown) >= threshold
    assert threshold or min(shown) < 30


@pytest.mark.parametrize("profile", PROFILES)
def test_opro_2i_08_filters_and_their_reasons(profile: str) -> None:
    context = replace(sample_context(1200), metric="numeric")
    long, good = "x" * 501, "y" * 500
    texts = [long, "Take 2 steps.", f"Put {SLOT} here.", "INSTRUCTIONS ARE FINE.", good, "", "INSTRUCTIONS ARE FINE."]
    simulation = run(settings(profile, steps=1), context, writer=always(*(f"<text>{text}</text>" for text in texts)))
    candidates = evaluates(simulation)[1].candidates
    assert [c.prompt.instruction for c in candidates] == ["INSTRUCTIONS ARE FINE.", good.capitalize()]
    assert candidates[0].note["refused"] == {
        "longer than 500 characters": 1,
        "has a digit": 1,
        "has the placeholder": 1,
        "empty": 1,
        "seen before": 1,
    }


@pytest.mark.parametrize(
    ("rule", "metric", "allowed"),
    [
        ("arithmetic", "numeric", False),
        ("arithmetic", "exact", True),
        ("always", "exact", False),
        ("never", "math", True),
    ],
)
def test_opro_2i_08_digits(rule: str, metric: str, allowed: bool) -> None:
    context = replace(sample_context(1200), metric=metric)
    simulation = run(settings(steps=1, refuse_digits=rule), context, writer=always("<text>Take 2 steps.</text>"))
    assert (len(evaluates(simulation)) == 2) is allowed


def test_opro_2i_08_a_refused_text_is_known() -> None:
    place = Place(sample_context().seeds[0], ("input",))
    sieve = Sieve(place, max_characters=5, digits=True, seen=set())
    assert sieve.sift(["too long", "short", "too long", "short"]) == ["short"]
    assert sieve.refused == {"longer than 5 characters": 1, "seen before": 2}


@pytest.mark.parametrize("profile", PROFILES)
def test_opro_2i_09_survivors_are_shown_next_and_ties_keep_their_order(profile: str) -> None:
    texts = iter([["Alpha one.", "Beta two."], ["Gamma three."], ["Delta four."]])
    worse: Scorer = lambda candidate, _: 0.35 if "note" in candidate.prompt.instruction else 0.5  # noqa: E731
    writer: WriteText = lambda _ask: Written(tuple(f"<text>{t}</text>" for t in next(texts)))  # noqa: E731
    shown = [
        [t for t, _ in SHOWN_ENTRY.findall(meta)]
        for meta in metas(run(settings(profile, steps=3), None, worse, writer))
    ]
    seed = sample_context().seeds[0].instruction
    assert shown == [
        [seed],
        [seed, "Alpha one.", "Beta two."],
        [seed, "Alpha one.", "Beta two.", "Gamma three."],
    ]


def test_opro_2i_09_means_that_differ_in_the_last_bit_are_equal_scores() -> None:
    @dataclass(frozen=True)
    class Point:
        score: float

    early, late = Point(0.1 + 0.2), Point(0.3)
    assert early.score > late.score
    assert best_last([early, late], 2, 0) == [early, late]


@pytest.mark.parametrize(("final", "expected"), [(None, [1.0, 1.0, 1.0, 1.0]), (0.2, [1.0, 0.8, 0.6, 0.4])])
@pytest.mark.parametrize("profile", PROFILES)
def test_opro_2i_11_temperature_schedule(profile: str, final: float | None, expected: list[float]) -> None:
    strategy = settings(profile, steps=4, final_temperature=final)
    temperatures = [ask.temperature for ask in run(strategy).simple_asks if isinstance(ask, Write)]
    assert temperatures == pytest.approx(expected)


@pytest.mark.parametrize(
    ("n_train", "share", "rows", "evaluations"), [(250, 0.2, 50, 80_000), (7_473, 0.035, 261, 417_600)]
)
@pytest.mark.parametrize("profile", ["paper", "reference-code"])
def test_opro_golden_8_2_calls(profile: str, n_train: int, share: float, rows: int, evaluations: int) -> None:
    examples = tuple(Example({"input": f"row {n}"}, "x") for n in range(n_train))
    context = replace(sample_context(10**6), search=examples)
    strategy = settings(profile, subset_share=share)
    assert strategy.estimate(context).writes == 1600
    assert strategy.estimate(context).evaluations == evaluations + rows  # and the seed
    assert len(evaluates(run(replace(strategy, steps=1), context))[-1].examples) == rows


def test_opro_2h_06_nothing_is_said_of_exemplars_that_is_not_so() -> None:
    meta = metas(run(settings(meta_prompt="bracketed", steps=1)))[0]
    assert not re.search("wrong|incorrect|mistake|miss", meta)


def test_opro_2h_09_exemplars_depend_on_the_seed_of_the_study() -> None:
    first, second = (metas(run(settings(steps=1), sample_context(1200, seed=seed)))[0] for seed in (1, 2))
    assert first != second


@pytest.mark.parametrize("position", ["as_is", "before_q", "q_begin", "q_end", "a_begin"])
@pytest.mark.parametrize("profile", PROFILES)
def test_opro_2b_positions_in_a_search(profile: str, position: str) -> None:
    context = sample_context(600)
    simulation = run(settings(profile, position=position, steps=2), context)
    seed, candidate = evaluates(simulation)[0].candidates[0].prompt, evaluates(simulation)[-1].candidates[0].prompt
    if position == "a_begin":
        assert candidate.replace(answer_cue="Kind:") == seed == context.seeds[0]
        assert candidate.answer_cue.startswith("Kind: Text number")
        assert "the opening words of the answer" in metas(simulation)[0]
    else:
        assert candidate.replace(instruction=seed.instruction) == seed
        assert seed.replace(layout=context.seeds[0].layout) == context.seeds[0]


def test_a_position_needs_parts_that_may_change() -> None:
    for position in ("before_q", "q_begin", "q_end"):
        with pytest.raises(ConfigError, match=f"position = {position} changes the layout"):
            run(settings(position=position), sample_context(300, editable=("instruction",)))
    with pytest.raises(ConfigError, match="changes the answer_cue"):
        settings(position="a_begin").estimate(sample_context(300, editable=("instruction",)))
    assert run(settings("recommended"), sample_context(300, editable=("instruction",))).recommendations


def test_exemplars_can_come_first_and_the_task_can_be_told() -> None:
    context = sample_context(600)
    plain, turned = metas(run(settings(steps=1)))[0], metas(run(settings(steps=1, exemplars_first=True)))[0]
    assert plain.index("score:") < plain.index("Right answer:")
    assert turned.index("score:") > turned.index("Right answer:")
    assert context.description not in plain
    assert context.description in metas(run(settings("recommended"), context))[0]


def test_braces_in_a_proposal_stay_braces() -> None:
    context = sample_context(600)
    text = "Say {input} or {{input}} or {instruction}."
    simulation = run(settings(steps=2), context, writer=always(f"<text>{text}</text>"))
    prompt = evaluates(simulation)[1].candidates[0].prompt
    sent = "\n".join(m.content for m in prompt.template(("input",)).render(context.search[0]))
    assert text in sent
    assert f"text:\n{text}\nscore:" in metas(simulation)[1]
    assert len(evaluates(simulation)) == 2  # the same text again is known


def test_the_gate_scores_the_best_on_fresh_examples() -> None:
    simulation = run(settings("recommended"), sample_context(1000))
    [gate] = evaluates(simulation, "gate")
    used = {e.id for e in evaluates(simulation)[0].examples}
    assert not used & {e.id for e in gate.examples}
    assert len(gate.candidates) == 5
    assert {c.id for c in simulation.recommendations[-1].ranking} == {c.id for c in gate.candidates}
    assert simulation.evaluations > 950


def test_profiles_are_those_of_the_table() -> None:
    paper, code = settings("paper"), settings("reference-code")
    for profile in (paper, code):
        assert (profile.samples, profile.steps, profile.shown, profile.exemplars) == (8, 200, 20, 3)
        assert (profile.temperature, profile.final_temperature, profile.buckets) == (1.0, None, 100)
        assert (profile.subset_share, profile.exemplar_policy, profile.gate) == (0.2, "random", 0)
    assert (paper.threshold, code.threshold) == (0.0, 0.3)
    assert (paper.max_tokens, code.max_tokens) == (1024, 512)

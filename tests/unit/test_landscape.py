import itertools
import os
import statistics
import subprocess
import sys

import pytest

from promptopt.example import Example
from promptopt.landscape import ADDITIVE, MARK, Landscape, locate, mask, pieces
from promptopt.layout import Layout, chat_layout, completion_layout, inline_layout
from promptopt.prompt import Demo, Prompt

LABELS = {"text": "Text"}
EXAMPLES = tuple(Example({"text": f"it was case {n} of many"}, ("yes", "no")[n % 2], ("yes", "no")) for n in range(300))
ADVICE = [f"Mind rule number {n}." for n in range(40)]
SEED = Prompt.of("Classify the text.", completion_layout(LABELS), answer_cue="Answer:")
LAYOUTS = {
    "plain": completion_layout(LABELS),
    "input first": completion_layout(LABELS, input_first=True),
    "chat": chat_layout(LABELS),
    "demo turns": chat_layout(LABELS, demo_turns=True),
    "other label": completion_layout({"text": "Input"}),
}


def pieces_of(prompt: Prompt, example: Example = EXAMPLES[7]) -> frozenset[tuple[str, str]]:
    return pieces(mask(prompt.template(tuple(example.inputs)).render(example), example))


def with_advice(*sentences: str, base: Prompt = SEED) -> Prompt:
    return base.replace(instruction=" ".join([base.instruction, *sentences]))


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_the_pieces_of_a_prompt(layout: Layout) -> None:
    prompt = with_advice("Be brief.").replace(layout=layout, demos=tuple(map(Demo.of, EXAMPLES[:2])))
    label = "input" if layout.labels["text"] == "Input" else "text"
    assert pieces_of(prompt) - {piece for piece in pieces_of(prompt) if piece[0] == "shape"} == {
        ("sentence", "classify the text"),
        ("sentence", "be brief"),
        ("demo", f"{label}: it was case 0 of many answer: yes"),
        ("demo", f"{label}: it was case 1 of many answer: no"),
        ("slot", f"{label}: {MARK}"),
        ("cue", "answer:"),
    }


def test_every_layout_has_a_height_of_its_own() -> None:
    prompts = [SEED.replace(layout=layout) for layout in LAYOUTS.values()]
    assert len({round(ADDITIVE.accuracy(prompt, EXAMPLES), 9) for prompt in prompts}) == len(LAYOUTS)


def test_a_prompt_that_says_where_its_input_goes() -> None:
    prompt = Prompt.of("You are kind. Is '{text}' good? Say yes or no.", inline_layout("chat", {}))
    kinds = {text: kind for kind, text in pieces_of(prompt)}
    assert kinds["you are kind"] == "sentence"
    assert kinds[f"is '{MARK}' good?"] == "slot"
    assert kinds["say yes or no"] == "sentence"


def test_what_no_model_cares_about_does_not_count() -> None:
    other = SEED.replace(instruction="  classify   THE text. Classify the text.")
    assert pieces_of(other) == pieces_of(SEED)


def test_the_pieces_are_the_same_for_every_example() -> None:
    odd = [Example({"text": text}) for text in ("text", "the", "a: b", "two\nlines", "Answer", "ends.")]
    assert {pieces_of(SEED, example) for example in (*EXAMPLES, *odd)} == {pieces_of(SEED)}


def test_several_fields() -> None:
    layout = completion_layout({"premise": "Premise", "claim": "Claim"})
    examples = [Example({"premise": f"the cat {n} sat", "claim": f"cat {n}"}) for n in range(5)]
    prompt = Prompt.of("Does it follow?", layout, answer_cue="Answer:")
    assert len({pieces_of(prompt, example) for example in examples}) == 1
    assert ("slot", f"claim: {MARK}") in pieces_of(prompt, examples[0])


@pytest.mark.parametrize(
    ("text", "value", "at"),
    [
        ("Word: hot\nGive the antonym of hot water", "hot", 6),
        ("hot\nhotter", "hot", 0),
        ("say hot now, hotter", "hot", 4),
        ("hotter", "hot", -1),
        ("aa aaa", "aa", 0),
        ("Text: a\nb", "a\nb", 6),
    ],
)
def test_locate(text: str, value: str, at: int) -> None:
    assert locate(text, value) == at


def test_quality_is_a_probability_and_accuracy_its_mean() -> None:
    qualities = [ADDITIVE.quality(SEED, ("text",), example) for example in EXAMPLES]
    assert 0 < min(qualities) < max(qualities) < 1
    assert ADDITIVE.accuracy(SEED, EXAMPLES) == pytest.approx(statistics.mean(qualities))


def test_outcomes_come_as_often_as_quality_says() -> None:
    prompts = [with_advice(sentence) for sentence in ADVICE]
    gaps = [rate(ADDITIVE, prompt) - ADDITIVE.accuracy(prompt, EXAMPLES) for prompt in prompts]
    assert abs(statistics.mean(gaps)) < 0.02
    assert max(map(abs, gaps)) < 0.1


def test_seeds_stand_in_the_middle_and_good_prompts_at_nine_in_ten() -> None:
    seeds, best = [], []
    for seed in range(12):
        world = Landscape(seed=seed)
        seeds.append(world.accuracy(SEED, EXAMPLES))
        best.append(world.accuracy(climb(world, steps=6), EXAMPLES))
    assert 0.45 < statistics.mean(seeds) < 0.6
    assert 0.84 < statistics.mean(best) < 0.93


def test_longer_is_not_better() -> None:
    worlds = [Landscape(seed=seed) for seed in range(12)]
    everything = with_advice(*ADVICE)
    gains = [w.accuracy(everything, EXAMPLES[:50]) - w.accuracy(SEED, EXAMPLES[:50]) for w in worlds]
    assert abs(statistics.mean(gains)) < 0.2


def test_flat_has_no_headroom() -> None:
    world = Landscape("flat", seed=4)
    assert {world.accuracy(with_advice(sentence), EXAMPLES[:50]) for sentence in ADVICE} == {
        world.accuracy(SEED, EXAMPLES[:50])
    }
    assert len({rate(world, with_advice(sentence)) for sentence in ADVICE[:9]}) > 1


def test_needle_needs_two_sentences_together() -> None:
    world = Landscape("needle", seed=2)
    example = EXAMPLES[:20]
    plain = world.accuracy(SEED, example)
    alone = {world.accuracy(with_advice(sentence), example) for sentence in ADVICE}
    paired = [world.accuracy(with_advice(*two), example) for two in itertools.combinations(ADVICE, 2)]
    assert alone == {plain}
    assert 0 < sum(accuracy > plain + 0.2 for accuracy in paired) / len(paired) < 0.1
    assert len(set(paired)) == 2


def test_common_luck_pairs_prompts() -> None:
    one, other = with_advice(ADVICE[0]), with_advice(ADVICE[1])
    assert n_different(Landscape(seed=5, common=True), one, other) < n_different(Landscape(seed=5), one, other)


def test_equal_in_a_process_with_another_hash_seed() -> None:
    code = (
        "from tests.unit.test_landscape import *;"
        "print(ADDITIVE.accuracy(with_advice(*ADVICE[:5]), EXAMPLES), rate(ADDITIVE, SEED))"
    )
    env = {**os.environ, "PYTHONHASHSEED": "77"}
    said = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
    assert said.split() == [str(ADDITIVE.accuracy(with_advice(*ADVICE[:5]), EXAMPLES)), str(rate(ADDITIVE, SEED))]


def rate(world: Landscape, prompt: Prompt) -> float:
    template = prompt.template(("text",))
    return statistics.mean(world.is_right(template.render(example), example) for example in EXAMPLES)


def n_different(world: Landscape, one: Prompt, other: Prompt) -> int:
    left, right = one.template(("text",)), other.template(("text",))
    return sum(world.is_right(left.render(e), e) != world.is_right(right.render(e), e) for e in EXAMPLES)


def climb(world: Landscape, steps: int) -> Prompt:
    best = SEED
    for _ in range(steps):
        best = max(
            (with_advice(sentence, base=best) for sentence in ADVICE), key=lambda p: world.accuracy(p, EXAMPLES[:1])
        )
    return best

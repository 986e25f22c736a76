import statistics
from collections import Counter

import pytest

from promptopt.backends.base import Reply, Request
from promptopt.backends.scripted import Rewriter, wanted_tag
from promptopt.backends.simulated import Faults, SimulatedBackend
from promptopt.example import Example
from promptopt.landscape import Landscape
from promptopt.layout import Layout, Message, chat_layout, completion_layout, inline_layout
from promptopt.prompt import Demo, Prompt
from promptopt_strategies.writing import parse_tagged, render_template

EXAMPLES = tuple(Example({"text": f"it was case {n} of many"}, ("yes", "no")[n % 2], ("yes", "no")) for n in range(200))
WORDS = tuple(Example({"word": word}, word[::-1]) for word in ("word", "the", "give", "an", "answer", "hot", "hotter"))
LABELS = {"text": "Text"}


def request_of(prompt: Prompt, example: Example, **more: object) -> Request:
    template = prompt.template(tuple(example.inputs))
    return Request(template.mode, template.render(example), **more)  # type: ignore[arg-type]


def prompt_with(layout: Layout) -> Prompt:
    return Prompt.of("Classify the text.", layout, answer_cue="Answer:", demos=tuple(map(Demo.of, EXAMPLES[:3])))


def replies(backend: SimulatedBackend, prompt: Prompt, examples: tuple[Example, ...] = EXAMPLES) -> list[Reply]:
    return [backend.answer(request_of(prompt, example)) for example in examples]


@pytest.mark.parametrize(
    "layout",
    [
        completion_layout(LABELS),
        completion_layout(LABELS, input_first=True),
        chat_layout(LABELS),
        chat_layout(LABELS, demo_turns=True),
        chat_layout({}),
    ],
)
def test_it_is_right_exactly_as_its_landscape_says(layout: Layout) -> None:
    world, prompt = Landscape(seed=6), prompt_with(layout)
    backend = SimulatedBackend(EXAMPLES, world)
    for example in EXAMPLES:
        reply = backend.answer(request := request_of(prompt, example))
        assert reply.status == "ok"
        assert reply.text in ("yes", "no")
        assert (reply.text == example.target) == world.is_right(request.messages, example)


def test_inputs_that_are_common_words_are_found() -> None:
    for layout in (completion_layout({"word": "Word"}), completion_layout({"word": "Word"}, input_first=True)):
        prompt = Prompt.of("Give an antonym of the word.", layout, answer_cue="The answer:")
        assert [backend_text(prompt, example) for example in WORDS] == [example.target for example in WORDS]
    inline = Prompt.of("Which word is '{word}' backwards? Be quick.", inline_layout("chat", {}))
    assert backend_text(inline, WORDS[6]) == "rettoh"


def backend_text(prompt: Prompt, example: Example) -> str:
    backend = SimulatedBackend(WORDS, Landscape("flat"))
    found = backend._questions.find(request_of(prompt, example).messages)
    assert found is not None
    return found.target


def test_a_pure_function_of_seed_and_request() -> None:
    faults = Faults(rate_limit=0.1, malformed=0.1, truncated=0.1, refused=0.1)
    prompt = prompt_with(completion_layout(LABELS))
    one, same = (replies(SimulatedBackend(EXAMPLES, Landscape(seed=1), faults), prompt) for _ in range(2))
    assert one == same
    assert one != replies(SimulatedBackend(EXAMPLES, Landscape(seed=2), faults), prompt)


def test_faults_strike_as_often_as_they_should() -> None:
    faults = Faults(rate_limit=0.05, server_error=0.05, malformed=0.1, truncated=0.1, refused=0.05)
    prompts = [prompt_with(completion_layout(LABELS)).replace(instruction=f"Classify {n}.") for n in range(5)]
    got = [r for prompt in prompts for r in replies(SimulatedBackend(EXAMPLES, faults=faults), prompt)]
    share = {status: n / len(got) for status, n in Counter(reply.status for reply in got).items()}
    assert share["truncated"] == pytest.approx(0.1, abs=0.03)
    assert share["refused"] == pytest.approx(0.05, abs=0.03)
    assert share.get("malformed", 0) < 0.01
    assert statistics.mean(reply.attempts for reply in got) == pytest.approx(1 / 0.8, abs=0.05)


@pytest.mark.parametrize(
    ("faults", "status", "attempts"),
    [
        (Faults(rate_limit=1), "failed", 5),
        (Faults(server_error=1), "failed", 5),
        (Faults(malformed=1), "malformed", 3),
        (Faults(truncated=1), "truncated", 1),
        (Faults(refused=1), "refused", 1),
        (Faults(hang=1, hang_s=0.001), "failed", 5),
    ],
)
def test_lasting_faults(faults: Faults, status: str, attempts: int) -> None:
    prompt = prompt_with(completion_layout(LABELS))
    backend = SimulatedBackend(EXAMPLES, faults=faults)
    arrivals = [a for a in backend.run([(0, request_of(prompt, EXAMPLES[0]))]) if a]
    backend.close()
    assert [(reply.status, reply.attempts) for _, reply in arrivals] == [(status, attempts)]


def test_an_unknown_input_is_not_guessed() -> None:
    reply = SimulatedBackend().answer(Request("chat", (Message("user", "What is it?"),)))
    assert reply.status == "failed"
    assert "give it the examples" in reply.error


def test_choices_and_repeats() -> None:
    backend, prompt = SimulatedBackend(EXAMPLES), prompt_with(completion_layout(LABELS))
    assert backend.answer(request_of(prompt, EXAMPLES[0], choices=(" yes", " no"))).text in (" yes", " no")
    drawn = {backend.answer(request_of(prompt, EXAMPLES[0], temperature=1.0, seed=n)).text for n in range(40)}
    assert drawn == {"yes", "no"}
    greedy = {backend.answer(request_of(prompt, EXAMPLES[0], seed=n)).text for n in range(40)}
    assert len(greedy) == 1


SECTION = "Classify the text. Be kind."
ERRORS = "Case 1\nInput: it was case 3 of many\nRight answer: no\nThe model's answer: yes"


def written(text: str, seed: int = 1) -> str:
    return SimulatedBackend(EXAMPLES).answer(Request("chat", (Message("user", text),), temperature=1.0, seed=seed)).text


def test_the_writer_answers_the_meta_prompts_of_the_strategies() -> None:
    critique = render_template("apo-critique", instruction=SECTION, errors=ERRORS, count="4 different reasons")
    assert len(parse_tagged(written(critique), "reason")) == 4
    edit = render_template("apo-edit", instruction=SECTION, errors=ERRORS, critique="Too short.", count="one prompt")
    (task,) = parse_tagged(written(edit), "task")
    assert task.startswith("Classify the text.")
    assert task != SECTION
    assert written(render_template("apo-paraphrase", instruction=SECTION)).startswith("Classify the text.")
    history = f"text:\n{SECTION}\nscore:\n61"
    (text,) = parse_tagged(written(render_template("opro-tagged", task="", kind="it", evidence=history)), "text")
    assert text.startswith("Classify the text.")
    bracketed = written(render_template("opro-bracketed", task="", kinds="texts", evidence=history + "\n" + ERRORS))
    assert bracketed.startswith("[Classify the text.")
    assert len({written(edit, seed) for seed in range(20)}) > 10


def test_a_pool_of_ones_own() -> None:
    backend = SimulatedBackend(writer=Rewriter(("Only this.",)))
    reply = backend.answer(
        Request("chat", (Message("user", "Write <p>...</p>: <now>\nDo the task.\n</now>"),), temperature=1)
    )
    assert reply.text == "<p>Do the task. Only this.</p>"
    assert wanted_tag("Put it between <a> and </a>, not <b>this long text here</b>.") == "a"

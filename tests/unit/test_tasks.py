"""load_task: seed prompts, metrics and decoding made from what the user gives and the data shows."""

import json

import pytest

from promptopt.errors import ConfigError, DataError, UnknownNameError
from promptopt.example import SPLITS
from promptopt_datasets.ready import ready_names, ready_path
from promptopt_datasets.seeds import read_wording
from promptopt_datasets.tasks import load_task


def rows(n, targets=("yes", "no"), start=0):
    return [{"input": f"question {i}", "target": targets[i % len(targets)]} for i in range(start, start + n)]


def jsonl(path, items):
    path.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    return path


def lines(path, *texts):
    path.write_text("\n".join(texts), encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path):
    for start, split in enumerate(SPLITS):
        jsonl(tmp_path / f"{split}.jsonl", rows(6, start=100 * start))
    return tmp_path


def test_ready_tasks_load_and_render():
    assert "sentiment" in ready_names()
    for name in ready_names():
        task = load_task(name, mode="completion")
        assert task.dataset.name == name
        assert task.seeds[0].template(task.fields).render(task.dataset.dev[0])[0].content.endswith(":")
    with pytest.raises(UnknownNameError, match="no ready task named 'sentimnt'; did you mean sentiment"):
        ready_path("sentimnt")
    with pytest.raises(UnknownNameError, match="did you mean sentiment"):
        load_task("sentimnt")


def render(task):
    return [(m.role, m.content) for m in task.seeds[0].template(task.fields).render(task.dataset.train[0])]


def test_a_prompt_that_places_its_fields():
    task = load_task(rows(4), prompt="Q: {input}\nA:", mode="completion")
    assert render(task)[0][1] == f"Q: {task.dataset.train[0].inputs['input']}\nA:"


def test_a_prompt_without_fields_gets_them_with_labels():
    table = [{"the_title": f"t{i}", "body": "b", "label": "x"} for i in range(4)]
    title = load_task(table, prompt="Judge.").dataset.train[0].inputs["the_title"]
    assert render(load_task(table, prompt="Judge.")) == [("user", f"Judge.\n\nThe title: {title}\nBody: b")]
    completion = render(load_task(table, prompt="Judge.", mode="completion"))
    assert completion == [("text", f"Judge.\n\nThe title: {title}\nBody: b\nOutput:")]


def test_a_prompt_from_files(tmp_path):
    text = lines(tmp_path / "p.txt", "Say {input}.", "")
    assert render(load_task(rows(4), prompt=str(text)))[0][1].startswith("Say question")
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi {{system}}\n\nthere"},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "Say {input}."},
    ]
    path = tmp_path / "p.json"
    path.write_text(json.dumps(messages))
    task = load_task(rows(4), prompt=str(path))
    shown = task.dataset.train[0].inputs["input"]
    assert render(task) == [
        ("system", "Be brief."),
        ("user", "Hi {system}\n\nthere"),
        ("assistant", "Yes?"),
        ("user", f"Say {shown}."),
    ]
    with pytest.raises(ConfigError, match="need a chat model; use mode chat"):
        load_task(rows(4), prompt=messages, mode="completion")


def test_a_field_in_an_earlier_message_is_the_place_for_it():
    task = load_task(
        rows(4),
        prompt=[
            {"role": "user", "content": "Read this: {input}"},
            {"role": "assistant", "content": "I have read it."},
            {"role": "user", "content": "Is it a question?"},
        ],
    )
    shown = task.dataset.train[0].inputs["input"]
    assert [text for _, text in render(task)] == [f"Read this: {shown}", "I have read it.", "Is it a question?"]


@pytest.mark.parametrize("text", ["Say { input }.", "Say {in put}.", "Say {in-put}."])
def test_a_field_that_is_not_written_as_a_name_is_pointed_out(text):
    table = [{"input": f"a {i}", "in put": "b", "label": "x" * (i + 1)} for i in range(4)]
    written = "input" if " input" in text else "in_put"
    with pytest.raises(ConfigError, match=rf"write \{{{written}\}}"):
        load_task(table, prompt=text)


def test_an_unknown_placeholder_in_an_earlier_message_is_refused():
    messages = [{"role": "user", "content": "{inptu}"}, {"role": "user", "content": "Say {input}."}]
    with pytest.raises(ConfigError, match=r"placeholder \{inptu\}"):
        load_task(rows(4), prompt=messages)


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        ("missing.txt", "prompt missing.txt: there is no such file; correct the path"),
        ([], "expected a list of messages"),
        ([{"role": "bot", "content": "x"}], r"message 1 needs a role \(system, user, assistant\)"),
        ([{"role": "assistant", "content": "x"}], "the last message must be from the user"),
        (
            [{"role": r, "content": "x"} for r in ("user", "system", "user")],
            "only the first message may be from the system",
        ),
    ],
)
def test_bad_prompts(prompt, sentence):
    with pytest.raises(ConfigError, match=sentence):
        read_wording(prompt)


def test_a_prompt_file_that_is_no_json(tmp_path):
    with pytest.raises(ConfigError, match=r"p.json: this is not JSON"):
        read_wording(str(lines(tmp_path / "p.json", "{")))


def test_a_placeholder_that_the_data_does_not_have():
    with pytest.raises(ConfigError, match=r"The prompt has the placeholder \{text\}, but the data has \{input\}"):
        load_task(rows(4), prompt="Say {text}.")


def test_the_metric_is_the_users_or_the_cards_or_a_guess(folder):
    (folder / "card.json").write_text(json.dumps({"task": "t", "metric": "f1", "description": "Answer."}))
    assert load_task(folder).metric.name == "f1"
    assert load_task(folder, metric="exact-match").metric.name == "exact-match"
    assert load_task(folder, metric=lambda output, example: 1.0).metric.name == "<lambda>"
    (folder / "card.json").write_text(json.dumps({"task": "t", "description": "Answer."}))
    task = load_task(folder)
    assert (task.metric.name, task.choices, task.description) == ("multiple-choice", ("no", "yes"), "Answer.")


def test_a_task_of_the_suite_that_hides_its_instruction(folder):
    (folder / "card.json").write_text(json.dumps({"suite": "ii", "task": "t", "description": "Answer yes or no."}))
    task = load_task(folder)
    assert (task.description, task.seeds[0].instruction) == ("", "Give the right output for the input.")


def test_decoding_leaves_room_for_the_answer():
    numbers = [{"input": str(i), "target": i} for i in range(60)]
    assert load_task(numbers, prompt="x").decoding.max_tokens == 512
    assert load_task(numbers, prompt="x", mode="completion").seeds[0].layout.stop == ("\n\n",)
    assert not load_task(numbers, prompt="x").decoding.score_truncated
    words = load_task(rows(20), prompt="x", mode="completion")
    assert (words.decoding.max_tokens, words.seeds[0].layout.stop) == (8, ("\n",))
    long = [{"input": str(i), "target": f"line {i}\n" * 20} for i in range(8)]
    task = load_task(long, prompt="x", mode="completion")
    assert task.decoding.max_tokens > 40
    assert task.seeds[0].layout.stop == ("\n\n",)
    assert load_task(rows(4), prompt="x", max_tokens=3, scoring="likelihood", metric="exact-match").choices


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"mode": "text"}, "no mode named 'text'"),
        ({"scoring": "logprobs"}, "no scoring named 'logprobs'"),
        ({"max_tokens": 0}, "max_tokens = 0 must be at least 1"),
        ({"metric": 5}, "metric = 5 must be a name"),
        ({"prompt": ""}, "there is no seed prompt; give one with --prompt"),
    ],
)
def test_bad_options(options, sentence):
    with pytest.raises(ConfigError, match=sentence):
        load_task(rows(4), **{"prompt": "x", **options})


def test_a_task_without_a_metric_needs_no_targets(tmp_path):
    path = jsonl(tmp_path / "asked.jsonl", [{"message": f"where is order {n}?", "note": "urgent"} for n in range(40)])
    task = load_task(path, metric="none", prompt="Answer: {message}")
    assert task.metric.name == "none"
    assert task.fields == ("message", "note")
    assert {example.target for example in task.dataset.search} == {""}
    assert task.decoding.max_tokens >= 256
    named = load_task(path, metric="none", prompt="Answer: {message}", columns={"target": "note"})
    assert {example.target for example in named.dataset.search} == {"urgent"}
    with pytest.raises(DataError, match="--metric none"):
        load_task(path, prompt="Answer: {message}")


@pytest.mark.parametrize("ends", [b"\r\n", b"\r"])
def test_a_prompt_file_from_another_system_is_the_same_prompt(tmp_path, ends):
    path = tmp_path / "p.txt"
    path.write_bytes(ends.join([b"\xef\xbb\xbfJudge.", b"{text}", b""]))
    assert read_wording(str(path)).instruction == "Judge.\n{text}"


@pytest.mark.parametrize("prompt", ["Judge \udcff: {input}", [{"role": "user", "content": "\ud800 {input}"}]])
def test_a_prompt_that_no_server_could_be_sent(prompt):
    with pytest.raises(ConfigError, match=r"prompt: it holds \\ud\w+, which is no character of UTF-8 text"):
        load_task(rows(4), prompt=prompt)

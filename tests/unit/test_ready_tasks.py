"""The ready tasks: their folders, their cards, and that the generators still make exactly these files."""

import json
from collections import Counter
from pathlib import Path

import pytest

import promptopt_datasets
from promptopt_datasets.generate.__main__ import TASKS, write_all
from promptopt_datasets.load import load_dataset

ROOT = Path(promptopt_datasets.__file__).parent
NAMES = ["sentiment", "plural", "antonym", "topic", "extract", "past-tense"]
CLOSED = ["sentiment", "topic"]
SPLITS = ("train", "dev", "test")
FILES = ["card.json", *(f"{split}.jsonl" for split in SPLITS)]


def read_rows(name, split):
    return [json.loads(line) for line in (ROOT / name / f"{split}.jsonl").read_text("utf-8").splitlines()]


def read_card(name):
    return json.loads((ROOT / name / "card.json").read_text("utf-8"))


def all_rows(name):
    return [row for split in SPLITS for row in read_rows(name, split)]


@pytest.fixture(scope="module")
def regenerated(tmp_path_factory):
    root = tmp_path_factory.mktemp("ready")
    write_all(root)
    return root


def test_the_list_of_tasks():
    assert [task.name for task in TASKS] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_regeneration_is_byte_identical(name, regenerated):
    for file in FILES:
        assert (regenerated / name / file).read_bytes() == (ROOT / name / file).read_bytes(), file


@pytest.mark.parametrize("name", NAMES)
def test_folder_loads(name):
    dataset = load_dataset(ROOT / name)
    assert dataset.name == name
    assert [len(dataset.split(split)) for split in SPLITS] == [140, 80, 320]


@pytest.mark.parametrize("name", NAMES)
def test_sizes_are_those_of_the_card(name):
    sizes = {split: len(read_rows(name, split)) for split in SPLITS}
    assert sizes == read_card(name)["sizes"]
    assert 120 <= sizes["train"] <= 160
    assert 60 <= sizes["dev"] <= 100
    assert sizes["test"] >= 300


@pytest.mark.parametrize("name", NAMES)
def test_no_input_stands_twice(name):
    rows = all_rows(name)
    assert len({" ".join(row["input"].casefold().split()) for row in rows}) == len(rows)
    assert len({row["id"] for row in rows}) == len(rows)


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_complete_and_clean(name):
    for row in all_rows(name):
        assert set(row) - {"choices"} == {"id", "input", "target", "meta"}
        assert row["target"]
        for text in (row["input"], row["target"]):
            assert text == " ".join(text.split())
        assert row["target"] not in row["meta"].get("aliases", [])
        assert not set("{}") & set(row["input"])


@pytest.mark.parametrize("name", CLOSED)
def test_closed_tasks_are_balanced(name):
    card = read_card(name)
    for split in SPLITS:
        rows = read_rows(name, split)
        counts = Counter(row["target"] for row in rows)
        assert counts == card["labels"][split]
        assert set(counts.values()) == {len(rows) // len(card["choices"])}
        assert all(row["choices"] == card["choices"] for row in rows)


@pytest.mark.parametrize("name", NAMES)
def test_card_has_a_fair_prompt_of_one_sentence(name):
    card = read_card(name)
    assert (card["suite"], card["task"], card["licence"]["name"]) == ("promptopt", name, "Apache-2.0")
    for key in ("prompt", "description"):
        assert card[key].endswith(".")
        assert card[key].count(".") == 1
        assert "\n" not in card[key]
    assert card["input_label"]
    assert card["output_label"]
    assert card["metric"] == {"sentiment": "multiple-choice", "topic": "multiple-choice", "extract": "json-fields"}.get(
        name, "exact-match"
    )
    root = ROOT.parents[1]
    assert all((root / path).is_file() for path in card["source"]["paths"])


def test_reviews_are_of_natural_length():
    assert all(8 <= len(row["input"].split()) <= 22 for row in all_rows("sentiment"))


def test_extract_targets_stand_in_the_sentence():
    for row in all_rows("extract"):
        fields = json.loads(row["target"])
        assert set(fields) == {"name", "day"}
        assert all(value in row["input"] for value in fields.values())


def test_extract_names_belong_to_one_split():
    names = [{json.loads(row["target"])["name"] for row in read_rows("extract", split)} for split in SPLITS]
    assert not names[0] & names[1] | names[0] & names[2] | names[1] & names[2]


def test_pairs_of_antonyms_stay_in_one_split():
    inputs = [{row["input"] for row in read_rows("antonym", split)} for split in SPLITS]
    assert any({"hot", "cold"} <= words for words in inputs)


@pytest.mark.parametrize(
    ("name", "word", "target"),
    [
        ("plural", "city", "cities"),
        ("plural", "church", "churches"),
        ("plural", "child", "children"),
        ("past-tense", "stop", "stopped"),
        ("past-tense", "carry", "carried"),
        ("past-tense", "go", "went"),
    ],
)
def test_spelling(name, word, target):
    from promptopt_datasets.generate.past_tense import put_in_past
    from promptopt_datasets.generate.plural import pluralize

    listed = {row["input"]: row["target"] for row in all_rows(name)}
    rule = {"plural": pluralize, "past-tense": put_in_past}[name]
    assert target in (listed.get(word), rule(word))


@pytest.mark.parametrize("name", ["sentiment", "topic"])
def test_test_rows_do_not_share_their_wording_with_train(name):
    """No test row repeats seven words in a row of a train row."""

    def runs(split):
        found = set()
        for row in read_rows(name, split):
            words = row["input"].casefold().strip(".").split()
            found |= {tuple(words[i : i + 7]) for i in range(len(words) - 6)}
        return found

    train, test = runs("train"), runs("test")
    assert len(train & test) / len(test) < 0.02

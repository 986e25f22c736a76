"""Loading: what is read from good files, and one sentence for every kind of bad one."""

import json
import sys
import types

import numpy as np
import pytest

from promptopt.errors import ConfigError, DataError
from promptopt.example import SPLITS, Example
from promptopt_datasets.cut import cut_in_three
from promptopt_datasets.load import dataset_from_rows, load_card, load_dataset
from promptopt_datasets.tasks import load_task


def rows(n, targets=("yes", "no"), start=0):
    return [{"input": f"question {i}", "target": targets[i % len(targets)]} for i in range(start, start + n)]


def jsonl(path, items):
    path.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    return path


def lines(path, *texts):
    path.write_text("\n".join(texts), encoding="utf-8")
    return path


def sizes(dataset):
    return [len(dataset.split(split)) for split in SPLITS]


@pytest.fixture
def folder(tmp_path):
    for start, split in enumerate(SPLITS):
        jsonl(tmp_path / f"{split}.jsonl", rows(6, start=100 * start))
    return tmp_path


# What is read


def test_a_folder_with_a_card(folder):
    (folder / "card.json").write_text(json.dumps({"task": "yesno", "choices": ["yes", "no"]}))
    dataset = load_dataset(folder)
    assert (dataset.name, sizes(dataset), dataset.fields) == ("yesno", [6, 6, 6], ("input",))
    assert dataset.train[0] == Example({"input": "question 0"}, "yes", ("yes", "no"))


def test_a_folder_without_a_card(folder):
    assert load_card(folder) is None
    assert load_dataset(folder).name == folder.name
    assert load_dataset(folder, name="mine").name == "mine"


def test_a_folder_without_dev_takes_it_from_train(folder):
    (folder / "dev.jsonl").unlink()
    assert sizes(load_dataset(folder)) == [3, 3, 6]


def test_validation_is_another_word_for_dev(folder):
    (folder / "dev.jsonl").rename(folder / "validation.jsonl")
    assert sizes(load_dataset(folder)) == [6, 6, 6]


def test_train_alone_is_cut_in_three(tmp_path):
    jsonl(tmp_path / "train.jsonl", rows(100))
    assert sizes(load_dataset(tmp_path)) == [30, 20, 50]


def test_csv_with_quoted_line_breaks_and_a_byte_order_mark(tmp_path):
    path = tmp_path / "reviews.csv"
    body = "".join(f'"line one\r\nline ""two"", {i}",pos{i},{i}\r\n' for i in range(4))
    path.write_bytes(("\ufefftext,label,\r\n" + body).encode())
    dataset = load_dataset(path)
    assert (dataset.name, dataset.fields) == ("reviews", ("text",))
    assert {e.inputs["text"] for e in (*dataset.train, *dataset.dev)} == {
        f'line one\r\nline "two", {i}' for i in range(4)
    }


def test_csv_with_semicolons(tmp_path):
    path = lines(tmp_path / "d.csv", "text;label", *[f"a, {i};x" for i in range(4)])
    assert load_dataset(path).fields == ("text",)


def test_columns_are_guessed(tmp_path):
    path = jsonl(tmp_path / "d.jsonl", [{"id": i, "Q": f"q{i}", "context": "c", "n": i, "Answer": i} for i in range(4)])
    dataset = load_dataset(path)
    assert dataset.fields == ("Q", "context")
    assert {e.target for e in (*dataset.train, *dataset.dev)} == {"0", "1", "2", "3"}


def test_columns_as_they_are_named(tmp_path):
    path = jsonl(tmp_path / "d.jsonl", [{"the text": f"q{i}", "b": "c", "label": i / 2, "gold": "g"} for i in range(4)])
    assert load_dataset(path, columns={"target": "label", "input": "the text"}).fields == ("input",)
    assert load_dataset(path, columns={"target": "label"}).fields == ("the_text", "b", "gold")


def test_json_targets_become_text():
    dataset = dataset_from_rows([{"input": str(i), "target": {"n": i}} for i in range(4)])
    assert dataset.train[0].target.startswith('{"n": ')
    assert load_task(rows(4, (True, False)), prompt="x", metric="exact-match").dataset.train[0].target in (
        "true",
        "false",
    )


def test_line_separators_inside_a_string_end_no_row(tmp_path):
    path = tmp_path / "d.jsonl"
    body = "".join(f'{{"input": "a\u2028b{i}", "target": "x"}}\n\n' for i in range(4))
    path.write_text(body, encoding="utf-8")
    assert sum(sizes(load_dataset(path))) == 4


def test_examples_and_splits_from_python():
    examples = [Example({"a": str(i)}, "x") for i in range(4)]
    assert sizes(dataset_from_rows(examples)) == [2, 2, 0]
    assert sizes(dataset_from_rows({"train": examples[:2], "dev": examples[2:3], "test": examples[3:]})) == [2, 1, 1]
    assert dataset_from_rows({"train": rows(4), "dev": rows(4, start=4)}, name="mine").name == "mine"


# How a table is cut


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (20, [10, 10, 0]),
        (50, [25, 25, 0]),
        (51, [34, 17, 0]),
        (99, [66, 33, 0]),
        (100, [30, 20, 50]),
        (125, [50, 25, 50]),
        (1000, [400, 200, 400]),
    ],
)
def test_sizes_of_the_cut(n, expected):
    assert sizes(dataset_from_rows(rows(n))) == expected


def test_the_cut_is_stratified_and_ignores_the_order():
    table = rows(200, ("a", "a", "a", "b"))
    dataset = dataset_from_rows(table)
    for split in SPLITS:
        targets = [example.target for example in dataset.split(split)]
        assert abs(targets.count("b") / len(targets) - 0.25) < 0.03
    assert dataset_from_rows(table[::-1]).hash == dataset.hash


def test_many_different_targets_are_cut_by_hash_alone():
    parts = cut_in_three([Example({"a": str(i)}, f"word {i}") for i in range(100)])
    assert [len(part) for part in parts] == [30, 20, 50]


# What is refused

GOOD = '{"input": "a", "target": "x"}'


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (
            '{"input": "b"',
            r"line 2: this is not JSON \(Expecting .*, column \d+\); write one JSON object on one line\.$",
        ),
        ("[1, 2]", r"line 2: this is a JSON list and not an object; write one object a line, such as \{.*\}\.$"),
        ('{"input": "b"}', r"line 2: there is no 'target', only 'input'; every row needs the columns of the first\.$"),
        ('{"target": "b"}', r"line 2: there is no 'input', only 'target'; every row"),
        ('{"input": 5, "target": "x"}', r"line 2: 'input' is a number and not text; write it as text"),
        ('{"input": null, "target": "x"}', r"line 2: 'input' is a null and not text"),
        ('{"input": "b", "target": ["x"]}', r"line 2: the target 'target' is list; write one text or number"),
        ('{"input": "b", "target": null}', r"line 2: the target 'target' is null; write one text or number"),
        ('{"input": "b", "target": NaN}', r"line 2: the target 'target' is nan; write one text"),
        ('{"input": "b", "target": " "}', r"line 2: the target 'target' is empty; fill it in or remove the row\.$"),
        ('{"input": "", "target": "x"}', r"line 2: 'input' is empty; fill it in or remove the row\.$"),
        ('{"input": " a ", "target": "y"}', r"line 2 repeats the input of .*line 1; remove one of them"),
        ('{"input": "b", "target": "y", "choices": "no"}', r"line 2: 'choices' is not JSON; rename the column"),
        ('{"input": "b", "target": "y", "choices": [1]}', r"line 2: 'choices' must be a list of texts"),
        (
            '{"input": "b", "target": "yes", "choices": ["Yes", "No"]}',
            r"'yes' is none of the choices 'Yes', 'No'; .*'Yes'",
        ),
        ('{"input": "b", "target": "y", "meta": [1]}', r"line 2: 'meta' is a list and not an object"),
        ('{"input": "b", "target": "y", "meta": {"aliases": "x"}}', r"line 2: the aliases in 'meta' must be a list"),
        ('{"input": "b", "input": "c", "target": "y"}', r"line 2: the key 'input' stands twice; rename one of them\.$"),
        ('{"input": "b", "target": ' + "1" * 5_000 + "}", r"line 2: a number has too many digits; write it as text"),
        (r'{"input": "b \ud800", "target": "y"}', r"line 2: 'input' holds \\ud800, half a character"),
        (r'{"input": "b", "target": "\udc00"}', r"line 2: 'target' holds \\udc00, half a character"),
        ("[" * 100_000, r"line 2: (the JSON is nested too deeply|this is not JSON)"),
    ],
)
def test_bad_lines(tmp_path, bad, sentence):
    path = lines(tmp_path / "d.jsonl", GOOD, bad)
    with pytest.raises(DataError, match=sentence) as caught:
        load_dataset(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", r"d\.csv: the file holds no rows; write one example a line\.$"),
        ("text,label\n", r"d\.csv: the file holds no rows"),
        ("text,label\na\n", r"line 2: the row has 1 cell and the header 2; put text"),
        ("text,label\na,b,c\n", r"line 2: the row has 3 cells and the header 2; put text that holds the separator"),
        (
            'text,label\n"a\nb",x\n"open,y\nz,w\n',
            r"line 4: the row that begins here is not CSV \(unexpected end of data\)",
        ),
        ("text,text\na,b\n", r"line 1: the column 'text' stands twice; rename one of them\.$"),
        (
            "text,words\na,b\n",
            r"none of the columns 'text', 'words' is called target, label, .* --column target=NAME, or --metric none",
        ),
        ("label\nb\n", r"line 2: no column of text is left for the input, only 'label'; name one with --column input="),
        ("text,label\na,b\n", r"too few rows \(1\); give at least 4, and 100 or more for a verdict\.$"),
    ],
)
def test_bad_csv(tmp_path, text, sentence):
    path = tmp_path / "d.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=sentence):
        load_dataset(path)


def test_a_column_that_is_not_there_names_the_nearest(tmp_path):
    path = lines(tmp_path / "d.csv", "text,lable", "a,b")
    with pytest.raises(DataError, match="no column 'label' for target, only 'text', 'lable'; did you mean 'lable'"):
        load_dataset(path, columns={"target": "label"})


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"\x89PNG\r\n\x1a\n\x00\x00", r"d\.jsonl: this is a binary file, or text in UTF-16; save it as UTF-8 text\.$"),
        (
            b'{"input": "a"}\n{"input": "caf\xe9"}',
            r"line 2: the byte 0xe9 is not UTF-8 text; save the file as UTF-8\.$",
        ),
    ],
)
def test_files_that_are_no_text(tmp_path, data, sentence):
    path = tmp_path / "d.jsonl"
    path.write_bytes(data)
    with pytest.raises(DataError, match=sentence):
        load_dataset(path)


def test_paths_that_lead_nowhere(tmp_path):
    with pytest.raises(DataError, match=r"no.jsonl: there is no such file or folder; correct the path"):
        load_dataset(tmp_path / "no.jsonl")
    with pytest.raises(DataError, match=r"files of the kind '.xlsx' are not known; save it as JSONL"):
        load_dataset(lines(tmp_path / "d.xlsx", "x"))


def test_folders_without_data(tmp_path):
    with pytest.raises(DataError, match=r"the folder holds nothing but no train, dev and test files; add train.jsonl"):
        load_dataset(tmp_path)
    jsonl(tmp_path / "dev.jsonl", rows(4))
    with pytest.raises(DataError, match=r"there is no train.jsonl or train.csv beside dev; add it"):
        load_dataset(tmp_path)


def test_one_split_in_two_files(folder):
    lines(folder / "train.csv", "input,target", "a,b")
    with pytest.raises(DataError, match=r"train.csv and train.jsonl are both the split train; remove one"):
        load_dataset(folder)


def test_a_row_in_two_splits(folder):
    jsonl(folder / "test.jsonl", rows(1))
    with pytest.raises(DataError, match=r"test.jsonl, line 1 repeats the input of .*train.jsonl, line 1; remove one"):
        load_dataset(folder)


@pytest.mark.parametrize(
    ("card", "sentence"),
    [
        ("{", r"card\.json: this is not JSON"),
        ("[]", r"card\.json: this is no JSON object; write"),
        ('{"choices": [1]}', r"card\.json: choices must be a list of texts"),
    ],
)
def test_bad_cards(folder, card, sentence):
    (folder / "card.json").write_text(card)
    with pytest.raises(DataError, match=sentence):
        load_dataset(folder)


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ([], r"rows: there are no rows; give at least 4\.$"),
        (["text"], r"row 1: this is no mapping of column names; write"),
        ([*rows(3), *rows(1)], r"row 4 repeats the input of row 1; remove one"),
        ([*rows(3), *rows(3)], r"row 4 repeats the input of row 1 \(and 2 more rows do so\); remove one"),
        ([Example({"a": "b"}, "c"), {"a": "b"}], r"row 2: this is no Example, and others are"),
        ({"dev": rows(1), "tset": rows(1)}, r"there is no split 'tset'; the splits are train, dev, test\.$"),
    ],
)
def test_bad_rows_from_python(table, sentence):
    with pytest.raises(DataError, match=sentence):
        dataset_from_rows(table)


class Table:
    """As a DataFrame of pandas: it yields the names of its columns, and its cells are numpy's."""

    def __iter__(self):
        return iter(("input", "target"))

    def to_dict(self, orient):
        return [{"input": np.str_(f"question {i}"), "target": np.int64(i)} for i in range(6)]


def test_rows_of_other_libraries():
    dataset = dataset_from_rows(Table().to_dict("records"))
    assert {(type(e.inputs["input"]), e.target) for e in dataset.train} < {(str, str(i)) for i in range(6)}
    for strange in (Table(), dataset, 5):
        said = rf"^rows: {type(strange).__name__} is no list of rows; .* to_dict\("
        with pytest.raises(DataError, match=said):
            dataset_from_rows(strange)


def test_rows_may_come_one_by_one():
    assert sizes(dataset_from_rows(row for row in rows(100))) == [30, 20, 50]
    assert sizes(dataset_from_rows(Example({"input": f"question {n}"}, "yes") for n in range(100))) == [30, 20, 50]


def test_the_hub_without_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigError, match=r'hf:a/b needs the package datasets; .*pip install -e "\.\[huggingface\]"'):
        load_dataset("hf:a/b")


def test_rows_from_the_hub(monkeypatch):
    class Table(list):
        features = types.MappingProxyType({"label": types.SimpleNamespace(names=["neg", "pos"]), "text": object()})

    def load(name, config):
        assert (name, config) == ("a/b", "en")
        table = [{"text": f"t{i}", "label": i % 2} for i in range(12)]
        return {"train": Table(table[:4]), "validation": Table(table[4:8]), "test": Table(table[8:]), "extra": Table()}

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load))
    dataset = load_dataset("hf:a/b:en")
    assert (dataset.name, sizes(dataset), dataset.train[0].target) == ("b:en", [4, 4, 4], "neg")


def test_a_cell_may_hold_a_whole_document(tmp_path):
    text = "word " * 40_000
    path = lines(tmp_path / "d.csv", "text,label", *(f"{i} {text},yes" for i in range(4)))
    assert {len(example.inputs["text"]) for example in load_dataset(path).train} == {len(text) + 2}

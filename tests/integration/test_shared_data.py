"""The shared task data: every folder loads as a task, and its targets are right under its metric."""

import json
from pathlib import Path

import pytest

from promptopt.errors import ConfigError
from promptopt.example import SPLITS
from promptopt_datasets.load import load_card, load_dataset
from promptopt_datasets.tasks import load_task

DATA = Path(__file__).parents[3] / "shared" / "data"
NO_TARGET_TEXT = "constraints"
NO_SANDBOX = "code-exec"

pytestmark = pytest.mark.skipif(not (DATA / "index.json").exists(), reason="no shared data beside this checkout")


def tasks():
    return json.loads((DATA / "index.json").read_text())["tasks"] if (DATA / "index.json").exists() else []


def test_there_are_79_tasks():
    assert len(tasks()) == 79


@pytest.mark.parametrize("task", tasks(), ids=lambda task: task["task"])
def test_every_folder_loads_with_the_sizes_of_the_index(task):
    dataset = load_dataset(DATA / task["task"])
    assert {split: len(dataset.split(split)) for split in SPLITS} == task["sizes"]
    assert dataset.fields == ("input",)


@pytest.mark.parametrize("entry", tasks(), ids=lambda task: task["task"])
def test_the_target_of_every_row_is_right(entry):
    folder = DATA / entry["task"]
    if entry["metric"] == NO_SANDBOX:
        with pytest.raises(ConfigError, match="there is no sandbox for it"):
            load_task(folder)
        return
    task = load_task(folder)
    assert task.metric.name == entry["metric"] == load_card(folder)["metric"]
    for split in SPLITS:
        for example in task.dataset.split(split):
            score = task.metric.score(example.target, example)
            assert 0.0 <= score.value <= 1.0
            if entry["metric"] != NO_TARGET_TEXT:
                assert score.value == 1.0, (example.target, score.feedback)

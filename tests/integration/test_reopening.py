"""Studies that are opened again: from an older store, from an evaluation, from one that has found nothing."""

from pathlib import Path

import pytest

from promptopt import api, report
from promptopt.config import StudySpec, TaskSpec
from promptopt.errors import ConfigError, DataError, StoreError, UnknownNameError
from promptopt.store import migrations
from tests.toy import run, toy_spec, toy_task


def test_a_study_of_an_older_store_can_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "s.db")
    run(toy_spec(Path(path), "random"))
    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, lambda connection: None))
    with pytest.raises(StoreError, match="run or resume a study in it"):
        report.list_studies(path)
    assert report.study_spec(path, "toy")["name"] == "toy"
    assert [line["name"] for line in report.list_studies(path)] == ["toy"]


def test_an_evaluation_is_neither_shown_as_a_search_nor_forked(tmp_path: Path) -> None:
    spec = toy_spec(tmp_path / "s.db", "random")
    api.evaluate(spec, task=toy_task())
    name = report.list_studies(spec.store)[0]["name"]
    with pytest.raises(ConfigError, match="is an evaluation and no search"):
        report.show_study(spec.store, name)
    with (
        pytest.raises(ConfigError, match=f"'{name}', has found no prompts yet"),
        api.open_study(spec, task=toy_task(), fork_of=name),
    ):
        pass
    with (
        pytest.raises(UnknownNameError, match="no study to fork named 'evaluat'"),
        api.open_study(spec, task=toy_task(), fork_of="evaluat"),
    ):
        pass


def test_bad_data_leaves_no_store_behind(tmp_path: Path) -> None:
    spec = StudySpec(task=TaskSpec(data=str(tmp_path / "none.csv")), store=str(tmp_path / "s.db"))
    with pytest.raises(DataError), api.open_study(spec):
        pass
    with pytest.raises(DataError):
        api.evaluate(spec)
    assert not list(tmp_path.iterdir())

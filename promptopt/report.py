"""Report: what the store holds of past studies, as plain data for every door.

Nothing here calls a model.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from promptopt.config import spec_from_json
from promptopt.errors import ConfigError, UnknownNameError
from promptopt.prompt import Prompt
from promptopt.store.rows import StudyRow, TrialRow, TrialScoreRow
from promptopt.store.store import Store


def list_studies(store_path: str) -> list[dict[str, Any]]:
    """Return a line a study: name, state, dates, verdict."""
    with open_store(store_path) as store:
        return [_line(row) for row in store.studies()]


def show_study(store_path: str, name: str) -> dict[str, Any]:
    """Return a study's result with its trials, best first, and the prompts that guards refused.

    Raises:
        UnknownNameError: There is no such study; offers the nearest names.
        ConfigError: It is the evaluation of one prompt.
    """
    with open_store(store_path) as store:
        row = find_study(store, name)
        _refuse_evaluation(row)
        trials = sorted(store.trial_scores(row.id), key=lambda trial: (-trial.mean, trial.number))
        info = {trial.number: trial for trial in store.trials(row.id)}
        shown = [_trial(score, info[score.number]) for score in trials]
        refused = [_refused(trial) for trial in info.values() if trial.state == "refused"]
        return {
            **row.summary,
            **_line(row),
            "trials_list": shown,
            "refused_list": refused,
            "versions": dict(row.versions),
        }


def best_prompt(store_path: str, name: str) -> tuple[Prompt, Mapping[str, Any]]:
    """Return the prompt that a study says to use, with the study's summary.

    Raises:
        UnknownNameError: There is no such study.
        ConfigError: The study has found nothing yet.
    """
    with open_store(store_path) as store:
        row = find_study(store, name)
        _refuse_evaluation(row)
        if "best" not in row.summary:
            raise ConfigError(f"The study '{name}' has no prompt to show yet; let it go on (promptopt resume) first.")
        return store.prompt(row.summary["best"]["id"]), row.summary


def study_spec(store_path: str, name: str) -> Mapping[str, Any]:
    """Return the settings that a study was made with, so that it can go on.

    Commits:
        A store of an older release is brought up to date.

    Raises:
        UnknownNameError: There is no such study.
        ConfigError: It is the evaluation of one prompt.
    """
    with open_store(store_path, read_only=False) as store:
        row = find_study(store, name)
        _refuse_evaluation(row)
        return {**row.config["spec"], "budget": dict(row.budget) or row.config["spec"]["budget"]}


def delete_study(store_path: str, name: str) -> None:
    """Delete a study; outcomes that other studies may use stay.

    Raises:
        UnknownNameError: There is no such study.
    """
    with open_store(store_path, read_only=False) as store:
        store.delete_study(find_study(store, name).name)


def open_store(store_path: str, *, read_only: bool = True) -> Store:
    """Open a store that is there.

    Raises:
        ConfigError: It is not.
    """
    if not Path(store_path).exists():
        raise ConfigError(f"{store_path}: there is no such store; run a study first, or name the file with --store.")
    return Store.open(store_path, create=False, read_only=read_only)


def find_study(store: Store, name: str) -> StudyRow:
    """Return the study of this name.

    Raises:
        UnknownNameError: There is none; offers the nearest names.
    """
    row = store.study(name)
    if row is None:
        raise UnknownNameError("study", name, [row.name for row in store.studies()])
    return row


def _refuse_evaluation(row: StudyRow) -> None:
    if row.config.get("is_evaluation"):
        raise ConfigError(
            f"'{row.name}' is an evaluation and no search; the same promptopt evaluate command shows it again."
        )


def _trial(score: TrialScoreRow, trial: TrialRow) -> dict[str, Any]:
    # JSON has no infinity, which is the error of a mean below two scores.
    error = score.standard_error if score.n_valid > 1 else None
    return {**asdict(score), "standard_error": error, "operator": trial.operator, "state": trial.state}


def _refused(trial: TrialRow) -> dict[str, Any]:
    return {
        "number": trial.number,
        "prompt_id": trial.prompt_id,
        "operator": trial.operator,
        "reason": trial.note["refused"],
    }


def _line(row: StudyRow) -> dict[str, Any]:
    # A process that was killed could not say so; its lease tells.
    interrupted = row.state == "running" and not row.is_held
    return {
        "name": row.name,
        "state": "interrupted" if interrupted else row.state,
        "created": row.created,
        "updated": row.updated,
        "sentence": row.summary.get("sentence", ""),
        "from_python": not spec_from_json(row.config["spec"]).task.is_named,
    }

"""Front: how good the candidates of a study are for their length, and which are beaten by none as short and as good."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from promptopt.report import find_study, open_store

LEAST_SHARE = 0.5  # of the scores of the most often scored candidate; fewer say too little to be on the front


@dataclass(frozen=True, slots=True)
class Point:
    """One candidate.

    Args:
        number: Its trial.
        prompt_id: Its prompt.
        operator: What made it.
        tokens: Its length: what every request has, inputs left out, in tokens of four bytes.
        read: Tokens that a call read with it on average, inputs and all, as the model counts; 0 where none are told.
        mean: Its mean score on search rows; of picked candidates such means are too good, so dev and test decide.
        standard_error: Of the mean; None below two scores.
        n_valid: How many rows it has a score on.
        dev: Its mean score on dev, where it was in the final.
        is_front: Whether no candidate that was scored half as often as the fullest is as short and better, or shorter
            and as good; never of one that was scored less often itself.
    """

    number: int
    prompt_id: str
    operator: str
    tokens: float
    read: float
    mean: float
    standard_error: float | None
    n_valid: int
    dev: float | None = None
    is_front: bool = False


def study_front(store_path: str, name: str) -> list[dict[str, Any]]:
    """Return a study's candidates by length, each with its figures and whether it is on the Pareto front.

    Candidates of studies that were made before lengths were stored are left out.

    Raises:
        UnknownNameError: There is no such study.
    """
    with open_store(store_path) as store:
        row = find_study(store, name)
        trials = {trial.number: trial for trial in store.trials(row.id)}
        read = store.tokens_read(row.id)
        dev = {finalist["id"]: finalist["dev"]["mean"] for finalist in row.summary.get("finalists", ())}
        points = [
            Point(
                score.number,
                score.prompt_id,
                trials[score.number].operator,
                trials[score.number].note["tokens"],
                read.get(score.prompt_id, 0.0),
                score.mean,
                score.standard_error if score.n_valid > 1 else None,
                score.n_valid,
                dev.get(score.prompt_id),
            )
            for score in store.trial_scores(row.id)
            if "tokens" in trials[score.number].note
        ]
    front = front_of(points)
    shown = sorted(points, key=lambda point: (point.tokens, -point.mean, point.number))
    return [{**asdict(point), "is_front": point.number in front} for point in shown]


def front_of(points: Sequence[Point]) -> frozenset[int]:
    """Return the numbers of the trials that no other beats, of those with enough scores to tell."""
    fullest = max((point.n_valid for point in points), default=0)
    able = [point for point in points if point.n_valid and point.n_valid >= LEAST_SHARE * fullest]
    return frozenset(point.number for point in able if not any(_beats(other, point) for other in able))


def _beats(other: Point, point: Point) -> bool:
    as_good = other.tokens <= point.tokens and other.mean >= point.mean
    return as_good and (other.tokens, other.mean) != (point.tokens, point.mean)

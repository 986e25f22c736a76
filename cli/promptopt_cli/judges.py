"""Judges: who compared answers and how far they can be trusted, in words beside every result that rests on it."""

from collections.abc import Iterator, Mapping
from typing import Any

WHO = {"human": "people", "model": "the judge model", "metric": "the metric", "outputs": "equal or missing outputs"}


def describe_judges(data: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a result says of its judges; nothing where nobody compared."""
    told = data.get("judging") or {}
    if "grades" in told:
        yield from _describe_grades(told["grades"])
    if "verdicts" not in told:
        return
    counts = ", ".join(f"{n} by {WHO[source]}" for source, n in told["verdicts"].items())
    best = f"; with probability {data['p_best']:.2f} the leader is the best" if data["p_best"] else ""
    yield f"\nverdicts  {counts}{best}"
    for judge in told["judges"]:
        yield (
            f"judge     {judge['judge']} chose the first answer in {_share(judge['first_place'])}, the longer in "
            f"{_share(judge['longer'])}; same in both orders {_share(judge['consistency'])}; unreadable "
            f"{_share(judge['unread'])}"
        )
        beside = f"kappa {judge['kappa']:.2f}, " if judge["kappa"] is not None else ""
        agreed = f"agrees with people on {_share(judge['agreement'])} of {judge['shared']} ({beside}weight "
        yield f"          {agreed}{judge['weight']:.2f})" if judge["shared"] else "          no person has checked it"
    for person in told["people"]:
        again = (
            f"; {_share(person['consistency'])} the same of {person['repeats']} asked twice"
            if person["repeats"]
            else ""
        )
        others = f"; agrees with others on {_share(person['agreement'])}" if person["shared"] else ""
        yield f"person    {person['labeller']}: {person['n']} verdicts, left in {_share(person['left'])}{again}{others}"


def _describe_grades(audit: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"\njudge     {audit['judge']} graded {audit['n']} outputs: unreadable {_share(audit['unread'])}; its two "
        f"readings differ by {_points(audit['gap'])}"
    )
    longer = audit["longer"]
    length = "unknown" if longer is None else f"{longer:+.2f}"
    yield (
        f"          {_points(audit['first_place'])} higher where the best level stands first; rank correlation with "
        f"length {length}; no person has checked it"
    )


def _points(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} points"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"

"""Agreement: how far verdicts can be trusted; the nouns are JudgeAudit, of a judge model, and PersonAudit.

A judge model is audited beside every result that it had a part in: does it like the first place, or length; does it say
the same in both orders; does it agree with people.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from promptopt.duel import Preference
from promptopt.statistics import rank_correlation
from promptopt.votes import judge_weight

Subject = tuple[str, str, str]  # of a preference

LEAST_SHARED = 10  # duels that a judge and people have both decided, before their agreement means anything
LEAST_KAPPA = 0.2  # "slight" ends here on the usual scale (Landis and Koch 1977)


@dataclass(frozen=True, slots=True)
class JudgeAudit:
    """What the verdicts of a judge model show of the judge.

    Args:
        judge: Its name.
        n: Duels that it was asked about.
        unread: The share of them without a readable answer in both orders; these are no votes.
        consistency: The share in which both orders name the same answer.
        first_place: The share of readings that chose the first answer; one half is no bias.
        longer: The share of decided duels in which the longer answer won; one half is no bias.
        shared: Duels that people have decided too.
        agreement: The share of those in which they agree; None below one.
        kappa: Cohen's kappa with people; None below ``LEAST_SHARED``.
        weight: How much its verdict counts beside a person's.
    """

    judge: str
    n: int
    unread: float
    consistency: float | None
    first_place: float | None
    longer: float | None
    shared: int
    agreement: float | None
    kappa: float | None
    weight: float


@dataclass(frozen=True, slots=True)
class PersonAudit:
    """What a person's verdicts show of them.

    Args:
        labeller: Who.
        n: Verdicts, catch trials left out.
        left: The share of decided verdicts for the left of the screen; None without any.
        repeats: Catch trials: pairs shown again on the other sides.
        consistency: The share of these with the same verdict; None without any.
        shared: Verdicts on duels that others have judged too, counted with each.
        agreement: The share of those that agree; None without any.
    """

    labeller: str
    n: int
    left: float | None
    repeats: int
    consistency: float | None
    shared: int
    agreement: float | None


@dataclass(frozen=True, slots=True)
class GradeAudit:
    """What the grades of a judge model show of the judge.

    Args:
        judge: Its name.
        n: Outputs that it graded, or was to.
        unread: The share of them without a readable grade in both orders of the levels; these have no score.
        gap: By how much the readings of the two orders differ on average, from 0 to 1.
        first_place: By how much grades rise where the best level is listed first; 0 is no bias.
        longer: The rank correlation of grade and length of the output; None below three outputs, or where either is
            always the same.
    """

    judge: str
    n: int
    unread: float
    gap: float | None
    first_place: float | None
    longer: float | None


def audit_grades(judge: str, readings: Sequence[tuple[float, float, int]], n_unread: int) -> GradeAudit:
    """Return the audit of a judge that grades.

    Args:
        judge: Its name.
        readings: Of each output the value with the worst level listed first, that with the best first, and the
            output's length.
        n_unread: Outputs without a readable grade.
    """
    n = len(readings)
    gaps = [down - up for up, down, _ in readings]
    return GradeAudit(
        judge=judge,
        n=n + n_unread,
        unread=n_unread / max(1, n + n_unread),
        gap=sum(map(abs, gaps)) / n if n else None,
        first_place=sum(gaps) / n if n else None,
        longer=rank_correlation([up + down for up, down, _ in readings], [length for *_, length in readings]),
    )


def audit_judges(preferences: Sequence[Preference]) -> tuple[JudgeAudit, ...]:
    """Return the audit of every judge model that gave one of these preferences, by name."""
    people = _majorities(p for p in preferences if p.source == "human" and not p.catch)
    judges = sorted({p.labeller for p in preferences if p.source == "model"})
    return tuple(_audit_judge(judge, preferences, people) for judge in judges)


def audit_people(preferences: Sequence[Preference]) -> tuple[PersonAudit, ...]:
    """Return the audit of every person, by name."""
    given = [p for p in preferences if p.source == "human"]
    return tuple(_audit_person(name, given) for name in sorted({p.labeller for p in given}))


def describe(preferences: Sequence[Preference]) -> dict[str, Any]:
    """Return who said how much and how far each can be trusted, as plain data; empty without any preference."""
    if not preferences:
        return {}
    return {
        "verdicts": dict(sorted(Counter(p.source for p in preferences if not p.catch).items())),
        "judges": [asdict(audit) for audit in audit_judges(preferences)],
        "people": [asdict(audit) for audit in audit_people(preferences)],
    }


def refusal(preferences: Sequence[Preference]) -> str | None:
    """Return why a judge model may not decide alone, or None if nothing is known against it."""
    for audit in audit_judges(preferences):
        if audit.kappa is not None and audit.kappa < LEAST_KAPPA:
            return (
                f"the judge {audit.judge} agrees with people hardly more than by chance (kappa {audit.kappa:.2f} on "
                f"{audit.shared} duels, at least {LEAST_KAPPA} is wanted), so it does not decide alone; take another "
                "judge, or let people judge too"
            )
    return None


def kappa(pairs: Sequence[tuple[str, str]]) -> float:
    """Return Cohen's kappa of pairs of labels: agreement beyond chance, at most 1; 0 where there is one label only."""
    n = len(pairs)
    observed = sum(one == other for one, other in pairs) / n
    ones, others = Counter(one for one, _ in pairs), Counter(other for _, other in pairs)
    expected = sum(ones[label] * others[label] for label in ones) / n**2
    return (observed - expected) / (1 - expected) if expected < 1 else 0.0


def _audit_judge(judge: str, preferences: Sequence[Preference], people: Mapping[Subject, str]) -> JudgeAudit:
    mine = [p for p in preferences if p.labeller == judge]
    orders = [tuple(p.detail["orders"]) for p in mine if "skip" not in p.detail.get("orders", ("skip",))]
    readings = [side for one, two in orders for side in (one == "left", two == "right") if "tie" not in (one, two)]
    decided = [p for p in mine if p.winner_id and len(set(p.detail.get("lengths", ()))) == 2]
    longer = [(p.verdict == "left") == (p.detail["lengths"][0] > p.detail["lengths"][1]) for p in decided]
    pairs = [(_said(p), people[p.subject]) for p in mine if p.verdict != "skip" and p.subject in people]
    return JudgeAudit(
        judge=judge,
        n=len(mine),
        unread=sum(p.verdict == "skip" for p in mine) / max(1, len(mine)),
        consistency=_share([one == two for one, two in orders]),
        first_place=_share(readings),
        longer=_share(longer),
        shared=len(pairs),
        agreement=_share([one == other for one, other in pairs]),
        kappa=kappa(pairs) if len(pairs) >= LEAST_SHARED else None,
        weight=judge_weight(preferences, judge),
    )


def _audit_person(name: str, given: Sequence[Preference]) -> PersonAudit:
    mine = [p for p in given if p.labeller == name and not p.catch and p.verdict != "skip"]
    first = {p.subject: _said(p) for p in mine}
    again = [_said(p) == first[p.subject] for p in given if p.labeller == name and p.catch and p.subject in first]
    others = [p for p in given if p.labeller != name and not p.catch and p.verdict != "skip" and p.subject in first]
    decided = [p for p in mine if p.winner_id and p.shown_first]
    return PersonAudit(
        labeller=name,
        n=sum(p.labeller == name and not p.catch for p in given),
        left=_share([p.winner_id == p.shown_first for p in decided]),
        repeats=len(again),
        consistency=_share(again),
        shared=len(others),
        agreement=_share([_said(p) == first[p.subject] for p in others]),
    )


def _majorities(preferences: Iterable[Preference]) -> dict[Subject, str]:
    """Return what most people said of each duel; where they are divided, a tie."""
    said: dict[Subject, Counter[str]] = {}
    for preference in preferences:
        if preference.verdict != "skip":
            said.setdefault(preference.subject, Counter())[_said(preference)] += 1
    most = {subject: counts.most_common(2) for subject, counts in said.items()}
    return {subject: "tie" if len(m) > 1 and m[0][1] == m[1][1] else m[0][0] for subject, m in most.items()}


def _said(preference: Preference) -> str:
    """Return the winner's id, or that there is none: the same whatever side it stood on."""
    return preference.winner_id or "tie"


def _share(values: Sequence[bool]) -> float | None:
    return sum(values) / len(values) if values else None

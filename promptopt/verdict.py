"""Verdict: whether the chosen prompt is better than the seed, in one plain sentence.

Dev chooses, test decides: ``choose`` takes the best on dev, ``judge_verdict`` compares it once with the seed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from promptopt.evaluation import Evaluation, paired_by_task
from promptopt.example import Example
from promptopt.statistics import (
    Interval,
    PairedDifference,
    macro_difference,
    mean_interval,
    needed_examples,
    paired_difference,
)

Word = Literal["better", "no reliable improvement", "worse", "not measured"]

LEAST_EXAMPLES = 50
LEAST_SHARE = 0.8
GOAL = 0.05

KEEP = ": keep your prompt"  # the advice in a verdict; an objective that is not the score alone may advise otherwise

_MOST_CLASSES = 30
_TIE = 1e-9


@dataclass(frozen=True, slots=True)
class Gain:
    """What a winner gains on the seed by an objective that is not the score alone.

    Args:
        objective: What it is, in words.
        mean: The gain, on the scale of scores.
        interval: Of it.
        before: The tokens of the seed.
        after: Those of the winner.
    """

    objective: str
    mean: float
    interval: Interval
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one paired comparison of winner and seed says.

    Args:
        word: The verdict.
        sentence: The same for people, with its figures.
        difference: Winner - seed on the examples that both answered; None if they are one prompt.
        n_valid: On how many examples both have a score.
        n: How many examples both were asked.
        fixed: The ids of the examples on which the winner is better.
        broken: The ids of those on which it is worse.
        tasks: Winner - seed on each task of a suite, by its name; empty of a single task.
        objective: What the winner gains where a length penalty is asked for; else None, and the score decides.
    """

    word: Word
    sentence: str
    difference: PairedDifference | None
    n_valid: int
    n: int
    fixed: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    tasks: Mapping[str, PairedDifference] = field(default_factory=dict)
    objective: Gain | None = None

    @property
    def is_for_the_winner(self) -> bool:
        """Whether it is proved that the winner is better, by the objective where there is one."""
        if self.objective is not None:
            return self.word != "not measured" and self.objective.interval.low > 0
        return self.word == "better"

    @property
    def is_open(self) -> bool:
        """Whether there were only too few examples to decide, and those do not speak against the winner."""
        answered = self.n_valid >= LEAST_SHARE * self.n
        gain = self.objective or self.difference
        return self.word == "not measured" and answered and gain is not None and gain.mean >= 0


def choose(evaluations: Sequence[Evaluation], tokens: Sequence[float] = ()) -> int:
    """Return the index of the best mean on the examples that all answered.

    A tie goes to the first, which is to be the seed; without it to the shorter one, where it is told how long they are,
    and of equally long ones to the earlier.

    A candidate that answered less than 80 % of what the fullest did is passed over: an answer that does not come is
    missing data here, but a prompt that often gets none is no better prompt.
    """
    fullest = max((evaluation.n_valid for evaluation in evaluations), default=0)
    able = [i for i, evaluation in enumerate(evaluations) if evaluation.n_valid >= LEAST_SHARE * fullest]
    shared = {key for key in evaluations[able[0]].scores if all(key in evaluations[i].scores for i in able)}
    means = {i: evaluations[i].on(shared).mean for i in able}
    best = max(means.values())
    tied = [i for i in able if means[i] >= best - _TIE]
    return tied[0] if tied[0] == 0 or not tokens else min(tied, key=lambda i: (tokens[i], i))


def judge_verdict(
    seed: Evaluation, winner: Evaluation, *, least: int = LEAST_EXAMPLES, goal: float = GOAL, level: float = 0.95
) -> Verdict:
    """Compare winner and seed on the held-out examples that both answered.

    Args:
        seed: The seed's outcomes.
        winner: The chosen prompt's outcomes on the same examples.
        least: Below this many pairs nothing is decided, nor below 80 % of the examples asked.
        goal: The difference for which the number of needed examples is told, in (0, 1].
        level: Of the interval that has to exclude 0.
    """
    if seed.prompt_id == winner.prompt_id:
        return _of_the_seed_alone(seed)
    difference, asked = _difference(seed, winner, level), max(seed.n, winner.n)
    if why := _unmeasured(difference, asked, least, goal):
        return _verdict("not measured", why, difference, seed, winner)
    low, high = difference.interval.low, difference.interval.high
    size, bounds = abs(difference.mean), span(difference.interval)
    n = f"{difference.n} of {asked}" if difference.n < asked else f"{asked}"
    where = f"{n} held-out examples{_of_tasks(seed)}"
    if low > 0:
        sentence = f"Better by {points(size)} points ({level * 100:g} % interval {bounds}) on {where}."
        return _verdict("better", sentence, difference, seed, winner)
    if high < 0:
        bounds = span(Interval(-high, -low, level))
        sentence = f"Worse by {points(size)} points ({level * 100:g} % interval {bounds}) on {where}{KEEP}."
        return _verdict("worse", sentence, difference, seed, winner)
    sentence = (
        f"No reliable improvement{KEEP} (difference {difference.mean * 100 + 0:+.1f} points, "
        f"interval {bounds}, n = {n}{_of_tasks(seed)})."
    )
    return _verdict("no reliable improvement", sentence, difference, seed, winner)


def not_measured(seed: Evaluation, winner: Evaluation, *, goal: float = GOAL, level: float = 0.95) -> Verdict:
    """Return the verdict where no held-out examples are left to measure on.

    Args:
        seed: The seed's outcomes on the examples that also chose the winner.
        winner: The winner's outcomes on them; they only tell how often the two differ.
        goal: The difference for which the number of needed examples is told, in (0, 1].
        level: Of the interval.
    """
    difference = _difference(seed, winner, level)
    sentence = f"Not measured: no held-out examples; {_need(difference, goal)}."
    return _verdict("not measured", sentence, difference, seed, winner)


@dataclass(frozen=True, slots=True)
class ClassFigure:
    """How a prompt does on the examples of one target."""

    label: str
    mean: float
    interval: Interval
    n_valid: int
    n: int


def per_class(evaluation: Evaluation, examples: Iterable[Example]) -> tuple[ClassFigure, ...]:
    """Return the mean score by target, the most frequent first: a prompt can win by giving up a rare class.

    Empty where targets are no classes: one only, or more than 30.
    """
    targets = {example.id: example.target for example in examples}
    groups: dict[str, list[float | None]] = {}
    for outcome in evaluation.outcomes:
        if outcome.example_id in targets:
            groups.setdefault(targets[outcome.example_id], []).append(outcome.score)
    if not 1 < len(groups) <= _MOST_CLASSES:
        return ()
    figures = []
    for label in sorted(groups, key=lambda label: (-len(groups[label]), label)):
        scores = [score for score in groups[label] if score is not None]
        mean = sum(scores) / len(scores) if scores else 0.0
        figures.append(ClassFigure(label, mean, mean_interval(scores), len(scores), len(groups[label])))
    return tuple(figures)


def _of_the_seed_alone(seed: Evaluation) -> Verdict:
    if seed.n_valid < LEAST_SHARE * seed.n:
        sentence = f"Not measured: only {seed.n_valid} of {seed.n} held-out examples were answered."
        return Verdict("not measured", sentence, None, seed.n_valid, seed.n)
    sentence = "No reliable improvement: the seed prompt won."
    return Verdict("no reliable improvement", sentence, None, seed.n_valid, seed.n)


def _verdict(word: Word, sentence: str, difference: PairedDifference, seed: Evaluation, winner: Evaluation) -> Verdict:
    gaps = {key: winner.scores[key] - score for key, score in seed.scores.items() if key in winner.scores}
    fixed = tuple(key for key, gap in gaps.items() if gap > 0)
    broken = tuple(key for key, gap in gaps.items() if gap < 0)
    pairs = {name: pairs for name, pairs in paired_by_task(seed, winner).items() if name}
    tasks = {name: paired_difference(pairs, level=difference.interval.level) for name, pairs in pairs.items()}
    return Verdict(word, sentence, difference, difference.n, max(seed.n, winner.n), fixed, broken, tasks)


def _difference(seed: Evaluation, winner: Evaluation, level: float) -> PairedDifference:
    return macro_difference(list(paired_by_task(seed, winner).values()), level=level)


def _of_tasks(evaluation: Evaluation) -> str:
    n_tasks = len({outcome.task for outcome in evaluation.outcomes})
    return f" of {n_tasks} tasks, which count the same" if n_tasks > 1 else ""


def _unmeasured(difference: PairedDifference, asked: int, least: int, goal: float) -> str | None:
    """Return why nothing can be decided, or None."""
    if difference.n < LEAST_SHARE * asked:
        return f"Not measured: only {difference.n} of {asked} held-out examples were answered by both prompts."
    if difference.n < least:
        return (
            f"Not measured: {difference.n} held-out examples are too few (difference {difference.mean * 100 + 0:+.1f} "
            f"points, interval {span(difference.interval)}); {_need(difference, goal)}."
        )
    return None


def _need(difference: PairedDifference, goal: float) -> str:
    # One win and one loss are added, so that a handful of equal answers does not promise that few examples do.
    discordance = (difference.wins + difference.losses + 2) / (difference.n + 2) if difference.n else 0.2
    n = needed_examples(min(1.0, discordance), goal)
    n = round(n, 2 - len(str(n)))  # two digits: the third would pretend to be known
    return f"about {n:,} examples would be needed to see a difference of {points(goal)} points"


def span(interval: Interval) -> str:
    """Return an interval in points."""
    return f"{points(interval.low)} to {points(interval.high)}"


def points(share: float) -> str:
    """Return a share in points: whole ones, but a small one keeps a digit, so that no bound reads 0 that is not."""
    points = share * 100 if abs(share) > 1e-6 else 0.0
    rounded = round(points) if abs(points) >= 9.5 else round(points, 1)
    return f"{rounded:g}" if rounded or not points else f"{points:.1g}"

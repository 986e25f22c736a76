"""Proof: the search that comes after the search; it chooses on dev and decides on test.

Nobody trusts a number from the search: finalists and baselines meet on all of dev, and one paired comparison of
the chosen prompt with the seed on held-out examples is the verdict.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from promptopt.ask import Evaluate, Search
from promptopt.evaluation import Evaluation
from promptopt.example import Dataset, Example, by_hash
from promptopt.layout import slots_of
from promptopt.objective import AS_SCORED, Objective
from promptopt.prompt import Candidate
from promptopt.task import Task
from promptopt.verdict import Verdict, choose, judge_verdict, not_measured

STEP_BY_STEP = "Let's think step by step."
FOLDS = 5


@dataclass(frozen=True, slots=True)
class Finalist:
    """A prompt in the final, with the role it plays, its outcomes on dev, and its length in tokens of four bytes."""

    role: str
    candidate: Candidate
    dev: Evaluation
    tokens: float = 0.0


@dataclass(frozen=True, slots=True)
class Proof:
    """What the final showed.

    Args:
        finalists: The seed first, then the baselines, then what the search recommends.
        chosen: The index of the best on dev.
        seed_test: The seed's outcomes on held-out examples; None if they were not looked at.
        chosen_test: Those of the chosen prompt.
        verdict: The uncorrected verdict of the one comparison.
    """

    finalists: tuple[Finalist, ...]
    chosen: int
    verdict: Verdict
    seed_test: Evaluation | None = None
    chosen_test: Evaluation | None = None

    @property
    def winner(self) -> Candidate:
        """The prompt to use: the chosen one if it is proved better, or if too few examples could speak against it.

        Else the seed.
        """
        keep = self.verdict.is_for_the_winner or self.chosen_test is None or self.verdict.is_open
        return self.finalists[self.chosen if keep else 0].candidate

    @property
    def evaluations(self) -> list[Evaluation]:
        """All evaluations of the final, on dev and on test."""
        test = [self.seed_test, self.chosen_test]
        return [*(finalist.dev for finalist in self.finalists), *filter(None, test)]


def baselines(task: Task) -> dict[str, Candidate]:
    """Return the prompts that every winner must beat: the seed, no instruction, and thinking step by step.

    Where the system text alone may change, as in a suite, they are the seed, no system text, and steps there.
    """
    seed = task.seeds[0]
    entrants = {"seed": Candidate(seed)}
    part = next((part for part in ("instruction", "system") if part in task.editable), None)
    if part:
        old = str(seed.parts.get(part, ""))
        texts = {f"empty {part}": _slots_alone(old, task.fields), "step by step": f"{old} {STEP_BY_STEP}".strip()}
        for role, text in texts.items():
            if text != old:
                entrants[role] = Candidate(seed.replace(**{part: text}), (seed.id,), "baseline")
    return entrants


def _slots_alone(text: str, fields: Iterable[str]) -> str:
    """Return what is left of an instruction without its words: the fields that it shows, a line each."""
    return "\n".join("{" + name + "}" for name in dict.fromkeys(slots_of(text, fields)))


def prove(entrants: Mapping[str, Candidate], task: Task, objective: Objective = AS_SCORED) -> Search[Proof]:
    """Choose among the entrants, the seed first, by the objective, and compare the chosen one with the seed on test.

    Asks:
        One Evaluate on dev (on the search examples where there is no dev), one on test.
    """
    candidates, dataset = tuple(entrants.values()), task.dataset
    tokens = [task.prompt_tokens(candidate.prompt) for candidate in candidates]
    examples = by_hash(dataset.dev or dataset.search)
    dev = (yield from Evaluate(candidates, examples, "dev")).evaluations
    finalists, priced = tuple(map(Finalist, entrants, candidates, dev, tokens)), objective.priced(dev, tokens)
    if not dataset.test:
        chosen = cross_validated(priced, examples, tokens)
        verdict = not_measured(dev[0], dev[chosen])
        return Proof(finalists, chosen, objective.weigh(verdict, tokens[0], tokens[chosen]))
    chosen = choose(priced, tokens)
    pair = candidates[:1] if chosen == 0 else (candidates[0], candidates[chosen])
    test = (yield from Evaluate(pair, by_hash(dataset.test), "test")).evaluations
    verdict = objective.weigh(judge_verdict(test[0], test[-1]), tokens[0], tokens[chosen])
    return Proof(finalists, chosen, verdict, test[0], test[-1])


def cross_validated(
    evaluations: Sequence[Evaluation], examples: Sequence[Example], tokens: Sequence[float] = ()
) -> int:
    """Choose with few examples: the entrant that is best on most leave-one-fold-out sets, ties to the earlier."""
    ordered = [example.id for example in by_hash(examples, "folds")]
    votes = [0] * len(evaluations)
    for fold in range(FOLDS):
        kept = {key for index, key in enumerate(ordered) if index % FOLDS != fold}
        votes[choose([evaluation.on(kept) for evaluation in evaluations], tokens)] += 1
    return votes.index(max(votes))


def calls_needed(n_entrants: int, dataset: Dataset) -> int:
    """Return the most calls that the proof can make."""
    return n_entrants * len(dataset.dev or dataset.search) + 2 * len(dataset.test)

"""The proof of a task without a metric: the chosen prompt against the seed on held-out inputs, by a judge model.

Where only people judge, nothing is asked of them after the search: what they said in it is what is known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from promptopt.ask import Compare, Search
from promptopt.duel import Duel, Preference
from promptopt.evaluation import Evaluation, Outcome
from promptopt.example import Dataset, by_hash
from promptopt.prompt import Candidate
from promptopt.proof import Finalist, Proof
from promptopt.verdict import Verdict, judge_verdict

MOST_INPUTS = 200
CALLS_A_DUEL = 4  # two answers, and the judge in both orders
MEANING = "In points: the share of inputs on which the judge prefers it, less the share on which it prefers the seed."


def duel_calls(dataset: Dataset, *, by_model: bool) -> int:
    """Return the most calls that the proof can make."""
    return CALLS_A_DUEL * min(MOST_INPUTS, len(dataset.test)) if by_model else 0


def prove_by_duels(seed: Candidate, chosen: Candidate, dataset: Dataset, *, by_model: bool) -> Search[Proof]:
    """Compare the chosen prompt with the seed on inputs that the search has not seen.

    Asks:
        One Compare of a judge model, not of people; none where there is no judge model or no test split.
    """
    nothing = Evaluation(seed.id, ()), Evaluation(chosen.id, ())
    finalists = (Finalist("seed", seed, nothing[0]), Finalist("finalist 1", chosen, nothing[1]))
    if seed.id == chosen.id:
        return Proof(finalists[:1], 0, judge_verdict(*nothing))
    if not by_model or not dataset.test:
        why = "there is no test split" if by_model else "people have chosen, and nobody else compares answers"
        return Proof(finalists, 1, Verdict("not measured", f"Not measured on held-out inputs: {why}.", None, 0, 0))
    inputs = by_hash(dataset.test)[:MOST_INPUTS]
    duels = tuple(Duel(seed, chosen, example) for example in inputs)
    answer = yield from Compare(duels, quorum=0, purpose="test")
    # A person may have audited some of them while the study was stopped, but the verdict is the judge's on all.
    by_judge = [p for p in answer.preferences if p.source != "human"]
    said = {p.example_id: p for p in by_judge if {p.left_id, p.right_id} == {seed.id, chosen.id}}
    before, after = (_won(candidate, duels, said) for candidate in (seed, chosen))
    verdict = judge_verdict(before, after)
    if verdict.difference is not None:
        verdict = replace(verdict, sentence=f"{verdict.sentence} {MEANING}")
    return Proof(finalists, 1, verdict, before, after)


def _won(candidate: Candidate, duels: Sequence[Duel], said: Mapping[str, Preference]) -> Evaluation:
    """Return the share won of each duel as if it were a score: 1, a half for a tie, 0, and nothing without a vote."""
    outcomes = []
    for duel in duels:
        preference = said.get(duel.example.id)
        score = None
        if preference is not None and preference.verdict != "skip":
            winner = preference.winner_id
            score = 0.5 if winner is None else float(winner == candidate.id)
        outcomes.append(Outcome(candidate.id, duel.example.id, "ok" if score is not None else "failed", score=score))
    return Evaluation(candidate.id, tuple(outcomes))

"""A store with pairs to label, for tests and pictures of the page: no model and no search."""

from collections.abc import Sequence
from pathlib import Path

from promptopt.ask import Recommend
from promptopt.example import Dataset, Example
from promptopt.layout import chat_layout
from promptopt.prompt import Candidate, Prompt
from promptopt.store.rows import AskRow, DuelRow, OutcomeRow, StudyRow
from promptopt.store.store import Store

NAME = "replies"
TASK = "Answer a customer's question in a friendly, short and correct way."
LAYOUT = chat_layout({"question": "Question"})
PROMPTS = (Prompt.of("Answer the question.", LAYOUT), Prompt.of("Answer briefly and warmly.", LAYOUT))
PAIRS = [(f"question {n}", f"left {n}", f"right {n}") for n in range(12)]
CONFIG = {
    "identity": {
        "description": TASK,
        "judges": {"people": True, "metric": False, "model": None, "criteria": TASK},
        "strategy settings": {"stop_at": 0.9},
    }
}


def stage(path: Path, pairs: Sequence[tuple[str, str, str]], *, quorum: int = 1, name: str = NAME) -> int:
    """Make a study whose open duels show these: question, left and right answer; return its id."""
    examples = tuple(Example({"question": question}, f"target {n}") for n, (question, _, _) in enumerate(pairs))
    dataset = Dataset(name, examples, (), ())
    with Store.open(path) as store:
        store.put_dataset(dataset)
        store.put_prompts(PROMPTS)
        study_id = store.create_study(StudyRow(0, name, CONFIG, "hash", 0, {}, dataset_hash=dataset.hash))
        outcomes, duels = [], []
        for n, (example, (_, *texts)) in enumerate(zip(examples, pairs, strict=True)):
            keys = [f"{name}-{n}-{side}" for side in range(2)]
            outcomes += [
                OutcomeRow(key, prompt.id, example.id, "model", 0, "ok", text, study_id=study_id)
                for key, prompt, text in zip(keys, PROMPTS, texts, strict=True)
            ]
            left, right = (prompt.id for prompt in PROMPTS)
            duels.append(DuelRow(f"{name}{n:05}", "1", 1, n, left, right, example.id, quorum, "open", *keys))
        store.add_outcomes(outcomes, [], [])
        store.open_duels(study_id, duels)
    return study_id


def recommend(path: Path, study_id: int, p_best: float, *, may_stop: bool = False) -> None:
    """Let the search say what it would return now."""
    ask = Recommend(tuple(map(Candidate, PROMPTS)), "utility", (1.0, 0.0), p_best=p_best, may_stop=may_stop)
    with Store.open(path) as store:
        row = AskRow(9, "9", ask.kind, ask.fingerprint(), payload=ask.to_json())
        store.open_asks(study_id, [row])

"""DSPy programs: the real DSPy on a real server whose answers are scripted (a simulated model)."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import pytest

from promptopt.errors import ConfigError, DataError, StudyError, UnknownNameError
from tests.integration.fault_server import Act, FaultServer, answer, failure
from tests.test_docs import blocks

dspy = pytest.importorskip("dspy")


from promptopt.integrations.dspy import PromptOpt  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # DSPy's own

Label = Literal["positive", "negative"]
WORDS: dict[str, Label] = {"good": "positive", "bad": "negative", "fine": "positive", "poor": "negative"}


class Classify(dspy.Signature):  # type: ignore[misc]
    """Classify the review."""

    review: str = dspy.InputField()
    label: Label = dspy.OutputField()


class Steps(dspy.Module):  # type: ignore[misc]
    """Two predictors, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.first = dspy.Predict("review -> summary")
        self.second = dspy.Predict("summary -> label")

    def forward(self, review: str) -> Any:
        return self.second(summary=self.first(review=review).summary)


def rows(n: int = 160) -> list[Any]:
    words = [list(WORDS)[k % 4] for k in range(n)]
    made = [dspy.Example(review=f"Thing {k} was {word}.", label=WORDS[word]) for k, word in enumerate(words)]
    return [row.with_inputs("review") for row in made]


def same(example: Any, prediction: Any, trace: Any = None) -> bool:
    del trace
    return bool(example.label == prediction.label)


def told(name: str, value: str) -> Act:
    return answer(f"[[ ## {name} ## ]]\n{value}\n\n[[ ## completed ## ]]")


def is_lucky(text: str, chance: float) -> bool:
    found = re.search(r"Thing (\d+)", text)
    assert found
    return int(found[1]) * 7919 % 100 < 100 * chance


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """A model that is the more often right the more demonstrations it sees."""

    def script(text: str, attempt: int) -> Act:
        del attempt
        right = next(label for word, label in WORDS.items() if word in text)
        turns = len(served.bodies[-1]["messages"])
        other = next(label for label in WORDS.values() if label != right)
        return told("label", right if is_lucky(text, 0.5 + 0.06 * min(turns - 2, 8)) else other)

    with FaultServer(script) as served:
        yield served


@pytest.fixture
def lm(server: FaultServer) -> Iterator[Any]:
    model = dspy.LM("openai/tiny", api_base=server.url, api_key="none", cache=False, num_retries=0)
    with dspy.context(lm=model):
        yield model


@pytest.fixture
def optimizer(tmp_path: Path) -> Callable[..., PromptOpt]:
    return lambda metric=same, **options: PromptOpt(
        metric, **{"budget": 150, "store": tmp_path / "s.db", "strategy": "demos", **options}
    )


@pytest.mark.usefixtures("lm")
def test_a_program_gets_better_and_the_same_call_again_asks_nothing(
    server: FaultServer, optimizer: Callable[..., PromptOpt]
) -> None:
    program, search = dspy.Predict(Classify), optimizer()
    better = search.compile(program, trainset=rows())
    assert search.result is not None
    assert search.result.verdict.startswith("Better by")
    assert search.result.spend.tokens == 12 * len(server.calls)
    assert program.demos == [], "the student is as it was"
    assert better.demos
    assert all(demo.label == WORDS[demo.review.split()[-1][:-1]] for demo in better.demos)
    asked = len(server.calls)
    again = optimizer()
    assert again.compile(program, trainset=rows()).dump_state() == better.dump_state()
    assert len(server.calls) == asked
    better(review="Thing 500 was good.")
    assert [m["role"] for m in server.bodies[-1]["messages"]].count("assistant") == len(better.demos)


def test_the_page_s_example(lm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dspy, "LM", lambda name: lm)
    lines = "".join(f"{row.review},{row.label}\n" for row in rows())
    Path("reviews.csv").write_text(f"review,label\n{lines}", encoding="utf-8")
    names: dict[str, Any] = {}
    exec(blocks("docs/dspy.md", "python")[0], names)
    assert names["optimizer"].result.verdict.startswith("Better by")
    assert Path("classify.json").exists()


@pytest.mark.usefixtures("lm")
def test_the_instruction_of_one_of_several_predictors(optimizer: Callable[..., PromptOpt], server: FaultServer) -> None:
    def script(text: str, attempt: int) -> Act:
        del attempt
        if "[[ ## review ## ]]" in text:
            return told("summary", text.split("]]")[1].split("\n")[1])
        right = next(label for word, label in WORDS.items() if word in text)
        is_told = len(server.bodies[-1]["messages"][0]["content"]) > 460
        return told("label", right if is_told or is_lucky(text, 0.4) else "unclear")

    server.script = script
    program = Steps()
    program.first.demos = [dspy.Example(review="Fine.", summary="Thing 1 was fine.")]
    search = optimizer(strategy="irace", predictor="second")
    better = search.compile(program, trainset=rows())
    assert search.result is not None
    assert search.result.verdict.startswith("Better by")
    assert better.second.signature.instructions != program.second.signature.instructions
    assert better.first.signature.instructions == program.first.signature.instructions
    assert (better.second.demos, len(better.first.demos)) == ([], 1)


@pytest.mark.usefixtures("lm")
def test_metrics_get_values_of_the_signature_s_types_and_may_tell_why(
    optimizer: Callable[..., PromptOpt], server: FaultServer
) -> None:
    seen: set[type] = set()

    def near(example: Any, prediction: Any, trace: Any = None) -> Any:
        del example, trace
        seen.add(type(prediction.n))
        return dspy.Prediction(score=1 / (1 + abs(prediction.n - 3)), feedback="three is right")

    server.script = lambda text, attempt: told("n", "2")
    numbers = [dspy.Example(text=f"Text {k}.").with_inputs("text") for k in range(60)]
    search = optimizer(near, budget=40)
    search.compile(dspy.Predict("text -> n: int"), trainset=numbers, valset=numbers[:0], testset=numbers[:0])
    assert seen == {int}
    assert search.result is not None
    assert search.result.proof is not None
    assert search.result.proof.finalists[0].dev.mean == 0.5


@pytest.mark.usefixtures("lm")
def test_demonstrations_that_the_program_brings_are_the_seed_s(
    optimizer: Callable[..., PromptOpt], server: FaultServer
) -> None:
    program = dspy.Predict(Classify)
    program.demos = [dspy.Example(review="Lovely thing.", label="positive", augmented=True)]
    search = optimizer(strategy="random", budget=30)
    search.compile(program, trainset=rows())
    first = server.bodies[0]["messages"]
    assert len(first) == 4
    assert "Lovely thing." in first[1]["content"]


@pytest.mark.usefixtures("lm")
def test_braces_in_an_instruction_stay_braces_and_no_thread_is_left(optimizer: Callable[..., PromptOpt]) -> None:
    program = dspy.Predict(Classify.with_instructions("Say of {review} what it is."))
    better = optimizer(lambda *_: 1.0, strategy="random", budget=20).compile(program, trainset=rows())
    assert better.signature.instructions == "Say of {review} what it is.", "all are alike, so the seed stays"
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("dspy")]


@pytest.mark.usefixtures("lm")
def test_what_fails_is_no_wrong_answer(optimizer: Callable[..., PromptOpt], server: FaultServer) -> None:
    server.script = lambda text, attempt: failure(500) if is_lucky(text, 0.05) else told("label", "positive")
    search = optimizer(lambda example, prediction, trace=None: 1.0, strategy="random", budget=60)
    search.compile(dspy.Predict(Classify), trainset=rows())
    assert search.result is not None
    assert search.result.proof is not None
    found = [finalist.dev for finalist in search.result.proof.finalists]
    assert all(evaluation.mean == 1.0 for evaluation in found)
    assert any(evaluation.n_valid < evaluation.n for evaluation in found)
    server.script = lambda text, attempt: failure(401)
    with pytest.raises(StudyError, match=r"calls failed.*LMAuthError"):
        optimizer().compile(dspy.Predict(Classify), trainset=rows())


@pytest.mark.usefixtures("lm")
def test_an_answer_of_another_form_is_a_wrong_one_that_was_paid(
    optimizer: Callable[..., PromptOpt], server: FaultServer
) -> None:
    server.script = lambda text, attempt: told("label", "positive") if is_lucky(text, 0.5) else answer("I like it.")
    search = optimizer(lambda example, prediction, trace=None: 1.0, strategy="random", budget=60)
    search.compile(dspy.Predict(Classify), trainset=rows())
    assert search.result is not None
    assert search.result.proof is not None
    seed = search.result.proof.finalists[0].dev
    assert (seed.n_valid, 0.2 < seed.mean < 0.8) == (seed.n, True)
    assert search.result.spend.tokens == 12 * len(server.calls)


def test_wrong_use_is_one_sentence(optimizer: Callable[..., PromptOpt], lm: Any) -> None:
    del lm
    bare = [dspy.Example(review="a", label="positive")]
    with pytest.raises(DataError, match=r"^train row 1: its inputs are not named; add \.with_inputs"):
        optimizer().compile(dspy.Predict(Classify), trainset=bare)
    with pytest.raises(DataError, match=r"^trainset is empty"):
        optimizer().compile(dspy.Predict(Classify), trainset=[])
    with pytest.raises(ConfigError, match=r"several predictors \(first, second\); say predictor=NAME"):
        optimizer().compile(Steps(), trainset=rows())
    with pytest.raises(UnknownNameError, match="did you mean second"):
        optimizer(predictor="secand").compile(Steps(), trainset=rows())
    with pytest.raises(ConfigError, match=r"^model: a DSPy program brings its own"):
        optimizer(model="openai:x")
    with pytest.raises(ConfigError, match="give an optimizer model"):
        optimizer(strategy="opro").compile(dspy.Predict(Classify), trainset=rows())
    with dspy.context(lm=None), pytest.raises(ConfigError, match="no language model"):
        optimizer().compile(dspy.Predict(Classify), trainset=rows())


@pytest.mark.usefixtures("lm")
def test_the_key_of_a_program_tells_what_decides_its_answers(lm: Any) -> None:
    from promptopt.integrations.dspy import ProgramBackend

    def key(program: Any) -> str:
        with closing(ProgramBackend(program, "self", {}, 1, shows_demos=True)) as backend:
            return backend.model_key

    told_otherwise = dspy.Predict(Classify)
    told_otherwise.signature = told_otherwise.signature.with_instructions("Say what the review is.")
    assert key(told_otherwise) == key(dspy.Predict(Classify)), "instructions stand in the requests"
    assert key(dspy.Predict("review -> label")) != key(dspy.Predict(Classify))
    with dspy.context(lm=lm.copy(temperature=0.7)):
        warmer = key(dspy.Predict(Classify))
    assert warmer != key(dspy.Predict(Classify))
    assert json.dumps(lm.dump_state()).find("none") == -1, "no key is part of it"

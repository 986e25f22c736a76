"""StoreContract: what every kind of store must do; subclass it and give the fixture ``store``.

``filled`` puts the rows into a store that the other tests need; it is also how the sample files of releases are made.
"""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from promptopt.budget import Spend, Usage
from promptopt.errors import StoreError
from promptopt.example import Dataset, Example
from promptopt.layout import completion_layout
from promptopt.prompt import Demo, Prompt
from promptopt.store.rows import AskRow, ConsumedRow, OutcomeRow, ScoreRow, StudyRow, TextRow, TrialRow
from promptopt.store.store import Store

DATASET = Dataset(
    "fruit",
    # Fields out of alphabetical order: their order is shown to models, so it must come back.
    train=tuple(Example({"word": f"fruit {n}", "hint": "é\0\n"}, "apple", ("apple", "pear")) for n in range(6)),
    dev=(Example({"word": "dev"}, "pear", meta={"aliases": ["Birne"]}),),
    test=(Example({"word": "test"}, "pear", task="other"),),
)
LAYOUT = completion_layout({"word": "Word", "hint": "Hint"})
PROMPTS = (
    Prompt.of("Name the fruit.", LAYOUT),
    Prompt.of("Say which fruit it is.", LAYOUT, demos=(Demo.of(DATASET.train[0]),), system="\ud800 half a pair"),
)
METRIC = "exact"
USAGE = Usage(prompt_tokens=10, completion_tokens=2, cached_tokens=4, cost_usd=0.5, seconds=0.1)


def study_row(name: str) -> StudyRow:
    """Return the row of a new study."""
    config = {"strategy": "random", "settings": {"width": 4}}
    return StudyRow(0, name, config, "hash", 7, {"promptopt": "0.1.0"}, dataset_hash=DATASET.hash)


def outcome_rows(study_id: int, prompt: Prompt = PROMPTS[0]) -> list[OutcomeRow]:
    """Return the outcomes of a prompt on the training examples."""
    return [
        OutcomeRow(f"{prompt.id}-{n}", prompt.id, example.id, "model", 0, "ok", f"apple {n}", USAGE, 1, study_id)
        for n, example in enumerate(DATASET.train)
    ]


def score_rows(outcomes: Sequence[OutcomeRow]) -> list[ScoreRow]:
    """Return scores 0, 1, 0, 1, ... of outcomes."""
    return [ScoreRow(row.request_key, METRIC, float(n % 2), "words") for n, row in enumerate(outcomes)]


def consumed_rows(study_id: int, path: str, outcomes: Sequence[OutcomeRow]) -> list[ConsumedRow]:
    """Return that an ask used outcomes."""
    return [ConsumedRow(study_id, path, row.request_key, row.prompt_id) for row in outcomes]


def filled(store: Store, name: str = "first") -> int:
    """Make a study of three asks, two trials and six outcomes, and return its id."""
    store.put_dataset(DATASET)
    store.put_prompts(PROMPTS)
    study_id = store.create_study(study_row(name))
    store.open_asks(study_id, [AskRow(0, "0", "write", "w0"), AskRow(1, "1", "evaluate", "e1")])
    store.add_texts(study_id, "0", [TextRow(0, "Say which fruit it is.", "ok", USAGE, 2)])
    store.answer_ask(study_id, "0", "digest of the texts")
    store.put_trials(study_id, [TrialRow(0, PROMPTS[0].id), TrialRow(1, PROMPTS[1].id, (PROMPTS[0].id,), "edit")])
    outcomes = outcome_rows(study_id)
    store.add_outcomes(outcomes, score_rows(outcomes), consumed_rows(study_id, "1", outcomes))
    store.answer_ask(study_id, "1", "digest of the scores", METRIC)
    ranking = {"ranking": [PROMPTS[0].id]}
    store.open_asks(study_id, [AskRow(2, "2", "recommend", "r2", payload=ranking)])
    return study_id


class StoreContract:
    """What every store must do; the fixture ``store`` gives an empty one, open for writing."""

    @pytest.fixture
    def store(self) -> Store:
        """Return an empty store; overridden by the subclass."""
        raise NotImplementedError

    def test_contents_come_back_equal_and_once(self, store: Store) -> None:
        """Prompts and examples keep content, id and field order; putting them twice changes nothing."""
        for _ in range(2):
            store.put_dataset(DATASET)
            store.put_prompts(PROMPTS)
        examples = [*DATASET.train, *DATASET.dev, *DATASET.test]
        found = store.examples(example.id for example in examples)
        assert list(found.values()) != []
        assert found == {example.id: example for example in examples}
        assert all(list(found[e.id].inputs) == list(e.inputs) and found[e.id].meta == e.meta for e in examples)
        assert store.prompts([prompt.id for prompt in PROMPTS]) == {prompt.id: prompt for prompt in PROMPTS}
        assert store.prompt(PROMPTS[1].id).system == PROMPTS[1].system
        assert store.prompts(["unknown"]) == {}
        with pytest.raises(StoreError, match="no prompt unknown"):
            store.prompt("unknown")

    def test_studies(self, store: Store) -> None:
        """A study is found by name, keeps its settings, and its name is taken."""
        assert store.study("first") is None
        study_id = store.create_study(study_row("first"))
        found = store.study("first")
        assert found is not None
        assert found.created == found.updated != ""
        assert found == replace(study_row("first"), id=study_id, created=found.created, updated=found.updated)
        store.update_study(study_id, state="finished", summary={"verdict": "better"}, budget={"calls": 9})
        store.update_study(study_id)
        changed = store.studies()[0]
        assert (changed.state, changed.summary, changed.budget) == ("finished", {"verdict": "better"}, {"calls": 9})
        assert changed.config == found.config
        with pytest.raises(StoreError, match="already holds a study named 'first'"):
            store.create_study(study_row("first"))
        assert store.create_study(study_row("second")) != study_id
        assert [row.name for row in store.studies()] == ["first", "second"]

    def test_the_journal_is_in_order_and_does_not_change(self, store: Store) -> None:
        """Asks come back by number and path; an answer is given once."""
        study_id = store.create_study(study_row("first"))
        paths = [(0, "0"), (1, "1/2"), (1, "1/10"), (1, "1/10/0"), (12, "12/expand"), (1_000_000, "proof/0")]
        rows = [AskRow(number, path, "evaluate", path, payload=[1, None]) for number, path in reversed(paths)]
        store.open_asks(study_id, rows)
        store.open_asks(study_id, [replace(rows[0], fingerprint="other")])
        journal = store.journal(study_id)
        assert [(ask.number, ask.path) for ask in journal] == paths
        assert [ask.fingerprint for ask in journal] == [path for _, path in paths]
        assert journal[0].payload == [1, None]
        assert (journal[0].state, journal[0].answer, journal[0].answered) == ("open", None, "")
        for _ in range(2):
            store.answer_ask(study_id, "0", "digest", METRIC, {"n": 3})
        ask = store.journal(study_id)[0]
        assert (ask.state, ask.digest, ask.metric_key, ask.answer) == ("answered", "digest", METRIC, {"n": 3})
        assert ask.answered >= ask.opened != ""
        assert store.answered(study_id, ["0", "1/2", "99"]) == {"0"}
        for path in ("0", "99"):
            with pytest.raises(StoreError, match=f"Ask {path} of study {study_id}"):
                store.answer_ask(study_id, path, "another digest", METRIC)

    def test_texts(self, store: Store) -> None:
        """Texts come back by index; a failed one is replaced and still paid."""
        study_id = store.create_study(study_row("first"))
        store.open_asks(study_id, [AskRow(0, "0", "write", "w")])
        failed = TextRow(1, "", "failed", USAGE, 3)
        texts = [TextRow(0, "half \udfff pair, nul \0", "truncated", USAGE), replace(failed, text="b", status="ok")]
        store.add_texts(study_id, "0", [failed])
        store.add_texts(study_id, "0", texts[::-1])
        assert store.texts(study_id, "0") == texts
        assert store.texts(study_id, "1") == []
        assert store.spend(study_id) == Spend(calls=3, tokens=36, usd=1.5)

    def test_outcomes_are_shared_and_the_first_stays(self, store: Store) -> None:
        """Every study finds them; failed ones answer nobody; a second outcome of a key is paid and dropped."""
        study_id = filled(store)
        rows = outcome_rows(study_id)
        keys = [row.request_key for row in rows]
        assert store.find_outcomes([*keys, "unknown"]) == {row.request_key: row for row in rows}
        assert store.find_outcomes([]) == {}
        other = store.create_study(study_row("second"))
        late = replace(rows[0], output="pear", study_id=other, attempts=2)
        broken = replace(rows[1], request_key="failed", status="failed", output="", error="time out", study_id=other)
        store.add_outcomes([late, broken], [ScoreRow(keys[0], "another metric", 1.0)], [])
        assert store.find_outcomes([keys[0], "failed"]) == {keys[0]: rows[0]}
        assert store.scores([keys[0]], "another metric") == {}, "the score is of an output that was dropped"
        assert store.spend(other) == Spend(calls=2, tokens=24, usd=1.0)

    def test_scores_by_metric(self, store: Store) -> None:
        """An outcome has one score a metric; a new metric adds one without an outcome."""
        rows = outcome_rows(filled(store))
        keys = [row.request_key for row in rows]
        assert store.scores(keys, METRIC) == {score.request_key: score for score in score_rows(rows)}
        again = ScoreRow(keys[0], METRIC, 1.0)
        store.add_outcomes([], [again, ScoreRow(keys[0], "f1", 0.25)], [])
        assert store.scores(keys[:1], METRIC)[keys[0]].value == 0.0
        assert store.scores(keys, "f1") == {keys[0]: ScoreRow(keys[0], "f1", 0.25)}

    def test_consumed_outcomes(self, store: Store) -> None:
        """An ask's outcomes come back with their scores under the metric that is named."""
        study_id = filled(store)
        rows = outcome_rows(study_id)
        assert store.consumed(study_id, "1") == sorted(row.request_key for row in rows)
        keys = [row.request_key for row in rows]
        found = store.consumed_outcomes(study_id, "1", METRIC)
        assert found == store.recall([*keys, "unknown"], METRIC)
        assert {key: outcome.score for key, outcome in found.items()} == {
            score.request_key: score.value for score in score_rows(rows)
        }
        assert [(o.prompt_id, o.example_id, o.status, o.output, o.usage) for o in map(found.get, keys) if o] == [
            (row.prompt_id, row.example_id, row.status, row.output, row.usage) for row in rows
        ]
        assert {outcome.score for outcome in store.consumed_outcomes(study_id, "1", "another").values()} == {None}
        alike = ConsumedRow(study_id, "1", rows[0].request_key, PROMPTS[1].id)
        store.add_outcomes([], [], [alike, alike])
        assert store.consumed_outcomes(study_id, "1", METRIC) == found

    def test_failed_outcomes_are_recalled_where_they_are_wanted(self, store: Store) -> None:
        """They say why they failed, and answer nobody who does not ask for them."""
        row = outcome_rows(filled(store))[0]
        failed = replace(row, request_key="failed", status="failed", output="", error="time out")
        store.add_outcomes([failed], [], [])
        assert store.recall(["failed"], METRIC) == {}
        assert store.recall(["failed"], METRIC, failed=True)["failed"].feedback == "time out"

    def test_rows_of_unknown_things_are_refused_whole(self, store: Store) -> None:
        """A batch with one bad row stores nothing of itself."""
        study_id = filled(store)
        before = store.spend(study_id)
        good = replace(outcome_rows(study_id)[0], request_key="new")
        for bad in (replace(good, request_key="bad", prompt_id="x"), replace(good, request_key="bad", example_id="x")):
            with pytest.raises(StoreError, match="put those rows first"):
                store.add_outcomes([good, bad], [], [])
        for path, key in (("1", "unknown"), ("77", "new")):
            with pytest.raises(StoreError, match="rows"):
                store.add_outcomes([good], [], [ConsumedRow(study_id, path, key, good.prompt_id)])
        assert store.find_outcomes(["new", "bad"]) == {}
        assert store.spend(study_id) == before

    def test_trials_and_their_scores(self, store: Store) -> None:
        """Trials are replaced by number; scores count search outcomes once and the proof's never."""
        study_id = filled(store)
        first, second = store.trials(study_id)
        assert (second.parents, second.operator, second.state) == ((PROMPTS[0].id,), "edit", "running")
        store.put_trials(study_id, [replace(second, state="winner", note={"why": "edit"})])
        assert store.trials(study_id) == [first, replace(second, state="winner", note={"why": "edit"})]
        rows = outcome_rows(study_id)
        dev = replace(rows[0], request_key="dev", example_id=DATASET.dev[0].id)
        store.open_asks(study_id, [AskRow(3, "3", "evaluate", "e3", metric_key=METRIC)])
        store.open_asks(study_id, [AskRow(1_000_000, "proof/0", "evaluate", "p", metric_key=METRIC)])
        store.add_outcomes([], [], consumed_rows(study_id, "3", rows[:3]))
        store.add_outcomes([dev], [ScoreRow("dev", METRIC, 1.0)], consumed_rows(study_id, "proof/0", [dev]))
        (scored,) = store.trial_scores(study_id)
        assert (scored.number, scored.prompt_id, scored.mean) == (0, PROMPTS[0].id, 0.5)
        assert scored.standard_error == pytest.approx((0.3 / 6) ** 0.5)
        assert (scored.n_valid, scored.n, scored.calls, scored.tokens, scored.usd) == (6, 6, 6, 72, 3.0)

    def test_spend_grows(self, store: Store) -> None:
        """What is charged adds up, over everything that is paid."""
        study_id = filled(store)
        store.charge(study_id, Spend(seconds=1.5))
        store.charge(study_id, Spend(calls=1, tokens=100, usd=0.25, seconds=0.5))
        assert store.spend(study_id) == Spend(calls=8, tokens=184, usd=3.75, seconds=2.0)

    def test_test_uses_count_studies_and_outlive_them(self, store: Store) -> None:
        """Each study counts once; a deleted one still counts."""
        first, second = (store.create_study(study_row(name)) for name in ("first", "second"))
        assert [store.record_test_use("test hash", first) for _ in range(2)] == [1, 1]
        assert store.record_test_use("test hash", second) == 2
        assert store.record_test_use("other hash", second) == 1
        store.delete_study("second")
        assert store.record_test_use("test hash", store.create_study(study_row("third"))) == 3

    def test_deleting_a_study_keeps_outcomes(self, store: Store) -> None:
        """The journal goes, what all studies share stays."""
        study_id = filled(store)
        store.delete_study("first")
        assert store.study("first") is None
        assert (store.journal(study_id), store.trials(study_id), store.texts(study_id, "0")) == ([], [], [])
        assert store.consumed(study_id, "1") == []
        kept = store.find_outcomes([row.request_key for row in outcome_rows(study_id)])
        assert list(kept.values()) == [replace(row, study_id=None) for row in outcome_rows(study_id)]
        with pytest.raises(StoreError, match="no study named 'first'"):
            store.delete_study("first")
        assert filled(store) != study_id, "ids are never used twice"

    def test_dumps_of_equal_ways_are_equal(self, store: Store) -> None:
        """The dump holds decisions and no times, and ends where the journal ends."""
        first = store.dump(filled(store, "first"))
        assert first.count("\n") == 3
        assert first == store.dump(filled(store, "second"))
        third = filled(store, "third")
        store.add_outcomes([], [], [ConsumedRow(third, "2", f"{PROMPTS[0].id}-0", PROMPTS[0].id)])
        assert store.dump(third) != first

    def test_leases_go_round(self, store: Store) -> None:
        """The holder may take its lease again, renew it and give it back."""
        study_id = store.create_study(study_row("first"))
        for _ in range(2):
            store.acquire_lease(study_id)
        store.renew_lease(study_id)
        store.release_lease(study_id)
        store.release_lease(study_id)
        with pytest.raises(StoreError, match="no study with id 99"):
            store.acquire_lease(99)

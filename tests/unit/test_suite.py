"""Suite: tasks that share the system text, scored by the mean of their means."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import promptopt
from promptopt import api
from promptopt.ask import Evaluate
from promptopt.budget import Budget
from promptopt.config import ModelSpec, StrategySpec, StudySpec, TaskSpec, read_spec
from promptopt.errors import ConfigError
from promptopt.evaluation import Evaluation, Outcome
from promptopt.example import Dataset, Example, by_task
from promptopt.guards import Guards
from promptopt.layout import chat_layout, completion_layout
from promptopt.metric import Score
from promptopt.prompt import Demo, Prompt
from promptopt.report import show_study
from promptopt.setup import open_services
from promptopt.statistics import Interval, macro_difference, mean_of_means, paired_difference
from promptopt.store.store import Store
from promptopt.suite import Suite
from promptopt.task import Decoding, Task
from promptopt.verdict import choose, judge_verdict
from tests.toy import Same, rows, toy_task


class Upper:
    name, key = "upper", "upper-1"

    def score(self, output: str, example: Example) -> Score:
        return Score(float(output == example.target.upper()))

    def check(self, dataset: Dataset) -> None:
        return None


def animals(system: str = "", **changes: object) -> Task:
    words = ("cat", "dog", "crow", "carp")
    made = tuple(Example({"beast": f"{w} no {n}"}, w) for n in range(9) for w in words)
    seed = Prompt.of(
        "Name the animal.", completion_layout({"beast": "Beast"}), system=system, answer_cue="It is a",
        demos=(Demo({"beast": "an old cat"}, "cat"),),
    )  # fmt: skip
    data = Dataset("animals", made[:20], made[20:28], made[28:])
    return replace(
        Task("animals", "", data, Upper(), (seed,), Decoding(max_tokens=3, score_truncated=False)), **changes
    )


def suite() -> Suite:
    return Suite([toy_task(n_test=30), animals()])


def outcome(key: str, task: str, score: float | None) -> Outcome:
    return Outcome("p", key, "ok" if score is not None else "failed", score=score, task=task)


def evaluation(**scores: list[float | None]) -> Evaluation:
    rows = [(f"{task}{n}", task, score) for task, given in scores.items() for n, score in enumerate(given)]
    return Evaluation("p", tuple(outcome(*row) for row in rows))


class TestSuite:
    def test_examples_carry_their_task_and_splits_stay(self) -> None:
        made = suite()
        assert {example.task for example in made.dataset.train} == {"toy", "animals"}
        assert [len(made.dataset.split(split)) for split in ("train", "dev", "test")] == [110, 48, 38]

    def test_every_task_is_in_pool_and_search(self) -> None:
        data = suite().dataset
        assert {e.task for e in data.pool} == {e.task for e in data.search} == {"toy", "animals"}
        sizes = {name: len(group) for name, group in by_task(data.search).items()}
        assert sizes == {"animals": len(animals().dataset.search), "toy": len(toy_task().dataset.search)}

    def test_only_the_system_text_is_shared_and_editable(self) -> None:
        made = suite()
        prompt = made.seeds[0].replace(system="Be careful.")
        example = next(e for e in made.dataset.test if e.task == "animals")
        text = made.template(prompt, "animals").render(example)[0].content
        assert text.startswith("Be careful.\n\nName the animal.\n\nBeast: an old cat\nIt is a cat")
        assert text.endswith("It is a")
        toy = made.template(prompt, "toy").render(made.dataset.search[-1])
        assert [(m.role, m.content.split("\n")[0]) for m in toy] == [
            ("system", "Be careful."), ("user", "Name the colour of the item."),
        ]  # fmt: skip
        assert made.editable == ("system",)
        assert [m.content for m in made.messages(prompt)] == ["Be careful."]

    def test_a_suite_prompt_survives_the_store(self) -> None:
        seed = suite().seeds[0]
        assert Prompt.from_json(json.loads(json.dumps(seed.to_json()))) == seed

    def test_each_task_has_its_own_metric(self) -> None:
        made = suite()
        assert made.metric.name == "macro mean of same, upper"
        assert made.metric.score("CAT", Example({"beast": "x"}, "cat", task="animals")).value == 1
        assert made.metric.score("red", Example({"input": "x"}, "red", task="toy")).value == 1
        assert made.metric.key != Suite([toy_task(), replace(animals(), metric=Same())]).metric.key

    def test_another_decoding_of_a_task_is_another_study(self) -> None:
        other = Suite([toy_task(n_test=30), animals(decoding=Decoding(max_tokens=4))])
        assert suite().identity() != other.identity()
        assert suite().identity()["dataset"] == other.identity()["dataset"]

    def test_fields_of_all_tasks(self) -> None:
        assert suite().fields == ("input", "beast")

    def test_replacing_seeds_keeps_the_rest(self) -> None:
        made = suite()
        more = (*made.seeds, made.seeds[0].replace(system="Think."))
        again = replace(made, seeds=more)
        assert (again.seeds, again.dataset.hash, again.name) == (more, made.dataset.hash, "suite")

    @pytest.mark.parametrize(
        ("tasks", "words"),
        [
            ([], "no tasks"),
            ([toy_task(), toy_task()], "two tasks are called toy"),
            ([toy_task(), animals(system="You are a vet.")], "another system text"),
            ([toy_task(n_test=0), animals()], "toy has no test examples and animals has some"),
            ([suite()], "is a suite itself"),
        ],
    )
    def test_tasks_that_do_not_go_together_are_refused(self, tasks: list[Task], words: str) -> None:
        with pytest.raises(ConfigError, match=words):
            Suite(tasks)


class TestMacroMean:
    def test_each_task_counts_the_same(self) -> None:
        both = evaluation(big=[1.0] * 9 + [0.0], small=[0.0, 0.0])
        assert both.mean == pytest.approx(0.45)
        assert both.of_task("big").mean == 0.9
        assert both.tasks == ("big", "small")

    def test_missing_data_of_one_task_does_not_shift_the_weights(self) -> None:
        assert evaluation(a=[1.0, 1.0, 1.0], b=[0.0, None, None]).mean == 0.5

    def test_the_error_adds_those_of_the_tasks(self) -> None:
        a, b = evaluation(a=[0, 1, 1, 0.5]), evaluation(b=[0.2, 0.9])
        both = evaluation(a=[0, 1, 1, 0.5], b=[0.2, 0.9])
        assert both.standard_error == pytest.approx((a.standard_error**2 + b.standard_error**2) ** 0.5 / 2)

    def test_dev_chooses_by_the_macro_mean(self) -> None:
        first = evaluation(big=[1.0] * 10, small=[0.0, 0.0])
        second = evaluation(big=[1.0] * 8 + [0.0] * 2, small=[1.0, 0.0])
        assert sum(first.scores.values()) > sum(second.scores.values())
        assert choose([first, second]) == 1

    def test_the_verdict_compares_macro_means(self) -> None:
        seed = evaluation(big=[0.0] * 300, small=[1.0] * 60)
        winner = evaluation(big=[1.0] * 60 + [0.0] * 240, small=[0.0] * 12 + [1.0] * 48)
        verdict = judge_verdict(replace(seed, prompt_id="s"), winner)
        assert verdict.difference is not None
        assert verdict.difference.mean == pytest.approx(0.0)
        assert verdict.word == "no reliable improvement"
        assert {name: round(d.mean, 3) for name, d in verdict.tasks.items()} == {"big": 0.2, "small": -0.2}
        assert "of 2 tasks" in verdict.sentence

    def test_a_task_without_answers_leaves_the_verdict_open(self) -> None:
        seed = evaluation(big=[0.0] * 300, small=[None] * 10)
        verdict = judge_verdict(replace(seed, prompt_id="s"), evaluation(big=[1.0] * 300, small=[None] * 10))
        assert verdict.word == "no reliable improvement"


def spec(store: Path, **changes: object) -> StudySpec:
    made = StudySpec(
        model=ModelSpec("simulated:additive?seed=3"), strategy=StrategySpec("sprig-beam"),
        budget=Budget(evaluations=400), name="both", store=str(store),
    )  # fmt: skip
    return replace(made, **changes)


class TestStudy:
    def test_a_study_of_a_suite_reports_each_task(self, tmp_path: Path) -> None:
        store = tmp_path / "s.db"
        result = promptopt.optimize(
            Suite([toy_task(), animals(metric=Same())]), strategy="sprig-beam", budget=400,
            model="simulated:additive?seed=3", store=str(store), name="both",
        )  # fmt: skip
        assert result.state == "finished"
        assert set(result.proof.verdict.tasks) == {"toy", "animals"}
        stored = show_study(str(store), "both")
        assert [row["task"] for row in stored["test"]["seed"]["tasks"]] != []
        assert stored["finalists"][0]["dev"]["tasks"]
        assert {f["role"] for f in stored["finalists"]} >= {"seed", "step by step"}

    def test_the_same_command_shows_the_finished_study(self, tmp_path: Path) -> None:
        store, task = tmp_path / "s.db", Suite([toy_task(), animals(metric=Same())])
        with api.open_study(spec(store), task=task) as study:
            first = study.run()
        with api.open_study(spec(store), task=task) as study:
            again = study.run()
        assert again.to_json()["verdict"] == first.to_json()["verdict"]
        assert again.spend.calls == first.spend.calls

    def test_looks_at_test_count_with_those_of_the_single_tasks(self, tmp_path: Path) -> None:
        store = tmp_path / "s.db"
        single = replace(spec(store), name="alone", strategy=StrategySpec("random"), budget=Budget(evaluations=40))
        with api.open_study(single, task=toy_task()) as study:
            assert study.run().test_use == 1
        with api.open_study(spec(store), task=Suite([toy_task(), animals(metric=Same())])) as study:
            assert study.run().test_use == 2

    def test_a_strategy_that_searches_other_parts_is_refused(self, tmp_path: Path) -> None:
        other = replace(spec(tmp_path / "s.db"), strategy=StrategySpec("irace"))
        with pytest.raises(ConfigError, match="sprig-beam"), api.open_study(other, task=suite()) as study:
            study.run()

    def test_evaluating_a_suite_shows_its_tasks(self, tmp_path: Path) -> None:
        measured = api.evaluate(spec(tmp_path / "s.db"), "dev", task=Suite([toy_task(), animals(metric=Same())]))
        data = measured.to_json()
        assert [row["task"] for row in data["tasks"]] == ["toy", "animals"]
        assert data["mean"] == pytest.approx(sum(row["mean"] for row in data["tasks"]) / 2)
        assert data["classes"] == []

    def test_every_request_has_its_tasks_layout_and_room(self, tmp_path: Path) -> None:
        task = Suite([toy_task(), animals(metric=Same())])
        with api.open_study(spec(tmp_path / "s.db"), task=task) as study:
            evaluator = open_services(study.setup, study.store, study._ledger, study.row.id).evaluator
            examples = [next(e for e in task.dataset.search if e.task == name) for name in ("toy", "animals")]
            requests = [evaluator._request(pair) for pair in evaluator.pairs(Evaluate([_seed(task)], examples))]
        assert [(r.mode, r.max_tokens) for r in requests] == [("chat", 16), ("completion", 3)]
        assert [r.stop for r in requests] == [(), ("\n",)]

    def test_outcomes_of_a_replay_know_their_task(self, tmp_path: Path) -> None:
        task = Suite([toy_task(), animals(metric=Same())])
        with api.open_study(spec(tmp_path / "s.db"), task=task) as study:
            study.run()
            ask = Evaluate([_seed(task)], task.dataset.search[:1] + task.dataset.search[-1:])
            study._journal.answer(9_000, {"x": ask}, lambda done, total: None)
            recorded = open_services(study.setup, study.store, study._ledger, study.row.id).evaluator.recorded("x", ask)
        assert [o.task for o in recorded[0].outcomes] == ["animals", "toy"]


def _seed(task: Task) -> promptopt.Candidate:
    return promptopt.Candidate(task.seeds[0])


class TestFiles:
    def test_a_study_file_names_tasks(self, tmp_path: Path) -> None:
        for name in ("one", "two"):
            lines = [json.dumps({"input": e.inputs["input"] + name, "target": e.target}) for e in rows(0, 120)]
            (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
        (tmp_path / "two.toml").write_text(
            f'[task]\ndata = "{tmp_path}/two.jsonl"\nprompt = "Say the colour."\nmax_tokens = 7\n'
        )
        (tmp_path / "study.toml").write_text(
            f'[task]\ntasks = ["plural", "{tmp_path}/two.toml"]\ntemperature = 0.0\nmax_tokens = 9\n'
        )
        read = read_spec(tmp_path / "study.toml")
        task = api.load_task(read)
        assert isinstance(task, Suite)
        assert [member.name for member in task.members] == ["plural", "two"]
        assert [member.decoding.max_tokens for member in task.members] == [9, 7]
        assert task.seeds[0].parts["two/instruction"] == "Say the colour."

    def test_what_belongs_to_one_task_is_refused_for_all(self) -> None:
        with pytest.raises(ConfigError, match="prompt belongs to one task"):
            api.load_task(StudySpec(task=TaskSpec(tasks=("plural", "antonym"), prompt="Do it.")))

    def test_data_and_tasks_together_are_refused(self) -> None:
        with pytest.raises(ConfigError, match="both data = 'plural' and tasks"):
            TaskSpec(data="plural", tasks=("antonym",))

    def test_the_stored_spec_comes_back(self, tmp_path: Path) -> None:
        with Store.open(tmp_path / "s.db"):
            pass
        from dataclasses import asdict

        from promptopt.config import spec_from_json

        made = StudySpec(task=TaskSpec(tasks=("plural", "antonym")))
        assert spec_from_json(json.loads(json.dumps(asdict(made)))) == made


def test_an_old_layout_of_chat_is_no_part_of_a_suite() -> None:
    assert "layout" not in suite().seeds[0].parts
    assert suite().seeds[0].scope("toy").layout == chat_layout({"input": "Item"})


class TestIntervals:
    PAIRS = ([(0.0, 1.0)] * 9 + [(1.0, 0.0)] * 3 + [(1.0, 1.0)] * 28, [(0.0, 1.0)] * 2 + [(0.0, 0.0)] * 18)

    def test_one_task_has_its_own_interval(self) -> None:
        assert macro_difference(self.PAIRS[:1]) == paired_difference(self.PAIRS[0])
        assert macro_difference([]) == paired_difference([])
        assert mean_of_means([(0.3, Interval(0.1, 0.6))]) == Interval(0.1, 0.6)

    def test_distances_to_the_bounds_add_as_errors_do(self) -> None:
        found = mean_of_means([(0.5, Interval(0.2, 0.9)), (0.1, Interval(-0.3, 0.4))])
        assert found.low == pytest.approx(0.3 - (0.3**2 + 0.4**2) ** 0.5 / 2)
        assert found.high == pytest.approx(0.3 + (0.4**2 + 0.3**2) ** 0.5 / 2)

    def test_the_p_value_agrees_with_the_interval(self) -> None:
        for wins in range(12):
            found = macro_difference([[(0.0, 1.0)] * wins + [(1.0, 1.0)] * 40, self.PAIRS[0]])
            assert (found.p_value < 0.05) == (not found.interval.holds(0.0))

    def test_wins_and_losses_are_those_of_all_tasks(self) -> None:
        found = macro_difference(self.PAIRS)
        assert (found.n, found.wins, found.losses, found.ties) == (60, 11, 3, 46)
        assert found.mean == pytest.approx((6 / 40 + 2 / 20) / 2)


def test_guards_read_every_prompt_of_a_suite() -> None:
    made = suite()
    guards = Guards(seeds=made.seeds, fields=made.fields, rows=made.dataset.search, pool=made.dataset.pool)
    assert guards.refusal(made.seeds[0].replace(system="Be careful.")) == ""
    assert guards.refusal(made.seeds[0].replace(system="See www.example.com first.")).startswith("urls")

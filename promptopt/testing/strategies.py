"""StrategyContract: the tests that every strategy must pass, one for each rule of the contract.

Subclass it, set ``strategy``, and let pytest collect it; nothing else is needed.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import FrozenInstanceError, asdict, fields, replace
from functools import cache
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import pytest

from promptopt.ask import Ask, Compare, Embed, Evaluate, Recommend, Write, Written, outputs_of
from promptopt.example import Example
from promptopt.guards import Guards
from promptopt.ids import canonical_json
from promptopt.landscape import Landscape, uniform
from promptopt.prompt import PARTS, Candidate, Prompt
from promptopt.registry import configure
from promptopt.settings import read_settings, settings_of
from promptopt.statistics import paired_difference
from promptopt.strategy import Context, Estimate, Strategy, asks_of
from promptopt.testing.elsewhere import rerun_elsewhere
from promptopt.testing.replay import SERVED, resume_each, run_whole
from promptopt.testing.simulation import Scorer, Simulation, WriteText, sample_context, simulate
from promptopt.testing.writer import EDITS, scripted_writer

MOST_ASKS = 20_000
PLAN = 120  # long enough for several rounds, short enough for strategies that think hard
PLANS = (40, PLAN, 240)
WORLDS = 30  # in which it is compared with the control


class OnlySeeds(Guards):
    """Refuses every prompt that a search may propose."""

    def refusal(self, prompt: Prompt) -> str:
        """Let the seeds through."""
        return "" if prompt in self.seeds else "made up: it is no seed"


class HalfOfThem(OnlySeeds):
    """Refuses every other prompt."""

    def refusal(self, prompt: Prompt) -> str:
        """Let the seeds and half of the others through."""
        return super().refusal(prompt) if int(prompt.id, 16) % 2 else ""


NO_GUARDS = Guards()


class StrategyContract:
    """The contract of a strategy as tests.

    Attributes:
        strategy: The strategy, in its recommended profile; its class must be importable by name.
        landscape: The made-up world that it searches.
        edits: Sentences that the scripted optimizer model draws from.
        editable: The parts that may change, for it and for the control that it is compared with.
        plan_to_beat_random: Evaluations of each search in that comparison.
        plan_to_stop: Evaluations of the search that is stopped at each of its asks; some fifteen asks are enough.
    """

    strategy: ClassVar[Strategy]
    landscape: ClassVar[Landscape] = Landscape()
    edits: ClassVar[Sequence[str]] = EDITS
    editable: ClassVar[Sequence[str]] = PARTS
    plan_to_beat_random: ClassVar[int] = 600
    plan_to_stop: ClassVar[int] = 60

    def test_is_a_frozen_dataclass_that_declares_itself(self) -> None:
        """Name, version, needs, control and profiles are there, and every profile can be made."""
        assert isinstance(self.strategy, Strategy)
        attribute = "version"
        with pytest.raises(FrozenInstanceError):
            setattr(self.strategy, attribute, "another")
        assert self.strategy.name
        assert self.strategy.version
        assert self.strategy.needs <= {"write", "compare", "embed"}
        for settings in self.strategy.profiles.values():
            type(self.strategy)(**read_settings(type(self.strategy), settings))

    def test_settings_survive_json(self) -> None:
        """Settings written and read back make an equal strategy."""
        data = json.loads(json.dumps(settings_of(self.strategy)))
        assert set(data) == {field.name for field in fields(self.strategy)}  # type: ignore[arg-type]  # a dataclass
        assert type(self.strategy)(**read_settings(type(self.strategy), data)) == self.strategy

    def test_equal_answers_give_equal_asks(self) -> None:
        """Two searches in the same world ask the same."""
        assert self._simulate(PLAN).fingerprints == self._whole(PLAN).fingerprints

    def test_asks_are_the_same_under_another_hash_seed(self) -> None:
        """A child process in which sets and hashes have another order asks the same."""
        cls = type(self.strategy)
        job = {
            "strategy": [cls.__module__, cls.__qualname__, settings_of(self.strategy)],
            "context": [PLAN, list(self.editable)],
            "landscape": asdict(self.landscape),
            "edits": list(self.edits),
        }
        for hash_seed in ("1", "4242"):
            assert rerun_elsewhere(hash_seed, job) == list(self._whole(PLAN).fingerprints)

    def test_recorded_answers_lead_to_the_same_end(self) -> None:
        """A fresh search that is fed any number of the recorded answers goes on as the first one did."""
        whole = self._whole(self.plan_to_stop)
        for length in range(len(whole.asks)):
            resumed = self._simulate(self.plan_to_stop, recorded=whole.answers[:length])
            assert resumed.fingerprints == whole.fingerprints
            assert resumed.answers == whole.answers

    def test_a_study_stopped_anywhere_ends_in_the_same_journal(self) -> None:
        """The golden test of resuming: from each prefix of its journal, the last ask open or answered, to the end."""
        if not self.strategy.needs <= SERVED:
            pytest.skip("a study needs people to answer what this strategy asks")
        with TemporaryDirectory() as folder:
            whole = run_whole(self.strategy, Path(folder), self.plan_to_stop)
            journals = list(resume_each(self.strategy, Path(folder), self.plan_to_stop))
        assert len(journals) > whole.count("\n")  # a stop for each answer and each opening
        assert set(journals) == {whole}

    def test_asks_are_not_empty_and_name_only_what_is_known(self) -> None:
        """Every Evaluate names different prompts and different training rows, and none of its prompts shows one."""
        context = self._context(PLAN)
        for ask in self._whole(PLAN).simple_asks:
            _check_ask(ask, context)

    def test_asks_only_for_what_it_declares(self) -> None:
        """An ask that needs somebody to answer stands in ``needs``."""
        kinds = {Write: "write", Compare: "compare", Embed: "embed"}
        used = {kinds[type(ask)] for ask in self._whole(PLAN).simple_asks if type(ask) in kinds}
        assert used <= asks_of(self.strategy)

    def test_changes_only_editable_parts(self) -> None:
        """Of every prompt asked for, the parts that are kept fixed are those of a seed, byte for byte."""
        editable = ("instruction",)
        context = self._context(PLAN, editable=editable)
        fixed = [{k: v for k, v in seed.to_json().items() if k not in editable} for seed in context.seeds]
        for ask in self._simulate(PLAN, editable=editable).simple_asks:
            for candidate in _candidates(ask):
                assert {k: v for k, v in candidate.prompt.to_json().items() if k not in editable} in fixed

    def test_recommends_after_the_first_answer(self) -> None:
        """When it asks its second question, it has said what it would return."""
        asks = self._whole(PLAN).asks
        questions = [number for number, ask in enumerate(asks) if not isinstance(ask, Recommend)]
        before_second = asks[: questions[1]] if len(questions) > 1 else asks
        assert any(isinstance(ask, Recommend) for ask in before_second)

    def test_never_asks_for_more_than_the_plan(self) -> None:
        """Whatever the plan, the search ends by itself before it is passed, and uses most of what it can."""
        for plan in PLANS:
            simulation = self._whole(plan)
            assert not simulation.overspent
            assert len(simulation.asks) < MOST_ASKS
            assert 0 < simulation.evaluations <= plan

    def test_estimate_covers_what_it_does(self) -> None:
        """The estimate is an upper bound."""
        for plan in PLANS:
            simulation, estimate = self._whole(plan), self.strategy.estimate(self._context(plan))
            assert isinstance(estimate, Estimate)
            assert simulation.evaluations <= estimate.evaluations <= plan
            assert sum(ask.n for ask in simulation.simple_asks if isinstance(ask, Write)) <= estimate.writes
            duels = sum(len(ask.duels) for ask in simulation.simple_asks if isinstance(ask, Compare))
            assert duels <= estimate.duels

    def test_survives_equal_scores(self) -> None:
        """All wrong, all half right, all right: it ends, and recommends."""
        for score in (0.0, 0.5, 1.0):
            assert self._constantly(score).recommendations

    def test_survives_a_length_penalty(self) -> None:
        """Scores less a penalty, which may be below 0, as a study with one tells them: it ends, and recommends."""
        for penalty in (0.05, 3.0):
            simulation = self._simulate(PLAN, scorer=_graded(penalty))
            assert not simulation.overspent
            assert all(math.isfinite(e) for recommend in simulation.recommendations for e in recommend.estimates)

    def test_survives_grades(self) -> None:
        """Scores between 0 and 1, as a judge gives them: it ends, and recommends."""
        assert self._simulate(PLAN, scorer=_graded(0.0)).recommendations

    def test_survives_failures(self) -> None:
        """All calls fail, or every other one does."""
        assert self._constantly(None).recommendations
        scores = cycle([None, 1.0, 0.0])
        assert self._simulate(PLAN, scorer=lambda _candidate, _example: next(scores)).recommendations

    def test_survives_useless_texts(self) -> None:
        """The optimizer model fails, or writes nothing, the same text always, or broken tags and braces."""
        if "write" not in asks_of(self.strategy):
            pytest.skip("it asks for no texts")
        assert self._simulate(PLAN, writer=lambda ask: Written((), ask.n)).recommendations
        for text in (
            "",
            "Same.",
            "<task>Same.</task><text>Same.</text>[Same.]",
            "<task>{input} {{x}} <reason>",
            "{" * 50,
        ):
            assert self._simulate(PLAN, writer=_always(text)).recommendations

    def test_survives_refused_prompts(self) -> None:
        """Guards refuse all prompts but the seeds, or half of them: it ends, and recommends none of them first."""
        for guards in (OnlySeeds(), HalfOfThem()):
            guards = replace(guards, seeds=self._context(PLAN).seeds)
            simulation = self._simulate(PLAN, guards=guards)
            assert not simulation.overspent
            assert not guards.refusal(simulation.best.prompt)

    def test_close_at_any_point_leaves_nothing_behind(self) -> None:
        """A search that is stopped ends at once and asks nothing more."""
        full = self._whole(self.plan_to_stop)
        for stop in range(len(full.asks)):
            search = self.strategy.search(self._context(self.plan_to_stop))
            for answer in (None, *full.answers[:stop]):
                search.send(answer)
            search.close()
            assert next(search, "closed") == "closed"

    def test_numbers_are_finite(self) -> None:
        """No NaN and no infinity in any ask, and every mean lies between 0 and 1."""
        for simulation in (self._whole(PLAN), self._constantly(None), self._constantly(1.0)):
            for ask in simulation.simple_asks:
                canonical_json(ask.payload())
                if isinstance(ask, Recommend):
                    assert ask.ranking
                    assert len(ask.estimates) in (0, len(ask.ranking))
                    assert all(map(math.isfinite, ask.estimates))
                    assert ask.basis != "mean" or all(0 <= estimate <= 1 for estimate in ask.estimates)

    def test_beats_random_where_the_optimum_is_known(self) -> None:
        """Over 30 paired worlds at equal evaluations the 95 % interval of its lead over the control lies above 0.

        The control of strategies that compare is ``random-pairs``, which has the same labeller, else ``random``.
        """
        if self.strategy.control:
            pytest.skip("it is a control itself")
        rival = "random-pairs" if "compare" in self.strategy.needs else "random"
        world = self.landscape, tuple(self.edits), tuple(self.editable), self.plan_to_beat_random
        lead = paired_difference(
            list(zip(_control_accuracies(rival, *world), _true_accuracies(self.strategy, *world), strict=True))
        )
        assert lead.interval.low > 0, lead

    @classmethod
    @cache
    def _whole(cls, plan: int) -> Simulation:
        """Return the search with this plan, which is made once for all tests that only look at it."""
        return cls()._simulate(plan)

    @classmethod
    @cache
    def _constantly(cls, score: float | None) -> Simulation:
        """Return the search in which every answer has this score, likewise."""
        return cls()._simulate(PLAN, scorer=lambda _candidate, _example: score)

    def _context(
        self, plan: int, seed: int = 0, editable: Sequence[str] | None = None, guards: Guards = NO_GUARDS
    ) -> Context:
        context = sample_context(plan, self.editable if editable is None else editable, seed)
        return replace(context, guards=guards)

    def _simulate(
        self,
        plan: int,
        *,
        scorer: Scorer | None = None,
        writer: WriteText | None = None,
        recorded: Sequence[Any] = (),
        **context: Any,
    ) -> Simulation:
        return simulate(
            self.strategy,
            self._context(plan, **context),
            scorer or self.landscape,
            writer or scripted_writer(self.edits),
            max_asks=MOST_ASKS,
            recorded=recorded,
        )


def _candidates(ask: Ask[Any]) -> Sequence[Candidate]:
    """Return the prompts that an ask has scored or compared."""
    return [candidate for evaluate in outputs_of(ask) for candidate in evaluate.candidates]


def _check_ask(ask: Ask[Any], context: Context) -> None:
    if isinstance(ask, Evaluate):
        assert context.fault(ask) == ""
        assert len({candidate.id for candidate in ask.candidates}) == len(ask.candidates)
        assert len({example.id for example in ask.examples}) == len(ask.examples)
    if isinstance(ask, Write):
        assert ask.n >= 1
        assert ask.messages[-1].content.strip()
    if isinstance(ask, Compare):
        assert ask.duels
        assert {duel.example.id for duel in ask.duels} <= {example.id for example in context.search}
    if isinstance(ask, Embed):
        assert ask.texts


def _graded(penalty: float) -> Scorer:
    """Return a grade that differs by prompt and row, less a penalty for each letter of the prompt in thousands."""

    def score(candidate: Candidate, example: Example) -> float:
        length = sum(len(message.content) for message in candidate.prompt.template(("input",)).shared)
        return uniform("grade", candidate.id, example.id) - penalty * length / 1000

    return score


def _always(text: str) -> WriteText:
    return lambda ask: Written((text,) * ask.n)


def _true_accuracies(
    strategy: Strategy, landscape: Landscape, edits: Sequence[str], editable: Sequence[str], plan: int
) -> list[float]:
    """Return how often the prompt that the strategy recommends is right, in each of the paired worlds."""

    def accuracy(world: int) -> float:
        context = sample_context(plan, editable, world)
        its = Landscape(landscape.shape, landscape.seed + world)
        return its.accuracy(simulate(strategy, context, its, scripted_writer(edits, world)).best.prompt, context.search)

    return [accuracy(world) for world in range(WORLDS)]


@cache
def _control_accuracies(rival: str, *world: Any) -> list[float]:
    """Return those of a control, which many strategies are compared with."""
    return _true_accuracies(configure(rival), *world)

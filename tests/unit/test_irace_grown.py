"""What irace can do besides its default: written sentences, groups, drawn proposals, pairs."""

from dataclasses import replace

import pytest

from promptopt.ask import Evaluate, Write, Written
from promptopt.ids import content_hash
from promptopt.landscape import Landscape
from promptopt.testing.replay import resume_each, run_whole
from promptopt.testing.simulation import sample_context, simulate
from promptopt_strategies.consulting import MOST_CHARACTERS
from promptopt_strategies.irace import IRace

HELPFUL = "Count the nouns before you name the kind."


def knowing(candidate, example):
    """Right on nearly all rows where the helpful sentence stands, else on a third of them."""
    quality = 0.95 if HELPFUL in candidate.prompt.instruction else 0.33
    return float(int(content_hash(candidate.id, example.id)[:8], 16) / 0xFFFFFFFF < quality)


def author(*sentences):
    return lambda ask: Written(tuple("".join(f"<sentence>{s}</sentence>" for s in sentences) for _ in range(ask.n)))


def context_with_writer(plan=300, **other):
    return replace(sample_context(plan, **other), answers=frozenset({"write"}))


def writes(result):
    return [ask for ask in result.simple_asks if isinstance(ask, Write)]


class TestWrittenSentences:
    def test_a_sentence_that_helps_is_found_and_kept(self):
        result = simulate(
            IRace(critiques=2), context_with_writer(), knowing, author("Be kind.", HELPFUL, "Name one kind.")
        )
        assert HELPFUL in result.best.prompt.instruction
        effects = {(e.choice, e.level): e for e in result.recommendations[-1].effects if e.level and not e.against}
        assert effects["written 1", HELPFUL].estimate > 0

    def test_they_race_against_the_champion_at_once_each_alone(self):
        result = simulate(IRace(critiques=1), context_with_writer(), knowing, author("One.", "Two.", "Three."))
        asked = next(n for n, ask in enumerate(result.simple_asks) if isinstance(ask, Write))
        race = next(ask for ask in result.simple_asks[asked:] if isinstance(ask, Evaluate))
        added = [c for c in race.candidates if c.operator == "sentence"]
        texts = [c.prompt.instruction for c in added]
        assert len(added) == 3
        assert all(sum(s in text for s in ("One.", "Two.", "Three.")) == 1 for text in texts)

    def test_the_model_is_shown_the_champion_and_its_errors(self):
        asks = writes(simulate(IRace(critiques=1), context_with_writer(), knowing, author("One.")))
        text = asks[0].messages[-1].content
        assert text.count("Right answer:") == 4
        assert "4 different sentences" in text

    def test_it_is_asked_evenly_and_as_often_as_set(self):
        result = simulate(IRace(critiques=3), context_with_writer(600), knowing, author("One."))
        assert len(writes(result)) == 3
        assert IRace(critiques=3).estimate(context_with_writer(600)).writes == 3
        used, at = 0, []
        for ask, answer in result.exchanges:
            if isinstance(ask, Evaluate):
                used = 600 - answer.remaining
            if isinstance(ask, Write):
                at.append(used)
        # never before its share of the plan is used, and soon after; halving comes first
        assert all(wanted <= seen < wanted + 100 for seen, wanted in zip(at, (150, 300, 450), strict=True))

    @pytest.mark.parametrize("context", [sample_context(), context_with_writer(editable=("demos", "layout"))])
    def test_without_a_writer_or_an_instruction_to_change_nobody_is_asked(self, context):
        result = simulate(IRace(critiques=3), context, knowing, author(HELPFUL))
        assert not writes(result)
        assert IRace(critiques=3).estimate(context).writes == 0
        plain = simulate(IRace(), context, knowing)
        assert [ask.fingerprint() for ask in result.asks] == [ask.fingerprint() for ask in plain.asks]

    def test_a_study_stopped_anywhere_ends_in_the_same_journal(self, tmp_path):
        strategy = IRace(critiques=2, leaps=0.2, groups=0.2, pairs=4)
        whole = run_whole(strategy, tmp_path, 60)
        assert "write" in whole
        assert set(resume_each(strategy, tmp_path, 60)) == {whole}

    def test_useless_replies_change_nothing(self):
        long = "x" * (MOST_CHARACTERS + 1)
        for reply in ("", "no tags", f"<sentence>{long}</sentence>", "<sentence> </sentence>"):
            result = simulate(
                IRace(critiques=2), context_with_writer(150), knowing, lambda ask, text=reply: Written((text,))
            )
            assert result.evaluations > 130
            assert not any("written" in effect.choice for effect in result.recommendations[-1].effects)

    def test_braces_in_a_reply_never_become_slots(self):
        result = simulate(IRace(critiques=1), context_with_writer(), knowing, author("Look at {input} twice."))
        prompts = [c.prompt for ask in result.simple_asks if isinstance(ask, Evaluate) for c in ask.candidates]
        written = [prompt for prompt in prompts if "twice" in prompt.instruction]
        assert written
        row = sample_context().search[0]
        shown = "".join(message.content for message in written[0].template(("input",)).render(row))
        assert "Look at {input} twice." in shown


class TestProposals:
    def test_groups_differ_from_the_champion_in_several_choices(self):
        context = sample_context()
        result = simulate(IRace(groups=1.0, group_size=3), context, Landscape(seed=3))
        made = {c.id: c for ask in result.simple_asks if isinstance(ask, Evaluate) for c in ask.candidates}
        groups = [c for c in made.values() if c.operator == "group"]
        assert len(groups) > 5
        for child in groups:
            parent = made[child.parents[0]].prompt
            assert child.prompt.demos == parent.demos
            assert child.prompt.id != parent.id

    def test_leaps_are_drawn_from_the_model(self):
        result = simulate(IRace(leaps=1.0), sample_context(), Landscape(seed=3))
        operators = {c.operator for ask in result.simple_asks if isinstance(ask, Evaluate) for c in ask.candidates}
        assert "draw" in operators
        assert "mutate" not in operators

    @pytest.mark.parametrize("settings", [{"pairs": 6}, {"pairs": 6, "leaps": 0.5}])
    def test_other_models_use_the_plan_too(self, settings):
        result = simulate(IRace(**settings), sample_context(300), Landscape(seed=3))
        assert not result.overspent
        assert result.evaluations > 280

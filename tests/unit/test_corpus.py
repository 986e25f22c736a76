"""The corpus of components: its size, its classes, its grammar, and what is left out of it by default."""

import re
from itertools import combinations

import pytest

from promptopt_strategies.corpus import KINDS, load_corpus
from promptopt_strategies.rewording import reworded

ALL = load_corpus(risky=True)
SAFE = load_corpus()


def words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"[a-z']+", text.lower()))


def test_it_has_306_components_in_nine_classes_and_some_risky_ones() -> None:
    assert len(SAFE) == 306
    assert len(ALL) == 340
    assert {component.kind for component in ALL} == set(KINDS)
    assert len(KINDS) == 9


def test_risky_ones_are_off_by_default() -> None:
    risky = set(ALL) - set(SAFE)
    assert {component.kind for component in risky} == {"role", "emotion", "scenario", "jailbreak"}
    assert not any(component.kind == "jailbreak" for component in SAFE)
    threats = re.compile(r"switched off|punish|dollars|physician|attorney|no restrictions|deletion", re.IGNORECASE)
    assert not any(threats.search(component.text) for component in SAFE)
    assert sum(bool(threats.search(component.text)) for component in risky) >= 7


def test_classes_can_be_switched_off() -> None:
    assert {component.kind for component in load_corpus(("style", "safety"))} == {"style", "safety"}
    assert load_corpus(()) == ()


def test_no_component_stands_twice_nor_nearly_so() -> None:
    texts = [component.text for component in ALL]
    assert len({" ".join(sorted(words(text))) for text in texts}) == len(texts)
    for left, right in combinations(texts, 2):
        a, b = words(left), words(right)
        assert len(a & b) / len(a | b) < 0.8, (left, right)


@pytest.mark.parametrize("component", ALL, ids=lambda component: component.text[:40])
def test_each_is_one_sentence_of_plain_text(component) -> None:
    assert re.fullmatch(r"[A-Z][A-Za-z0-9 ,;:'-]+\.", component.text)
    assert 3 <= len(component.text.split()) <= 20
    assert "  " not in component.text


def test_the_classes_differ_in_their_openings() -> None:
    openings = {component.text.split()[0] for component in SAFE}
    assert len(openings) > 60


def test_other_wordings_exist_offline_for_most_and_stay_sentences() -> None:
    found = {component.text: reworded(component.text) for component in SAFE}
    assert sum(map(bool, found.values())) > len(SAFE) / 2
    for text, others in found.items():
        assert text not in others
        assert all(re.fullmatch(r"[A-Z].*\.", other) for other in others)
        assert not any(re.search(r"\bBe (a|an|the)\b", other) for other in others)

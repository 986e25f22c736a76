"""Whatever stands in output and target: scores lie in [0, 1], and the target itself is right."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptopt.example import Dataset, Example
from promptopt.metrics import metric_names, open_metric
from promptopt.metrics.rules import RULES

TEXTS = st.text(st.one_of(st.characters(), st.sampled_from("ab .,(){}[]\"'\\$-*\n0123456789<>")), max_size=40)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXTS)
OBJECTS = st.dictionaries(TEXTS, st.one_of(SCALARS, st.lists(SCALARS, max_size=2)), min_size=1, max_size=3)
NUMBERS = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False)).map(str)
RULE_LISTS = st.lists(
    st.sampled_from([name for name, rule in RULES.items() if rule.__code__.co_argcount == 1]), min_size=1, max_size=3
).map(lambda names: json.dumps([{"id": name} for name in names]))

TARGETS = {"json-fields": OBJECTS.map(json.dumps), "numeric": NUMBERS, "constraints": RULE_LISTS}
PLAIN = sorted(set(metric_names()) - {"constraints"})


def fits(metric, example):
    return not metric.misfit(example)


@pytest.mark.parametrize("name", metric_names())
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_scores_lie_between_0_and_1(name, data):
    metric = open_metric(name)
    target = data.draw(TARGETS.get(name, TEXTS.filter(str.strip)))
    others = tuple(data.draw(st.lists(TEXTS, max_size=3)))
    example = Example({"input": ""}, target, (target, *others), {"aliases": list(others)})
    score = metric.score(data.draw(TEXTS), example)
    assert 0.0 <= score.value <= 1.0
    assert (score.feedback == "right") == (score.value == 1.0)


@pytest.mark.parametrize("name", PLAIN)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_the_target_itself_is_right(name, data):
    metric = open_metric(name)
    target = data.draw(TARGETS.get(name, TEXTS.filter(str.strip)))
    example = Example({"input": ""}, target, (target,))
    if fits(metric, example):
        assert metric.score(target, example).value == 1.0


@settings(max_examples=60, deadline=None)
@given(
    labels=st.lists(st.sampled_from(["x", "not x", "(A)", "(B)", "7", "17", "yes", "no way"]), min_size=1, unique=True)
)
def test_each_label_is_told_from_all_others(labels):
    metric = open_metric("multiple-choice")
    for said in labels:
        scores = {label: metric.score(said, Example({"input": ""}, label, tuple(labels))).value for label in labels}
        assert scores == {label: float(label == said) for label in labels}


@settings(max_examples=30, deadline=None)
@given(targets=st.lists(TEXTS.filter(str.strip), min_size=1, max_size=5))
def test_check_accepts_just_what_can_be_scored(targets):
    rows = tuple(Example({"input": str(i)}, target) for i, target in enumerate(targets))
    for name in ("exact-match", "f1", "math", "contains-any"):
        metric = open_metric(name)
        if all(fits(metric, row) for row in rows):
            metric.check(Dataset("d", rows))

"""Each metric on outputs as models write them."""

import functools
import math
import sys

import pytest

from promptopt.errors import ConfigError, DataError, MetricError, UnknownNameError
from promptopt.example import Dataset, Example
from promptopt.metric import Score, score_by
from promptopt.metrics import CallableMetric, metric_names, open_metric, suggest_metric
from tests.toy import Same

LETTERS = ("(A)", "(B)", "(C)")


def example(target, choices=(), **meta):
    return Example({"input": "?"}, target, tuple(choices), meta)


def value(metric, output, target, choices=(), **meta):
    name, settings = metric if isinstance(metric, tuple) else (metric, {})
    return open_metric(name, **settings).score(output, example(target, choices, **meta)).value


def dataset(targets, choices=()):
    return Dataset("d", tuple(Example({"input": str(i)}, t, tuple(choices)) for i, t in enumerate(targets)))


@pytest.mark.parametrize(
    ("output", "right"),
    [
        ("positive", "positive"),
        ("Positive.", "positive"),
        ("It is not negative but **POSITIVE**", "positive"),
        ("positive or negative", "negative"),
        ("positively bad", None),
        ("", None),
    ],
)
def test_multiple_choice_takes_the_last_whole_label(output, right):
    for label in ("positive", "negative"):
        assert value("multiple-choice", output, label, ("positive", "negative")) == (label == right)


@pytest.mark.parametrize(
    ("output", "target", "choices"),
    [
        ("not sexist", "not sexist", ("sexist", "not sexist")),
        ("They are Not  the\nsame.", "not the same", ("same", "not the same")),
        ("non-entailment", "non-entailment", ("entailment", "non-entailment")),
        ("It is invalid", "invalid", ("valid", "invalid")),
        ("10", "10", ("1", "10")),
        ("0.5 or 5", "5", ("5", "0.5")),
        ("the price is -1", "-1", ("1", "-1")),
        ("C++", "C++", ("C", "C++")),
        ("这是正面评价", "正面", ("正面", "负面")),
        ("not_x", "not_x", ("x", "not_x")),
    ],
)
def test_a_longer_label_wins_over_one_inside_it(output, target, choices):
    assert value("multiple-choice", output, target, choices) == 1.0


@pytest.mark.parametrize(
    ("output", "letter"),
    [
        ("A", "(A)"),
        ("b", "(B)"),
        ("(a)", "(A)"),
        ("B) Paris", "(B)"),
        ("A. A dog is an animal", "(A)"),
        ("Answer: c", "(C)"),
        ("The answer is A because it fits", "(A)"),
        ("I thought (A) but it is [B].", "(B)"),
        ("Option C: yes", "(C)"),
        ("A bank is a place, and I like it", None),
        ("It's a dog.", None),
    ],
)
def test_a_letter_is_told_from_the_article(output, letter):
    for label in LETTERS:
        assert value("multiple-choice", output, label, LETTERS) == (label == letter)


def test_an_alias_is_a_right_choice():
    assert value("multiple-choice", "False", "not the same", ("same", "not the same"), aliases=["false", "no"]) == 1.0


def test_case_counts_where_it_is_asked_for():
    assert value(("multiple-choice", {"fold_case": False}), "Yes", "yes", ("yes", "no")) == 0.0
    assert value(("exact-match", {"fold_case": False}), "Yes", "yes") == 0.0


def test_the_feedback_says_what_was_expected_and_found():
    metric = open_metric("multiple-choice")
    known = example("positive", ("positive", "negative"))
    assert metric.score("Great!", known).feedback == "expected 'positive', found no choice in 'Great!'"
    assert metric.score("negative", known).feedback == "expected 'positive', found 'negative' in 'negative'"
    known = example("wolves", aliases=["wolfs"])
    assert open_metric("exact-match").score("wolf", known).feedback == "expected 'wolves' (or 'wolfs'), found 'wolf'"


@pytest.mark.parametrize(
    ("output", "right"),
    [
        ("Tungsten", 1),
        (" tungsten. ", 1),
        ("Let me see.\n\ntungsten", 1),
        ("The answer is tungsten.\nI hope that helps.", 1),
        ("**Answer:** tungsten", 1),
        ("#### tungsten", 1),
        ("tungsten steel", 0),
        ("", 0),
    ],
)
def test_exact_match(output, right):
    assert value("exact-match", output, "tungsten") == right


def test_exact_match_reads_as_little_as_it_is_told():
    assert value(("exact-match", {"take": "all"}), "So:\nx", "x") == 0.0
    assert value(("exact-match", {"take": "last-line"}), "Answer: y\nx", "x") == 1.0
    assert value("exact-match", "first\nsecond", "first\nsecond") == 1.0
    assert value(("exact-match", {"drop_final_dot": False}), "x.", "x") == 0.0


@pytest.mark.parametrize(
    ("output", "target", "right"),
    [
        ("so 1,234 apples", "1234", 1),
        ("$1,234.50.", "1234.5", 1),
        ("-$5", "-5", 1),
        ("5 - 3 = 2", "2", 1),
        ("from 10-15", "15", 1),
        ("it is −114", "-114", 1),
        ("50%", "50", 1),
        ("3e2", "300", 1),
        ("72.0000000001", "72", 1),
        ("8 eggs #### 8", "so 4+4 #### 8", 1),
        ("1 or 2", "1", 0),
        ("eight", "8", 0),
        ("9" * 400, "5", 0),
    ],
)
def test_numeric(output, target, right):
    assert value("numeric", output, target) == right


@pytest.mark.parametrize(
    ("output", "target"),
    [
        (r"So $x=\frac12$.", r"\frac{1}{2}"),
        (r"\boxed{0.5}", r"\dfrac{1}{2}"),
        (r"Thus \boxed{\frac{3}{4}} and then more", r"\frac34"),
        (r"The answer is $\boxed{1{,}000}$", "1000"),
        (r"Answer: $(-\tfrac32, 6)$", r"(-\frac{3}{2},6)"),
        (r"\boxed{72}", r"72^\circ"),
        (r"\boxed{6}", r"\$6"),
        (r"11\sqrt{2}", r"11\sqrt2"),
        (r"\boxed{\begin{pmatrix}3/5\\57/5\end{pmatrix}}", r"\begin{pmatrix} 3/5 \\ 57/5 \end{pmatrix}"),
        (r"\boxed{\left[5,5\sqrt{2}\right]}", r"[5,5 \sqrt{2}]"),
        ("x = 5", "5"),
        ("-1/2", r"-\frac{1}{2}"),
    ],
)
def test_math_compares_values_and_spellings(output, target):
    assert value("math", output, target) == 1.0


def test_math_keeps_apart_what_differs():
    assert value("math", r"\boxed{3}", "4") == 0.0
    assert value("math", "(1,000,2)", "(1000,2)") == 0.0
    assert value("math", r"\frac{1}{0}", "1") == 0.0
    assert value("math", r"\boxed{4", "4") == 0.0


def test_contains_any_wants_whole_words():
    assert value("contains-any", "the season's end", "season") == 0.0
    assert value("contains-any", "any season, really", "season") == 1.0
    assert value("contains-any", "seasonal", "season") == 0.0
    assert value("contains-any", "Time of year", "season", aliases=["time of year"]) == 1.0


def test_set_match_ignores_order_and_tells_the_difference():
    assert value("set-match", "Goat, bat.", "bat, goat") == 1.0
    score = open_metric("set-match").score("bat, taxi", example("bat, goat"))
    assert score == Score(0.0, "expected 'bat, goat', missing 'goat', too many 'taxi'")


def test_f1_counts_tokens_in_common():
    assert value("f1", "The mall!", "mall") == 1.0
    assert value("f1", "Westland Mall in Texas", "Westland Mall") == pytest.approx(2 / 3)
    assert value("f1", "yes it is", "yes") == 0.0
    assert value("f1", "", "the") == 0.0
    assert value("f1", "The", "the") == 1.0
    assert value("f1", "red", "blue", aliases=["red"]) == 1.0


def test_rouge_l_follows_the_order_of_words():
    assert value("rouge-l", "a b c d", "a b c d") == 1.0
    assert value("rouge-l", "a b d c", "a b c d") == pytest.approx(0.75)
    assert value("rouge-l", "доброе утро", "Доброе утро!") == 1.0
    assert value("rouge-l", "", "x") == 0.0


def test_rouge_l_without_its_library_says_how_to_get_it(monkeypatch):
    from promptopt.metrics import overlap

    monkeypatch.setitem(sys.modules, "rouge_score.rouge_scorer", None)
    overlap._rouge_scorer.cache_clear()
    with pytest.raises(ConfigError, match=r'pip install -e "\.\[rouge\]"'):
        open_metric("rouge-l").check(dataset(["x"]))
    overlap._rouge_scorer.cache_clear()


@pytest.mark.parametrize(
    ("output", "share"),
    [
        ('{"name": "Kim", "day": "Friday"}', 1.0),
        ('Here:\n```json\n{"day": "friday ", "name": "Kim", "more": 1}\n```', 1.0),
        ('{oops {"name": "Kim"}', 0.5),
        ('{"name": "Lee", "day": ["Friday"]}', 0.0),
        ("[1, 2]", 0.0),
        ("Kim", 0.0),
    ],
)
def test_json_fields(output, share):
    assert value("json-fields", output, '{"name": "Kim", "day": "Friday"}') == share


def test_json_fields_compares_by_value():
    target = '{"n": 5, "ok": true, "of": {"a": [1, "x"]}}'
    assert value("json-fields", '{"n": 5.0, "ok": true, "of": {"a": [1, "X"]}}', target) == 1.0
    assert value("json-fields", '{"n": "5", "ok": 1, "of": {}}', target) == pytest.approx(1 / 3)
    feedback = open_metric("json-fields").score('{"n": 4}', example('{"n": 5, "day": "x"}')).feedback
    assert feedback == "'n': expected '5', found '4'; the field 'day' is missing, expected 'x'"


def test_unknown_names_offer_the_nearest():
    with pytest.raises(UnknownNameError, match=r"no metric named 'exactmatch'; did you mean exact-match"):
        open_metric("exactmatch")
    with pytest.raises(UnknownNameError, match=r"no setting of f1 named 'fold'; did you mean fold_case\?"):
        open_metric("f1", fold=True)


def test_wrong_settings_are_refused():
    with pytest.raises(ConfigError, match=r"f1: fold_case = 'yes' must be a bool\."):
        open_metric("f1", fold_case="yes")
    with pytest.raises(ConfigError, match="take = 'first' must be one of all, last-line, after-cue"):
        open_metric("f1", take="first")


def test_code_is_never_run():
    with pytest.raises(ConfigError, match="code-exec would run code that a model wrote"):
        open_metric("code-exec")


def test_keys_change_with_name_and_settings():
    keys = {open_metric(name).key for name in metric_names()}
    assert len(keys) == len(metric_names()) == 10
    assert open_metric("f1").key == open_metric("f1").key != open_metric("f1", fold_case=False).key


@pytest.mark.parametrize(
    ("metric", "targets", "choices", "sentence"),
    [
        ("numeric", ["1", "two"], (), r"d: train row 2 has the target 'two', but numeric needs one number in it and"),
        ("numeric", ["1", "3/4"], (), r"there are 2; correct the row or use the metric exact-match\."),
        ("multiple-choice", ["x", "y"], (), r"row 1 .* needs to know the choices"),
        ("multiple-choice", ["x", "z"], ("x", "y"), r"row 2 .* its choices are x, y; correct the row\."),
        ("json-fields", ["{}"], (), r"needs a JSON object with at least one field"),
        ("constraints", ["none"], (), r"it is no JSON list of rules"),
        ("constraints", ['[{"id": "a:b"}]'], (), r'holds \{"id": "a:b"\}, which is no rule; known: change_case'),
        ("constraints", ['[{"id": "startend:end_checker"}]'], (), r"other settings than it has: missing"),
        ("exact-match", [" "], (), r"needs one that is not empty"),
        ("set-match", [","], (), r"needs at least one item"),
    ],
)
def test_targets_that_do_not_fit_are_refused(metric, targets, choices, sentence):
    with pytest.raises(DataError, match=sentence):
        open_metric(metric).check(dataset(targets, choices))


def test_targets_that_fit_pass():
    open_metric("numeric").check(dataset(["1", "-2.5", "1,000"]))
    open_metric("multiple-choice", choices=("x", "y")).check(dataset(["x", "Y."]))


@pytest.mark.parametrize(
    ("targets", "choices", "name"),
    [
        (["yes", "no"] * 10, (), "multiple-choice"),
        (["x"], ("x", "y"), "multiple-choice"),
        (["1", "2", "3"] * 9, (), "multiple-choice"),
        ([str(n) for n in range(20)] * 5, (), "numeric"),
        (['{"a": 1}', '{"b": 2}'], (), "json-fields"),
        ([f"word {n}" for n in range(20)], (), "exact-match"),
        ([f"a rather long answer of many words number {n}" for n in range(20)], (), "f1"),
        ([], (), "exact-match"),
    ],
)
def test_suggest_metric(targets, choices, name):
    assert suggest_metric(dataset(targets, choices)) == name


def half(output, known):
    return 0.5


def test_a_function_becomes_a_metric():
    known = example("x")
    assert CallableMetric(lambda output, e: output == e.target, "same").score("x", known) == Score(1.0)
    assert CallableMetric(lambda output, e: Score(0.25, "poor"), "judge").score("", known) == Score(0.25, "poor")
    assert CallableMetric(half, "half").key == CallableMetric(half, "half").key
    assert CallableMetric(half, "half").key != CallableMetric(half, "other").key
    assert CallableMetric(functools.partial(half), "half").key == CallableMetric(half, "half").key


def at_least(share):
    return lambda output, e: output.count(e.target) >= share


def keep(share, output, e):
    return float(len(output) < share)


def in_a_shell(body):
    names = {}
    exec(f"def mine(output, e):\n    return {body}", names)  # a shell keeps no source either
    return names["mine"]


@pytest.mark.parametrize(
    ("one", "same", "other"),
    [
        (at_least(0.5), at_least(0.5), at_least(0.9)),
        (functools.partial(keep, 3), functools.partial(keep, 3), functools.partial(keep, 4)),
        (in_a_shell("output in {'a', 'b'}"), in_a_shell("output in {'b', 'a'}"), in_a_shell("output in {'a', 'c'}")),
        (in_a_shell("[x for x in output] == ['a']"), in_a_shell("[x for x in output] == ['a']"), in_a_shell("1.0")),
    ],
)
def test_functions_that_score_differently_have_other_keys(one, same, other):
    keys = [CallableMetric(function, "m").key for function in (one, same, other)]
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize("wrong", [1.5, -0.1, math.nan, math.inf])
def test_a_function_out_of_range_is_refused(wrong):
    with pytest.raises(MetricError, match=r"the metric m gave .*, which is not from 0 to 1; scale it \(example"):
        score_by(CallableMetric(lambda output, e: wrong, "m"), "out", example("x"))


def test_a_function_that_returns_no_number_is_refused():
    with pytest.raises(MetricError, match="returned str and not a number"):
        CallableMetric(lambda output, e: "good", "m").score("out", example("x"))


def test_a_function_that_raises_is_named():
    known = example("x")
    with pytest.raises(
        MetricError, match=rf"m raised ZeroDivisionError.*example {known.id[:8]}, output 'out'"
    ) as caught:
        score_by(CallableMetric(lambda output, e: 1 / 0, "m"), "out", known)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize(("given", "kept"), [(1, "1.0"), (True, "1.0"), (0, "0.0"), (-0.0, "0.0")])
def test_a_score_is_kept_as_the_store_gives_it_back(given, kept):
    metric = CallableMetric(lambda output, example: Score(given), "own")
    assert repr(score_by(metric, "red", example("red")).value) == kept


class Wordy(Same):
    """Says how good an output is in words."""

    def score(self, output, example):
        return Score("high")


def test_a_score_that_is_no_number_is_named():
    with pytest.raises(MetricError, match=r"same raised ValueError: could not convert .*'high'"):
        score_by(Wordy(), "red", example("red"))

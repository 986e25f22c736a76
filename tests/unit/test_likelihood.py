import math
from collections.abc import Callable, Mapping, Sequence

from promptopt.backends.likelihood import MAX_QUESTIONS, Top, best_of, weigh


class Tree:
    """What comes next after each stem, in probabilities; counts the questions."""

    def __init__(self, nexts: Mapping[str, Mapping[str | bytes, float]]) -> None:
        self.nexts = nexts
        self.asked: list[str] = []

    def __call__(self, stem: str) -> Top:
        self.asked.append(stem)
        tokens = self.nexts.get(stem, {}).items()
        return [(token.encode() if isinstance(token, str) else token, math.log(p)) for token, p in tokens]


def likeliest(choices: Sequence[str], ask: Callable[[str], Top]) -> str | None:
    return best_of(weigh(choices, ask))


def test_different_first_tokens_take_one_question() -> None:
    tree = Tree({"": {" positive": 0.2, " negative": 0.1, " the": 0.6, "": 0.1}})
    assert likeliest(("negative", "positive"), tree) == "positive"
    assert tree.asked == [""]


def test_both_forms_and_all_ways_of_cutting_count() -> None:
    tree = Tree({"": {" yes": 0.3, "no": 0.2, " no": 0.05, "n": 0.1}, "n": {"o": 0.9}})
    assert likeliest(("yes", "no"), tree) == "no"
    assert tree.asked == ["", "n"]


def test_a_shared_stem_is_looked_behind() -> None:
    tree = Tree({"": {" s": 0.5, " ham": 0.3}, " s": {"pam": 0.3, "ports": 0.65}})
    assert likeliest(("spam", "sports", "ham"), tree) == "sports"
    assert tree.asked == ["", " s"]


def test_a_small_stem_that_changes_nothing_is_left_alone() -> None:
    tree = Tree({"": {" positive": 0.4, " negative": 0.2, " neg": 0.1}})
    assert likeliest(("positive", "negative"), tree) == "positive"
    assert tree.asked == [""]


def test_a_choice_that_begins_another() -> None:
    choices = ("1", "10", "2")
    assert likeliest(choices, Tree({"": {"1": 0.6, "2": 0.3}, "1": {"0": 0.9, "\n": 0.1}})) == "10"
    assert likeliest(choices, Tree({"": {"1": 0.6, "2": 0.3}, "1": {"0": 0.1, "\n": 0.9}})) == "1"
    assert likeliest(choices, Tree({"": {"1": 0.6, "2": 0.3}, "1": {"0": 0.5, "\n": 0.5}})) in ("1", "10")


def test_half_characters() -> None:
    head = "是".encode()[:2]
    assert likeliest(("是", "no"), Tree({"": {head: 0.5, "no": 0.2}})) == "是"
    assert likeliest(("是", "昰", "no"), Tree({"": {head: 0.5, "no": 0.2}})) == "no"


def test_none_of_them() -> None:
    assert likeliest(("a", "b"), Tree({"": {"c": 0.9}})) is None
    assert likeliest(("a", "b"), Tree({})) is None


def test_the_questions_are_bounded() -> None:
    long = "x" * 40
    tree = Tree({"x" * n: {"x": 1.0} for n in range(40)})
    assert likeliest((long, "y"), tree) is None
    assert len(tree.asked) == MAX_QUESTIONS

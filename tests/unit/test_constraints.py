"""The checkable rules: each one told from its breach."""

import json

import pytest

from promptopt.example import Example
from promptopt.metrics import open_metric
from promptopt.metrics.language import LANGUAGES, is_language
from promptopt.metrics.rules import RULES, count_sentences


def example(target):
    return Example({"input": "?"}, target)


def value(metric, output, target):
    name, settings = metric if isinstance(metric, tuple) else (metric, {})
    return open_metric(name, **settings).score(output, example(target)).value


def rules(*items):
    return json.dumps([{"id": name, "kwargs": kwargs} for name, kwargs in items])


def test_constraints_give_the_share_of_rules_followed():
    target = rules(("punctuation:no_comma", {}), ("startend:quotation", {}))
    assert value("constraints", '"a b"', target) == 1.0
    assert value("constraints", "a b", target) == 0.5
    assert value(("constraints", {"strict": True}), "a b", target) == 0.0
    assert value("constraints", "  ", target) == 0.0
    feedback = open_metric("constraints").score("a, b", example(target)).feedback
    assert feedback == "not followed: punctuation:no_comma; startend:quotation"


RULE_CASES = {
    "change_case:capital_word_frequency": [
        ({"capital_frequency": 2, "capital_relation": "at least"}, "I AM here", "I am here")
    ],
    "change_case:english_capital": [({}, "THE END OF IT", "The end of it")],
    "change_case:english_lowercase": [({}, "the end of it", "The end of it")],
    "combination:repeat_prompt": [({"prompt_to_repeat": "Say hi."}, "Say hi. Hi", "Hi")],
    "combination:two_responses": [({}, "one\n******\ntwo", "one\n******\none"), ({}, "a****** b******", "one")],
    "detectable_content:number_placeholders": [({"num_placeholders": 2}, "[name] at [place]", "[name]")],
    "detectable_content:postscript": [
        ({"postscript_marker": "P.S."}, "Bye\nP.S. hello", "Bye"),
        ({"postscript_marker": "P.P.S"}, "Bye\nP.P.S hello", "Bye P.S. x"),
    ],
    "detectable_format:constrained_response": [({}, "My answer is yes.", "Yes.")],
    "detectable_format:json_format": [({}, '```json\n{"a": 1}\n```', "{a}")],
    "detectable_format:multiple_sections": [
        ({"num_sections": 2, "section_spliter": "Section"}, "Section 1\na\nSection 2\nb", "Section 1\na")
    ],
    "detectable_format:number_bullet_lists": [
        ({"num_bullets": 2}, "List:\n* a\n- **b**: c", "* a"),
        ({"num_bullets": 1}, "* a\n**b**\n---", "* a\n* b"),
    ],
    "detectable_format:number_highlighted_sections": [({"num_highlights": 2}, "*a* and **b c**", "*a* and ** **")],
    "detectable_format:title": [({}, "<<joy>>\ntext", "<joy> << >>")],
    "keywords:existence": [({"keywords": ["cat", "dog"]}, "Cats and dogs", "Cats")],
    "keywords:forbidden_words": [({"forbidden_words": ["can"]}, "candid", "I can")],
    "keywords:frequency": [({"keyword": "knock", "frequency": 2, "relation": "at least"}, "Knock knock", "knock")],
    "keywords:letter_frequency": [
        ({"letter": "q", "let_frequency": 1, "let_relation": "less than"}, "none", "quite"),
    ],
    "language:response_language": [
        ({"language": "hi"}, "यह एक किताब है और यह अच्छी है", "यो किताब हो र यो राम्रो छ"),
        ({"language": "ru"}, "Это не так, как вы думаете", "This is not it"),
        ({"language": "pt"}, "Não é o que você quer, mas uma casa", "No es lo que el quiere con los otros"),
        ({"language": "ur"}, "یہ کتاب اچھی ہے اور میں خوش ہوں", "این کتاب خوب است و من را"),
    ],
    "length_constraints:nth_paragraph_first_word": [
        (
            {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "it"},
            'One.\n\n"It is." Two.',
            "One.\n\nTwo it.\n\nIt",
        )
    ],
    "length_constraints:number_paragraphs": [({"num_paragraphs": 2}, "a\n***\nb\n***", "a\n***\n***\nb")],
    "length_constraints:number_sentences": [
        (
            {"num_sections": 0} and {"num_sentences": 3, "relation": "less than"},
            "Dr. Kim came. He left.",
            "A bee. See dee. Eff!",
        )
    ],
    "length_constraints:number_words": [({"num_words": 3, "relation": "at least"}, "one two three", "one two")],
    "punctuation:no_comma": [({}, "a b", "a, b")],
    "startend:end_checker": [({"end_phrase": "Bye now."}, "So, bye now.", "Bye now. Really")],
    "startend:quotation": [({}, '"a"', '"')],
}


@pytest.mark.parametrize("rule", sorted(RULES))
def test_every_rule_tells_followed_from_broken(rule):
    for kwargs, followed, broken in RULE_CASES[rule]:
        assert value("constraints", followed, rules((rule, kwargs))) == 1.0
        assert value("constraints", broken, rules((rule, kwargs))) == 0.0


def test_sentences_do_not_end_at_abbreviations():
    assert count_sentences("Mr. Kim met e.g. J. Lee. Fine! Really?") == 3
    assert count_sentences("no end") == 1
    assert count_sentences("...") == 0


def test_languages_are_told_apart():
    texts = {
        "en": "This is the best of it",
        "de": "Das ist nicht der Hund",
        "bg": "Това е за да се знае",
        "fa": "این کتاب از آن است",
        "mr": "हे पुस्तक आहे आणि मी",
        "vi": "Đây là một cuốn sách của tôi",
        "ko": "안녕하세요",
    }
    for code, text in texts.items():
        assert is_language(text, code)
        assert not any(is_language(other, code) for known, other in texts.items() if known != code)
    assert not any(is_language("123", code) for code in LANGUAGES)

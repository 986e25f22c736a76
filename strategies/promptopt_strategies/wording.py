"""Wording: what an instruction talks about, and other words for it.

Plain English heuristics: a wrong guess costs a level of a choice and no more, since the search finds it worthless.
"""

import re
from collections.abc import Iterable

OTHER_WORDS = {
    "antonym": "opposite",
    "article": "text",
    "category": "kind",
    "class": "kind",
    "classify": "label",
    "comment": "text",
    "detect": "find",
    "determine": "decide",
    "domain": "subject",
    "emotion": "feeling",
    "extract": "pick out",
    "form": "version",
    "give": "write",
    "headline": "title",
    "identify": "find",
    "intent": "purpose",
    "item": "text",
    "label": "kind",
    "list": "write down",
    "name": "say",
    "noun": "word",
    "opposite": "antonym",
    "passage": "text",
    "plural": "plural form",
    "question": "problem",
    "rate": "judge",
    "reply": "answer",
    "review": "opinion",
    "rewrite": "change",
    "say": "decide",
    "section": "topic",
    "sentence": "text",
    "sentiment": "opinion",
    "snippet": "comment",
    "state": "say",
    "summary": "short version",
    "synonym": "similar word",
    "tell": "say",
    "topic": "subject",
    "verb": "word",
    "write": "give",
}

_BOTH_WAYS = [*OTHER_WORDS.items(), *((other, word) for word, other in OTHER_WORDS.items())]
_ALIKE = {word: [other for one, other in _BOTH_WAYS if one == word] for word, _ in _BOTH_WAYS}

_ARTICLE = re.compile("a|an|the|this|each|given")
_PHRASE_END = re.compile(
    "is|are|was|were|be|as|of|in|on|to|for|from|by|with|at|into|than|then|among|between|about|that|which|who|whether"
    "|if|or|and|not|it|its|all|belongs?|has|have|does|do"
)
_RELATION = re.compile(r"\b(?:the|a|an) ([a-z]+(?: [a-z]+)?) of (?:the|a|an|this|each) [a-z]+", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z][A-Za-z-]*")


def nouns(text: str) -> list[str]:
    """Return the head words of phrases with an article: ``the plural of a noun`` gives both, in lower case."""
    found: list[str] = []
    phrase: list[str] | None = None
    for word in [*re.findall(r"[A-Za-z][A-Za-z-]*|[^\sA-Za-z]", text.lower()), "."]:
        opens = bool(_ARTICLE.fullmatch(word))
        if opens or _PHRASE_END.fullmatch(word) or not word[0].isalpha():
            if phrase:
                found.append(phrase[-1])
            phrase = [] if opens else None
        elif phrase is not None and len(phrase) < 3:
            phrase.append(word)
    return list(dict.fromkeys(found))


def relations(text: str) -> list[str]:
    """Return what is asked of something: ``the past tense of a verb`` gives ``past tense``."""
    return list(dict.fromkeys(match.lower() for match in _RELATION.findall(text)))


def reword(text: str, kept: Iterable[str] = ()) -> str:
    """Return a text with other words for those that have some, but for the words to be kept."""
    fixed = {word for name in kept for word in name.lower().split()}

    def other(match: re.Match[str]) -> str:
        word = match[0]
        found = "" if word.lower() in fixed else OTHER_WORDS.get(word.lower(), "")
        return _cased(found, word) or word

    return _with_articles(_WORD.sub(other, text))


def rewordings(text: str) -> tuple[str, ...]:
    """Return the texts in which another word stands for one of the words, and that with others for all."""
    singles = [
        _with_articles(text[: match.start()] + _cased(other, match[0]) + text[match.end() :])
        for match in _WORD.finditer(text)
        for other in _ALIKE.get(match[0].lower(), ())
    ]
    return tuple(other for other in dict.fromkeys([*singles, reword(text)]) if other != text)


def _cased(word: str, model: str) -> str:
    return word.capitalize() if model[0].isupper() else word


def _with_articles(text: str) -> str:
    return re.sub(r"\b([Aa])n?(?= ([A-Za-z]))", _article, text)


def _article(match: re.Match[str]) -> str:
    return match[1] + ("n" if match[2].lower() in "aeio" else "")

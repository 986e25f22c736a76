"""The checkable rules of ``constraints``, one function a rule id: does this text follow it?"""

import json
import re
from collections.abc import Callable, Sequence

from promptopt.metrics.language import LANGUAGES, is_language

ANSWERS = ("my answer is yes.", "my answer is no.", "my answer is maybe.")
RESPONSES = "******"
PARAGRAPHS = re.compile(r"\s?\*\*\*\s?")

_ABBREVIATION = re.compile(r"(?:\b(?:mr|mrs|ms|dr|prof|st|vs|etc|e\.g|i\.e|fig|jr|sr)|\b[a-z](?:\.[a-z])*)\.$", re.I)
_SENTENCE_END = re.compile(r"[.!?]+[\"'”’)\]*]*(?=\s|$)|[。！？।]+")
_MARKS = "\"'“”‘’*_.,!?;:()[]{}"


def no_comma(text: str) -> bool:
    """No comma stands in the text."""
    return "," not in text


def english_lowercase(text: str) -> bool:
    """The text is English, without capitals."""
    return text.islower() and is_language(text, "en")


def english_capital(text: str) -> bool:
    """The text is English, in capitals only."""
    return text.isupper() and is_language(text, "en")


def capital_word_frequency(text: str, capital_frequency: int, capital_relation: str) -> bool:
    """So many words are written in capitals."""
    words = re.findall(r"[^\s\"“”()\[\]{},;:!?]+", text)
    return _holds(sum(word.isupper() for word in words), capital_relation, capital_frequency)


def repeat_prompt(text: str, prompt_to_repeat: str) -> bool:
    """The request is repeated word for word before the answer."""
    return text.strip().casefold().startswith(prompt_to_repeat.strip().casefold())


def two_responses(text: str) -> bool:
    """Two different answers stand on the two sides of six asterisks."""
    parts = [part.strip() for part in text.split(RESPONSES)]
    inner = parts[bool(len(parts) > 1 and not parts[0]) : len(parts) - bool(len(parts) > 1 and not parts[-1])]
    return len(inner) == 2 and all(inner) and inner[0] != inner[1]


def number_placeholders(text: str, num_placeholders: int) -> bool:
    """At least so many placeholders in square brackets, such as [address]."""
    return len(re.findall(r"\[[^\[\]]*\]", text)) >= num_placeholders


def postscript(text: str, postscript_marker: str) -> bool:
    """A postscript with this marker stands at the end."""
    letters = [re.escape(letter) for letter in postscript_marker if letter.isalpha()]
    return re.search(r"\b" + r"\.\s?".join(letters) + r"\.?", text, re.IGNORECASE) is not None


def constrained_response(text: str) -> bool:
    """One of the three allowed answers is given."""
    return any(answer in text.casefold() for answer in ANSWERS)


def json_format(text: str) -> bool:
    """The whole text is JSON, a code fence around it apart."""
    bare = re.sub(r"^```\w*\s*|\s*```$", "", text.strip())
    try:
        json.loads(bare)
    except (ValueError, RecursionError):
        return False
    return True


def multiple_sections(text: str, section_spliter: str, num_sections: int) -> bool:
    """At least so many sections begin with the word and a number."""
    return len(re.findall(rf"{re.escape(section_spliter)}\s*\d+", text)) >= num_sections


def number_bullet_lists(text: str, num_bullets: int) -> bool:
    """Exactly so many lines are bullet points."""
    return len(re.findall(r"^[^\S\n]*(?:\*(?!\*)|-(?!-))[^\S\n]*\S", text, re.MULTILINE)) == num_bullets


def number_highlighted_sections(text: str, num_highlights: int) -> bool:
    """At least so many passages are *highlighted*."""
    marked = re.findall(r"\*\*([^\n*]+)\*\*|\*([^\n*]+)\*", text)
    return sum(bool((strong or light).strip()) for strong, light in marked) >= num_highlights


def title(text: str) -> bool:
    """A title stands in double angular brackets."""
    return any(found.strip("<> ") for found in re.findall(r"<<([^\n]+?)>>", text))


def existence(text: str, keywords: Sequence[str]) -> bool:
    """Each keyword occurs."""
    return all(keyword.casefold() in text.casefold() for keyword in keywords)


def forbidden_words(text: str, forbidden_words: Sequence[str]) -> bool:
    """None of the words occurs."""
    return not any(re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) for word in forbidden_words)


def frequency(text: str, keyword: str, frequency: int, relation: str) -> bool:
    """The keyword occurs so many times."""
    return _holds(text.casefold().count(keyword.casefold()), relation, frequency)


def letter_frequency(text: str, letter: str, let_frequency: int, let_relation: str) -> bool:
    """The letter, or sign, occurs so many times."""
    return _holds(text.casefold().count(letter.casefold()), let_relation, let_frequency)


def response_language(text: str, language: str) -> bool:
    """The text is in this language; languages that cannot be told are taken to be followed."""
    return language not in LANGUAGES or is_language(text, language)


def nth_paragraph_first_word(text: str, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    """There are so many paragraphs between blank lines, and this one begins with the word."""
    paragraphs = [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]
    if len(paragraphs) != num_paragraphs or not 1 <= nth_paragraph <= len(paragraphs):
        return False
    first = paragraphs[nth_paragraph - 1].split()[0].strip(_MARKS)
    return first.casefold() == first_word.casefold()


def number_paragraphs(text: str, num_paragraphs: int) -> bool:
    """So many paragraphs stand between lines of three asterisks, none of them empty."""
    parts = [part.strip() for part in PARAGRAPHS.split(text)]
    inner = [part for place, part in enumerate(parts) if part or 0 < place < len(parts) - 1]
    return len(inner) == num_paragraphs and all(inner)


def number_sentences(text: str, num_sentences: int, relation: str) -> bool:
    """There are so many sentences."""
    return _holds(count_sentences(text), relation, num_sentences)


def number_words(text: str, num_words: int, relation: str) -> bool:
    """There are so many words."""
    return _holds(len(re.findall(r"\w+", text)), relation, num_words)


def end_checker(text: str, end_phrase: str) -> bool:
    """The text ends with the phrase and nothing after it."""
    return text.strip().strip('"').casefold().endswith(end_phrase.strip().casefold())


def quotation(text: str) -> bool:
    """The whole text stands in double quotation marks."""
    text = text.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


def count_sentences(text: str) -> int:
    """Return the number of sentences: ends are signs before white space, but not after abbreviations and initials."""
    count, start = 0, 0
    for match in _SENTENCE_END.finditer(text):
        piece = text[start : match.end()]
        if match[0] == "." and match.end() < len(text) and _ABBREVIATION.search(piece):
            continue
        count += bool(re.search(r"\w", piece))
        start = match.end()
    return count + bool(re.search(r"\w", text[start:]))


def _holds(count: int, relation: str, limit: int) -> bool:
    return count < limit if relation == "less than" else count >= limit


RULES: dict[str, Callable[..., bool]] = {
    "change_case:capital_word_frequency": capital_word_frequency,
    "change_case:english_capital": english_capital,
    "change_case:english_lowercase": english_lowercase,
    "combination:repeat_prompt": repeat_prompt,
    "combination:two_responses": two_responses,
    "detectable_content:number_placeholders": number_placeholders,
    "detectable_content:postscript": postscript,
    "detectable_format:constrained_response": constrained_response,
    "detectable_format:json_format": json_format,
    "detectable_format:multiple_sections": multiple_sections,
    "detectable_format:number_bullet_lists": number_bullet_lists,
    "detectable_format:number_highlighted_sections": number_highlighted_sections,
    "detectable_format:title": title,
    "keywords:existence": existence,
    "keywords:forbidden_words": forbidden_words,
    "keywords:frequency": frequency,
    "keywords:letter_frequency": letter_frequency,
    "language:response_language": response_language,
    "length_constraints:nth_paragraph_first_word": nth_paragraph_first_word,
    "length_constraints:number_paragraphs": number_paragraphs,
    "length_constraints:number_sentences": number_sentences,
    "length_constraints:number_words": number_words,
    "punctuation:no_comma": no_comma,
    "startend:end_checker": end_checker,
    "startend:quotation": quotation,
}

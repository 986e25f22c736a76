"""The language of a text, told by its script and its commonest words.

Small on purpose: it serves the one rule of ``constraints`` that asks for a language, without a model.
"""

import unicodedata
from collections import Counter

# The script, as Unicode names it, and common words that set a language apart from others in that script.
LANGUAGES: dict[str, tuple[str, str]] = {
    "ar": ("ARABIC", "في من على إلى أن هذا هذه التي الذي هو هي كان مع"),
    "bg": ("CYRILLIC", "се за от са е това че да със като при ще"),
    "bn": ("BENGALI", ""),
    "de": ("LATIN", "der die und das ist nicht ein eine mit auf für den ich sie zu"),
    "el": ("GREEK", ""),
    "en": ("LATIN", "the and of to is in that you for it with are this was i my"),
    "es": ("LATIN", "el los y que es una para con por las del se en su"),
    "fa": ("ARABIC", "است از به در را که این می با برای آن و"),
    "fi": ("LATIN", "ja on ei että se oli hän tai mutta kun olen"),
    "fr": ("LATIN", "le la les et des est une que pour dans pas vous du"),
    "gu": ("GUJARATI", ""),
    "he": ("HEBREW", ""),
    "hi": ("DEVANAGARI", "है हैं के में और का की से को पर यह नहीं"),
    "it": ("LATIN", "il che di è per non della sono una gli con del"),
    "ja": ("HIRAGANA", ""),
    "kn": ("KANNADA", ""),
    "ko": ("HANGUL", ""),
    "ml": ("MALAYALAM", ""),
    "mr": ("DEVANAGARI", "आहे आणि आहेत हे च्या ते मध्ये नाही मी हा ही"),
    "ne": ("DEVANAGARI", "छ छन् हो गर्न भने पनि यो लागि र हुन्छ गर्नुहोस् तपाईं"),
    "nl": ("LATIN", "het een van is niet dat op zijn voor met ik je"),
    "pa": ("GURMUKHI", ""),
    "pl": ("LATIN", "nie na się jest że w z do jak i to"),
    "pt": ("LATIN", "o os e que é uma para com não um em as do da você"),
    "ru": ("CYRILLIC", "что это не как для в с вы и я по мы"),
    "sw": ("LATIN", "na ya wa kwa ni katika za la kuwa hii"),
    "ta": ("TAMIL", ""),
    "te": ("TELUGU", ""),
    "th": ("THAI", ""),
    "tr": ("LATIN", "ve bir bu için ile çok olarak da de değil"),
    "uk": ("CYRILLIC", "що це не як для в з ви і я та є"),
    "ur": ("ARABIC", "ہے کے کی میں اور سے کا یہ ہیں کو پر نہیں"),
    "vi": ("LATIN", "là và của một các có không cho những được trong"),
    "zh": ("CJK", ""),
}
_SIGNS = ".,;:!?\"'()[]{}*_-–—…«»“”‘’।،؟、。"


def is_language(text: str, code: str) -> bool:
    """Return whether a text may be in a language: its script fits and no other language fits its words better.

    Args:
        text: The text; one without letters is in no language.
        code: The ISO 639-1 code, one of LANGUAGES.
    """
    script, _ = LANGUAGES[code]
    if main_script(text) != script:
        return False
    words = [word.strip(_SIGNS).casefold() for word in text.split()]
    hits = {
        other: len([word for word in words if word in listed.split()])
        for other, (its_script, listed) in LANGUAGES.items()
        if its_script == script
    }
    return hits[code] == max(hits.values())


def main_script(text: str) -> str:
    """Return the script of most letters, as the first word of their Unicode names; empty without letters."""
    scripts = Counter(unicodedata.name(letter, "").split(" ")[0] for letter in text if letter.isalpha())
    # Japanese mixes three scripts; one kana is enough to know it.
    if scripts["HIRAGANA"]:
        return "HIRAGANA"
    return scripts.most_common(1)[0][0] if scripts else ""

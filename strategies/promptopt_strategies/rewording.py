"""Rewording: components in other words and new ones, by an optimizer model where one can write, else by rule.

Offline, a component is reworded by a small table of phrases that mean the same, so some have no other wording.
"""

import re
from collections.abc import Sequence

from promptopt.ask import Search, Write
from promptopt.strategy import Context
from promptopt_strategies.components import literal
from promptopt_strategies.corpus import Component
from promptopt_strategies.writing import ask_writer, count_of, parse_tagged, render_template

MAX_TOKENS = 512

# What stands first may be said in each of the other ways; the patterns are whole words in the case shown.
PHRASES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("You are", ("Always be", "Be")),
    ("You have", ("You possess",)),
    ("Act as", ("Answer as", "Work as")),
    ("Think of yourself as", ("See yourself as",)),
    ("Do not", ("Never", "Don't")),
    ("Avoid", ("Stay away from", "Do without")),
    ("Make sure", ("Be sure", "See to it")),
    ("Use", ("Make use of",)),
    ("Write", ("Put down",)),
    ("Keep to", ("Stick to",)),
    ("Look for", ("Search for",)),
    ("Think about", ("Consider",)),
    ("Consider", ("Think about",)),
    ("Choose", ("Pick",)),
    ("Give", ("Provide",)),
    ("Imagine", ("Suppose",)),
    ("Find out", ("Work out",)),
    ("Begin with", ("Start with",)),
    ("Decide", ("Make your decision",)),
    ("Answer", ("Reply",)),
    ("before you", ("before you go on to",)),
    ("in your own words", ("as you would say it yourself",)),
    ("the question", ("what is asked",)),
    ("the input", ("the text that is given",)),
    ("your answer", ("your reply",)),
    ("good at", ("skilled at",)),
    ("careful", ("cautious",)),
    ("exactly", ("precisely",)),
    ("If you are unsure", ("When in doubt",)),
    ("as few words as", ("no more words than",)),
)
ARTICLE_AFTER_BE = re.compile(r"\b(?:Always be|Be) (?=a |an |the )")


def reword_component(component: Component, context: Context, n: int) -> Search[tuple[Component, ...]]:
    """Return up to n other wordings of a component, registered under its source.

    Asks:
        One Write, where the optimizer model can write.
    """
    if "write" not in context.answers:
        texts = list(reworded(component.text))
    else:
        text = render_template("sprig-rephrase", component=component.text, count=count_of(n, "wording"))
        texts = yield from _written(text, "rephrase")
    new = [literal(text, context.fields) for text in dict.fromkeys(texts) if text and text != component.text]
    return tuple(Component(text, component.kind, component.origin) for text in new[:n])


def write_components(
    template: str, components: Sequence[Component], context: Context, n: int = 1
) -> Search[tuple[Component, ...]]:
    """Return up to n new components that an optimizer model writes for a list.

    Args:
        template: ``sprig-add``, ``sprig-useless`` or ``sprig-merge``.
        components: The list, or a part of it.
        context: The task.
        n: How many.
    """
    shown = "\n".join(component.text for component in components) or "(none yet)"
    text = render_template(template, components=shown, description=context.description, count=count_of(n, "sentence"))
    texts = yield from _written(text, template.removeprefix("sprig-"))
    return tuple(Component(literal(text, context.fields), "written") for text in texts[:n] if text)


def reworded(text: str) -> tuple[str, ...]:
    """Return a sentence with one phrase exchanged for another that means the same, for each that it has."""
    found: list[str] = []
    for phrase, others in PHRASES:
        pattern = re.compile(rf"\b{re.escape(phrase)}\b")
        found += [pattern.sub(other, text, count=1) for other in others if pattern.search(text)]
    return tuple(dict.fromkeys(made for made in found if made != text and not ARTICLE_AFTER_BE.match(made)))


def _written(text: str, purpose: str) -> Search[list[str]]:
    """Ask the optimizer model; its reply is read as text between tags and is never run."""
    ask: Write = ask_writer(text, purpose, max_tokens=MAX_TOKENS)
    reply = yield from ask
    return [" ".join(found.split()) for one in reply.texts for found in parse_tagged(one, "component")]

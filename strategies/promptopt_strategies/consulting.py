"""Consulting: sentences that the optimizer model writes from errors, as components for a search over a space."""

from collections.abc import Iterable, Sequence

from promptopt.ask import Search
from promptopt.evaluation import Evaluation
from promptopt.prompt import Prompt
from promptopt.strategy import Context
from promptopt_strategies.components import literal
from promptopt_strategies.writing import (
    ask_writer,
    count_of,
    errors_of,
    parse_tagged,
    read_part,
    render_template,
    show_error,
)

SHOWN_ERRORS = 4
MOST_CHARACTERS = 240


def ask_sentences(context: Context, prompt: Prompt, evaluation: Evaluation, n: int) -> Search[tuple[str, ...]]:
    """Ask for up to n sentences that would keep a prompt from the errors it was seen to make.

    Asks:
        One Write; none where nothing was wrong.
    """
    errors = errors_of(evaluation, context.search)[:SHOWN_ERRORS]
    if not errors:
        return ()
    shown = "\n\n".join(show_error(number, *error) for number, error in enumerate(errors, 1))
    text = read_part(prompt, "instruction", context.fields)
    meta = render_template("sentences", instruction=text, errors=shown, count=count_of(n, "sentence"))
    written = yield from ask_writer(meta, "sentence")
    found = [sentence for reply in written.texts for sentence in parse_tagged(reply, "sentence")]
    return _usable(found, context.fields)[:n]


def _usable(found: Iterable[str], fields: Sequence[str]) -> tuple[str, ...]:
    """Return each sentence once, on one line, its braces no slots; what is too long to be one is left out."""
    lines = [" ".join(sentence.split()) for sentence in found]
    return tuple(dict.fromkeys(literal(line, fields) for line in lines if 0 < len(line) <= MOST_CHARACTERS))

"""Writing: meta-prompts filled from templates, and replies read back.

Meta-prompts are data in ``templates/``; a reply is only ever read as text between tags, never run or rendered.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files

from promptopt.ask import Write
from promptopt.evaluation import Evaluation, Outcome
from promptopt.example import Example
from promptopt.layout import Message, Slot, slots_of, split_slots, unknown_slots
from promptopt.prompt import Prompt

Error = tuple[Example, Outcome]

SHOWN_CHARACTERS = 1_500  # of each text of an error, so that one long document does not crowd out the others


def render_template(name: str, **values: object) -> str:
    """Return a meta-prompt with its slots filled in one pass, so that braces in a value stay braces.

    Args:
        name: The file in ``templates/``, without its ending.
        **values: One for each slot; a slot without a value is a mistake of ours and raises KeyError.
    """
    template = _template(name)
    if missing := unknown_slots(template, values):
        raise KeyError(f"template {name} has no value for {{{missing[0]}}}")
    return "".join(str(values[s.name]) if isinstance(s, Slot) else s for s in split_slots(template, values))


def parse_tagged(text: str, tag: str) -> tuple[str, ...]:
    """Return what stands between ``<tag>`` and ``</tag>``, trimmed, left to right; an unclosed tag is dropped."""
    spans = re.findall(rf"<{tag}>((?:(?!<{tag}>).)*?)</{tag}>", text, re.DOTALL | re.IGNORECASE)
    return tuple(span.strip() for span in spans)


def read_prompt(reply: str) -> str:
    """Return the prompt that a reply holds: what stands in its tags, or all of it where it has none; else nothing."""
    return next(iter(parse_tagged(reply, "prompt")), reply.strip() if "<" not in reply else "")


def ask_writer(text: str, purpose: str, *, n: int = 1, temperature: float = 1.0, max_tokens: int = 1024) -> Write:
    """Return the ask that sends one meta-prompt."""
    return Write((Message("user", text),), n, temperature, max_tokens, purpose)


def read_part(prompt: Prompt, part: str, fields: Sequence[str]) -> str:
    """Return a text part as people write it: without the escapes that ``write_part`` puts in."""
    text = _raw(prompt, part)
    escaped = re.compile(r"\{(" + _braced(_strangers(text, fields)) + r")\}")
    return escaped.sub(r"\1", text)


def write_part(prompt: Prompt, part: str, text: str, fields: Sequence[str]) -> Prompt:
    """Return the prompt with a new text in one part, all other parts untouched.

    The slots of the old text stay slots: one that the new text lost is put back at its end, on a line of its own.
    All other braces are text and are escaped, so that what a model writes never becomes a slot.
    """
    old = _raw(prompt, part)
    strangers = _strangers(old, fields)
    lost = [name for name in fields if name not in strangers and name not in slots_of(text, fields)]
    escaped = re.sub("(" + _braced(strangers) + ")", r"{\1}", text)
    return prompt.replace(**{part: "\n\n".join([escaped, *("{" + name + "}" for name in lost)])})


def errors_of(evaluation: Evaluation, rows: Sequence[Example]) -> list[Error]:
    """Return what was scored and not fully right; a failed call says nothing about the prompt."""
    examples = {example.id: example for example in rows}
    return [(examples[o.example_id], o) for o in evaluation.outcomes if o.score is not None and o.score < 1]


def show_error(number: int, example: Example, outcome: Outcome) -> str:
    """Return a wrong answer as a critique reads it: input, right answer, the model's answer, the metric's remark."""
    inputs = list(example.inputs.values())
    if len(inputs) > 1:
        inputs = [f"{name}: {value}" for name, value in example.inputs.items()]
    return render_template(
        "error",
        number=number,
        input=clip("\n".join(inputs), SHOWN_CHARACTERS),
        target=clip(example.target, SHOWN_CHARACTERS),
        output=clip(outcome.output, SHOWN_CHARACTERS),
        feedback=f"\nRemark: {clip(outcome.feedback, SHOWN_CHARACTERS)}" if outcome.feedback else "",
    )


def count_of(number: int, noun: str) -> str:
    """Return how many, in words: ``one reason``, ``4 different reasons``."""
    return f"one {noun}" if number == 1 else f"{number} different {noun}s"


def clip(text: str, limit: int) -> str:
    """Return the text, cut at so many characters with a sign that it was cut."""
    return text if len(text) <= limit else text[:limit].rstrip() + " …"


def _raw(prompt: Prompt, part: str) -> str:
    value = prompt.parts.get(part, "")
    return value if isinstance(value, str) else ""


def _strangers(text: str, fields: Sequence[str]) -> list[str]:
    """The fields that are not slots of this text."""
    slots = slots_of(text, fields)
    return [name for name in fields if name not in slots]


def _braced(names: Sequence[str]) -> str:
    """The pattern of any of these names in braces; without names it matches nothing."""
    return r"\{(?:" + "|".join(map(re.escape, names)) + r")\}" if names else r"(?!)"


@lru_cache(maxsize=64)
def _template(name: str) -> str:
    return (files("promptopt_strategies") / "templates" / f"{name}.txt").read_text(encoding="utf-8").strip()

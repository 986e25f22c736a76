"""The component library: the sentences, labels and cues that a prompt can be built from, in our own words.

Every class of components is one choice of the space; which of its sentences fit depends on what the right answers
look like. Texts that come from data are made literal, so that a brace in them never becomes a slot.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from promptopt.example import Example
from promptopt.strategy import Context
from promptopt_strategies.wording import nouns, relations, reword

AnswerKind = Literal["choice", "number", "json", "letter", "word", "phrase", "text"]

ROLES = (
    "You are an expert at this kind of question.",
    "You give short and exact answers.",
    "Here is a task with its input.",
)
CARE = (
    "Read all of it before you answer.",
    "Follow the pattern of the examples.",
    "If in doubt, give the likeliest answer.",
    "Do not explain your answer.",
)
RESTATEMENTS = ("Task: {task}", "Your task is this. {task}")
OPTIONS = (
    "Answer with one of: {listed}.",
    "The answer is {either}.",
    "Choose between {both}.",
    "Possible answers: {listed}.",
)
FORMS: Mapping[AnswerKind, tuple[str, ...]] = {
    "choice": ("Answer with the label alone.", "Write one label and nothing else."),
    "number": ("Answer with a number alone.", "Write the final number and nothing else."),
    "json": (
        "Answer with one JSON object that has the keys {listed}.",
        "Write valid JSON on a single line and nothing else.",
    ),
    "letter": ("Answer with one letter.", "Write a single letter and nothing else."),
    "word": ("Answer with one word.", "Write a single word and nothing else."),
    "phrase": ("Answer with a few words.", "Write the answer alone, without a sentence around it."),
    "text": ("Write the finished text and nothing else.", "Answer on a single line."),
}
CUES = ("Answer:", "Output:", "A:")
LABELS = ("Input", "Text", "Q")

# Names that mean something else in a layout.
RESERVED = frozenset(["system", "instruction", "demos", "fields", "answer_cue", "target"])

MAX_LISTED_CHARS = 400
MAX_DEFINITION_CHARS = 90
MAX_DEFINED = 4


@dataclass(frozen=True, slots=True)
class Answers:
    """What the right answers of a task look like.

    Args:
        kind: Their common form.
        names: The labels of a closed set, or the keys of JSON objects; else empty.
    """

    kind: AnswerKind
    names: tuple[str, ...] = ()


def describe_answers(context: Context) -> Answers:
    """Return what the training targets have in common."""
    targets = [example.target.strip() for example in (*context.pool, *context.search)]
    if context.choices:
        return Answers("choice", context.choices)
    if not all(targets) or not targets:
        return Answers("text")
    if len(set(targets)) * 5 <= len(targets):
        return Answers("choice", tuple(sorted(set(targets))))
    if keys := _common_keys(targets):
        return Answers("json", keys)
    if all(re.fullmatch(r"[-+]?[\d.,]*\d", target) for target in targets):
        return Answers("number")
    longest = max(len(target.split()) for target in targets)
    if longest == 1:
        return Answers("letter" if all(len(target) == 1 for target in targets) else "word")
    return Answers("phrase" if longest <= 4 else "text")


def sentences(context: Context, task: str, answers: Answers) -> Mapping[str, tuple[str, ...]]:
    """Return the instruction sentences of every class but the seed's own.

    Args:
        context: The task.
        task: The seed's instruction.
        answers: What the answers look like.
    """
    words = _listings(answers.names, context.fields)
    return {
        "role": ROLES,
        "task": _restatements(task, literal(context.description.strip(), context.fields), answers.names),
        "definition": _definitions(context, answers),
        "options": tuple(o.format(**words) for o in OPTIONS) if answers.kind == "choice" and words["listed"] else (),
        "form": tuple(f.format(**words) for f in FORMS[answers.kind] if words["listed"] or "{listed}" not in f),
        "care": CARE,
    }


def labels(context: Context, task: str) -> tuple[str, ...]:
    """Return names for a single input field; the empty one shows the field bare."""
    own = [name.replace("_", " ").capitalize() for name in context.fields]
    named = [noun.capitalize() for noun in reversed(_topics(context, task)[:3])]
    return _unique([*own, *named, *LABELS, ""])[:7]


def cues(context: Context, task: str, answers: Answers) -> tuple[str, ...]:
    """Return words to put just before the answer."""
    closed = ["Label:"] if answers.kind == "choice" else []
    topics = _topics(context, task)
    other = [noun for noun in nouns(reword(task)) if noun not in topics][:1]
    named = [f"{noun.capitalize()}:" for noun in [*topics[:2], *other]]
    spoken = [f"The {noun} is" for noun in [*topics[:2], *other]]
    # Without a cue a completion begins with a line break, so only a chat may go without.
    bare = [] if "completion" in context.modes else [""]
    return _unique([*CUES, *closed, *named, *spoken, *bare])


def statements(context: Context, task: str) -> tuple[str, ...]:
    """Return sentences about the input that the answer completes: ``The plural of {word} is``."""
    field = context.fields[0]
    asked = relations(f"{task} {context.description}")[:1] + relations(reword(task))[:1]
    if len(context.fields) != 1 or field in RESERVED:
        return ()
    return _unique(f"The {relation} of {{{field}}} is" for relation in asked)


def literal(text: str, fields: Iterable[str]) -> str:
    """Return a text whose braces stay braces when it stands in an instruction."""
    for field in fields:
        text = text.replace("{" + field + "}", "{{" + field + "}}")
    return text


def _topics(context: Context, task: str) -> list[str]:
    return nouns(f"{task} {context.description}")


def _restatements(task: str, description: str, kept: Iterable[str]) -> tuple[str, ...]:
    told = task.strip()
    restated = [reword(told, kept), *(text.replace("{task}", told) for text in RESTATEMENTS)] if told else []
    return _unique([text for text in ["", description, *restated] if text != task])


def _listings(names: Sequence[str], fields: Sequence[str]) -> dict[str, str]:
    shown = [literal(name, fields) for name in names]
    if not shown or sum(map(len, shown)) > MAX_LISTED_CHARS:
        return {"listed": "", "either": "", "both": ""}
    head, last = ", ".join(shown[:-1]), shown[-1]
    return {
        "listed": ", ".join(shown),
        "either": f"{head} or {last}" if head else last,
        "both": f"{head} and {last}" if head else last,
    }


def _definitions(context: Context, answers: Answers) -> tuple[str, ...]:
    """Say what the answers mean by the shortest examples of the pool, in two variants."""
    if len(context.fields) != 1 or len(answers.names) > MAX_DEFINED:
        return ()
    field = context.fields[0]
    short = [e for e in context.pool if len(e.inputs[field]) + len(e.target) <= MAX_DEFINITION_CHARS]
    short.sort(key=lambda example: (len(example.inputs[field]), example.id))
    ranks = _ranks(short) if answers.kind == "choice" else {e.id: index // 2 for index, e in enumerate(short)}
    made = []
    for rank in (0, 1):
        chosen = [example for example in short if ranks[example.id] == rank]
        said = [f'"{e.inputs[field].strip()}" is {e.target.strip()}' for e in chosen]
        if len(chosen) >= 2:
            made.append(literal(f"For instance, {', and '.join(said)}.", context.fields))
    return tuple(made)


def _ranks(examples: Sequence[Example]) -> dict[str, int]:
    seen: Counter[str] = Counter()
    ranks: dict[str, int] = {}
    for example in examples:
        ranks[example.id] = seen[example.target]
        seen[example.target] += 1
    return ranks


def _common_keys(targets: Sequence[str]) -> tuple[str, ...]:
    keys: list[tuple[str, ...]] = []
    for target in targets:
        try:
            value = json.loads(target)
        except ValueError:
            return ()
        if not isinstance(value, dict):
            return ()
        keys.append(tuple(value))
    return keys[0] if keys and all(set(k) == set(keys[0]) for k in keys) else ()


def _unique(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))

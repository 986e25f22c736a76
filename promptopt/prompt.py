"""Prompt and Candidate: the named parts under search.

A prompt's id is a hash of its content, so the same text found twice is one prompt.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, Self, TypeVar

from promptopt.example import Example
from promptopt.ids import content_hash
from promptopt.layout import Layout, Segment, Slot, Template, Turn, merge, split_slots

PARTS = ("system", "instruction", "demos", "layout", "answer_cue")


@dataclass(frozen=True, slots=True)
class Demo:
    """A demonstration: the inputs of a training example with its answer."""

    inputs: Mapping[str, str]
    target: str

    @classmethod
    def of(cls, example: Example) -> Self:
        """Return the demonstration that shows this example."""
        return cls(dict(example.inputs), example.target)


PartValue = str | tuple[Demo, ...] | Layout


@dataclass(frozen=True)
class Prompt:
    """The immutable named parts: system, instruction, demos, layout, answer_cue.

    In a program or a suite of several prompts the names are scoped (``predictor/instruction``), but for the parts
    that all share; one prompt is the case without scope, and the properties below read its parts.
    """

    parts: Mapping[str, PartValue]

    @classmethod
    def of(cls, instruction: str, layout: Layout, **parts: PartValue) -> Self:
        """Return the prompt with these parts; parts that are not named are empty."""
        return cls({"instruction": instruction, "layout": layout, **parts})

    @property
    def instruction(self) -> str:
        """What the model is asked to do."""
        return self._text("instruction")

    @property
    def system(self) -> str:
        """The system text."""
        return self._text("system")

    @property
    def answer_cue(self) -> str:
        """The words just before the answer."""
        return self._text("answer_cue")

    @property
    def demos(self) -> tuple[Demo, ...]:
        """The demonstrations, in the order shown."""
        value = self.parts.get("demos", ())
        return value if isinstance(value, tuple) else ()

    @property
    def layout(self) -> Layout:
        """The layout that everything renders through."""
        value = self.parts["layout"]
        if not isinstance(value, Layout):
            raise TypeError("the part 'layout' holds no layout")
        return value

    @cached_property
    def id(self) -> str:
        """The hash of the content; empty parts do not count."""
        return content_hash(self.to_json())

    def replace(self, **parts: PartValue) -> "Prompt":
        """Return this prompt with some parts exchanged."""
        return Prompt({**self.parts, **parts})

    def shows(self, example: Example) -> bool:
        """Say whether this example stands among the demonstrations, whatever its answer there."""
        return any(demo.inputs == example.inputs for demo in self.demos)

    def scope(self, name: str) -> "Prompt":
        """Return one prompt of several: the parts named ``name/...``, and those without a scope, which all share."""
        head = name + "/"
        mine = {key: value for key, value in self.parts.items() if key.startswith(head) or "/" not in key}
        return Prompt({key.removeprefix(head): value for key, value in mine.items()})

    @property
    def whole(self) -> "tuple[Prompt, ...]":
        """The prompts that this one holds: of a program or a suite one a scope, else itself."""
        scopes = dict.fromkeys(key.rpartition("/")[0] for key in self.parts if "/" in key)
        return tuple(map(self.scope, scopes)) or (self,)

    def template(self, fields: Sequence[str]) -> Template:
        """Compile this prompt for examples with these fields."""
        return _compile(self, tuple(fields))

    def to_json(self) -> dict[str, Any]:
        """Return plain data from which ``from_json`` makes an equal prompt."""
        return {name: _part_to_json(value) for name, value in sorted(self.parts.items()) if value not in ("", ())}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Return the prompt that ``to_json`` described."""
        return cls({name: _part_from_json(value) for name, value in data.items()})

    def __hash__(self) -> int:
        return hash(self.id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Prompt) and self.id == other.id

    def _text(self, name: str) -> str:
        value = self.parts.get(name, "")
        return value if isinstance(value, str) else ""


@dataclass(frozen=True)
class Candidate:
    """A prompt as proposed.

    Args:
        prompt: The prompt.
        parents: The ids of the prompts it was made from.
        operator: What made it (``seed``, ``edit``, ``paraphrase``, ``mutate``, ...).
        note: A small remark for the report; plain data.
    """

    prompt: Prompt
    parents: tuple[str, ...] = ()
    operator: str = "seed"
    note: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The id of the prompt: how a candidate came about does not count."""
        return self.prompt.id


class Identified(Protocol):
    """A candidate, or whatever else bears the id of its prompt."""

    @property
    def id(self) -> str:
        """The id."""


T = TypeVar("T", bound=Identified)


def distinct(candidates: Iterable[T]) -> tuple[T, ...]:
    """Return the candidates with each prompt once, in the order of its first coming."""
    first: dict[str, T] = {}
    for candidate in candidates:
        first.setdefault(candidate.id, candidate)
    return tuple(first.values())


def _part_to_json(value: PartValue) -> Any:
    if isinstance(value, str):
        return value
    if isinstance(value, Layout):
        return value.to_json()
    return [{"inputs": dict(demo.inputs), "target": demo.target} for demo in value]


def _part_from_json(value: Any) -> PartValue:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return Layout.from_json(value)
    return tuple(Demo(dict(demo["inputs"]), demo["target"]) for demo in value)


def _compile(prompt: Prompt, fields: tuple[str, ...]) -> Template:
    turns: list[tuple[str, tuple[Segment, ...]]] = []
    for turn in prompt.layout.turns:
        if turn.role == "demos":
            turns.extend(_demo_turns(prompt, fields))
            continue
        segments = _join(_blocks(prompt, turn, fields), prompt.layout.separator)
        if segments:
            turns.append((turn.role, merge(segments)))
    return Template(prompt.layout.mode, tuple(turns), prompt.layout.stop)


def _blocks(prompt: Prompt, turn: Turn, fields: tuple[str, ...]) -> list[list[Segment]]:
    known: dict[str, list[Segment]] = {
        "system": split_slots(prompt.system, fields),
        "instruction": split_slots(prompt.instruction, fields),
        "answer_cue": split_slots(prompt.answer_cue, fields),
        "fields": _labelled(prompt.layout, fields),
        "demos": _demo_block(prompt, fields),
    }
    return [_fill(block, known, fields) for block in turn.blocks]


def _fill(block: str, known: Mapping[str, list[Segment]], fields: tuple[str, ...]) -> list[Segment]:
    """Fill a block line by line; a line whose slots are all empty is left out."""
    lines: list[list[Segment]] = []
    for line in block.split("\n"):
        cut = split_slots(line, {*known, *fields})
        filled: list[Segment] = []
        for segment in cut:
            filled.extend(known.get(segment.name, [segment]) if isinstance(segment, Slot) else [segment])
        if merge(filled) or not any(isinstance(segment, Slot) for segment in cut):
            lines.append(filled)
    return [segment for line in lines for segment in ("\n", *line)][1:]


def _labelled(layout: Layout, fields: tuple[str, ...]) -> list[Segment]:
    lines: list[list[Segment]] = []
    for name in fields:
        label = layout.labels.get(name, "")
        lines.append([f"{label}: " if label else "", Slot(name)])
    return _join(lines, "\n")


def _demo_block(prompt: Prompt, fields: tuple[str, ...]) -> list[Segment]:
    texts = [_demo_text(prompt, prompt.layout.demo, demo, fields) for demo in prompt.demos]
    return [prompt.layout.separator.join(texts)]


def _demo_turns(prompt: Prompt, fields: tuple[str, ...]) -> list[tuple[str, tuple[Segment, ...]]]:
    turns: list[tuple[str, tuple[Segment, ...]]] = []
    for demo in prompt.demos:
        asked = _demo_text(prompt, "{fields}\n{answer_cue}", demo, fields)
        turns += [("user", (asked,)), ("assistant", (demo.target,))]
    return turns


def _demo_text(prompt: Prompt, template: str, demo: Demo, fields: tuple[str, ...]) -> str:
    known: dict[str, list[Segment]] = {
        "fields": _labelled(prompt.layout, fields),
        "answer_cue": split_slots(prompt.answer_cue, fields),
        "target": [demo.target],
    }
    if not prompt.answer_cue:
        template = template.replace("{answer_cue} ", "")  # the space belongs to the cue
    segments = _fill(template, known, fields)
    return "".join(demo.inputs.get(s.name, "") if isinstance(s, Slot) else s for s in segments).strip(" ")


def _join(parts: Sequence[list[Segment]], separator: str) -> list[Segment]:
    joined: list[Segment] = []
    for part in parts:
        if not merge(part):
            continue
        if joined:
            joined.append(separator)
        joined.extend(part)
    return joined

"""Layout: the data template (never code) that turns parts and an example into chat messages or one text.

A layout is compiled once for a prompt into a Template, whose constant text stands first and is shared by all
examples wherever the prompt allows it.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple, Self

from promptopt.example import Example
from promptopt.ids import content_hash

Mode = Literal["chat", "completion"]

BYTES_A_TOKEN = 4  # the usual rule of thumb, since each model counts its own

PART_SLOTS = ("system", "instruction", "demos", "fields", "answer_cue")

_SLOT = re.compile(r"\{\{(\w+)\}\}|\{(\w+)\}")
_BRACED = re.compile(r"\{(\w+)\}")


class Message(NamedTuple):  # made for every request, and a frozen dataclass takes five times as long
    """One turn: a role (``system``, ``user``, ``assistant``; ``text`` in completion mode) and its text."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Slot:
    """A place where the value of an example's field goes."""

    name: str


Segment = str | Slot


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a layout: a role and blocks of text with slots; empty blocks are left out.

    Slots in a block: ``{system}``, ``{instruction}``, ``{demos}``, ``{fields}`` (all inputs with their labels),
    ``{answer_cue}`` and any field by name. The role ``demos`` stands for one user and one assistant message a
    demonstration.
    """

    role: str
    blocks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Layout:
    r"""How parts and an example become a request.

    Args:
        mode: ``chat`` (messages) or ``completion`` (one text, for base and small models).
        turns: The messages in order; a completion layout has one, of role ``text``.
        labels: The label shown before each field; a field without one is shown bare.
        demo: How one demonstration reads in a ``{demos}`` block; slots ``{fields}``, ``{answer_cue}``,
            ``{target}`` and fields.
        separator: What stands between blocks and between demonstrations.
        stop: Strings that end the answer.
    """

    mode: Mode
    turns: tuple[Turn, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    demo: str = "{fields}\n{answer_cue} {target}"
    separator: str = "\n\n"
    stop: tuple[str, ...] = ()

    @property
    def fixed_turns(self) -> tuple[Turn, ...]:
        """The turns that show no part of the prompt: messages of the user's own, the same in every prompt."""
        return tuple(turn for turn in self.turns if turn.role != "demos" and not _shows_a_part(turn))

    def to_json(self) -> dict[str, Any]:
        """Return plain data from which ``from_json`` makes the same layout."""
        return {
            "mode": self.mode,
            "turns": [[turn.role, list(turn.blocks)] for turn in self.turns],
            "labels": dict(self.labels),
            "demo": self.demo,
            "separator": self.separator,
            "stop": list(self.stop),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Return the layout that ``to_json`` described."""
        return cls(
            mode=data["mode"],
            turns=tuple(Turn(role, tuple(blocks)) for role, blocks in data["turns"]),
            labels=dict(data["labels"]),
            demo=data["demo"],
            separator=data["separator"],
            stop=tuple(data["stop"]),
        )


def completion_layout(labels: Mapping[str, str], *, input_first: bool = False, stop: Sequence[str] = ("\n",)) -> Layout:
    """Return the raw-text layout: instruction, demonstrations, labelled fields, answer cue.

    Args:
        labels: The label of each field.
        input_first: Put the instruction after the fields, just before the answer cue.
        stop: Strings that end the answer.
    """
    blocks = (
        ("{system}", "{demos}", "{fields}", "{instruction}\n{answer_cue}")
        if input_first
        else ("{system}", "{instruction}", "{demos}", "{fields}\n{answer_cue}")
    )
    return Layout("completion", (Turn("text", blocks),), labels, stop=tuple(stop))


def chat_layout(labels: Mapping[str, str], *, demo_turns: bool = False) -> Layout:
    """Return the chat layout: demonstrations inside the user message, or as turns of their own.

    Args:
        labels: The label of each field.
        demo_turns: Show each demonstration as a user and an assistant message.
    """
    last = Turn("user", ("{fields}\n{answer_cue}",))
    turns: tuple[Turn, ...]
    if demo_turns:
        turns = (Turn("system", ("{system}", "{instruction}")), Turn("demos"), last)
    else:
        turns = (
            Turn("system", ("{system}",)),
            Turn("user", ("{instruction}", "{demos}", "{fields}\n{answer_cue}")),
        )
    return Layout("chat", turns, labels)


def inline_layout(mode: Mode, labels: Mapping[str, str], stop: Sequence[str] = ()) -> Layout:
    """Return the layout of a prompt whose own text says where the fields go."""
    blocks = ("{demos}", "{instruction}", "{answer_cue}")
    if mode == "completion":
        return Layout(mode, (Turn("text", ("{system}", *blocks)),), labels, stop=tuple(stop))
    return Layout(mode, (Turn("system", ("{system}",)), Turn("user", blocks)), labels, stop=tuple(stop))


@dataclass(frozen=True)
class Template:
    """A prompt compiled for its fields: per message, constant text and the slots between."""

    mode: Mode
    turns: tuple[tuple[str, tuple[Segment, ...]], ...]
    stop: tuple[str, ...]

    @cached_property
    def digest(self) -> str:
        """The hash of everything that a request has besides the example."""
        turns = [[role, [[s.name] if isinstance(s, Slot) else s for s in segments]] for role, segments in self.turns]
        return content_hash(self.mode, turns, self.stop)

    def render(self, example: Example) -> tuple[Message, ...]:
        """Fill the slots with the example's fields; values are never scanned for slots again."""
        inputs = example.inputs
        return tuple(
            [
                Message(role, "".join([inputs[s.name] if isinstance(s, Slot) else s for s in segments]))
                for role, segments in self.turns
            ]
        )

    @cached_property
    def shared(self) -> tuple[Message, ...]:
        """The messages with every slot left empty: the same for all examples."""
        return tuple(Message(role, "".join(s for s in segments if isinstance(s, str))) for role, segments in self.turns)

    @cached_property
    def tokens(self) -> int:
        """The length of what is the same for all examples, in tokens of four bytes."""
        return tokens_of("".join(message.content for message in self.shared))

    def messages(self) -> tuple[Message, ...]:
        """Return the messages for people: a slot as ``{field}``, and where the text itself says so, ``{{field}}``.

        That is how ``split_slots`` reads them.
        """
        names = self.slots
        return tuple(
            Message(role, "".join("{" + s.name + "}" if isinstance(s, Slot) else escape(s, names) for s in segments))
            for role, segments in self.turns
        )

    @property
    def slots(self) -> frozenset[str]:
        """The fields that the request shows."""
        return frozenset(s.name for _, segments in self.turns for s in segments if isinstance(s, Slot))


def tokens_of(text: str) -> int:
    """Return the length of a text in tokens of four bytes."""
    return math.ceil(len(text.encode("utf-8", "replace")) / BYTES_A_TOKEN)


def split_slots(text: str, names: Iterable[str]) -> list[Segment]:
    """Cut a text at its slots in one pass.

    ``{name}`` of a known name is a slot and ``{{name}}`` is the literal ``{name}``; all other braces are text.
    """
    known = frozenset(names)
    segments: list[Segment] = []
    at = 0
    for match in _SLOT.finditer(text):
        escaped, name = match.groups()
        if (escaped or name) not in known:
            continue
        segments.append(text[at : match.start()])
        segments.append("{" + escaped + "}" if escaped else Slot(name))
        at = match.end()
    segments.append(text[at:])
    return segments


def unknown_slots(text: str, names: Iterable[str]) -> list[str]:
    """Return the names in single braces that are not known, in order of appearance."""
    known = frozenset(names)
    return [name for _, name in _SLOT.findall(text) if name and name not in known]


def slots_of(text: str, names: Iterable[str]) -> list[str]:
    """Return the names of a text's slots, in order; one that stands twice is named twice."""
    return [segment.name for segment in split_slots(text, names) if isinstance(segment, Slot)]


def has_slots(text: str, names: Iterable[str]) -> bool:
    """Say whether a text has a slot of one of these names."""
    return bool(slots_of(text, names))


def escape(text: str, names: Iterable[str]) -> str:
    """Turn ``{name}`` of known names into ``{{name}}``, which ``split_slots`` reads as plain text."""
    known = frozenset(names)
    return _BRACED.sub(lambda m: "{" + m[0] + "}" if m[1] in known else m[0], text)


def unescape(text: str, names: Iterable[str]) -> str:
    """Turn ``{{name}}`` of unknown names into ``{name}``, which is plain text from then on."""
    known = frozenset(names)
    return _SLOT.sub(lambda m: m[0] if not m[1] or m[1] in known else "{" + m[1] + "}", text)


def _shows_a_part(turn: Turn) -> bool:
    return any(has_slots(block, PART_SLOTS) for block in turn.blocks)


def merge(segments: Iterable[Segment]) -> tuple[Segment, ...]:
    """Join neighbouring texts and drop empty ones."""
    merged: list[Segment] = []
    for segment in segments:
        if isinstance(segment, str) and merged and isinstance(merged[-1], str):
            merged[-1] += segment
        elif segment != "":
            merged.append(segment)
    return tuple(merged)

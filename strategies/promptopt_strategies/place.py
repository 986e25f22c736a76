"""Place: where in a prompt the text under search stands, and how the prompt reads with another text there."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

from promptopt.errors import ConfigError
from promptopt.example import Example
from promptopt.layout import PART_SLOTS, Layout, escape
from promptopt.prompt import Prompt
from promptopt_strategies.writing import read_part, write_part

Position = Literal["as_is", "before_q", "q_begin", "q_end", "a_begin"]

SLOT = "<SLOT>"
INSTRUCTION, QUESTION = "{instruction}", "{fields}"


@dataclass(frozen=True)
class Place:
    """A prompt with a text in it that may be exchanged.

    Args:
        prompt: The prompt.
        fields: The names of the input fields.
        part: The part that holds the text.
        lead: What stands before it in that part.
    """

    prompt: Prompt
    fields: tuple[str, ...]
    part: Literal["instruction", "answer_cue"] = "instruction"
    lead: str = ""

    @classmethod
    def of(cls, seed: Prompt, fields: tuple[str, ...], position: Position) -> Self:
        """Return the place in a seed prompt.

        Args:
            seed: The seed.
            fields: The names of the input fields.
            position: ``as_is`` where the seed has its instruction; ``before_q`` on the line before the question;
                ``q_begin`` behind the question's label; ``q_end`` on the line after the question; ``a_begin`` behind
                the answer cue, as the opening words of the answer. The question is all inputs of an example.

        Raises:
            ConfigError: The seed's own text or layout says where the inputs go, so the instruction cannot be moved.
        """
        if position == "a_begin":
            cue = read_part(seed, "answer_cue", fields)
            return cls(seed, fields, "answer_cue", f"{cue} " if cue else "")
        return cls(seed if position == "as_is" else seed.replace(layout=_moved(seed.layout, position, fields)), fields)

    @property
    def text(self) -> str:
        """The text that the prompt has here; an answer begins with none."""
        return read_part(self.prompt, self.part, self.fields) if self.part == "instruction" else ""

    def put(self, text: str) -> Prompt:
        """Return the prompt with this text instead."""
        return write_part(self.prompt, self.part, self.lead + text, self.fields)

    def show(self, example: Example) -> str:
        """Return what the task model sees of an example, with the slot where the text goes."""
        template = self.put(SLOT).replace(demos=()).template(self.fields)
        return "\n".join(message.content for message in template.render(example))


def _moved(layout: Layout, position: Position, fields: Sequence[str]) -> Layout:
    """Return the layout with the instruction at this position of the question and all else where it was."""
    question = {
        "before_q": f"{INSTRUCTION}\n{QUESTION}",
        "q_begin": _with_opening(layout, fields),
        "q_end": f"{QUESTION}\n{INSTRUCTION}",
    }[position]
    turns = [(turn, list(filter(None, map(_without_instruction, turn.blocks)))) for turn in layout.turns]
    left = [block for _, blocks in turns for block in blocks]
    if sum(block.count(QUESTION) for block in left) != 1 or any(INSTRUCTION in block for block in left):
        raise ConfigError(
            f"opro: position = {position} moves the instruction to the question, but this prompt says itself where its "
            "inputs go; take position = as_is or a_begin."
        )
    if position == "q_begin" and (strange := set(fields) & set(PART_SLOTS)):
        raise ConfigError(
            f"opro: position = q_begin cannot be told from the field '{min(strange)}', which is named as a part of the "
            "prompt is; rename the field, or choose another position."
        )
    moved = [replace(t, blocks=tuple(block.replace(QUESTION, question) for block in blocks)) for t, blocks in turns]
    return replace(layout, turns=tuple(moved))


def _without_instruction(block: str) -> str:
    return "\n".join(line for line in block.split("\n") if line != INSTRUCTION)


def _with_opening(layout: Layout, fields: Sequence[str]) -> str:
    """Return the block of all inputs with the instruction behind the first label; without one it is the first line."""
    labels = [escape(layout.labels.get(name, ""), {*PART_SLOTS, *fields}) for name in fields]
    lines = [f"{label}: {{{name}}}" if label else f"{{{name}}}" for label, name in zip(labels, fields, strict=True)]
    first = f"{labels[0]}: {INSTRUCTION}" if labels[0] else INSTRUCTION
    return "\n".join([first, f"{{{fields[0]}}}", *lines[1:]])

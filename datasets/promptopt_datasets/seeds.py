"""The seed prompt: a user's text, file or chat messages as the named parts of a Prompt."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from promptopt.errors import ConfigError
from promptopt.layout import (
    PART_SLOTS,
    Layout,
    Mode,
    Turn,
    chat_layout,
    completion_layout,
    has_slots,
    inline_layout,
    unescape,
)
from promptopt.prompt import Prompt
from promptopt.task import check_placeholders
from promptopt_datasets.columns import field_name
from promptopt_datasets.files import find_half, read_prose

ROLES = ("system", "user", "assistant")
_SUFFIXES = (".txt", ".md", ".json")
_BRACED = re.compile(r"(?<!\{)\{([^{}\n]+)\}(?!\})")


@dataclass(frozen=True, slots=True)
class Wording:
    """What a seed prompt says before it is laid out.

    Args:
        instruction: What the model is asked to do.
        system: The system text.
        turns: Fixed turns between system text and instruction, as pairs of role and text.
    """

    instruction: str
    system: str = ""
    turns: tuple[tuple[str, str], ...] = ()


def read_wording(prompt: str | Sequence[Mapping[str, Any]]) -> Wording:
    """Read a seed prompt: text, the path of a .txt, .md or .json file, or a list of chat messages.

    Raises:
        ConfigError: The file or the messages are wrong; says what is.
        DataError: The file cannot be read as text.
    """
    if not isinstance(prompt, str):
        return _from_messages("prompt", prompt)
    if "\n" in prompt or not prompt.casefold().endswith(_SUFFIXES):
        return Wording(prompt.strip())
    path = Path(prompt)
    if not path.is_file():
        if " " in prompt:
            return Wording(prompt)
        raise ConfigError(f"prompt {prompt}: there is no such file; correct the path, or give the prompt as text.")
    text = read_prose(path)
    if path.suffix.casefold() != ".json":
        return Wording(text.strip())
    try:
        return _from_messages(prompt, json.loads(text))
    except ValueError as error:
        raise ConfigError(f"prompt {prompt}: this is not JSON ({error}); correct it.") from None


def lay_out(wording: Wording, mode: Mode, labels: Mapping[str, str], cue: str, stop: Sequence[str]) -> Prompt:
    """Return the prompt: fields go where the text names them, else below it with their labels.

    Args:
        wording: What it says.
        mode: ``chat`` or ``completion``.
        labels: The label of each field of the data.
        cue: The answer cue of a completion prompt that does not place its fields itself.
        stop: Strings that end the answer in completion mode.

    Raises:
        ConfigError: It has fixed turns, which one text cannot hold, a placeholder that the data does not have, or half
            a character.
    """
    texts = (wording.system, wording.instruction, *(text for _, text in wording.turns))
    if half := next(filter(None, map(find_half, texts)), ""):
        raise ConfigError(f"prompt: it holds {half}, which is no character of UTF-8 text; correct or remove it.")
    check_placeholders(texts, labels)
    _check_spelling(texts, labels)
    if wording.turns and mode == "completion":
        raise ConfigError(
            "prompt: messages before the last one from the user need a chat model; use mode chat, or put them into one."
        )
    inline = any(has_slots(text, labels) for text in texts)
    layout: Layout
    if inline:
        layout = inline_layout(mode, labels, stop if mode == "completion" else ())
    elif mode == "completion":
        layout = completion_layout(labels, stop=stop)
    else:
        layout = chat_layout(labels)
    if wording.turns:
        fixed = [Turn(role, _blocks(unescape(text, labels))) for role, text in wording.turns]
        layout = replace(layout, turns=(layout.turns[0], *fixed, *layout.turns[1:]))
    answer_cue = cue if mode == "completion" and not inline else ""
    system, instruction = (unescape(text, labels) for text in (wording.system, wording.instruction))
    return Prompt.of(instruction, layout, system=system, answer_cue=answer_cue)


def _check_spelling(texts: Iterable[str], fields: Iterable[str]) -> None:
    """Refuse a field in braces that is written as its column is and not as a name, since it would stay plain text."""
    known = tuple(fields)
    for written in (name for text in texts for name in _BRACED.findall(text)):
        if written not in known and (meant := field_name(written)) in known:
            raise ConfigError(
                f"The prompt has {{{written}}}, but a field's name has no spaces or signs: write {{{meant}}}."
            )


def _from_messages(source: str, messages: Any) -> Wording:
    if not isinstance(messages, list | tuple) or not messages:
        raise ConfigError(f'{source}: expected a list of messages such as [{{"role": "user", "content": "..."}}].')
    turns: list[tuple[str, str]] = []
    for number, message in enumerate(messages, 1):
        role, content = (message.get("role"), message.get("content")) if isinstance(message, Mapping) else (None, None)
        if role not in ROLES or not isinstance(content, str):
            raise ConfigError(
                f"{source}: message {number} needs a role ({', '.join(ROLES)}) and a text as its content; correct it."
            )
        turns.append((role, content))
    system = turns.pop(0)[1] if turns[0][0] == "system" else ""
    if not turns or turns[-1][0] != "user":
        raise ConfigError(f"{source}: the last message must be from the user, since it is the instruction; move it.")
    if any(role == "system" for role, _ in turns):
        raise ConfigError(f"{source}: only the first message may be from the system; join them.")
    return Wording(turns[-1][1].strip(), system.strip(), tuple(turns[:-1]))


def _blocks(text: str) -> tuple[str, ...]:
    """Return a fixed turn as the blocks of a layout; the names of parts in braces stay text."""
    plain = re.sub(r"(?<!\{)\{(" + "|".join(PART_SLOTS) + r")\}(?!\})", r"{{\1}}", text.strip())
    return tuple(plain.split("\n\n"))

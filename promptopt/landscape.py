"""Landscape: a made-up world in which the true quality of every prompt is known, for testing searches.

It reads a prompt as a model would, from its rendered request, so whatever a strategy changes makes a difference.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Literal, get_args

from promptopt.example import Example
from promptopt.ids import content_hash
from promptopt.layout import Message
from promptopt.prompt import Prompt

Shape = Literal["additive", "pairs", "plateau", "flat", "needle"]
SHAPES: tuple[Shape, ...] = get_args(Shape)

Masked = tuple[tuple[str, str], ...]  # roles and texts of a request, without the example that it asks
Piece = tuple[str, str]  # kind and text

# Effects are in log-odds; the figure of a kind is the standard deviation over texts of that kind.
EFFECTS: Mapping[str, float] = {"sentence": 0.4, "demo": 0.3, "cue": 0.2, "slot": 0.1, "shape": 0.1}
MAINS: Mapping[str, float] = {"pairs": 0.5, "plateau": 0.5}  # what is left of the effects of single pieces
PAIRS: Mapping[str, tuple[float, float]] = {"pairs": (1 / 3, 0.6)}  # the share of pairs that interact, and how much
WEAK_PAIRS = 1 / 8, 0.3
BASELINE = 0.1
BEST, WORST = 2.8, 2.0
HALF_WEIGHT_PIECES = 12
DIFFICULTY = 1.0
STEPS: Mapping[str, tuple[int, float]] = {"needle": (2, 2.2), "plateau": (3, 1.6)}  # kinds of sentences, their worth
KIND_SHARE = 1 / 8

MARK = "\ufffc"
_SENTENCE_END = re.compile(r"(?<=[.!?;])\s+")


@dataclass(frozen=True, slots=True)
class Landscape:
    """How good every prompt truly is, as a pure function of a seed.

    ``additive``: each sentence, demonstration, answer cue, field label and the arrangement of the request has a
    hidden effect, drawn by the hash of its text; some pairs interact; returns diminish with length and with height.
    ``pairs``: the same with half the effects and many strong interactions. ``plateau``: half the effects, and a step
    up for prompts that hold three kinds of rare sentences at once. ``flat``: all prompts are equally good.
    ``needle``: all are, but for those that hold two kinds of rare sentences.

    A one-sentence prompt is right on about half of the examples, a very good one on nine in ten.

    Args:
        shape: Which kind of world.
        seed: Which world of that kind.
        common: Whether one draw of luck an example serves all prompts (as common random numbers do) instead of one
            for each pair.
    """

    shape: Shape = "additive"
    seed: int = 0
    common: bool = False

    def quality(self, prompt: Prompt, fields: Sequence[str], example: Example) -> float:
        """Return the true probability that this prompt is right on this example."""
        return self.chance(prompt.template(fields).render(example), example)

    def accuracy(self, prompt: Prompt, examples: Sequence[Example]) -> float:
        """Return the true expected accuracy of a prompt on these examples."""
        template = prompt.template(tuple(examples[0].inputs))
        return sum(self.chance(template.render(example), example) for example in examples) / len(examples)

    def chance(self, messages: Sequence[Message], example: Example) -> float:
        """Return the true probability of a right answer to a request that asks this example."""
        return self._chance(mask(messages, example), example)

    def height(self, messages: Sequence[Message], example: Example) -> float:
        """Return how good the request is besides the example that it asks, in log-odds."""
        return _height(self.shape, self.seed, mask(messages, example))

    def is_right(self, messages: Sequence[Message], example: Example, draw: object = None) -> bool:
        """Return whether the answer to a request is right.

        Args:
            messages: The request.
            example: What it asks.
            draw: Which draw of luck, where one request is answered more than once; plain data.
        """
        masked = mask(messages, example)
        place = "" if self.common else _digest(masked)
        return uniform("luck", self.seed, example.id, place, draw) < self._chance(masked, example)

    def _chance(self, masked: Masked, example: Example) -> float:
        height = _height(self.shape, self.seed, masked)
        return 1 / (1 + math.exp(_difficulty(self.seed, example.id) - height))


ADDITIVE = Landscape()


def mask(messages: Sequence[Message], example: Example) -> Masked:
    """Return the roles and texts of a request with the example's own inputs replaced by a mark.

    What is left is the same for all examples of one prompt.
    """
    texts = [message.content for message in messages]
    # Longer values first: a short one may be a part of a longer one.
    for value in sorted(filter(None, example.inputs.values()), key=len, reverse=True):
        for index in reversed(range(len(texts))):
            at = locate(texts[index], value)
            if at >= 0:
                texts[index] = texts[index][:at] + MARK + texts[index][at + len(value) :]
                break
    return tuple((message.role, text) for message, text in zip(messages, texts, strict=True))


def locate(text: str, value: str) -> int:
    """Return where a value stands last as a line or after a label, else last as whole words, else -1."""
    fallback = -1
    at = text.rfind(value)
    while at >= 0:
        before, after = text[:at][-2:], text[at + len(value) : at + len(value) + 1]
        if after in ("", "\n") and (before in ("", ": ") or before.endswith("\n")):
            return at
        if fallback < 0 and not before[-1:].isalnum() and not after.isalnum():
            fallback = at
        at = text.rfind(value, 0, at + len(value) - 1) if at else -1
    return fallback


def pieces(masked: Masked) -> frozenset[Piece]:
    """Cut a masked request into its pieces: sentences, demonstrations, answer cue, labelled slots, and its shape."""
    label = next((line.split(MARK)[0] for _, text in masked for line in text.split("\n") if MARK in line), "")
    asks_first = masked[-1][1].rpartition(MARK)[2].strip().count("\n") > 0
    found = {("shape", " ".join([*dict.fromkeys(role for role, _ in masked), "asks first" if asks_first else ""]))}
    asked = ""
    for index, (role, text) in enumerate(masked):
        is_last = index == len(masked) - 1
        if role == "assistant":
            found.add(("demo", _fold(f"{asked}\n{text}")))
        elif is_last or masked[index + 1][0] != "assistant":
            found |= _pieces_of(text, label, is_last)
        asked = text
    return frozenset(piece for piece in found if piece[1])


def _pieces_of(text: str, label: str, is_last: bool) -> set[Piece]:
    found: set[Piece] = set()
    demo: list[str] = []
    lines = text.split("\n")
    asked_at = max((n for n, line in enumerate(lines) if MARK in line), default=len(lines))
    for number, line in enumerate([*lines, ""]):
        if MARK not in line and label.strip() and line.startswith(label):
            found.add(("demo", _fold("\n".join(demo))))
            demo = [line]
        elif demo and line.strip() and MARK not in line:
            demo.append(line)
        else:
            found.add(("demo", _fold("\n".join(demo))))
            demo = []
            is_cue = is_last and asked_at < number == len(lines) - 1
            found |= {_kind(sentence, is_cue) for sentence in _SENTENCE_END.split(line)}
    return found


def _kind(sentence: str, is_cue: bool) -> Piece:
    kind = "slot" if MARK in sentence else "cue" if is_cue else "sentence"
    return kind, _fold(sentence)


def _fold(text: str) -> str:
    """Return a text without what no model cares about: case, white space, the full stop at its end."""
    return " ".join(text.lower().split()).rstrip(".")


@lru_cache(maxsize=65536)
def _difficulty(seed: int, example_id: str) -> float:
    return DIFFICULTY * _normal("difficulty", seed, example_id)


@lru_cache(maxsize=4096)
def _digest(masked: Masked) -> str:
    return content_hash(masked)


@lru_cache(maxsize=65536)
def _height(shape: Shape, seed: int, masked: Masked) -> float:
    if shape == "flat":
        return BASELINE
    found = sorted(pieces(masked))
    step = _step(shape, seed, found)
    if shape == "needle":
        return BASELINE + step
    total = MAINS.get(shape, 1.0) * sum(_effect(seed, piece) for piece in found)
    texts = [piece for piece in found if piece[0] in ("sentence", "demo")]
    total += sum(_pair_effect(shape, seed, one, other) for one, other in combinations(texts, 2))
    total /= math.sqrt(1 + max(0, len(texts) - 1) / HALF_WEIGHT_PIECES)
    limit = BEST if total + step > 0 else WORST
    return BASELINE + limit * math.tanh((total + step) / limit)


def _step(shape: Shape, seed: int, found: Sequence[Piece]) -> float:
    """Return what it is worth that sentences of all the kinds that are needed stand together."""
    wanted, worth = STEPS.get(shape, (0, 0.0))
    kinds = {uniform("needle", seed, text) // KIND_SHARE for kind, text in found if kind == "sentence"}
    return worth if wanted and kinds.issuperset(range(wanted)) else 0.0


@lru_cache(maxsize=65536)
def _effect(seed: int, piece: Piece) -> float:
    return EFFECTS[piece[0]] * _normal("effect", seed, piece)


@lru_cache(maxsize=65536)
def _pair_effect(shape: Shape, seed: int, one: Piece, other: Piece) -> float:
    share, effect = PAIRS.get(shape, WEAK_PAIRS)
    if uniform("pair", seed, one, other) >= share:
        return 0.0
    return effect * _normal("pair effect", seed, one, other)


def uniform(*place: object) -> float:
    """Return the number between 0 and 1 that the hash of this place gives."""
    return int(content_hash(*place)[:13], 16) / 16**13


def _normal(*place: object) -> float:
    """Return a nearly normal number of variance 1, within 3.5: the sum of four uniform ones, exact everywhere."""
    digits = content_hash(*place)
    return math.sqrt(3) * (sum(int(digits[n : n + 8], 16) for n in range(0, 32, 8)) / 16**8 - 2)

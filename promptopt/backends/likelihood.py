"""Likelihood: which of some texts a model most likely goes on with, from what it says about its next token.

Pure arithmetic over questions of the form "what comes next after this stem"; whoever has a model answers them.
"""

import math
from collections.abc import Callable, Iterable, Sequence

Top = Sequence[tuple[bytes, float]]
"""Next tokens as bytes, each with its log-probability; the end of the answer is an empty token."""

MAX_QUESTIONS = 12


def best_of(mass: dict[str, float]) -> str | None:
    """Return the choice with the most probability, the first of equal ones; None if none has any."""
    best = max(mass, key=lambda choice: mass[choice])
    return best if mass[best] > 0 else None


def weigh(choices: Sequence[str], ask: Callable[[str], Top]) -> dict[str, float]:
    """Return the probability of each choice, at least; no more questions are asked once the likeliest is certain.

    The probability of a choice is summed over all ways to cut it into tokens, with and without a space before it.
    A token that several choices may begin with (``s`` of ``sports`` and ``spam``, ``1`` of ``1`` and ``10``) is
    looked behind and not guessed; choices that begin with different tokens take one question. A choice outside the
    tokens that come back counts as 0.

    Args:
        choices: The texts, without a leading space.
        ask: Returns the likeliest next tokens after the request followed by this stem.
    """
    forms = {lead + choice.encode(): choice for choice in choices for lead in (b"", b" ")}
    mass = dict.fromkeys(choices, 0.0)
    stems = {b"": 1.0}
    for _ in range(MAX_QUESTIONS):
        stem = max(stems, key=lambda s: stems[s])
        reached = rest = stems.pop(stem)
        for token, logprob in ask(stem.decode()):
            grown, probability = stem + token, reached * math.exp(logprob)
            ahead = [form for form in forms if form.startswith(grown)] if token else []
            if not ahead:
                continue
            rest -= probability
            meant = {forms[form] for form in ahead}
            # Half a character cannot be asked about, but where it leads to one choice only, that one is meant.
            if ahead == [grown] or (len(meant) == 1 and not _is_text(grown)):
                mass[meant.pop()] += probability
            elif _is_text(grown):
                stems[grown] = stems.get(grown, 0.0) + probability
        if stem in forms:
            mass[forms[stem]] += max(rest, 0.0)
        if not stems or _is_settled(mass, stems, forms):
            break
    for stem in stems.keys() & forms.keys():
        mass[forms[stem]] += stems[stem]
    return mass


def _is_text(stem: bytes) -> bool:
    try:
        stem.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_settled(mass: dict[str, float], stems: dict[bytes, float], forms: dict[bytes, str]) -> bool:
    """Whether no other choice can overtake the leader with all the probability that is still open to it."""
    leader = max(mass, key=lambda choice: mass[choice])
    open_to = {choice: sum(_open(stems, forms, choice)) for choice in mass if choice != leader}
    return mass[leader] > 0 and all(mass[choice] + more <= mass[leader] for choice, more in open_to.items())


def _open(stems: dict[bytes, float], forms: dict[bytes, str], choice: str) -> Iterable[float]:
    """Return the probability of each stem that may still become the choice."""
    mine = [form for form, owner in forms.items() if owner == choice]
    return (probability for stem, probability in stems.items() if any(form.startswith(stem) for form in mine))

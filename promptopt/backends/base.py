"""Backend: how a model is reached; a stream of requests in, a stream of replies out.

The surface is synchronous; whatever concurrency a backend has lives inside ``run``.
"""

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from promptopt.budget import Usage
from promptopt.evaluation import Status
from promptopt.layout import Message, Mode

K = TypeVar("K")

READINGS_A_CHOICE = 3
TAKEN_AHEAD = 2
MOST_ADDED = 4_096  # the longest chat templates known have some hundred tokens of their own


# Not frozen only because that makes each of thousands five times as slow to build; nobody changes one.
@dataclass(slots=True, unsafe_hash=True)
class Request:
    """One model call.

    Args:
        mode: ``chat`` messages, or ``completion`` with one message of role ``text``.
        messages: What is sent.
        max_tokens: The most tokens to write.
        temperature: 0 is greedy.
        stop: Strings that end the answer; none of them is part of it.
        seed: The sampling seed, where the backend takes one.
        choices: If given, the reply's text is the likeliest of these as a continuation; nothing is generated. The
            prompt is read at most ``READINGS_A_CHOICE`` times for each.
        allowed: If given, the model can write nothing but one of these.
        group: Requests of one group share a long prefix; backends keep them together.
        shared: The messages with nothing filled in, the same for the whole group. A backend that keeps what it has
            read reads this first, so that no answer depends on what was asked before it.
    """

    mode: Mode
    messages: tuple[Message, ...]
    max_tokens: int = 16
    temperature: float = 0.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    choices: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    group: str = ""
    shared: tuple[Message, ...] = ()


@dataclass(slots=True)  # like Request
class Reply:
    """What came back.

    Args:
        status: ``ok``, ``truncated`` at max_tokens, ``refused``, ``malformed``, or ``failed`` after all retries.
        text: What the model wrote, without the stop string.
        usage: What it took; not what attempts took that were given up before it.
        attempts: Calls that were sent for this request.
        error: Why, if there is no answer; one sentence without secrets.
        lost: Whether the last attempt brought nothing and may have to be paid all the same.
        chances: The probability of each of the request's choices, where the backend tells it; else empty.
    """

    status: Status
    text: str = ""
    usage: Usage = Usage()
    attempts: int = 1
    error: str = ""
    lost: bool = False
    chances: tuple[float, ...] = ()


# Told of an attempt that may have to be paid though it brought nothing, with what it took where that is known; says
# whether there may be another one. Called from any thread.
Again = Callable[[Request, Usage | None], bool]


def always(_request: Request, _usage: Usage | None) -> bool:
    """Let every request be tried again."""
    return True


class Backend(Protocol):
    """Reaches one model."""

    @property
    def address(self) -> str:
        """How people name it, such as ``embedded:``; never holds a key."""

    @property
    def model_key(self) -> str:
        """The hash of all that decides what the model says: name, file or revision, base URL, engine."""

    @property
    def modes(self) -> frozenset[Mode]:
        """The layout modes that it takes."""

    @property
    def abilities(self) -> frozenset[str]:
        """Of ``likelihood`` (scores choices), ``choice`` (binds answers to them), ``write`` (can be an optimizer)."""

    @property
    def concurrency(self) -> int:
        """How many requests it keeps in flight at most."""

    @property
    def added_tokens(self) -> int:
        """How many tokens a chat may have at most beside the text sent: a template's own words, tools, formats."""

    def run(
        self, requests: Iterable[tuple[K, Request]], again: Again = always
    ) -> Generator[tuple[K, Reply] | None, None, None]:
        """Answer requests in the order in which replies come.

        Requests are taken lazily, whenever a place is free or a waiting place beside it (one for every
        ``TAKEN_AHEAD`` places), always from the thread that iterates. None is yielded when nothing arrived for 25 ms,
        so that the caller can flush and look at the clock. Closing the iterator cancels what is in flight.

        Args:
            requests: With the keys that their replies come back under.
            again: Asked before an attempt that follows one which may have to be paid.

        Raises:
            FatalBackendError: Nothing further can succeed; says what to do.
        """

    def close(self) -> None:
        """End everything that this backend started; more than once does no harm."""

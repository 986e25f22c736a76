"""Every error promptopt raises, and the exit code the command line gives each.

PromptOptError
├── ConfigError               a setting is wrong: file, key, what was expected          exit 2
│   └── UnknownNameError      no such strategy, backend or dataset; offers the nearest  exit 2
├── DataError                 a data file is wrong: path, line, field                   exit 2
├── StudyError
│   ├── StudyMismatchError    the stored study has other settings: which                exit 2
│   ├── StudyBusyError        another process holds the lease: since when               exit 2
│   └── ReplayError           the strategy asked something else than before             exit 1
├── StrategyError             broke the contract: which rule, which ask                 exit 1
├── BackendError              a model could not be reached or answered wrongly          exit 1
│   ├── TransientError        rate limit, timeout, 5xx: retried inside the backend
│   ├── RefusedError          becomes an Outcome, not a stop
│   ├── ContextLengthError    becomes an Outcome, not a stop
│   └── FatalBackendError     credentials, missing model, out of memory: stops          exit 1
├── MetricError               becomes an Outcome without a score; too many pause        exit 1
└── StoreError                not our file, newer schema, disk full, locked too long    exit 2
"""

import difflib
from collections.abc import Iterable

MOST_NAMES = 20  # in a message


class PromptOptError(Exception):
    """The root of the tree; catch this to catch everything promptopt raises on purpose."""

    exit_code = 1


class ConfigError(PromptOptError):
    """A setting is wrong; the message names the file and key and says what was expected."""

    exit_code = 2


class UnknownNameError(ConfigError):
    """No such strategy, backend, dataset, metric or setting; the message offers the nearest names."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        super().__init__(kind, name, sorted(known))  # what it is made again from, where it is pickled

    def __str__(self) -> str:
        kind, name, names = self.args
        close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        hint = f"known: {', '.join(names[:MOST_NAMES]) or 'none'}{more}."
        if close:
            hint = f"did you mean {' or '.join(close)}?"
        return f"There is no {kind} named '{name}'; {hint}"


class DataError(PromptOptError):
    """A data file is wrong; the message names path, line and field."""

    exit_code = 2


class StudyError(PromptOptError):
    """A study cannot go on as asked."""


class StudyMismatchError(StudyError):
    """The stored study of this name was made with other settings; the message says which."""

    exit_code = 2


class StudyBusyError(StudyError):
    """Another process works on this study; the message says which and since when."""

    exit_code = 2


class ReplayError(StudyError):
    """On resuming, the strategy asked something else than the journal holds."""


class StrategyError(PromptOptError):
    """A strategy broke the contract; the message names the rule and the ask."""


class BackendError(PromptOptError):
    """A model could not be reached or answered wrongly."""


class TransientError(BackendError):
    """Rate limit, timeout or server error: the backend retries it."""


class RefusedError(BackendError):
    """The model or its filter declined the request; recorded as an outcome."""


class ContextLengthError(BackendError):
    """The request does not fit the model's window; recorded as an outcome."""


class FatalBackendError(BackendError):
    """Credentials, a missing model or memory: nothing further can succeed, so the study stops."""


class MetricError(PromptOptError):
    """A metric raised; names the example and the output's head. That score is missing, and too many pause a study."""


class StoreError(PromptOptError):
    """The store file is not ours, is newer, cannot be written, or stayed locked."""

    exit_code = 2

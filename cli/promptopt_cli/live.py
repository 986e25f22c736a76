"""The live line: one line on the terminal that says where a running study stands.

In a pipe it prints a line every ten seconds instead; with ``--json`` nothing.
"""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from promptopt.result import Progress

PIPE_S = 10.0


class LiveLine:
    """Shows progress on standard error while a study runs.

    Args:
        quiet: Show nothing.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._live: Any = None
        self._printed = time.monotonic()

    def __enter__(self) -> Self:
        if self._terminal and not self._quiet:
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), refresh_per_second=8, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, progress: "Progress") -> None:
        """Show where the study stands."""
        if self._quiet:
            return
        if self._live is not None:
            from rich.text import Text

            self._live.update(Text(describe(progress), no_wrap=True, overflow="ellipsis"))
        elif time.monotonic() - self._printed > PIPE_S:
            self._printed = time.monotonic()
            print(describe(progress), file=sys.stderr, flush=True)


def describe(progress: "Progress") -> str:
    """Return progress in one line."""
    words = [f"{progress.phase} {progress.done}/{progress.total}"]
    if progress.phase == "search":
        words.append(f"trial {progress.trials}")
    if progress.best is not None and (interval := progress.best_interval):
        words.append(f"best {progress.best.mean:.2f} ({interval.low:.2f} to {interval.high:.2f})")
    words.append(f"{progress.spend.calls} calls, {progress.calls_per_s:.1f}/s")
    if progress.spend.usd:
        words.append(f"${progress.spend.usd:.4f}")
    if progress.seconds_left is not None:
        words.append(f"{progress.seconds_left:.0f} s left in this phase")
    return "  ·  ".join(words)


def show_download(stage: str, done: int, total: int) -> None:
    """Show on standard error how a model's file comes (bytes), or how a server starts (seconds, no total)."""
    if not total:
        print(f"{stage}: {done} s" if done else stage, file=sys.stderr, flush=True)
        return
    terminal = sys.stderr.isatty()
    if terminal or done in (0, total):
        end = "\r" if terminal and done < total else "\n"
        print(f"{stage}: {done / 1e6:.0f} of {total / 1e6:.0f} MB", end=end, file=sys.stderr, flush=True)

"""Progress of long work on stderr: a bar with rate and time left, or plain lines off a terminal."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

SILENCE_SECONDS = 2.0
PLAIN_LINE_SECONDS = 5.0


@dataclass
class Progress:
    """How far one piece of long work has come; shown only once it has lasted two seconds.

    `total` is None where the end is not known.
    """

    label: str
    total: int | None
    unit: str
    done: int = 0
    note: str = ""
    clock: Callable[[], float] = time.monotonic
    started: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.started = self.clock()

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Counts `amount` more units done; `note` is shown beside the bar."""
        self.done += amount
        self.note = note or self.note
        self.show()

    def show(self) -> None:
        """Draws nothing; what is shown is the business of the class that shows it."""

    def close(self) -> None:
        """Ends the display."""

    @property
    def seconds(self) -> float:
        """Time since the work began."""
        return self.clock() - self.started

    @property
    def rate(self) -> float:
        """Units per second so far."""
        return self.done / self.seconds if self.seconds > 0 else 0.0

    def line(self) -> str:
        """The state of the work as one plain line."""
        share = f" of {self.total:,} ({self.done / self.total:.0%})" if self.total else ""
        left = ""
        if self.total and self.rate > 0:
            left = f", {(self.total - self.done) / self.rate:.0f} s left"
        note = f" · {self.note}" if self.note else ""
        return f"{self.label}: {self.done:,}{share} {self.unit}, {self.rate:,.0f}/s{left}{note}"


class PlainProgress(Progress):
    """Prints a line every few seconds: for logs and pipes."""

    last: float = 0.0

    def show(self) -> None:
        if self.seconds > SILENCE_SECONDS and self.seconds - self.last > PLAIN_LINE_SECONDS:
            self.last = self.seconds
            print(self.line(), file=sys.stderr, flush=True)

    def close(self) -> None:
        if self.last:
            print(self.line(), file=sys.stderr, flush=True)


class TerminalProgress(Progress):
    """Draws one bar in place, at most ten times a second."""

    last: float = 0.0
    WIDTH = 24

    def show(self) -> None:
        finished = self.total is not None and self.done >= self.total
        if self.seconds < 0.3 or (self.seconds - self.last < 0.1 and not finished):
            return
        self.last = self.seconds
        bar = ""
        if self.total:
            filled = round(self.WIDTH * min(1.0, self.done / self.total))
            bar = f"{'━' * filled}{'╌' * (self.WIDTH - filled)} "
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
        print("\r" + f"{bar}{self.line()}"[: columns - 1].ljust(columns - 1), end="", file=sys.stderr)
        sys.stderr.flush()

    def close(self) -> None:
        if self.last:
            columns = os.get_terminal_size(sys.stderr.fileno()).columns
            print("\r" + " " * (columns - 1) + "\r", end="", file=sys.stderr, flush=True)


def is_terminal() -> bool:
    """Whether stderr is something a person watches; `NO_PROGRESS` in the environment says no."""
    if os.environ.get("NO_PROGRESS") or os.environ.get("TERM") == "dumb":
        return False
    try:
        os.get_terminal_size(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return sys.stderr.isatty()


@contextmanager
def track(label: str, total: int | None, unit: str) -> Iterator[Progress]:
    """Shows how far the work inside the `with` has come; call `advance` on what it yields."""
    kind = TerminalProgress if is_terminal() else PlainProgress
    if os.environ.get("NO_PROGRESS"):
        kind = Progress
    progress = kind(label, total, unit)
    try:
        yield progress
    finally:
        progress.close()

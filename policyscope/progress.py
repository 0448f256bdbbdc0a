"""Progress of long work on stderr: a bar with rate and time left, or plain lines off a terminal.

`POLICYSCOPE_PROGRESS=json` makes each line a JSON object, for a program that shows it elsewhere.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

SILENCE_SECONDS = 2.0
PLAIN_LINE_SECONDS = 5.0
JSON_LINE_SECONDS = 0.2
BAR_SILENCE_SECONDS = 0.3
BAR_SECONDS = 0.1


@dataclass
class Progress:
    """How far one piece of long work has come; this one is silent, others show it.

    `total` is None where the end is not known.
    """

    label: str
    total: int | None
    unit: str
    done: int = 0
    note: str = ""
    is_slow: bool = False
    """Whether even its first unit takes long, so that it is shown from the start."""
    clock: Callable[[], float] = time.monotonic
    started: float = field(default=0.0, init=False)
    shown: float | None = field(default=None, init=False)
    """Seconds into the work at which it was last shown."""

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

    def state(self) -> str:
        """Units done of the total, rate, time left and note, in words."""
        share = f" of {self.total:,} ({self.done / self.total:.0%})" if self.total else ""
        rate = f"{self.rate:,.0f}" if self.rate >= 10 else f"{self.rate:.2g}"
        left = ""
        if self.total and self.rate > 0:
            left = f", {(self.total - self.done) / self.rate:.0f} s left"
        note = f" · {self.note}" if self.note else ""
        return f"{self.done:,}{share} {self.unit}, {rate}/s{left}{note}"

    def is_due(self, silence: float, interval: float) -> bool:
        """Whether to show it now: after some silence, and not more often than `interval`."""
        now = self.seconds
        if (now < silence and not self.is_slow) or (
            self.shown is not None and now - self.shown < interval
        ):
            return False
        self.shown = now
        return True


class PlainProgress(Progress):
    """Prints a line every few seconds: for logs and pipes."""

    def show(self) -> None:
        if self.is_due(SILENCE_SECONDS, PLAIN_LINE_SECONDS):
            self.print()

    def close(self) -> None:
        if self.shown is not None:
            self.print()

    def print(self) -> None:
        """Prints the state as one line."""
        print(f"{self.label}: {self.state()}", file=sys.stderr, flush=True)


class JsonProgress(Progress):
    """Prints a JSON object a few times a second: for another program."""

    def show(self) -> None:
        if self.is_due(0.0, JSON_LINE_SECONDS):
            self.print()

    def close(self) -> None:
        self.print()

    def print(self) -> None:
        """Prints the state as one line."""
        state = {"progress": self.label, "done": self.done, "total": self.total}
        line = json.dumps({**state, "unit": self.unit, "note": self.note})
        print(line, file=sys.stderr, flush=True)


class TerminalProgress(Progress):
    """A bar drawn in place, which goes away when the work is done.

    Work inside other work draws its bar below, in the same display.
    """

    display: ClassVar[Any] = None
    """Rich's, while there is anything to show."""
    task: Any = None

    def show(self) -> None:
        if not self.is_due(BAR_SILENCE_SECONDS, BAR_SECONDS):
            return
        display = TerminalProgress.display
        if display is None:
            display = TerminalProgress.display = open_display()
        if self.task is None:
            self.task = display.add_task(self.label, total=self.total, state="")
        display.update(self.task, completed=self.done, state=self.state())

    def close(self) -> None:
        display = TerminalProgress.display
        if display is None or self.task is None:
            return
        display.remove_task(self.task)
        if not display.tasks:
            display.stop()
            TerminalProgress.display = None


def open_display() -> Any:
    """An empty display of Rich's on stderr that leaves no trace."""
    # Here, because it takes a while to import, and most work is silent or short.
    from rich import progress as bars
    from rich.console import Console

    display = bars.Progress(
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(bar_width=24),
        bars.TextColumn("{task.fields[state]}", markup=False),
        console=Console(stderr=True),
        transient=True,
        # What is printed meanwhile goes above the bar, but never out of a pipe.
        redirect_stdout=sys.stdout.isatty(),
    )
    display.start()
    return display


def kind_of_progress() -> type[Progress]:
    """How to show progress here; `NO_PROGRESS` in the environment says not at all."""
    if os.environ.get("NO_PROGRESS"):
        return Progress
    if os.environ.get("POLICYSCOPE_PROGRESS") == "json":
        return JsonProgress
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        return TerminalProgress
    return PlainProgress


@contextmanager
def track(label: str, total: int | None, unit: str, *, is_slow: bool = False) -> Iterator[Progress]:
    """Shows how far the work inside the `with` has come; call `advance` on what it yields."""
    progress = kind_of_progress()(label, total, unit, is_slow=is_slow)
    try:
        yield progress
    finally:
        progress.close()

"""Every error policyscope raises on purpose, as one tree.

    PolicyscopeError
    ├── UnknownName          LookupError        a name that is not there; says what is
    ├── InvalidInput         ValueError         a choice that cannot work
    ├── NotEnoughData        ValueError         a statistic that would mislead
    ├── NotFinite            ArithmeticError    NaN or Inf where numbers belong
    ├── CorruptFile          OSError            a file that is not what it was
    ├── DiskFull             OSError            no room left; what was committed stays
    ├── NewerFormat          RuntimeError       written by a newer policyscope
    ├── InUse                RuntimeError       another process is writing here
    ├── EnvironmentFailed    RuntimeError       the environment raised while acting
    ├── NoAnswer             ConnectionError    a language model gave nothing that can be used
    ├── UntrustedFile        PermissionError    opening it would run its code
    └── MissingExtra         ImportError        an optional dependency is not installed

Each also descends from the built-in a caller would catch.
"""

import difflib
from collections.abc import Iterable

SHOWN_NAMES = 12


class PolicyscopeError(Exception):
    """The root of all errors raised on purpose; its message is fit to show to a user."""


class UnknownName(PolicyscopeError, LookupError):
    """A name that is not known where it was looked up."""

    @classmethod
    def among(cls, kind: str, given: str, known: Iterable[str]) -> "UnknownName":
        """The error for `given`, with the nearest known name and the list of all."""
        names = list(known)
        message = f"No {kind} called {given!r}."
        close = difflib.get_close_matches(given, names, n=1, cutoff=0.5)
        if close:
            message += f" Did you mean {close[0]!r}?"
        if names:
            more = "" if len(names) <= SHOWN_NAMES else f" … and {len(names) - SHOWN_NAMES} more"
            message += f" Known: {', '.join(names[:SHOWN_NAMES])}{more}."
        else:
            message += f" There is no {kind} here yet."
        return cls(message)


class InvalidInput(PolicyscopeError, ValueError):
    """A value that cannot work, found before anything expensive ran."""


class NotEnoughData(PolicyscopeError, ValueError):
    """Too few samples for a statistic that would not mislead."""


class NotFinite(PolicyscopeError, ArithmeticError):
    """NaN or Inf where numbers belong; the message says at which column, episode and step."""


class CorruptFile(PolicyscopeError, OSError):
    """A file that is truncated, bit-flipped or not of our format."""


class DiskFull(PolicyscopeError, OSError):
    """The disk has no room left; everything committed before stays readable."""


class NewerFormat(PolicyscopeError, RuntimeError):
    """A file written by a newer policyscope than this one."""


class InUse(PolicyscopeError, RuntimeError):
    """Another process holds the lock."""


class EnvironmentFailed(PolicyscopeError, RuntimeError):
    """The environment raised in the middle of an episode; `row` says in which row, if known."""

    def __init__(self, message: "str | EnvironmentFailed", row: int | None = None) -> None:
        # Gymnasium raises a worker's error again as a new one of its class, made of that error.
        super().__init__(str(message))
        self.row = message.row if isinstance(message, EnvironmentFailed) else row

    def __reduce__(self) -> tuple[type["EnvironmentFailed"], tuple[str, int | None]]:
        # Crosses process boundaries whole.
        return type(self), (str(self), self.row)


class NoAnswer(PolicyscopeError, ConnectionError):
    """A language model, or the server it is behind, gave no answer that can be used.

    `status` is the server's, where it gave one; `wait` the seconds it asked to be left alone.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        wait: float | None = None,
        is_passing: bool = False,
        lasts: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.wait = wait
        self.is_passing = is_passing
        """Whether the same request may well be answered a little later."""
        self.lasts = lasts
        """Whether other requests will most likely fail in the same way."""


class UntrustedFile(PolicyscopeError, PermissionError):
    """A file that cannot be opened without running code it contains."""


class MissingExtra(PolicyscopeError, ImportError):
    """An optional dependency that is not installed."""

    @classmethod
    def of(cls, package: str, extra: str) -> "MissingExtra":
        """The error for a missing `package`, with the line that installs it."""
        return cls(f"{package} is not installed. Run: pip install 'policyscope[{extra}]'")

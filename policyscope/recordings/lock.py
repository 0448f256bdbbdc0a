"""The lock that keeps a second writer out of a recording; it dies with its process."""

import fcntl
import os
from pathlib import Path

from policyscope.errors import InUse

# A POSIX lock does not exclude its own process, and closing any descriptor of the file drops it:
# a second writer in this process is turned away here, before it opens the file.
_held: set[tuple[int, Path]] = set()


class WriterLock:
    """An exclusive lock on a directory, held from construction to `release`.

    A POSIX record lock: environment workers forked later do not inherit it, so an orphaned
    worker cannot keep a recording locked after its parent was killed.
    """

    def __init__(self, directory: Path, what: str = "Recording") -> None:
        self.path = directory.resolve() / "writer.lock"
        self._key = (os.getpid(), self.path)
        if self._key in _held:
            raise in_use(f"{what} {directory}", str(os.getpid()))
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(self._descriptor, 32).decode(errors="replace").strip()
            os.close(self._descriptor)
            raise in_use(f"{what} {directory}", holder) from error
        _held.add(self._key)
        self._leave_number()

    def _leave_number(self) -> None:
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError:
            pass  # on a full disk the lock still holds; only the number is missing

    def release(self) -> None:
        """Lets the next writer in; the file stays, since removing it would race."""
        if self._key in _held:
            _held.discard(self._key)
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)


def in_use(what: str, holder: str) -> InUse:
    """The error for something that `holder`, a process id or empty, writes to."""
    by = f"process {holder}" if holder else "another process"
    return InUse(
        f"{what} is being written by {by}. Wait for it to end, or write under another name."
    )

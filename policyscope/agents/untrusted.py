"""Bytes that nobody vouches for: where they came from, and how to say no to them."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from policyscope.errors import CorruptFile, InvalidInput, UnknownName, UntrustedFile

FILE_BYTES = 8 << 30
"""The largest file that is read. An image policy with its optimiser takes tens of megabytes."""
MESSAGE_NAMES = 6


@dataclass(frozen=True)
class Untrusted:
    """The content of a file, or of one member of an archive, before anything is believed of it."""

    path: Path
    content: bytes = field(repr=False)
    member: str | None = None

    @property
    def where(self) -> str:
        """The file, and the member inside it, as a message calls them."""
        return repr(str(self.path)) + (f", member {self.member!r}" if self.member else "")

    def refused(self, found: str, instead: str = "") -> UntrustedFile:
        """The error for content that only its own code could open."""
        return UntrustedFile(
            f"{self.where} is not opened: {found}. {instead + ' ' if instead else ''}"
            f"If you know who made it, --trust opens it and lets it run its code. "
            f"sha256 {sha256_of(self.path)}."
        )

    def damaged(self, found: str) -> CorruptFile:
        """The error for content that nothing can open."""
        return CorruptFile(
            f"{self.where} is not opened: {found}. Fetch the file again; --trust changes nothing "
            f"here. sha256 {sha256_of(self.path)}."
        )


def read_untrusted(path: Path, limit: int = FILE_BYTES) -> Untrusted:
    """The whole content of the file at `path`, which must be a plain file below `limit` bytes."""
    size = size_of(path)
    if size > limit:
        raise Untrusted(path, b"").damaged(f"it has {size:,} bytes, more than {limit:,}")
    return Untrusted(path, path.read_bytes())


def size_of(path: Path) -> int:
    """How many bytes the plain file at `path` has."""
    if not path.exists():
        raise UnknownName(f"There is no file {str(path)!r}.")
    if not path.is_file():
        raise InvalidInput(f"{str(path)!r} is not a file; expected one.")
    return path.stat().st_size


def sha256_of(path: Path) -> str:
    """The digest by which others may have published the same file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def listed(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - MESSAGE_NAMES
    return ", ".join(names[:MESSAGE_NAMES]) + (f" and {more} more" if more > 0 else "")

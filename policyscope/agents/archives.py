"""Zip archives that nobody vouches for: named members read into memory, nothing ever extracted.

Everything an archive claims about itself is checked before a byte is decompressed: names that
climb out of the folder, links, names that occur twice, encryption, and how far the members that
will be read expand.
"""

import io
import re
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from types import TracebackType

from policyscope.agents.untrusted import Untrusted, listed, size_of

EXPANDED_BYTES = 4 << 30
MEMBERS = 10_000
RATIO = 200
"""Deflate reaches 1,032 on zeros and less than 10 on weights or text."""
RATIO_FREE_BYTES = 16 << 20
"""Members this small may expand as they like."""
ESCAPING = re.compile(r"^[/\\]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)|\x00")
UNREADABLE = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    EOFError,
    OSError,
    ValueError,
    RuntimeError,
    NotImplementedError,
    OverflowError,
    MemoryError,
)
"""What zipfile raises on archives that are not what they say."""


class Archive:
    """The members of a zip archive that `wanted` names; a context manager.

    Members that are not wanted are never read, whatever they hold. Raises CorruptFile, naming the
    member, for archives that try something and for those that are not whole.
    """

    def __init__(self, source: Untrusted, wanted: Callable[[str], bool]) -> None:
        self.source = source
        if not source.content:
            size_of(source.path)
        try:
            held = io.BytesIO(source.content) if source.content else source.path
            self._zip = zipfile.ZipFile(held)
        except UNREADABLE as error:
            raise source.damaged(f"it is not a whole zip archive ({error})") from error
        try:
            members = self._zip.infolist()
            self._check_names(members)
            self._members = {member.filename: member for member in members}
            self.names = tuple(name for name in self._members if wanted(name))
            self._check_sizes()
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self) -> "Archive":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._zip.close()

    def size(self, name: str) -> int:
        """How many bytes the member has once expanded, by its own word."""
        return self._members[name].file_size

    def read(self, name: str) -> Untrusted:
        """The content of one wanted member, its checksum verified."""
        if name not in self.names:
            raise self.source.damaged(f"it has no member {name!r} (it has {listed([*self.names])})")
        try:
            content = self._zip.read(self._members[name])
        except UNREADABLE as error:
            raise self.source.damaged(f"member {name!r} is damaged ({error})") from error
        return Untrusted(self.source.path, content, name)

    def _check_names(self, members: list[zipfile.ZipInfo]) -> None:
        if len(members) > MEMBERS:
            raise self.source.damaged(f"it has {len(members):,} members, more than {MEMBERS:,}")
        names = [member.orig_filename for member in members]
        if escaping := [name for name in names if ESCAPING.search(name)]:
            raise self.source.damaged(f"members point outside of it: {listed(escaping)}")
        if links := [one.filename for one in members if stat.S_ISLNK(one.external_attr >> 16)]:
            raise self.source.damaged(f"members are links: {listed(links)}")
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise self.source.damaged(f"members occur more than once: {listed(twice)}")

    def _check_sizes(self) -> None:
        total = sum(self.size(name) for name in self.names)
        if total > EXPANDED_BYTES:
            raise self.source.damaged(
                f"it expands to {total:,} bytes, more than {EXPANDED_BYTES:,} (a zip bomb)"
            )
        for name in self.names:
            member = self._members[name]
            if member.flag_bits & 1:
                raise self.source.damaged(f"member {name!r} is encrypted")
            small = member.file_size <= RATIO_FREE_BYTES
            if not small and member.file_size > RATIO * member.compress_size:
                raise self.source.damaged(
                    f"member {name!r} expands {member.compress_size:,} bytes to "
                    f"{member.file_size:,}, more than {RATIO} times (a zip bomb)"
                )

"""How a recording lies on disk: its paths, its header, and how a file is written whole.

    <recording>/recording.json               RecordingHeader
    <recording>/shards/00000000.safetensors  one block each, see shard.py
    <recording>/writer.lock                  held while somebody writes

Every file is written beside its place and renamed into it: the rename is the commit.
"""

import errno
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np

from policyscope.errors import CorruptFile, DiskFull, InvalidInput, NewerFormat, UnknownName

FORMAT_VERSION = 1
HEADER_FILE = "recording.json"
SHARD_FOLDER = "shards"
SHARD_SUFFIX = ".safetensors"
TEMPORARY_SUFFIX = ".tmp"
PIECE_BYTES = 1 << 18
"""Written at once: a system takes longer over one large piece than over the same in small ones."""

Kind = Literal["observation", "action", "output", "reward", "flag", "site", "metric"]

# Which safetensors name each column dtype has.
DTYPES = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "uint16": "U16",
    "int16": "I16",
    "uint32": "U32",
    "int32": "I32",
    "uint64": "U64",
    "int64": "I64",
    "float16": "F16",
    "float32": "F32",
    "float64": "F64",
}


@dataclass(frozen=True)
class ColumnSpec:
    """One column of a recording; `shape` is that of one sample, `()` for a number."""

    name: str
    kind: Kind
    dtype: str
    shape: tuple[int, ...] = ()
    unit: str = ""

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise InvalidInput(
                f"Column {self.name!r} cannot be stored as {self.dtype}. "
                f"Known: {', '.join(DTYPES)}."
            )
        if self.kind not in get_args(Kind):
            raise InvalidInput(
                f"Column {self.name!r} cannot be of kind {self.kind!r}. "
                f"Known: {', '.join(get_args(Kind))}."
            )

    @classmethod
    def from_json(cls, facts: dict[str, Any]) -> "ColumnSpec":
        """The column as `recording.json` has it."""
        shape = tuple(facts["shape"])
        return cls(facts["name"], facts["kind"], facts["dtype"], shape, facts["unit"])

    @property
    def sample_bytes(self) -> int:
        """The size of one sample on disk."""
        return int(np.dtype(self.dtype).itemsize * np.prod(self.shape, dtype=np.int64))


# Every shard has these two beside the columns of the header.
INDEX_COLUMNS = (
    ColumnSpec("episode", "flag", "int32"),
    ColumnSpec("step", "flag", "int32"),
)


@dataclass(frozen=True)
class RecordingHeader:
    """What is true of a whole recording: its columns, and what acted where from which seed.

    `agent` and `environment` are whatever their owners need to know them again, as JSON; a
    `fingerprint` in `agent` decides alone whether two agents are the same. `rows` counts the
    vector environment's rows. Condition `i` of an episode is `conditions[i]`.
    """

    columns: tuple[ColumnSpec, ...]
    agent: Mapping[str, Any]
    environment: Mapping[str, Any]
    seed: int
    rows: int
    deterministic: bool = False
    conditions: tuple[str, ...] = ()
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def __post_init__(self) -> None:
        taken = {spec.name for spec in INDEX_COLUMNS}
        for spec in self.columns:
            if spec.name in taken:
                raise InvalidInput(
                    f"Column {spec.name!r} is there twice. Names are unique, and "
                    "'episode' and 'step' are written for every recording."
                )
            taken.add(spec.name)
        if self.rows < 1:
            raise InvalidInput(f"A recording needs at least one row, not {self.rows}.")

    @property
    def stored_columns(self) -> tuple[ColumnSpec, ...]:
        """Every column of a shard in its order in the file: wide numbers first.

        Then each column begins at a multiple of its item size and can be mapped as it is.
        """
        every = (*self.columns, *INDEX_COLUMNS)
        return tuple(sorted(every, key=lambda c: (-np.dtype(c.dtype).itemsize, c.name)))


def shard_path(directory: Path, number: int) -> Path:
    """Where shard `number` lies."""
    return directory / SHARD_FOLDER / f"{number:08d}{SHARD_SUFFIX}"


def shard_numbers(directory: Path) -> list[int]:
    """The numbers of the committed shards, in order."""
    try:
        names = [path.name for path in (directory / SHARD_FOLDER).iterdir()]
    except FileNotFoundError:
        return []
    stems = (name.removesuffix(SHARD_SUFFIX) for name in names if name.endswith(SHARD_SUFFIX))
    return sorted(int(stem) for stem in stems if stem.isdecimal())


def remove_temporaries(directory: Path) -> None:
    """Clears away what a killed writer left; only for the holder of the lock."""
    for folder in (directory, directory / SHARD_FOLDER):
        for stray in folder.glob(f"*{TEMPORARY_SUFFIX}"):
            stray.unlink()


def write_whole(path: Path, parts: Sequence[bytes | memoryview], kept: str) -> None:
    """Writes `parts` to `path`, or leaves nothing; `kept` tells a full disk what stays readable."""
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    try:
        with temporary.open("wb", buffering=0) as file:
            for part in parts:
                left = memoryview(part)
                while left:
                    left = left[file.write(left[:PIECE_BYTES]) :]
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            size = sum(len(part) for part in parts)
            raise DiskFull(
                f"No room for {path} ({size:,} bytes). {kept} Make room and resume."
            ) from error
        raise


def write_header(directory: Path, header: RecordingHeader) -> None:
    """Writes `recording.json`."""
    try:
        text = json.dumps({"format_version": FORMAT_VERSION, **asdict(header)}, indent=1)
    except TypeError as error:
        raise InvalidInput(
            f"The header of {directory} cannot be written as JSON: {error}. "
            "Give agent and environment as text, numbers, lists and mappings."
        ) from error
    write_whole(directory / HEADER_FILE, [text.encode()], "Nothing was recorded yet.")


def read_header(directory: Path) -> RecordingHeader:
    """The header in `recording.json`; UnknownName where there is no recording."""
    path = directory / HEADER_FILE
    try:
        facts: Any = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise missing_recording(directory) from None
    except ValueError as error:
        raise CorruptFile(f"{path} is not JSON: {error}. Restore it from a copy.") from error
    if not isinstance(facts, dict) or not isinstance(facts.get("format_version"), int):
        raise CorruptFile(f"{path} has no format version. Restore it from a copy.")
    check_version(path, facts.pop("format_version"))
    try:
        facts["columns"] = tuple(ColumnSpec.from_json(each) for each in facts["columns"])
        facts["conditions"] = tuple(facts["conditions"])
        return RecordingHeader(**facts)
    except (KeyError, TypeError, InvalidInput) as error:
        raise CorruptFile(f"{path} is not a recording's header: {error!r}.") from error


def check_version(path: Path, version: int) -> None:
    """Refuses what a later policyscope wrote."""
    if version > FORMAT_VERSION:
        raise NewerFormat(
            f"{path} has format version {version}; this policyscope reads up to {FORMAT_VERSION}. "
            "Update policyscope: pip install --upgrade policyscope"
        )


def missing_recording(directory: Path) -> UnknownName | CorruptFile:
    """The error for a directory without `recording.json`."""
    if shard_numbers(directory):
        return CorruptFile(f"{directory} has shards but no {HEADER_FILE}. Restore it from a copy.")
    siblings = sorted(path.parent.name for path in directory.parent.glob(f"*/{HEADER_FILE}"))
    return UnknownName.among("recording", directory.name, siblings)


def differences(there: RecordingHeader, here: RecordingHeader) -> list[str]:
    """What keeps samples under header `here` out of a recording with header `there`."""
    found = []
    for name in ("columns", "agent", "environment", "seed", "rows", "deterministic", "conditions"):
        old, new = (_comparable(name, getattr(header, name)) for header in (there, here))
        if old != new:
            found.append(f"{name}: {old} there, {new} here")
    return found


def _comparable(name: str, value: Any) -> str:
    if name == "agent":
        value = cast(Mapping[str, Any], value)
        value = value.get("fingerprint", value)
    if name == "columns":
        value = [f"{spec.name} {spec.dtype}{list(spec.shape)}" for spec in value]
    return json.dumps(value, sort_keys=True)

"""One shard: a safetensors file whose header metadata say what the samples in it are.

    format        policyscope-shard/1
    rows          number of samples
    segments      [{episode, first_step, offset, length, row}]: runs of one episode's steps
    episodes      the facts of the episodes that ended in this shard
    crc32         {column: crc32 of its bytes, eight hex digits}
    header_crc32  crc32 of the header itself, taken with these eight digits as zeros

Every value is text, as safetensors demands; the structured ones are JSON.
"""

import json
import mmap
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

from policyscope.errors import CorruptFile
from policyscope.recordings.episode import Episode
from policyscope.recordings.format import DTYPES, ColumnSpec, check_version

SHARD_FORMAT = "policyscope-shard"
SHARD_VERSION = 1
LENGTH_BYTES = 8  # safetensors: the header's length, little-endian
ALIGNMENT = 8

SEGMENT_FIELDS = ("episode", "first_step", "offset", "length", "row")
SEGMENT = np.dtype([(name, np.int64) for name in SEGMENT_FIELDS])
# Filled in by hand, because there may be hundreds and json takes four times as long.
SEGMENT_JSON = "{" + ",".join(f'"{name}":%d' for name in SEGMENT_FIELDS) + "}"

# Begins with its literal part, which is searched for ten times faster than a look-behind.
_HEADER_CRC = re.compile(rb'"header_crc32":"[0-9a-f]{8}"')
_NO_CRC = b'"header_crc32":"00000000"'

Segments = Shaped[np.ndarray, " segment"]
MapFile = Callable[[Path, int], mmap.mmap]


def find_segments(
    episode: Int[np.ndarray, " sample"],
    step: Int[np.ndarray, " sample"],
    row: Int[np.ndarray, " sample"],
) -> Segments:
    """The runs of consecutive steps of one episode in one row."""
    if not len(episode):
        return np.empty(0, SEGMENT)
    goes_on = (np.diff(episode) == 0) & (np.diff(step) == 1) & (np.diff(row) == 0)
    offset = np.concatenate([[0], np.flatnonzero(~goes_on) + 1])
    segments = np.empty(len(offset), SEGMENT)
    segments["episode"] = episode[offset]
    segments["first_step"] = step[offset]
    segments["offset"] = offset
    segments["length"] = np.diff(offset, append=len(episode))
    segments["row"] = row[offset]
    return segments


def encode_header(
    columns: Sequence[ColumnSpec],
    crc32: Mapping[str, int],
    segments: Segments,
    episodes: Sequence[Episode],
    samples: int,
) -> bytes:
    """The bytes before the data; `columns` in the order of the data."""
    runs = ",".join([SEGMENT_JSON % run for run in segments.tolist()])
    header: dict[str, Any] = {
        "__metadata__": {
            "format": f"{SHARD_FORMAT}/{SHARD_VERSION}",
            "rows": str(samples),
            "segments": f"[{runs}]",
            "episodes": json.dumps([episode.to_json() for episode in episodes]),
            "crc32": json.dumps({name: f"{crc:08x}" for name, crc in crc32.items()}),
            "header_crc32": "00000000",
        }
    }
    begin = 0
    for spec in columns:
        end = begin + samples * spec.sample_bytes
        header[spec.name] = {
            "dtype": DTYPES[spec.dtype],
            "shape": [samples, *spec.shape],
            "data_offsets": [begin, end],
        }
        begin = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    crc = b'"header_crc32":"%08x"' % zlib.crc32(text)
    return len(text).to_bytes(LENGTH_BYTES, "little") + text.replace(_NO_CRC, crc, 1)


def map_file(path: Path, size: int) -> mmap.mmap:
    """The file as read-only memory; CorruptFile where it is not `size` bytes long."""
    with path.open("rb") as file:
        check_size(path, file.seek(0, 2), size)
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def check_size(path: Path, found: int, expected: int) -> None:
    """Refuses a file that was cut off or grew."""
    if found != expected:
        raise corrupt(path, f"is {found:,} bytes long and should be {expected:,}")


def corrupt(path: Path, what: str) -> CorruptFile:
    """The error for a shard that is not what was written."""
    return CorruptFile(
        f"Shard {path} {what}. Restore it from a copy, "
        "or delete it and every shard after it and resume from there."
    )


@dataclass(frozen=True, eq=False)
class Shard:
    """A committed shard: its facts at hand, its columns mapped when asked for."""

    path: Path
    number: int
    samples: int
    segments: Segments = field(repr=False)
    episodes: tuple[Episode, ...] = field(repr=False)
    _columns: Mapping[str, ColumnSpec] = field(repr=False)
    _offsets: Mapping[str, int] = field(repr=False)
    _crc32: Mapping[str, int] = field(repr=False)
    _size: int = field(repr=False)
    _checked: set[str] = field(default_factory=set, repr=False)

    @classmethod
    def open(cls, path: Path, number: int, columns: Sequence[ColumnSpec]) -> "Shard":
        """Reads the header and checks it, and that the file has its full length.

        `columns` are what the recording says the shard holds, in the order of the data.
        """
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            length = int.from_bytes(file.read(LENGTH_BYTES), "little")
            if size < LENGTH_BYTES or length > size - LENGTH_BYTES:
                raise corrupt(path, f"is truncated: {size:,} bytes are too few for its header")
            text = file.read(length)
        facts = decode_header(path, text)
        samples = int(facts["rows"])
        begin = LENGTH_BYTES + length
        offsets = {}
        for spec in columns:
            offsets[spec.name] = begin
            begin += samples * spec.sample_bytes
        check_size(path, size, begin)
        check_columns(path, facts["columns"], columns, samples)
        runs = json.loads(facts["segments"])
        return cls(
            path=path,
            number=number,
            samples=samples,
            segments=np.array(list(map(itemgetter(*SEGMENT_FIELDS), runs)), SEGMENT),
            episodes=tuple(Episode.from_json(each) for each in json.loads(facts["episodes"])),
            _columns={spec.name: spec for spec in columns},
            _offsets=offsets,
            _crc32={name: int(crc, 16) for name, crc in json.loads(facts["crc32"]).items()},
            _size=size,
        )

    def column(self, name: str, mapped: MapFile = map_file) -> Shaped[np.ndarray, "sample ..."]:
        """A read-only view of one column, its checksum compared the first time."""
        spec, offset = self._columns[name], self._offsets[name]
        length = self.samples * spec.sample_bytes
        memory = mapped(self.path, self._size)
        if name not in self._checked:
            self._check(name, memoryview(memory)[offset : offset + length], offset)
        count = length // np.dtype(spec.dtype).itemsize
        flat = np.frombuffer(memory, spec.dtype, count, offset)
        return flat.reshape(self.samples, *spec.shape)

    def release(self, mapped: MapFile = map_file) -> None:
        """Gives its pages back to the system, which count as this process's; views stay good."""
        # Where there is no such advice (not POSIX), the system takes them when it needs them.
        if hasattr(mmap, "MADV_DONTNEED"):
            mapped(self.path, self._size).madvise(mmap.MADV_DONTNEED)

    def _check(self, name: str, data: memoryview, offset: int) -> None:
        found, expected = zlib.crc32(data), self._crc32[name]
        if found != expected:
            raise corrupt(
                self.path,
                f"is damaged in column {name!r}, {len(data):,} bytes from offset {offset:,}: "
                f"crc32 {found:08x} and should be {expected:08x}",
            )
        self._checked.add(name)

    def verify(self) -> None:
        """Reads every column again; CorruptFile names the first that is not what was written."""
        self._checked.clear()
        for name in self._columns:
            self.column(name)


def decode_header(path: Path, text: bytes) -> dict[str, Any]:
    """The metadata of a shard, with its safetensors entries under `columns`.

    The version is read before the checksum: a newer format may compute it otherwise.
    """
    try:
        columns = json.loads(text)
        facts = columns.pop("__metadata__")
        name, _, version = facts["format"].partition("/")
        version = int(version)
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise corrupt(path, f"has a damaged header ({error!r})") from error
    if name == SHARD_FORMAT:
        check_version(path, version)
    found = zlib.crc32(_HEADER_CRC.sub(_NO_CRC, text, count=1))
    if facts.get("header_crc32") != f"{found:08x}":
        raise corrupt(path, "has a damaged header (its checksum differs)")
    return {**facts, "columns": columns}


def check_columns(
    path: Path, stored: Mapping[str, Any], columns: Sequence[ColumnSpec], samples: int
) -> None:
    """Refuses a shard whose columns are not those of its recording."""
    expected = {spec.name: (DTYPES[spec.dtype], [samples, *spec.shape]) for spec in columns}
    found = {name: (entry["dtype"], entry["shape"]) for name, entry in stored.items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise corrupt(
                path,
                f"holds column {name!r} as {found.get(name)} where recording.json "
                f"says {expected.get(name)}",
            )

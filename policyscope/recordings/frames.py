"""Frames: pictures of recorded moments, in lossless WebP sheets beside the recording's shards.

    <recording>/frames/ep12-0000.webp   up to 64 frames of one episode, in rows of `columns`
    <recording>/frames/ep12-0000.json   which steps they are: its rename commits the sheet
    <recording>/frames/writer.lock      held while somebody writes

Neighbouring frames are alike, which a sheet exploits: 64 frames of CartPole take 25 kB. Any program
that opens WebP can read one: frame i lies at column i % columns of row i // columns.
"""

import io
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from policyscope.errors import CorruptFile, MissingExtra, UnknownName
from policyscope.recordings.format import TEMPORARY_SUFFIX, check_version, write_whole
from policyscope.recordings.lock import WriterLock

FORMAT_VERSION = 1
FOLDER = "frames"
INDEX_SUFFIX = ".json"
PICTURE_SUFFIX = ".webp"
MOST_FRAMES = 64
MOST_COLUMNS = 8
MOST_PIXELS = 2**25
"""Of one sheet: a few hundred MB at most while it is packed, and less than Pillow refuses."""
LONGEST_SIDE = 16_383
"""Of a WebP picture."""

Image = UInt8[np.ndarray, "height width 3"]


def pillow() -> Any:
    """Pillow's module of images; MissingExtra where it is not installed."""
    try:
        import PIL.Image
    except ImportError as error:
        raise MissingExtra.of("pillow", "frames") from error
    return PIL.Image


@dataclass(frozen=True)
class Sheet:
    """One sheet: which frames it holds, in order, and how to find them in its picture."""

    episode: int
    steps: tuple[int, ...]
    height: int
    width: int
    columns: int
    picture: str
    """The file name of its picture, and that file's checksum."""
    crc32: str

    def cut(self, picture: UInt8[np.ndarray, "tall wide 3"], step: int) -> Image:
        """The frame of one step."""
        row, column = divmod(self.steps.index(step), self.columns)
        top, left = row * self.height, column * self.width
        return picture[top : top + self.height, left : left + self.width].copy()


class Frames:
    """The frames of one recording: those whose sheets were committed when it was opened."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / FOLDER
        paths = sorted(self.directory.glob(f"ep*{INDEX_SUFFIX}"))
        self.sheets = tuple(map(read_index, paths))
        self._places = {(one.episode, step): one for one in self.sheets for step in one.steps}
        self._picture = lru_cache(maxsize=2)(self._read_picture)

    @staticmethod
    def open(recording: Path | str) -> "Frames":
        """The frames of the recording in a directory; there may be none. CorruptFile, NewerFormat.

        Only `frame` needs Pillow.
        """
        return Frames(Path(recording))

    def __repr__(self) -> str:
        return (
            f"Frames({self.directory}: {len(self):,} frames of {len(self.episodes()):,} episodes "
            f"in {len(self.sheets):,} sheets, {self.bytes / 1e6:.2f} MB)"
        )

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, place: object) -> bool:
        """Whether there is a frame of an (episode, step)."""
        return place in self._places

    @property
    def bytes(self) -> int:
        """The size of all sheets on disk."""
        return sum((self.directory / one.picture).stat().st_size for one in self.sheets)

    def episodes(self) -> tuple[int, ...]:
        """The episodes of which there are frames."""
        return tuple(sorted({one.episode for one in self.sheets}))

    def steps(self, episode: int) -> tuple[int, ...]:
        """The steps of an episode of which there are frames."""
        return tuple(sorted(step for number, step in self._places if number == episode))

    def frame(self, episode: int, step: int) -> Image:
        """What was to be seen at one step; UnknownName where no frame was stored."""
        sheet = self._places.get((episode, step))
        if sheet is None:
            raise UnknownName(
                f"No frame of episode {episode} step {step} in {self.directory}. Stored: "
                f"{len(self):,} frames of {len(self.episodes()):,} episodes. "
                "Store it: policyscope frames STUDY --moment RECORDING/ep<episode>@<step>"
            )
        return sheet.cut(self._picture(sheet), step)

    def to_json(self) -> dict[str, int]:
        """The document of `frames --json`."""
        return {"sheets": len(self.sheets), "frames": len(self), "bytes": self.bytes}

    def _read_picture(self, sheet: Sheet) -> UInt8[np.ndarray, "tall wide 3"]:
        path = self.directory / sheet.picture
        opener = pillow()
        rows = -(-len(sheet.steps) // sheet.columns)
        try:
            data = path.read_bytes()
            if f"{zlib.crc32(data):08x}" != sheet.crc32:
                raise ValueError("its checksum differs")
            picture = opener.open(io.BytesIO(data), formats=("WEBP",))
            if picture.size != (sheet.columns * sheet.width, rows * sheet.height):
                raise ValueError(f"its size is not what its {INDEX_SUFFIX} says")
            return np.asarray(picture.convert("RGB"))
        except (OSError, ValueError, opener.DecompressionBombError) as error:
            raise CorruptFile(
                f"{path} cannot be read: {error}. Delete it and its {INDEX_SUFFIX}, and store its "
                "frames again."
            ) from error


def read_index(path: Path) -> Sheet:
    """What the index of a sheet says."""
    try:
        facts: Any = json.loads(path.read_bytes())
        version = int(facts.pop("format_version"))
        check_version(path, version)
        facts["steps"] = tuple(map(int, facts["steps"]))
        sheet = Sheet(**facts)
        if not sheet.steps or min(sheet.height, sheet.width, sheet.columns) < 1:
            raise ValueError("it holds no frames")
        if Path(sheet.picture).name != sheet.picture:
            raise ValueError(f"its picture {sheet.picture!r} lies elsewhere")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptFile(
            f"{path} is no index of frames: {error!r}. Delete it and store its frames again."
        ) from error
    return sheet


class FramesWriter:
    """Adds frames to those of a recording; holds the lock on them (InUse for a second writer).

    Frames of one episode come together. A sheet is committed when it is full, when the next
    episode begins, and at `close`.
    """

    def __init__(self, recording: Path) -> None:
        pillow()
        self.directory = recording / FOLDER
        self.directory.mkdir(exist_ok=True)
        self._lock = WriterLock(self.directory, "Folder")
        for stray in self.directory.glob(f"*{TEMPORARY_SUFFIX}"):
            stray.unlink()
        self._episode = -1
        self._waiting: dict[int, Image] = {}

    def __enter__(self) -> "FramesWriter":
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def write(self, episode: int, step: int, image: Image) -> None:
        """Adds one frame."""
        height, width, _ = image.shape
        first = next(iter(self._waiting.values()), image)
        fits = len(self._waiting) < most_frames(height, width)
        if episode != self._episode or first.shape != image.shape or not fits:
            self._commit()
        self._episode = episode
        self._waiting[step] = image

    def close(self) -> None:
        """Commits what is left, and lets the next writer in."""
        try:
            self._commit()
        finally:
            self._lock.release()

    def _commit(self) -> None:
        if not self._waiting:
            return
        name = f"ep{self._episode}-{self._next_number():04d}"
        steps, images = tuple(self._waiting), list(self._waiting.values())
        height, width, _ = images[0].shape
        columns = min(most_columns(width), len(images))
        data = packed(images, columns)
        picture = f"{name}{PICTURE_SUFFIX}"
        crc = f"{zlib.crc32(data):08x}"
        sheet = Sheet(self._episode, steps, height, width, columns, picture, crc)
        index = json.dumps({"format_version": FORMAT_VERSION, **asdict(sheet)})
        kept = "The sheets before it stay."
        write_whole(self.directory / picture, [data], kept)
        write_whole(self.directory / f"{name}{INDEX_SUFFIX}", [index.encode()], kept)
        self._waiting.clear()

    def _next_number(self) -> int:
        found = self.directory.glob(f"ep{self._episode}-*{INDEX_SUFFIX}")
        return max((int(path.stem.rpartition("-")[2]) for path in found), default=-1) + 1


def most_columns(width: int) -> int:
    """How many frames lie side by side."""
    return max(1, min(MOST_COLUMNS, LONGEST_SIDE // width))


def most_frames(height: int, width: int) -> int:
    """How many frames of a size go into one sheet."""
    rows = max(1, LONGEST_SIDE // height)
    pixels = max(1, MOST_PIXELS // (height * width))
    return min(MOST_FRAMES, pixels, rows * most_columns(width))


def packed(images: list[Image], columns: int) -> bytes:
    """The images as one WebP picture, not a pixel of them changed."""
    height, width, _ = images[0].shape
    rows = -(-len(images) // columns)
    picture = np.zeros((rows * height, columns * width, 3), np.uint8)
    for place, image in enumerate(images):
        top, left = place // columns * height, place % columns * width
        picture[top : top + height, left : left + width] = image
    data = io.BytesIO()
    pillow().fromarray(picture).save(data, "WEBP", lossless=True)
    return data.getvalue()


def thumbnail(image: Image, width: int) -> bytes:
    """A small WebP picture of a frame, for looking at: not lossless."""
    small = pillow().fromarray(image)
    small.thumbnail((width, width))
    data = io.BytesIO()
    small.save(data, "WEBP", quality=75, method=6)
    return data.getvalue()


def missing_frames(
    frames: Frames, wanted: Mapping[int, Iterable[int]]
) -> dict[int, tuple[int, ...]]:
    """The steps, by episode, that are wanted and not stored yet."""
    left = {
        episode: tuple(sorted({step for step in steps if (episode, step) not in frames}))
        for episode, steps in wanted.items()
    }
    return {episode: steps for episode, steps in left.items() if steps}

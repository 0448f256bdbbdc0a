"""A recording opened for reading: its shards as one table, also while it still grows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from policyscope.address import Moment
from policyscope.errors import InvalidInput, UnknownName
from policyscope.recordings.episode import Episode
from policyscope.recordings.format import (
    INDEX_COLUMNS,
    ColumnSpec,
    RecordingHeader,
    read_header,
    shard_numbers,
    shard_path,
)
from policyscope.recordings.shard import SEGMENT, Segments, Shard, corrupt, map_file

# Every mapped file costs a file descriptor, of which a process commonly has 1,024.
MAPPED_FILES = 256


@dataclass(frozen=True)
class RowPosition:
    """Where one row stood at its last committed sample; episode -1 where it has none.

    `next_step` is the step after that sample; `has_ended` says that the episode is complete.
    """

    row: int
    episode: int
    next_step: int
    has_ended: bool


class Recording:
    """The committed shards of one recording; `refresh` takes in what was committed since.

    Arrays are read-only views of the files where that is possible. A column's checksum is
    compared when it is first read from a shard.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = Path(directory)
        self.name = self.directory.name
        self.header: RecordingHeader = read_header(self.directory)
        self.shards: tuple[Shard, ...] = ()
        self._mapped = lru_cache(maxsize=MAPPED_FILES)(map_file)
        self._specs = {spec.name: spec for spec in (*self.header.columns, *INDEX_COLUMNS)}
        self.refresh()

    @staticmethod
    def open(directory: Path | str) -> "Recording":
        """The recording in `directory`; UnknownName, CorruptFile or NewerFormat otherwise."""
        return Recording(Path(directory))

    def __repr__(self) -> str:
        return (
            f"Recording({self.name!r}, {self.steps:,} steps, {len(self.episodes):,} episodes, "
            f"{len(self.shards)} shards, columns: {', '.join(self.columns)})"
        )

    def refresh(self) -> None:
        """Takes in the shards committed since the last look."""
        numbers = shard_numbers(self.directory)
        for expected, number in enumerate(numbers):
            if number != expected:
                raise corrupt(shard_path(self.directory, expected), "is missing")
        columns = self.header.stored_columns
        fresh = [
            Shard.open(shard_path(self.directory, number), number, columns)
            for number in numbers[len(self.shards) :]
        ]
        self.shards = (*self.shards, *fresh)
        self._index_segments()

    def _index_segments(self) -> None:
        runs = [shard.segments for shard in self.shards]
        numbers = [np.full(len(shard.segments), shard.number) for shard in self.shards]
        self._runs: Segments = np.concatenate([np.empty(0, SEGMENT), *runs])
        self._run_shards = np.concatenate([np.empty(0, np.int64), *numbers])
        self._by_episode = np.lexsort((self._runs["first_step"], self._runs["episode"]))
        ended = (episode for shard in self.shards for episode in shard.episodes)
        self._episodes = tuple(sorted(ended, key=lambda episode: episode.index))

    @property
    def columns(self) -> Mapping[str, ColumnSpec]:
        """Every column that was recorded, by name; `episode` and `step` can be read beside them."""
        return {spec.name: spec for spec in self.header.columns}

    @property
    def steps(self) -> int:
        """How many samples there are."""
        return sum(shard.samples for shard in self.shards)

    @property
    def episodes(self) -> tuple[Episode, ...]:
        """The episodes that have ended, by index."""
        return self._episodes

    @property
    def next_episode(self) -> int:
        """The lowest episode number that no sample and no ended episode has passed."""
        highest = int(self._runs["episode"].max(initial=-1))
        return max([highest, *(episode.index for episode in self._episodes[-1:])]) + 1

    def position(self) -> list[RowPosition]:
        """Where each row stands, for going on after the last committed sample."""
        last = np.full(self.header.rows, -1)
        np.maximum.at(last, self._runs["row"], np.arange(len(self._runs)))
        ended = {episode.index for episode in self._episodes}
        found = []
        for row, run in enumerate(last.tolist()):
            if run < 0:
                found.append(RowPosition(row, episode=-1, next_step=0, has_ended=True))
                continue
            segment = self._runs[run]
            episode = int(segment["episode"])
            next_step = int(segment["first_step"] + segment["length"])
            found.append(RowPosition(row, episode, next_step, has_ended=episode in ended))
        return found

    def spec(self, column: str) -> ColumnSpec:
        """What `column` is; UnknownName with the known ones otherwise."""
        if column not in self._specs:
            raise UnknownName.among(f"column in recording {self.name!r}", column, self._specs)
        return self._specs[column]

    def read(self, column: str, shard: int | None = None) -> Shaped[np.ndarray, "step ..."]:
        """A whole column, or that of one shard (a view); env-major within each shard."""
        spec = self.spec(column)
        if shard is not None:
            return self._shard(shard).column(column, self._mapped)
        parts = [each.column(column, self._mapped) for each in self.shards]
        return np.concatenate([np.empty((0, *spec.shape), spec.dtype), *parts])

    def release(self, shard: int) -> None:
        """Lets go of the memory that reading a shard took; views of it read it again."""
        self._shard(shard).release(self._mapped)

    def _shard(self, number: int) -> Shard:
        if not 0 <= number < len(self.shards):
            raise UnknownName(
                f"No shard {number} in recording {self.name!r}: it has {len(self.shards)}, from 0."
            )
        return self.shards[number]

    def iterate(self, *columns: str) -> Iterator[tuple[Shaped[np.ndarray, "step ..."], ...]]:
        """The columns of one shard after the other, as views."""
        for column in columns:
            self.spec(column)
        return (
            tuple(shard.column(column, self._mapped) for column in columns) for shard in self.shards
        )

    def episode(
        self, index: int, columns: Sequence[str] | None = None
    ) -> Mapping[str, Shaped[np.ndarray, "step ..."]]:
        """All columns of one episode and its `step`, in step order, however many shards it spans.

        An episode that has not ended, or whose recording stopped, gives the steps there are. With
        `columns` only those are read.
        """
        runs = self._runs_of(index)
        return {
            name: _joined([self._run(run, name) for run in runs])
            for name in ((*self.columns, "step") if columns is None else columns)
        }

    def stretches(
        self, index: int, columns: Sequence[str]
    ) -> Iterator[tuple[Shaped[np.ndarray, "step ..."], ...]]:
        """The columns of one episode in step order, one run of steps after the other, as views.

        For what does not fit into memory: `episode` puts the runs together.
        """
        return (tuple(self._run(run, name) for name in columns) for run in self._runs_of(index))

    def _runs_of(self, index: int) -> list[int]:
        """Which segments hold an episode, in step order."""
        numbers = self._runs["episode"][self._by_episode]
        begin, end = np.searchsorted(numbers, [index, index + 1])
        if begin == end:
            raise UnknownName(
                f"No episode {index} in recording {self.name!r}: "
                f"it has samples of {len(np.unique(numbers)):,} episodes up to "
                f"{int(numbers.max(initial=-1))}."
            )
        return self._by_episode[begin:end].tolist()

    def _run(self, run: int, column: str) -> Shaped[np.ndarray, "step ..."]:
        segment = self._runs[run]
        values = self.shards[self._run_shards[run]].column(column, self._mapped)
        return values[segment["offset"] : segment["offset"] + segment["length"]]

    def moment(
        self, moment: Moment, columns: Sequence[str] | None = None
    ) -> Mapping[str, Shaped[np.ndarray, "..."]]:
        """All columns at one step of one episode; with `columns` only those."""
        if moment.recording.rsplit("/", 1)[-1] != self.name.rsplit("/", 1)[-1]:
            raise InvalidInput(f"{moment} is a moment of another recording than {self.name!r}.")
        for run in self._runs_of(moment.episode):
            place = moment.step - int(self._runs[run]["first_step"])
            if 0 <= place < self._runs[run]["length"]:
                names = self.columns if columns is None else columns
                return {name: self._run(run, name)[place, ...] for name in names}
        steps = self.episode(moment.episode, ("step",))["step"]
        raise UnknownName(
            f"No step {moment.step} in episode {moment.episode} of recording {self.name!r}: "
            f"it has steps {int(steps[0])} to {int(steps[-1])}."
        )

    def verify(self) -> None:
        """Reads every byte again; CorruptFile names shard, column and offset of a damage."""
        for shard in self.shards:
            shard.verify()


def _joined(parts: list[Shaped[np.ndarray, "..."]]) -> Shaped[np.ndarray, "step ..."]:
    """One array; a single part stays a view."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)

"""Batches of samples from a recording for training, shuffled without reading it whole.

The epoch's order is cut into pools of a bounded size. A pool's samples are gathered in the order
in which they lie on disk, shuffled in memory, and handed out as batches.
"""

from collections.abc import Iterable, Iterator, Sequence, Set
from typing import Literal

import numpy as np
from jaxtyping import Int, Shaped

from policyscope.errors import InvalidInput, NotEnoughData
from policyscope.recordings.format import ColumnSpec
from policyscope.recordings.recording import Recording

POOL_BYTES = 32 * 2**20
RUN_SAMPLES = 256  # samples that stay neighbours until their pool is shuffled

Shuffle = Literal["block", "global"]
Arrays = tuple[Shaped[np.ndarray, "sample ..."], ...]
Ranges = Int[np.ndarray, "range 2"]
Runs = Int[np.ndarray, "run 2"]


def batches(
    recording: Recording,
    columns: Sequence[str],
    batch_size: int,
    *,
    generator: np.random.Generator,
    shuffle: Shuffle | None = "block",
    episodes: Set[int] | None = None,
) -> Iterator[Arrays]:
    """One pass over the recording as batches, one array per column; the last may be shorter.

    `"block"` mixes random runs of neighbours, some 32 MiB at a time; `"global"` is a uniform
    permutation and holds eight bytes per sample for it; None keeps the order on disk.
    `episodes` keeps only their samples.

    A convolutional site `[channel, height, width]` gives one sample `[channel]` per position, and a
    site `[token, unit]` one sample `[unit]` per token, so a batch may hold part of a step. Columns
    asked for beside it repeat for each position or token.
    """
    specs = [recording.spec(column) for column in columns]
    if batch_size < 1 or not columns:
        raise InvalidInput(
            f"Batches need a column and a size of at least 1, not {list(columns)} and {batch_size}."
        )
    positions = count_positions(specs)
    ranges = sample_ranges(recording, episodes) * positions
    if not len(ranges):
        which = "" if episodes is None else f" of the {len(episodes)} episodes asked for"
        raise NotEnoughData(f"Recording {recording.name!r} has no sample{which}. Record first.")
    source = _Source(recording, specs, positions)
    pool_size = max(1, POOL_BYTES // (source.sample_bytes * batch_size)) * batch_size
    pools = regroup(epoch_order(ranges, shuffle, generator), pool_size)
    return _batches(source, pools, batch_size, generator if shuffle else None)


def _batches(
    source: "_Source",
    pools: Iterable[Int[np.ndarray, " sample"]],
    batch_size: int,
    generator: np.random.Generator | None,
) -> Iterator[Arrays]:
    for pool in pools:
        order = np.arange(len(pool)) if generator is None else generator.permutation(len(pool))
        arrays = source.gather(pool if generator is None else np.sort(pool))
        for begin in range(0, len(pool), batch_size):
            chosen = order[begin : begin + batch_size]
            yield tuple(array[chosen] for array in arrays)


def is_map(spec: ColumnSpec) -> bool:
    """Whether a column is a convolutional site, whose positions are samples of their own."""
    return spec.kind == "site" and len(spec.shape) == 3


def places_of(spec: ColumnSpec) -> tuple[int, ...]:
    """Where in a step a column has samples: (height, width), (token,), or () where it has one."""
    if is_map(spec):
        return spec.shape[1:]
    return spec.shape[:1] if spec.kind == "site" and len(spec.shape) == 2 else ()


def count_positions(specs: Sequence[ColumnSpec]) -> int:
    """Samples per step: the positions or tokens of the columns that have several, else 1."""
    several = [spec for spec in specs if places_of(spec)]
    sizes = {places_of(spec) for spec in several}
    if len(sizes) > 1:
        sites = ", ".join(f"{spec.name} {list(spec.shape)}" for spec in several)
        raise InvalidInput(f"Sites of different sizes have no common positions: {sites}.")
    return int(np.prod(sizes.pop())) if sizes else 1


def sample_ranges(recording: Recording, episodes: Set[int] | None) -> Ranges:
    """Where the wanted steps lie, as [begin, end) in the order of the whole recording."""
    ranges = [np.empty((0, 2), np.int64)]
    begin = 0
    for shard in recording.shards:
        if episodes is None:
            ranges.append(np.array([[begin, begin + shard.samples]]))
        else:
            runs = shard.segments[np.isin(shard.segments["episode"], list(episodes))]
            first = begin + runs["offset"]
            ranges.append(np.stack([first, first + runs["length"]], axis=1))
        begin += shard.samples
    every = np.concatenate(ranges)
    return every[every[:, 1] > every[:, 0]]


def epoch_order(
    ranges: Ranges, shuffle: Shuffle | None, generator: np.random.Generator
) -> Iterator[Int[np.ndarray, " sample"]]:
    """The samples of one epoch in pieces; concatenated, each sample of `ranges` once."""
    if shuffle not in ("block", "global", None):
        raise InvalidInput(f"No shuffle called {shuffle!r}. Known: 'block', 'global', None.")
    runs = cut(ranges, RUN_SAMPLES)
    if shuffle == "block":
        runs = generator.permutation(runs)
    pieces = (np.arange(begin, end) for begin, end in runs)
    if shuffle == "global":
        return iter([generator.permutation(np.concatenate(list(pieces)))])
    return pieces


def cut(ranges: Ranges, size: int) -> Runs:
    """The same places in ranges no longer than `size`."""
    counts = -(-(ranges[:, 1] - ranges[:, 0]) // size)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    begin = np.repeat(ranges[:, 0], counts) + (np.arange(counts.sum()) - first) * size
    end = np.minimum(begin + size, np.repeat(ranges[:, 1], counts))
    return np.stack([begin, end], axis=1)


def regroup(
    pieces: Iterable[Int[np.ndarray, " sample"]], size: int
) -> Iterator[Int[np.ndarray, " sample"]]:
    """The concatenation of `pieces`, cut every `size` samples."""
    held: list[np.ndarray] = []
    count = 0
    for piece in pieces:
        held.append(piece)
        count += len(piece)
        if count >= size:
            joined = np.concatenate(held)
            whole = count - count % size
            yield from joined[:whole].reshape(-1, size)
            held, count = [joined[whole:]], count - whole
    if count:
        yield np.concatenate(held)


class _Source:
    """Gathers samples by their number in the whole recording."""

    def __init__(self, recording: Recording, specs: Sequence[ColumnSpec], positions: int) -> None:
        self.recording = recording
        self.specs = specs
        self.positions = positions
        self.ends = np.cumsum([shard.samples for shard in recording.shards])
        self._room: Arrays = ()
        self.sample_bytes = sum(
            spec.sample_bytes // (positions if places_of(spec) else 1) for spec in specs
        )

    def gather(self, samples: Int[np.ndarray, " sample"]) -> Arrays:
        """The columns at `samples`, in that order; quick where neighbours come together.

        In room that the next call writes over: pools come and go too fast for the allocator.
        """
        step, position = np.divmod(samples, self.positions)
        shard = np.searchsorted(self.ends, step, side="right")
        cuts = np.flatnonzero(np.diff(shard)) + 1
        arrays = self._arrays(len(samples))
        for begin, end in zip([0, *cuts], [*cuts, len(samples)], strict=True):
            number = int(shard[begin])
            offset = self.ends[number] - self.recording.shards[number].samples
            chosen, places = step[begin:end] - offset, position[begin:end]
            for spec, array in zip(self.specs, arrays, strict=True):
                column = self.recording.read(spec.name, shard=number)
                array[begin:end] = _take(column, spec, chosen, places)
            # What was read is copied; of a recording larger than memory little may stay.
            self.recording.release(number)
        return arrays

    def _arrays(self, count: int) -> Arrays:
        if not self._room or len(self._room[0]) < count:
            self._room = tuple(
                np.empty((count, *self._shape(spec)), spec.dtype) for spec in self.specs
            )
        return tuple(array[:count] for array in self._room)

    def _shape(self, spec: ColumnSpec) -> tuple[int, ...]:
        return spec.shape[:1] if is_map(spec) else spec.shape[len(places_of(spec)) :]


def _take(
    column: Shaped[np.ndarray, "step ..."],
    spec: ColumnSpec,
    step: Int[np.ndarray, " sample"],
    position: Int[np.ndarray, " sample"],
) -> Shaped[np.ndarray, "sample ..."]:
    if not places_of(spec):
        return column[step]
    if not is_map(spec):
        return column[step, position]
    channels = column.reshape(*column.shape[:2], -1)
    return channels[step, :, position]

"""Writes a recording: one block becomes one shard, in a thread behind the rollout."""

import zlib
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import Int, Shaped, UInt8

from policyscope.errors import InvalidInput, NotFinite, PolicyscopeError
from policyscope.recordings.block import Block, env_major
from policyscope.recordings.format import (
    HEADER_FILE,
    SHARD_FOLDER,
    ColumnSpec,
    RecordingHeader,
    differences,
    remove_temporaries,
    shard_path,
    write_header,
    write_whole,
)
from policyscope.recordings.lock import WriterLock
from policyscope.recordings.recording import Recording
from policyscope.recordings.shard import encode_header, find_segments

# What an agent computes must be finite; an observation or a metric may mean something by Inf.
FINITE_KINDS = ("site", "output")
FLOAT16_EXPONENT = 0x7C00  # all exponent bits: Inf or NaN


class RecordingWriter:
    """The one writer of a recording; a context manager that holds the directory's lock.

    `write` returns once the block before is committed and its own is on the way, so a block is
    certain to be on disk when the next `write` or `close` returns. An error of the thread is
    raised there, and again by every later `write`: a recording has no holes.

    With `resume` shards are added to what is there, after checking that the header is the same;
    a finished recording is appended to in the same way, and one not yet begun is begun.
    """

    def __init__(self, directory: Path, header: RecordingHeader, *, resume: bool = False) -> None:
        self.directory = Path(directory)
        self.header = header
        self.shards = 0
        self.steps = 0
        (self.directory / SHARD_FOLDER).mkdir(parents=True, exist_ok=True)
        self._lock = WriterLock(self.directory)
        try:
            self._begin(resume)
        except BaseException:
            self._lock.release()
            raise
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="recording-writer")
        self._pending: Future[None] | None = None
        self._failure: BaseException | None = None
        self._buffer: UInt8[np.ndarray, " byte"] = np.empty(0, np.uint8)

    def _begin(self, resume: bool) -> None:
        is_there = (self.directory / HEADER_FILE).exists()
        if is_there and not resume:
            raise InvalidInput(
                f"{self.directory} already holds a recording. "
                "Resume it to add to it, or record under another name."
            )
        remove_temporaries(self.directory)
        if is_there:
            self._continue()
        else:
            write_header(self.directory, self.header)

    def _continue(self) -> None:
        there = Recording.open(self.directory)
        unlike = differences(there.header, self.header)
        if unlike:
            raise InvalidInput(
                f"{self.directory} was recorded otherwise and cannot be continued: "
                f"{'; '.join(unlike)}. Record under another name."
            )
        self.header = there.header
        self.shards, self.steps = len(there.shards), there.steps

    def __enter__(self) -> "RecordingWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except PolicyscopeError as unwritten:
            if error is None:
                raise
            error.add_note(f"The recording also lost its last block: {unwritten}")

    def write(self, block: Block) -> None:
        """Waits for the block before, then begins to write this one."""
        check_block(block, self.header)
        self._wait()
        if self._failure is not None:
            raise self._failure
        self._pending = self._thread.submit(self._commit, block)

    def close(self) -> None:
        """Waits for the last block, and lets the next writer in."""
        was_told = self._failure is not None
        try:
            self._wait()
        finally:
            self._thread.shutdown()
            self._lock.release()
        if self._failure is not None and not was_told:
            raise self._failure

    def _wait(self) -> None:
        if self._pending is not None:
            self._failure = self._pending.exception()
            self._pending = None

    def _commit(self, block: Block) -> None:
        index = env_major(block.episode)
        if not len(index) and not block.ended:
            return
        columns = self.header.stored_columns
        data, views = self._gather(block, index, columns)
        for spec in columns:
            if spec.kind in FINITE_KINDS and not is_finite(views[spec.name]):
                raise self._not_finite(spec.name, views)
        row = index % self.header.rows
        head = encode_header(
            columns,
            {name: zlib.crc32(view.data) for name, view in views.items()},
            find_segments(views["episode"], views["step"], row),
            block.ended,
            len(index),
        )
        write_whole(shard_path(self.directory, self.shards), [head, data], self._kept())
        self.shards += 1
        self.steps += len(index)

    def _gather(
        self, block: Block, index: Int[np.ndarray, " sample"], columns: tuple[ColumnSpec, ...]
    ) -> tuple[memoryview, dict[str, Shaped[np.ndarray, "sample ..."]]]:
        """The shard's data in its final order, and each column's part of it.

        The buffer is kept from block to block: fresh memory costs more than the gather.
        """
        size = len(index) * sum(spec.sample_bytes for spec in columns)
        if self._buffer.nbytes < size:
            self._buffer = np.empty(size, np.uint8)
        source = {**block.columns, "episode": block.episode, "step": block.step}
        views = {}
        begin = 0
        for spec in columns:
            end = begin + len(index) * spec.sample_bytes
            view = self._buffer[begin:end].view(spec.dtype).reshape(len(index), *spec.shape)
            flat = source[spec.name].reshape(block.episode.size, *spec.shape)
            # "clip" writes straight into the view; the default goes through a copy.
            np.take(flat, index, axis=0, out=view, mode="clip")
            views[spec.name] = view
            begin = end
        return self._buffer.data[:size], views

    def _not_finite(
        self, column: str, views: dict[str, Shaped[np.ndarray, "sample ..."]]
    ) -> NotFinite:
        values = views[column]
        is_bad = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
        first = int(np.flatnonzero(is_bad)[0])
        value = values[first][~np.isfinite(values[first])].flat[0]
        return NotFinite(
            f"{column} is {value} at episode {views['episode'][first]}, "
            f"step {views['step'][first]}, and at {int(is_bad.sum()) - 1:,} more of the block's "
            f"{len(values):,} samples. The block was not written. {self._kept()} "
            "Look for a division by zero or exploding weights in the agent."
        )

    def _kept(self) -> str:
        return f"{self.shards} shards with {self.steps:,} steps stay readable in {self.directory}."


def check_block(block: Block, header: RecordingHeader) -> None:
    """Refuses a block that has not exactly the header's columns, with their shapes and dtypes."""
    names, given = {spec.name for spec in header.columns}, set(block.columns)
    if names != given:
        missing, extra = sorted(names - given), sorted(given - names)
        raise InvalidInput(
            f"A block has not the recording's columns: missing {missing}, not declared {extra}."
        )
    steps = len(block.episode)
    expected = {spec.name: (spec.dtype, spec.shape) for spec in header.columns}
    expected |= {"episode": ("int32", ()), "step": ("int32", ())}
    arrays = {**block.columns, "episode": block.episode, "step": block.step}
    for name, (dtype, shape) in expected.items():
        array, wanted = arrays[name], (steps, header.rows, *shape)
        if array.dtype != np.dtype(dtype) or array.shape != wanted:
            raise InvalidInput(
                f"Column {name!r} of a block is {array.dtype}{list(array.shape)}; "
                f"the recording holds it as {dtype}{list(wanted)} (step, row, …)."
            )


def is_finite(values: Shaped[np.ndarray, "..."]) -> bool:
    """Whether no value is Inf or NaN; numbers that cannot be either are finite.

    One sum of squares tells: it is finite only where all are. Where it is not, finite values may
    have overflowed, so each is asked. Halves overflow easily, so their exponent bits are read.
    """
    if values.dtype == np.float16:
        return bool((values.view(np.uint16) & FLOAT16_EXPONENT).max(initial=0) < FLOAT16_EXPONENT)
    if values.dtype.kind != "f":
        return True
    with np.errstate(all="ignore"):
        flat = values.reshape(-1)
        return bool(np.isfinite(flat @ flat)) or bool(np.isfinite(values).all())

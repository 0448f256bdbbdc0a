import errno
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policyscope.errors import DiskFull, InUse, InvalidInput, NotFinite
from policyscope.recordings.block import Block, env_major
from policyscope.recordings.format import ColumnSpec, RecordingHeader
from policyscope.recordings.recording import Recording
from policyscope.recordings.writer import RecordingWriter, is_finite

DTYPES = ["float32", "float16", "float64", "int64", "uint8", "bool"]


COLUMNS = st.lists(
    st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(1, 3), max_size=3)),
    min_size=1,
    max_size=4,
)


def random_recording(
    columns: list[tuple[str, list[int]]], rows: int, steps: list[int], seed: int
) -> tuple[RecordingHeader, list[Block]]:
    """Random blocks of the given lengths, with idle places anywhere."""
    specs = tuple(
        ColumnSpec(f"c{i}", "site", dtype, tuple(shape)) for i, (dtype, shape) in enumerate(columns)
    )
    generator = np.random.default_rng(seed)
    blocks = []
    for count in steps:
        size = (count, rows)
        values = {
            spec.name: generator.integers(0, 100, (*size, *spec.shape)).astype(spec.dtype)
            for spec in specs
        }
        episode = generator.integers(-1, 3, size).astype(np.int32)
        step = generator.integers(0, 9, size).astype(np.int32)
        blocks.append(Block(values, episode, step, ()))
    return RecordingHeader(specs, {}, {}, 0, rows), blocks


@settings(deadline=None, max_examples=60)
@given(COLUMNS, st.integers(1, 5), st.lists(st.integers(0, 6), max_size=4), st.integers(0, 2**32))
def test_what_is_read_equals_what_was_written(columns, rows, steps, seed):
    header, blocks = random_recording(columns, rows, steps, seed)
    with tempfile.TemporaryDirectory() as directory:
        with RecordingWriter(Path(directory), header) as writer:
            for block in blocks:
                writer.write(block)
        recording = Recording.open(directory)
        assert writer.steps == recording.steps
        recording.verify()
        orders = [env_major(block.episode) for block in blocks]
        for spec in (*header.columns, ColumnSpec("episode", "flag", "int32")):
            arrays = [{**b.columns, "episode": b.episode}[spec.name] for b in blocks]
            parts = [
                a.reshape(-1, *spec.shape)[order] for a, order in zip(arrays, orders, strict=True)
            ]
            wanted = np.concatenate([np.empty((0, *spec.shape), spec.dtype), *parts])
            got = recording.read(spec.name)
            assert got.dtype == wanted.dtype
            np.testing.assert_array_equal(got, wanted)
        assert sum(int(s.segments["length"].sum()) for s in recording.shards) == recording.steps


def test_ended_episodes_ride_in_the_shard_in_which_they_end(tmp_path: Path, plan):
    block = plan.steady(0)
    with RecordingWriter(tmp_path, plan.header()) as writer:
        writer.write(block)
        writer.write(plan.block(block.episode, block.step + 5, (plan.ended(2), plan.ended(1))))
    recording = Recording.open(tmp_path)
    assert [shard.episodes for shard in recording.shards] == [(), (plan.ended(2), plan.ended(1))]
    assert recording.episodes == (plan.ended(1), plan.ended(2))


def test_a_block_without_samples_leaves_no_shard_unless_an_episode_ended(tmp_path, plan):
    idle = plan.block(np.full((2, 4), -1), np.zeros((2, 4), int))
    last = plan.block(idle.episode, idle.step, (plan.ended(0),))
    with RecordingWriter(tmp_path, plan.header()) as writer:
        writer.write(idle)
        writer.write(last)
    recording = Recording.open(tmp_path)
    assert (len(recording.shards), recording.steps, len(recording.episodes)) == (1, 0, 1)
    recording.verify()


def test_resuming_a_finished_recording_appends(recorded: Path, plan):
    plan.write(recorded, blocks=2, resume=True, first=3)
    recording = Recording.open(recorded)
    assert len(recording.shards) == 5
    np.testing.assert_array_equal(recording.episode(0)["step"], np.arange(25))


def test_resuming_what_has_not_begun_begins_it(tmp_path: Path, plan):
    plan.write(tmp_path / "main", blocks=1, resume=True)
    assert Recording.open(tmp_path / "main").steps == 20


def test_a_recording_is_not_overwritten(recorded: Path, plan):
    with pytest.raises(InvalidInput, match="already holds a recording"):
        RecordingWriter(recorded, plan.header())
    RecordingWriter(recorded, plan.header(), resume=True).close()


def test_resuming_with_another_header_says_what_differs(recorded: Path, plan):
    other = plan.header(rows=5, agent={"fingerprint": "b2"})
    with pytest.raises(InvalidInput, match=r'agent: "a1" there, "b2" here; rows: 4 there, 5 here'):
        RecordingWriter(recorded, other, resume=True)


def test_a_second_writer_is_refused_with_the_process_named(tmp_path: Path, plan):
    with (
        RecordingWriter(tmp_path, plan.header()),
        pytest.raises(InUse, match=f"process {os.getpid()}"),
    ):
        RecordingWriter(tmp_path, plan.header(), resume=True)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("column", ["fc1:out", "half:out", "value"])
def test_not_finite_names_column_episode_and_step(tmp_path: Path, plan, column: str, value: float):
    bad = plan.steady(1)
    bad.columns[column][2, 3] = value
    writer = RecordingWriter(tmp_path, plan.header())
    writer.write(plan.steady(0))
    writer.write(bad)
    with pytest.raises(NotFinite, match=f"{column} is {value} at episode 3, step 7, and at 0 more"):
        writer.write(plan.steady(2))
    writer.close()
    assert Recording.open(tmp_path).steps == 20
    plan.write(tmp_path, blocks=1, resume=True, first=1)


def test_what_lies_in_idle_places_does_not_matter(tmp_path: Path, plan):
    block = plan.steady(0)
    block.episode[1, 2] = -1
    block.columns["fc1:out"][1, 2] = np.nan
    block.columns["pole_angle"][0, 0] = np.nan  # a metric may be undefined
    with RecordingWriter(tmp_path, plan.header()) as writer:
        writer.write(block)
    assert Recording.open(tmp_path).steps == 19


def test_after_a_failure_nothing_more_is_written(tmp_path: Path, plan):
    bad = plan.steady(0)
    bad.columns["value"][0, 0] = np.nan
    writer = RecordingWriter(tmp_path, plan.header())
    writer.write(bad)
    for _ in range(2):
        with pytest.raises(NotFinite):
            writer.write(plan.steady(1))
    writer.close()
    assert Recording.open(tmp_path).steps == 0


def test_the_error_of_the_last_block_surfaces_on_close(tmp_path: Path, plan):
    bad = plan.steady(0)
    bad.columns["value"][0, 0] = np.nan
    writer = RecordingWriter(tmp_path, plan.header())
    writer.write(bad)
    with pytest.raises(NotFinite):
        writer.close()
    RecordingWriter(tmp_path, plan.header(), resume=True).close()


def test_an_error_in_the_rollout_is_not_hidden(tmp_path: Path, plan):
    bad = plan.steady(0)
    bad.columns["value"][0, 0] = np.nan
    interrupt = KeyboardInterrupt()
    writer = RecordingWriter(tmp_path, plan.header())
    writer.write(bad)
    writer.__exit__(KeyboardInterrupt, interrupt, None)
    assert "value is nan" in interrupt.__notes__[0]


@settings(deadline=None)
@given(
    st.sampled_from(["float16", "float32", "float64"]),
    st.lists(st.floats(width=16, allow_nan=True), max_size=20),
)
def test_is_finite_agrees_with_numpy(dtype: str, values: list[float]):
    array = np.array(values, dtype)
    assert is_finite(array) == np.isfinite(array).all()


def test_is_finite_survives_an_overflowing_sum():
    assert is_finite(np.full(4, 3e38, np.float32))


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("value", np.zeros((5, 4), np.float32), r"'value' of a block is float32\[5, 4\]"),
        ("value", np.zeros((5, 3)), r"float64\[5, 3\].*float64\[5, 4\]"),
        ("extra", np.zeros((5, 4)), r"not declared \['extra'\]"),
    ],
)
def test_a_block_of_another_shape_is_refused(tmp_path, plan, name, values, message):
    block = plan.steady(0)
    other = Block({**block.columns, name: values}, block.episode, block.step, ())
    with (
        RecordingWriter(tmp_path, plan.header()) as writer,
        pytest.raises(InvalidInput, match=message),
    ):
        writer.write(other)


def test_a_full_disk_keeps_what_was_committed(tmp_path: Path, plan, monkeypatch):
    """The disk fills in the middle of the second shard."""
    opened = Path.open

    def open_limited(path: Path, *args, **kwargs):
        file = opened(path, *args, **kwargs)
        if path.name.startswith("00000001"):
            file.write(b"half")
            file.close()
            raise OSError(errno.ENOSPC, "No space left on device")
        return file

    monkeypatch.setattr(Path, "open", open_limited)
    with pytest.raises(DiskFull, match=r"00000001.*1 shards with 20 steps stay readable"):
        plan.write(tmp_path, blocks=3)
    monkeypatch.undo()
    assert not list(tmp_path.rglob("*.tmp"))
    assert Recording.open(tmp_path).steps == 20
    plan.write(tmp_path, blocks=1, resume=True, first=1)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_real_full_disk_keeps_what_was_committed(tmp_path: Path, plan):
    command = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(tmp_path)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        with pytest.raises(DiskFull, match="stay readable"):
            plan.write(tmp_path / "main", blocks=100)
        recording = Recording.open(tmp_path / "main")
        assert recording.steps > 0
        recording.verify()
        assert not list(tmp_path.rglob("*.tmp"))
        del recording
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


KILLED = """
import itertools, sys
from pathlib import Path
from tests_plan import Plan
from policyscope.recordings.writer import RecordingWriter
plan = Plan()
with RecordingWriter(Path(sys.argv[1]), plan.header(rows=64)) as writer:
    for number in itertools.count():
        writer.write(plan.steady(number, steps=200, rows=64))
        print(number - 1, flush=True)  # the block before is committed
"""


@pytest.mark.parametrize("seed", range(4))
def test_kill_9_loses_no_acknowledged_shard(tmp_path: Path, plan, seed: int):
    (tmp_path / "tests_plan.py").write_text(
        Path(__file__).with_name("conftest.py").read_text(encoding="utf-8")
    )
    directory = tmp_path / "main"
    paths = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    victim = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(directory)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert victim.stdout is not None
    generator = np.random.default_rng(seed)
    for _ in range(int(generator.integers(1, 8))):
        victim.stdout.readline()
    for _ in range(int(generator.integers(0, 200_000))):
        pass  # so that it dies at any point of a write
    os.kill(victim.pid, signal.SIGKILL)
    acknowledged = [int(line) for line in victim.stdout.read().split()]
    victim.wait()
    victim.stdout.close()

    recording = Recording.open(directory)
    recording.verify()
    assert len(recording.shards) > max(acknowledged, default=0)
    whole = len(recording.shards)
    with RecordingWriter(directory, plan.header(rows=64), resume=True) as writer:
        assert not list(directory.rglob("*.tmp"))
        writer.write(plan.steady(whole, steps=200, rows=64))
    recording.refresh()
    np.testing.assert_array_equal(recording.episode(63)["step"], np.arange((whole + 1) * 200))


def test_strays_of_a_killed_writer_are_removed(recorded: Path, plan):
    for stray in ("recording.json.tmp", "shards/00000003.safetensors.tmp"):
        (recorded / stray).write_bytes(b"half")
    RecordingWriter(recorded, plan.header(), resume=True).close()
    assert not list(recorded.rglob("*.tmp"))

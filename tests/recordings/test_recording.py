from pathlib import Path

import numpy as np
import pytest

from policyscope.address import Moment
from policyscope.errors import CorruptFile, InvalidInput, UnknownName
from policyscope.recordings.recording import Recording, RowPosition
from policyscope.recordings.writer import RecordingWriter


def test_an_episode_spans_shards(recorded: Path, plan):
    given = Recording.open(recorded).episode(2)
    step = np.arange(15)
    np.testing.assert_array_equal(given["step"], step)
    for spec in plan.columns:
        wanted = plan.values(spec, np.full(15, 2), step)
        np.testing.assert_array_equal(given[spec.name], wanted)


def test_the_stretches_of_an_episode_are_the_episode(recorded: Path):
    recording = Recording.open(recorded)
    stretches = list(recording.stretches(2, ("value", "step")))
    assert len(stretches) > 1
    for name, parts in zip(("value", "step"), zip(*stretches, strict=True), strict=True):
        np.testing.assert_array_equal(np.concatenate(parts), recording.episode(2)[name])
    with pytest.raises(UnknownName, match="No episode 9"):
        recording.stretches(9, ("value",))


def test_a_moment_is_one_step_of_one_episode(recorded: Path, plan):
    recording = Recording.open(recorded)
    given = recording.moment(Moment("main", 3, 11))
    for spec in plan.columns:
        wanted = plan.values(spec, np.array([3]), np.array([11]))[0]
        np.testing.assert_array_equal(given[spec.name], wanted)
    with pytest.raises(UnknownName, match="steps 0 to 14"):
        recording.moment(Moment("main", 3, 15))
    with pytest.raises(InvalidInput, match="another recording"):
        recording.moment(Moment("other", 3, 11))


def test_unknown_names_are_answered_with_the_known(recorded: Path):
    recording = Recording.open(recorded)
    with pytest.raises(UnknownName, match="Did you mean 'fc1:out'"):
        recording.read("fc2:out")
    with pytest.raises(UnknownName, match="No episode 9"):
        recording.episode(9)
    with pytest.raises(UnknownName, match="No shard 3"):
        recording.read("value", shard=3)
    with pytest.raises(UnknownName, match="pole_angle"):
        recording.iterate("pole_angel")


def test_read_is_the_concatenation_of_iterate(recorded: Path):
    recording = Recording.open(recorded)
    parts = list(recording.iterate("fc1:out", "step"))
    assert len(parts) == 3
    np.testing.assert_array_equal(recording.read("fc1:out"), np.concatenate([p[0] for p in parts]))
    np.testing.assert_array_equal(recording.read("step"), np.concatenate([p[1] for p in parts]))


def test_a_reader_sees_whole_shards_while_the_recording_grows(tmp_path: Path, plan):
    with RecordingWriter(tmp_path / "main", plan.header()) as writer:
        recording = Recording.open(tmp_path / "main")
        assert (recording.steps, recording.read("value").shape) == (0, (0,))
        assert recording.next_episode == 0
        writer.write(plan.steady(0))
        writer.write(plan.steady(1))
        recording.refresh()
        assert recording.steps in (20, 40)  # the second may be under way
        early = recording.read("fc1:out", shard=0)
        held = early.copy()
    recording.refresh()
    assert recording.steps == 40
    np.testing.assert_array_equal(early, held)


def test_position_tells_where_each_row_goes_on(tmp_path: Path, plan):
    first = plan.block(np.array([[0, 1, -1]] * 2), np.array([[0, 0, 0], [1, 1, 0]]))
    episode, step = np.array([[0, 2, -1]] * 2), np.array([[2, 0, 0], [3, 1, 0]])
    second = plan.block(episode, step, (plan.ended(0, 4), plan.ended(1, 2)))
    with RecordingWriter(tmp_path, plan.header(rows=3)) as writer:
        writer.write(first)
        writer.write(second)
    recording = Recording.open(tmp_path)
    assert recording.position() == [
        RowPosition(0, episode=0, next_step=4, has_ended=True),
        RowPosition(1, episode=2, next_step=2, has_ended=False),
        RowPosition(2, episode=-1, next_step=0, has_ended=True),
    ]
    assert recording.next_episode == 3
    assert [episode.index for episode in recording.episodes] == [0, 1]


def test_a_missing_shard_is_a_damage(recorded: Path):
    (recorded / "shards" / "00000001.safetensors").unlink()
    with pytest.raises(CorruptFile, match=r"00000001.*missing"):
        Recording.open(recorded)


def test_more_shards_than_mapped_files(tmp_path: Path, plan, monkeypatch):
    monkeypatch.setattr("policyscope.recordings.recording.MAPPED_FILES", 2)
    plan.write(tmp_path, blocks=7)
    recording = Recording.open(tmp_path)
    for _ in range(2):
        assert len(recording.read("value")) == recording.steps == 140


def test_the_repr_says_what_is_there(recorded: Path):
    assert repr(Recording.open(recorded)).startswith("Recording('main', 60 steps, 0 episodes, 3")

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from policyscope.errors import InvalidInput, NotEnoughData, UnknownName
from policyscope.recordings import batches as module
from policyscope.recordings.batches import batches, cut
from policyscope.recordings.format import ColumnSpec, RecordingHeader
from policyscope.recordings.recording import Recording
from policyscope.recordings.writer import RecordingWriter

SHUFFLES = ["block", "global", None]


def joined(stream):
    parts = list(stream)
    return parts, tuple(np.concatenate(each) for each in zip(*parts, strict=True))


@pytest.fixture(params=[10**9, 1])
def pools(request: pytest.FixtureRequest, monkeypatch):
    """One pool for everything, or one per batch, with short runs."""
    monkeypatch.setattr(module, "POOL_BYTES", request.param)
    monkeypatch.setattr(module, "RUN_SAMPLES", 4)


@pytest.mark.usefixtures("pools")
@pytest.mark.parametrize("shuffle", SHUFFLES)
def test_each_sample_comes_once_with_its_own_row(recorded: Path, plan, shuffle):
    recording = Recording.open(recorded)
    stream = batches(
        recording,
        ["fc1:out", "value", "episode", "step"],
        7,
        generator=np.random.default_rng(0),
        shuffle=shuffle,
    )
    parts, (x, value, episode, step) = joined(stream)
    assert [len(part[0]) for part in parts] == [7] * 8 + [4]
    assert len(set(zip(episode.tolist(), step.tolist(), strict=True))) == 60
    np.testing.assert_array_equal(x, plan.values(plan.columns[0], episode, step))
    np.testing.assert_array_equal(value, plan.values(plan.columns[3], episode, step))
    in_order = np.array_equal(episode, recording.read("episode"))
    assert in_order == (shuffle is None)


@pytest.mark.usefixtures("pools")
@pytest.mark.parametrize("shuffle", SHUFFLES)
def test_a_site_of_tokens_gives_one_sample_per_token(tmp_path: Path, plan, shuffle):
    tokens = ColumnSpec("tokens:out", "site", "float32", (3, 2))
    header = RecordingHeader(**{**vars(plan.header()), "columns": (tokens,)})
    block = plan.steady(0)
    values = np.arange(block.episode.size * 6, dtype=np.float32)
    columns = {"tokens:out": values.reshape(*block.episode.shape, 3, 2)}
    with RecordingWriter(tmp_path / "tokens", header) as writer:
        writer.write(replace(block, columns=columns))
    recording = Recording.open(tmp_path / "tokens")
    generator = np.random.default_rng(0)
    stream = batches(recording, ["tokens:out", "episode"], 7, generator=generator, shuffle=shuffle)
    _, (x, episode) = joined(stream)
    assert x.shape == (60, 2)
    order = np.argsort(x[:, 0])
    np.testing.assert_array_equal(x[order].ravel(), values)
    np.testing.assert_array_equal(episode[order], block.episode.ravel().repeat(3))


@pytest.mark.usefixtures("pools")
@pytest.mark.parametrize("shuffle", SHUFFLES)
def test_a_map_gives_one_sample_per_position(recorded: Path, plan, shuffle):
    recording = Recording.open(recorded)
    stream = batches(
        recording,
        ["conv:out", "episode", "step"],
        11,
        generator=np.random.default_rng(0),
        shuffle=shuffle,
    )
    _, (x, episode, step) = joined(stream)
    assert x.shape == (60 * 6, 2)
    maps = recording.read("conv:out")
    rows = np.concatenate([maps.transpose(0, 2, 3, 1).reshape(-1, 2)])
    keys = np.repeat(recording.read("episode") * 1000 + recording.read("step"), 6)
    given = sorted(zip((episode * 1000 + step).tolist(), x.tolist(), strict=True))
    assert given == sorted(zip(keys.tolist(), rows.tolist(), strict=True))


@pytest.mark.parametrize("shuffle", SHUFFLES)
def test_only_the_wanted_episodes_come(recorded: Path, shuffle):
    stream = batches(
        Recording.open(recorded),
        ["episode", "step"],
        4,
        generator=np.random.default_rng(0),
        shuffle=shuffle,
        episodes={1, 3},
    )
    _, (episode, step) = joined(stream)
    assert len(set(zip(episode.tolist(), step.tolist(), strict=True))) == len(step) == 30
    assert set(episode.tolist()) == {1, 3}


def test_the_generator_decides_the_order(recorded: Path):
    recording = Recording.open(recorded)

    def order(seed: int) -> list[int]:
        generator = np.random.default_rng(seed)
        _, (step,) = joined(batches(recording, ["step"], 8, generator=generator))
        return step.tolist()

    assert order(1) == order(1) != order(2)


def test_batches_are_copies_that_may_be_written(recorded: Path):
    generator = np.random.default_rng(0)
    (x,) = next(batches(Recording.open(recorded), ["fc1:out"], 8, generator=generator))
    x[:] = 0


def test_bad_requests_are_refused_before_the_first_batch(tmp_path: Path, recorded: Path, plan):
    generator = np.random.default_rng(0)
    recording = Recording.open(recorded)
    with pytest.raises(UnknownName, match="fc1:out"):
        batches(recording, ["fc1"], 8, generator=generator)
    with pytest.raises(InvalidInput, match="size of at least 1"):
        batches(recording, ["fc1:out"], 0, generator=generator)
    with pytest.raises(NotEnoughData, match="1 episodes asked for"):
        batches(recording, ["fc1:out"], 8, generator=generator, episodes={99})
    columns = (*plan.columns, ColumnSpec("conv2:out", "site", "float32", (2, 2, 2)))
    RecordingWriter(tmp_path / "two", plan.header(columns=columns)).close()
    with pytest.raises(InvalidInput, match=r"conv:out \[2, 3, 2\], conv2:out \[2, 2, 2\]"):
        batches(Recording.open(tmp_path / "two"), ["conv:out", "conv2:out"], 8, generator=generator)


def test_cut_covers_every_range_in_pieces():
    assert cut(np.array([[0, 5], [7, 9]]), 2).tolist() == [[0, 2], [2, 4], [4, 5], [7, 9]]

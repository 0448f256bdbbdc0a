"""Fitting from disk: the split and the results of the fit in memory, on bounded memory."""

import numpy as np
import pytest
import torch

from policyscope.address import Site
from policyscope.dictionaries.relu import ReLU
from policyscope.errors import InvalidInput
from policyscope.recordings.block import Block
from policyscope.recordings.format import ColumnSpec, RecordingHeader
from policyscope.recordings.recording import Recording
from policyscope.recordings.writer import RecordingWriter
from policyscope.studies import streamed as module
from policyscope.studies.fitting import (
    Samples,
    compare_choices,
    compare_penalties,
    fit_choices,
    gather,
)
from policyscope.studies.streamed import Streamed

SHAPES = {
    "vector:out": (3,),
    "wide:out": (5,),
    "tokens:out": (4, 3),
    "fewer:out": (3, 3),
    "map:out": (3, 2, 2),
    "small_map:out": (2, 2, 2),
    "large_map:out": (3, 4, 1),
    "number:out": (),
}
EPISODES, STEPS = 20, 30
HOW = {"seeds": 2, "epochs": 20, "batch_size": 32, "learning_rate": 1e-2, "seed": 0}


def site(name: str) -> Site:
    return Site.parse(f"{name}:out")


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Twenty episodes beside each other; every column is a function of one hidden number."""
    folder = tmp_path_factory.mktemp("planted") / "main"
    columns = tuple(ColumnSpec(name, "site", "float32", shape) for name, shape in SHAPES.items())
    header = RecordingHeader(columns, {"fingerprint": "a1"}, {"id": "Planted-v0"}, 0, EPISODES)
    generator = np.random.default_rng(0)
    episode = np.broadcast_to(np.arange(EPISODES, dtype=np.int32), (STEPS, EPISODES)).copy()
    step = np.broadcast_to(np.arange(STEPS, dtype=np.int32)[:, None], (STEPS, EPISODES)).copy()
    with RecordingWriter(folder, header) as writer:
        for number in range(2):
            hidden = generator.exponential(size=(STEPS, EPISODES)).astype(np.float32)
            values = {
                name: np.multiply.outer(hidden, np.ones(shape, np.float32))
                for name, shape in SHAPES.items()
            }
            writer.write(Block(values, episode, step + number * STEPS, ()))
    return Recording.open(folder)


@pytest.fixture
def streaming(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_IN_MEMORY", 10_000)


@pytest.mark.parametrize(("reads", "writes"), [("vector", "wide"), ("map", "small_map")])
def test_streaming_and_memory_split_alike_and_both_find_what_is_there(
    recording: Recording, monkeypatch: pytest.MonkeyPatch, reads: str, writes: str
) -> None:
    held = gather(recording, site(reads), site(writes), seed=3)
    monkeypatch.setattr(module, "LARGEST_IN_MEMORY", 10_000)
    streamed = gather(recording, site(reads), site(writes), seed=3)
    assert isinstance(held, Samples)
    assert isinstance(streamed, Streamed)
    for part in ("fitted_on", "choose_on", "held_out", "count"):
        assert getattr(held, part) == getattr(streamed, part)
    for samples in (held, streamed):
        (choice,) = fit_choices(samples, [ReLU(2)], site(reads), site(writes), **HOW)
        assert choice.best.score.unexplained < 0.05
        assert [one.fitted.data_seed for one in choice.candidates] == [3, 3]


@pytest.mark.usefixtures("streaming")
def test_an_epoch_has_every_sample_of_the_fit_once_in_its_own_order(recording: Recording) -> None:
    samples = gather(recording, site("vector"), site("wide"), seed=3)
    assert isinstance(samples, Streamed)
    epochs = [torch.cat([x for x, _ in samples.batches(epoch, 32)])[:, 0] for epoch in (0, 0, 1)]
    fitted_on = np.isin(recording.read("episode"), samples.fitted_on)
    expected = np.sort(recording.read("vector:out")[fitted_on, 0])
    for order in epochs:
        np.testing.assert_array_equal(order.sort().values.numpy(), expected)
    assert torch.equal(epochs[0], epochs[1])
    assert not torch.equal(epochs[0], epochs[2])


@pytest.mark.usefixtures("streaming")
def test_no_more_samples_choose_than_fit_into_a_quarter(recording: Recording) -> None:
    samples = gather(recording, site("vector"), site("wide"), seed=3)
    assert len(samples.choose_x) == len(samples.choose_y) == 10_000 // 4 // (4 * (3 + 5))
    choosing = np.isin(recording.read("episode"), samples.choose_on)
    known = recording.read("vector:out")[choosing, 0]
    assert np.isin(samples.choose_x[:, 0].numpy(), known).all()


@pytest.mark.usefixtures("streaming")
def test_sizes_and_penalties_are_compared_on_streams_too(recording: Recording) -> None:
    samples = gather(recording, site("vector"), site("wide"), seed=3)
    how = {**HOW, "epochs": 2}
    choices = fit_choices(samples, [ReLU(2), ReLU(4)], site("vector"), site("wide"), **how)
    sizes = compare_choices(choices, samples)
    assert sizes is not None
    choice = choices[0].dictionary
    assert isinstance(choice, ReLU)
    assert len(compare_penalties(samples, choice, [1e-4, 1e-3], **how)) == 2


def test_tokens_give_one_sample_each(recording: Recording) -> None:
    samples = gather(recording, site("tokens"), site("tokens"), seed=3)
    steps = int(np.isin(recording.read("episode"), samples.fitted_on).sum())
    assert isinstance(samples, Samples)
    assert samples.x.shape == (4 * steps, 3)


@pytest.mark.parametrize(
    ("reads", "writes"),
    [
        ("map", "vector"),
        ("vector", "map"),
        ("map", "large_map"),
        ("tokens", "vector"),
        ("tokens", "fewer"),
        ("tokens", "map"),
    ],
)
def test_sites_without_common_places_are_refused(
    recording: Recording, reads: str, writes: str
) -> None:
    with pytest.raises(InvalidInput, match="have no samples in common"):
        gather(recording, site(reads), site(writes), seed=0)


def test_a_site_without_units_is_refused(recording: Recording) -> None:
    with pytest.raises(InvalidInput, match=r"Site 'number:out' has shape \[\]"):
        gather(recording, site("number"), site("vector"), seed=0)

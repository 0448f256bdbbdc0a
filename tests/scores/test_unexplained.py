"""Unexplained variance as an estimate: the same number, with an honest interval."""

import numpy as np
import pytest

from policyscope.errors import NotEnoughData
from policyscope.scores.reconstruction import Reconstruction
from policyscope.scores.unexplained import UnexplainedByEpisode
from policyscope.testing.folds import FoldLaws


def planted(generator, episodes, steps=30, spread=1.0):
    """Targets with a mean and an error of their own in every episode."""
    mean = generator.normal(0, spread, size=(episodes, 1, 3))
    target = mean + generator.normal(size=(episodes, steps, 3))
    size = generator.uniform(0.1, 0.5, size=(episodes, 1, 1))
    error = size * generator.normal(size=target.shape)
    episode = np.repeat(np.arange(episodes), steps)
    flat = target.reshape(-1, 3)
    return flat, flat + error.reshape(-1, 3), episode


class TestLaws(FoldLaws):
    def make(self):
        return UnexplainedByEpisode()

    def batch(self, generator, steps):
        target = generator.normal(size=(steps, 3))
        return target, target + 0.1, generator.integers(0, 9, steps)


def test_its_value_is_that_of_the_reconstruction():
    target, reconstruction, episode = planted(np.random.default_rng(0), 40)
    fold, plain = UnexplainedByEpisode(), Reconstruction()
    fold.update(target + 100, reconstruction + 100, episode)
    plain.update(target + 100, reconstruction + 100, np.ones((len(target), 2)))
    found = fold.result()
    np.testing.assert_allclose(found.value, plain.result().unexplained, rtol=1e-9)
    assert found.low < found.value < found.high
    assert found.episodes == 40


def test_the_bootstrap_is_that_of_whole_episodes():
    """A replicate has the variance about its own mean, as drawn steps would have."""
    target, reconstruction, episode = planted(np.random.default_rng(1), 12, spread=3.0)
    generator, values = np.random.default_rng(5), []
    for _ in range(2000):
        steps = np.concatenate(
            [np.flatnonzero(episode == e) for e in generator.integers(0, 12, 12)]
        )
        y, y_hat = target[steps], reconstruction[steps]
        values.append(((y - y_hat) ** 2).sum() / ((y - y.mean(0)) ** 2).sum())
    fold = UnexplainedByEpisode()
    fold.update(target, reconstruction, episode)
    found = fold.result()
    expected = np.quantile(values, [0.025, 0.975])
    np.testing.assert_allclose([found.low, found.high], expected, rtol=0.06)


def test_a_constant_target_leaves_nothing_to_explain():
    fold = UnexplainedByEpisode()
    fold.update(np.full((40, 2), 3.0), np.zeros((40, 2)), np.repeat(np.arange(8), 5))
    found = fold.result()
    assert np.isnan([found.value, found.low, found.high]).all()


def test_no_steps_are_not_enough():
    with pytest.raises(NotEnoughData, match="No steps"):
        UnexplainedByEpisode().result()

"""The fold contract catches folds that break it."""

import numpy as np
import pytest

from policyscope.statistics.variance import Variance
from policyscope.testing.folds import FoldLaws, assert_same


class MeanOfMeans:
    """A fold as it is often written: right only when all batches are of one size."""

    def __init__(self):
        self.means = []

    def update(self, values):
        if len(values):
            self.means.append(values.mean(axis=0))

    def merge(self, other):
        self.means += other.means

    def result(self):
        return np.mean(self.means, axis=0)


class BrokenLaws(FoldLaws):
    def make(self):
        return MeanOfMeans()

    def batch(self, generator, steps):
        return (generator.normal(size=(steps, 2)),)


class SoundLaws(BrokenLaws):
    def make(self):
        return Variance()


@pytest.mark.parametrize("seed", range(5))
def test_a_mean_of_means_is_caught(seed):
    with pytest.raises(AssertionError):
        BrokenLaws.test_any_split_merges_to_the_same_result.hypothesis.inner_test(
            BrokenLaws(), seed=seed, parts=3
        )


def test_a_sound_fold_passes():
    SoundLaws().test_any_split_merges_to_the_same_result()


def test_the_failing_field_is_named():
    with pytest.raises(AssertionError, match=r"result\[1\]"):
        assert_same((1, np.zeros(2)), (1, np.ones(2)))
    assert_same((np.nan, "a"), (np.nan, "a"))

"""The mean and variance fold against numpy, and where cancellation would bite."""

import numpy as np
import pytest

from policyscope.errors import InvalidInput, NotEnoughData, NotFinite
from policyscope.statistics.variance import Variance
from policyscope.testing.folds import FoldLaws


class TestVariance(FoldLaws):
    def make(self):
        return Variance()

    def batch(self, generator, steps):
        return (generator.normal(size=(steps, 3)),)


def test_it_agrees_with_numpy_far_from_zero():
    values = np.random.default_rng(0).normal(1e6, 1e-2, size=(1000, 4))
    fold = Variance()
    fold.update(values[:700])
    fold.update(values[700:])
    np.testing.assert_allclose(fold.mean, values.mean(axis=0), rtol=1e-14)
    # 1e6 ± 1e-2 leaves float64 about eight digits of the deviation.
    np.testing.assert_allclose(fold.result(), values.var(axis=0), rtol=1e-7)


def test_it_refuses_what_it_cannot_measure():
    fold = Variance()
    with pytest.raises(NotEnoughData, match="No steps"):
        fold.result()
    with pytest.raises(NotFinite, match="Column 1 holds NaN"):
        fold.update(np.array([[0.0, np.nan]]))
    fold.update(np.zeros((2, 3)))
    with pytest.raises(InvalidInput, match="Got 2 columns after 3"):
        fold.update(np.zeros((2, 2)))

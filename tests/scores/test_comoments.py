"""Covariance of two sets of columns."""

import numpy as np
import pytest

from policyscope.errors import NotEnoughData
from policyscope.scores.comoments import CoMoments, is_sparse
from policyscope.testing.folds import FoldLaws


class TestCoMoments(FoldLaws):
    def make(self):
        return CoMoments()

    def batch(self, generator, steps):
        left = generator.normal(size=(steps, 2))
        return left, left[:, :1] + generator.normal(size=(steps, 3))


def test_it_agrees_with_numpy():
    generator = np.random.default_rng(0)
    left = generator.normal(5, 1, size=(3000, 2))
    right = left @ generator.normal(size=(2, 3)) + generator.normal(size=(3000, 3))
    fold = CoMoments()
    fold.update(left, right)
    np.testing.assert_allclose(fold.result(), np.cov(left.T, right.T, bias=True)[:2, 2:])


def test_float32_data_far_from_zero_keep_their_digits():
    left = np.random.default_rng(0).normal(100, 1, size=(5000, 2)).astype(np.float32)
    fold = CoMoments()
    fold.update(left, left)
    expected = np.cov(left.astype(np.float64).T, bias=True)
    np.testing.assert_allclose(fold.result(), expected, atol=1e-4)


def sparse(steps, columns, seed):
    generator = np.random.default_rng(seed)
    values = generator.exponential(3, size=(steps, columns))
    return np.where(generator.random(values.shape) < 0.04, values, 0).astype(np.float32)


class TestSparseCoMoments(FoldLaws):
    def make(self):
        return CoMoments()

    def batch(self, generator, steps):
        left = sparse(steps, 40, generator.integers(1000))
        return left, left[:, ::-1].copy()


@pytest.mark.parametrize("is_right_sparse", [True, False])
def test_of_sparse_columns_it_is_the_same(is_right_sparse, monkeypatch):
    left = sparse(3000, 30, seed=0)
    noise = np.random.default_rng(1).normal(200, 1, size=(3000, 4)).astype(np.float32)
    right = sparse(3000, 30, seed=0)[:, ::-1].copy() if is_right_sparse else noise + left[:, :4]
    assert is_sparse(left)
    fold, dense = CoMoments(), CoMoments()
    fold.update(left, right)
    expected = np.cov(left.astype(float).T, right.astype(float).T, bias=True)[:30, 30:]
    np.testing.assert_allclose(fold.result(), expected, atol=1e-6)
    monkeypatch.setattr("policyscope.scores.comoments.SPARSE", -1.0)
    dense.update(left, right)
    np.testing.assert_allclose(fold.result(), dense.result(), atol=2e-3)


def test_no_steps_are_not_enough():
    with pytest.raises(NotEnoughData, match="No steps"):
        CoMoments().result()

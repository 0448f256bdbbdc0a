"""Unexplained variance, sparsity and what the best features explain alone, against direct sums."""

import numpy as np
import pytest

from policyscope.errors import InvalidInput, NotEnoughData, NotFinite
from policyscope.scores.reconstruction import KeepTopFeatures, Reconstruction
from policyscope.testing.folds import FoldLaws

DIRECTIONS = np.random.default_rng(7).normal(size=(3, 2))
BIAS = np.array([0.5, -0.5])


class TestReconstructionLaws(FoldLaws):
    def make(self):
        return Reconstruction()

    def batch(self, generator, steps):
        target = generator.normal(size=(steps, 2))
        codes = np.maximum(generator.normal(size=(steps, 3)), 0)
        return target, target + 0.3 * generator.normal(size=(steps, 2)), codes


class TestKeepTopFeaturesLaws(FoldLaws):
    def make(self):
        return KeepTopFeatures(DIRECTIONS, BIAS)

    def batch(self, generator, steps):
        codes = np.maximum(generator.normal(size=(steps, 3)), 0)
        return codes, codes @ DIRECTIONS + BIAS + generator.normal(size=(steps, 2))


def score(target, reconstruction, codes):
    fold = Reconstruction()
    fold.update(target, reconstruction, codes)
    return fold.result()


def test_unexplained_is_the_error_over_the_pooled_variance():
    generator = np.random.default_rng(0)
    target = generator.normal(size=(400, 3)) * [1, 2, 5] + 10
    guess = target + generator.normal(size=(400, 3))
    codes = np.maximum(generator.normal(size=(400, 4)) - 1, 0)
    codes[:, 3] = 0
    found = score(target, guess, codes)
    error = ((target - guess) ** 2).sum(axis=0)
    spread = ((target - target.mean(axis=0)) ** 2).sum(axis=0)
    assert found.unexplained == pytest.approx(error.sum() / spread.sum())
    np.testing.assert_allclose(found.unexplained_per_unit, error / spread)
    assert found.l0 == pytest.approx((codes > 0).sum(axis=1).mean())
    np.testing.assert_allclose(found.density, (codes > 0).mean(axis=0))
    assert found.dead == 0.25
    assert list(found.is_dead) == [False, False, False, True]


def test_the_mean_leaves_all_and_the_target_nothing_unexplained():
    target = np.random.default_rng(0).normal(3, 1, size=(100, 2))
    mean = np.broadcast_to(target.mean(axis=0), target.shape)
    codes = np.ones((100, 1))
    assert score(target, mean, codes).unexplained == pytest.approx(1.0)
    assert score(target, target, codes).unexplained == 0.0


def test_a_dictionary_of_nothing_is_dead():
    target = np.random.default_rng(0).normal(size=(10, 2))
    assert score(target, target, np.zeros((10, 3))).dead == 1.0


def test_constant_targets_have_nothing_to_explain():
    target = np.full((10, 2), 0.1, np.float32)
    with pytest.raises(NotEnoughData, match="All 2 units are constant over 10 steps"):
        score(target, target, np.zeros((10, 3)))
    target[:, 1] = np.arange(10)
    per_unit = score(target, target, np.zeros((10, 3))).unexplained_per_unit
    np.testing.assert_array_equal(per_unit, [np.nan, 0.0])


def test_a_diverged_fit_is_named():
    target = np.zeros((4, 1))
    with pytest.raises(NotFinite, match="the fit has diverged"):
        score(target, np.full((4, 1), np.inf), np.zeros((4, 1)))


def test_each_count_is_what_decoding_the_kept_features_leaves():
    generator = np.random.default_rng(3)
    codes = np.maximum(generator.normal(size=(500, 4)), 0) * [3, 0.1, 1, 2]
    directions, bias = generator.normal(size=(4, 3)), generator.normal(size=3)
    target = codes @ directions + bias + 0.2 + 0.5 * generator.normal(size=(500, 3))
    fold = KeepTopFeatures(directions, bias)
    fold.update(codes, target)
    found = fold.result()
    variance = ((target - target.mean(axis=0)) ** 2).sum()
    for count in range(5):
        kept = np.broadcast_to(codes.mean(axis=0), codes.shape).copy()
        kept[:, found.order[:count]] = codes[:, found.order[:count]]
        error = ((target - kept @ directions - bias) ** 2).sum()
        assert found.unexplained[count] == pytest.approx(error / variance)


def test_one_planted_feature_is_enough():
    generator = np.random.default_rng(0)
    codes = generator.random((300, 5))
    directions = 0.01 * generator.normal(size=(5, 3))
    directions[2] = 10
    fold = KeepTopFeatures(directions, np.zeros(3))
    fold.update(codes, codes @ directions)
    found = fold.result()
    assert found.order[0] == 2
    assert found.enough(0.01) == 1
    assert found.enough(-1.0) is None
    assert repr(found).startswith("TopFeatures(unexplained by the best 1: 0.0")


def test_only_one_dictionary_is_scored():
    with pytest.raises(InvalidInput, match="different directions"):
        KeepTopFeatures(DIRECTIONS, BIAS).merge(KeepTopFeatures(DIRECTIONS + 1, BIAS))
    with pytest.raises(NotFinite, match="the fit has diverged"):
        KeepTopFeatures(DIRECTIONS * np.nan, BIAS)

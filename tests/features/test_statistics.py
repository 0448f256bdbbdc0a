"""Summaries and histograms of features against numpy."""

import numpy as np
import pytest

from policyscope.errors import InvalidInput, NotEnoughData
from policyscope.features.statistics import FeatureStatistics, Histogram, even_edges
from policyscope.testing.folds import FoldLaws


class TestFeatureStatisticsLaws(FoldLaws):
    def make(self):
        return FeatureStatistics()

    def batch(self, generator, steps):
        return (generator.normal(size=(steps, 3)).astype(np.float32),)


class TestHistogramLaws(FoldLaws):
    def make(self):
        return Histogram(np.array([[-1.0, 0.0, 1.0]]))

    def batch(self, generator, steps):
        return (generator.integers(-3, 4, size=(steps, 3)) / 2,)


def test_the_summary_agrees_with_numpy():
    codes = np.maximum(np.random.default_rng(0).normal(size=(500, 4)), 0)
    codes[:, 3] = 0
    fold = FeatureStatistics()
    fold.update(codes)
    summary = fold.result()
    np.testing.assert_allclose(summary.mean, codes.mean(axis=0))
    np.testing.assert_allclose(summary.std, codes.std(axis=0))
    np.testing.assert_allclose(summary.maximum, codes.max(axis=0))
    np.testing.assert_allclose(summary.minimum, codes.min(axis=0))
    np.testing.assert_allclose(summary.firing_rate, (codes > 0).mean(axis=0))
    assert list(summary.is_dead) == [False, False, False, True]
    assert repr(summary).startswith("FeatureSummary(4 features, 500 steps, 1 dead, L0 1.")


def test_the_histogram_agrees_with_numpy():
    codes = np.random.default_rng(1).normal(size=(800, 2))
    edges = np.stack([np.linspace(-1, 1, 9), np.linspace(-2, 0, 9)])
    fold = Histogram(edges)
    fold.update(codes)
    counts = fold.result()
    for feature in range(2):
        expected, _ = np.histogram(codes[:, feature], edges[feature])
        np.testing.assert_array_equal(counts.counts[feature], expected)
        assert counts.below[feature] == np.sum(codes[:, feature] < edges[feature, 0])
        assert counts.above[feature] == np.sum(codes[:, feature] > edges[feature, -1])


def test_the_last_bin_holds_the_maximum():
    codes = np.array([[0.0], [1.0], [3.0]])
    fold = Histogram(even_edges(codes.min(axis=0), codes.max(axis=0), bins=3))
    fold.update(codes)
    assert fold.result().counts.tolist() == [[1, 1, 1]]


def test_a_dead_feature_has_edges():
    assert even_edges(np.zeros(1), np.zeros(1), bins=2).tolist() == [[0.0, 0.5, 1.0]]


@pytest.mark.parametrize("edges", [[[1.0, 0.0]], [[0.0]], [[0.0, 1.0, 3.0]], [[0.0, np.inf]]])
def test_bad_edges_are_refused(edges):
    with pytest.raises(InvalidInput, match="Histogram edges must be"):
        Histogram(np.array(edges))


def test_no_steps_is_not_enough():
    with pytest.raises(NotEnoughData, match="No steps"):
        FeatureStatistics().result()
    with pytest.raises(NotEnoughData, match="No steps"):
        Histogram(np.array([[0.0, 1.0]])).result()

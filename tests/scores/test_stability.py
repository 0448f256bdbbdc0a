"""Stability: permuted and flipped features are found again, chance is stated, the dead left out."""

import numpy as np
import pytest

from policyscope.errors import InvalidInput, NotEnoughData
from policyscope.scores.stability import cosines, match, stability


def directions(features=6, units=64, seed=0):
    return np.random.default_rng(seed).normal(size=(features, units))


def test_order_length_and_sign_do_not_matter():
    first = directions()
    order = np.random.default_rng(1).permutation(6)
    found = stability([first, -3 * first[order]])
    np.testing.assert_allclose(found.cosine, 1.0)
    np.testing.assert_allclose(found.found_again, 1.0)
    assert found.overall == pytest.approx(1.0)
    np.testing.assert_array_equal(match(first, first[order])[0], np.argsort(order))


def test_a_feature_that_one_seed_lacks_is_found_again_in_half():
    first = directions()
    without = first.copy()
    without[2] = directions(seed=5)[2]
    found = stability([first, first, without])
    np.testing.assert_allclose(found.found_again, [1, 1, 0.5, 1, 1, 1])
    assert found.mean_cosine[2] < 0.8


def test_random_directions_score_as_chance():
    found = stability([directions(seed=1), directions(seed=2)])
    assert found.overall == pytest.approx(found.chance, abs=0.1)
    # In two dimensions chance alone matches six features almost perfectly.
    assert stability([directions(units=2), directions(units=2, seed=1)]).chance > 0.85


def test_dead_features_are_left_out():
    first = directions()
    alive = np.array([True, True, False, True, True, True])
    found = stability([first, first], [alive, alive])
    assert np.isnan(found.mean_cosine[2])
    assert np.isnan(found.found_again[2])
    assert found.overall == pytest.approx(1.0)
    gone = stability([first, first], [np.zeros(6, bool), alive])
    assert np.isnan(gone.overall)


def test_a_smaller_dictionary_leaves_features_unmatched():
    partner, cosine = match(directions(), directions()[:4])
    assert list(partner) == [0, 1, 2, 3, -1, -1]
    assert list(cosine[4:]) == [0, 0]
    assert cosines(np.zeros((1, 2)), np.ones((1, 2))).tolist() == [[0.0]]


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(NotEnoughData, match="Got 1 dictionaries"):
        stability([directions()])
    with pytest.raises(InvalidInput, match="different numbers of units"):
        stability([directions(), directions(units=3)])
    with pytest.raises(InvalidInput, match="one alive flag per feature"):
        stability([directions(), directions()], [np.ones(6, bool), np.ones(5, bool)])

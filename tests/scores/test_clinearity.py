"""Clinearity: planted detectors are found, luck is not rewarded, and refusals."""

import numpy as np
import pytest

from policyscope.errors import NotEnoughData, NotFinite
from policyscope.scores.clinearity import clinearity

EPISODE = np.repeat(np.arange(40), 25)


def noise(features, seed=0):
    return np.maximum(np.random.default_rng(seed).normal(size=(1000, features)), 0)


def test_a_planted_detector_is_found():
    codes = noise(5)
    event = codes[:, 3] > 1.0
    found = clinearity(codes, event, EPISODE)
    assert found.best == 3
    assert found.auroc[3] == 1.0
    assert found.balanced_accuracy[3] > 0.98
    assert found.threshold[3] == pytest.approx(1.0, abs=0.05)
    assert found.above[3]
    assert found.low[3] <= found.balanced_accuracy[3] <= found.high[3]
    assert repr(found).startswith("Clinearity(best of 5: #3 > ")


def test_a_feature_that_is_silent_during_the_event_detects_it_from_below():
    codes = noise(1)
    found = clinearity(codes, codes[:, 0] == 0, EPISODE)
    assert not found.above[0]
    assert found.auroc[0] == 0.0
    assert found.balanced_accuracy[0] == 1.0


def test_the_best_of_many_by_luck_is_not_flattered():
    # The best of 200 noise features reaches 0.55 in training; on held-out episodes it is chance,
    # whose sd is about 0.5 / √(2 · 125) = 0.03 here.
    event = np.random.default_rng(9).random(1000) < 0.25
    found = clinearity(noise(200), event, EPISODE)
    assert found.train_accuracy[found.best] > 0.55
    assert abs(found.balanced_accuracy[found.best] - 0.5) < 0.1
    # Of 200 intervals of 95 %, percentile over 20 clusters, fewer than 15 % miss chance.
    assert np.mean((found.low > 0.5) | (found.high < 0.5)) < 0.15


def test_a_dead_feature_detects_nothing():
    found = clinearity(np.zeros((1000, 1)), np.arange(1000) % 3 == 0, EPISODE)
    assert found.auroc[0] == 0.5
    assert found.balanced_accuracy[0] == 0.5


def test_events_that_cannot_be_judged_are_refused():
    codes = noise(1)
    with pytest.raises(NotEnoughData, match="Only 0 training episodes have steps with the event"):
        clinearity(codes, np.zeros(1000, bool), EPISODE)
    with pytest.raises(NotEnoughData, match="Only 0 training episodes have steps without it"):
        clinearity(codes, np.ones(1000, bool), EPISODE)
    with pytest.raises(NotEnoughData, match=r"Only \d .* episodes have steps with the event"):
        clinearity(codes, EPISODE == 0, EPISODE)
    with pytest.raises(NotEnoughData, match="3 episodes are held out; an interval needs 4"):
        clinearity(codes, np.arange(1000) % 2 == 0, EPISODE // 7)
    with pytest.raises(NotFinite, match="Feature 0 holds NaN"):
        clinearity(codes * np.nan, np.arange(1000) % 2 == 0, EPISODE)

"""Correlations: the fold law, planted truth, the coverage of the interval, and refusals."""

import numpy as np
import pytest

from policyscope.errors import InvalidInput, NotEnoughData, NotFinite, UnknownName
from policyscope.features.correlate import Correlate
from policyscope.testing.folds import FoldLaws


class TestCorrelateLaws(FoldLaws):
    def make(self):
        return Correlate(("a", "b"), replicates=20)

    def batch(self, generator, steps):
        metrics = generator.normal(size=(steps, 2)).astype(np.float32)
        codes = np.maximum(generator.normal(size=(steps, 3)) + metrics[:, :1], 0)
        return codes.astype(np.float32), metrics, np.arange(steps) // 6


def planted(episodes, steps, seed):
    """Codes and a metric that share a level per episode: r is 0.5, few episodes know it."""
    generator = np.random.default_rng(seed)
    shared, ours, theirs = generator.normal(size=(3, episodes, 1))
    jitter = generator.normal(scale=0.1, size=(2, episodes, steps))
    codes = (shared + ours + jitter[0]).reshape(-1, 1)
    metric = (shared + theirs + jitter[1]).reshape(-1, 1)
    return codes, metric, np.repeat(np.arange(episodes), steps)


def correlate(codes, metrics, episode, names=("m",), **choices):
    fold = Correlate(names, **choices)
    fold.update(codes, metrics, episode)
    return fold.result()


def test_r_agrees_with_numpy():
    generator = np.random.default_rng(0)
    metrics = generator.normal(size=(300, 2))
    codes = np.maximum(metrics @ generator.normal(size=(2, 3)) + generator.normal(size=(300, 3)), 0)
    found = correlate(codes, metrics, np.arange(300) // 30, ("a", "b"))
    expected = np.corrcoef(codes.T, metrics.T)[:3, 3:]
    np.testing.assert_allclose(found.r, expected, rtol=1e-10)
    assert np.all((found.low < found.r) & (found.r < found.high))
    assert (found.episodes, found.steps) == (10, 300)


def test_the_interval_respects_episodes():
    # True r is 1 / 2.01; 40 episodes of 50 almost equal steps are 40 observations, not 2,000.
    # Percentile intervals over 40 clusters cover about 92 %; 100 trials of that fall under 84
    # with probability 0.2 %. Steps taken as independent would cover about 20 %.
    truth = 1 / 2.01
    covered = 0
    for seed in range(100):
        found = correlate(*planted(40, 50, seed), replicates=300).between(0, "m")
        covered += found.low <= truth <= found.high
    assert covered >= 84


def test_more_steps_per_episode_do_not_narrow_the_interval():
    short = correlate(*planted(30, 5, 0)).between(0, "m")
    long = correlate(*planted(30, 500, 0)).between(0, "m")
    assert long.high - long.low == pytest.approx(short.high - short.low, rel=0.1)


def test_what_cannot_be_correlated_has_a_reason():
    generator = np.random.default_rng(0)
    codes = np.maximum(generator.normal(size=(60, 4)), 0)
    codes[:, 1] = 0
    codes[:, 2] = 0.1
    codes[10:, 3] = 0
    metrics = np.stack([generator.normal(size=60), np.full(60, 0.1)], axis=1)
    found = correlate(codes, metrics, np.arange(60) // 6, ("a", "still"))
    assert found.between(0, "a").reason == ""
    assert found.between(0, "still").reason == "the metric is constant"
    assert found.between(1, "a").reason == "the feature is never active"
    assert found.between(2, "a").reason == "the feature is constant"
    rare = found.between(3, "a")
    assert rare.reason == "active in only 2 of 10 episodes"
    assert not np.isnan(rare.r)
    assert np.isnan(rare.low)
    assert str(found.between(1, "a")) == "#1 a: r undefined (the feature is never active)"
    assert found.strongest("a").feature_index == 0
    with pytest.raises(NotEnoughData, match="No feature has a correlation with 'still'"):
        found.strongest("still")


def test_three_episodes_are_not_enough():
    with pytest.raises(NotEnoughData, match="Got 3 episodes; a correlation with an interval needs"):
        correlate(*planted(3, 10, 0))


def test_wrong_questions_are_answered_by_name():
    found = correlate(*planted(5, 10, 0))
    with pytest.raises(UnknownName, match="No metric called 'n'"):
        found.between(0, "n")
    with pytest.raises(InvalidInput, match="No feature 7; features are 0 … 0"):
        found.between(7, "m")
    with pytest.raises(NotFinite, match="Column 0 holds NaN"):
        correlate(np.full((8, 1), np.nan), np.zeros((8, 1)), np.arange(8))


def test_many_short_episodes_stay_in_bounded_groups():
    generator = np.random.default_rng(0)
    metric = generator.normal(size=(4000, 1))
    found = correlate(metric + generator.normal(size=(4000, 1)), metric, np.arange(4000) // 2)
    only = found.between(0, "m")
    assert found.episodes == 2000
    # 4,000 independent steps: sd of r is (1 − r²) / √n = 0.008, the interval ±1.96 of it.
    assert only.high - only.low == pytest.approx(4 * 0.008, rel=0.2)

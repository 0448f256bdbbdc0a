"""Estimates: intervals over episodes, and none where there are too few."""

import numpy as np
import pytest

from policyscope.statistics.estimate import Estimate, episode_mean, estimate_of


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Steps of one episode are alike, so that counting them one by one would be far too sure."""
    covered, naive = 0, 0
    for seed in range(100):
        generator = np.random.default_rng(seed)
        values = np.repeat(generator.normal(size=50), 20) + generator.normal(size=1000)
        found = episode_mean(values, np.repeat(np.arange(50), 20), seed=seed)
        covered += found.low <= 0 <= found.high
        naive += abs(values.mean()) <= 1.96 * values.std() / np.sqrt(len(values))
    assert covered >= 88  # 95 expected; 88 or less has a chance of 1 in 300
    assert naive < 70


def test_the_mean_is_over_steps() -> None:
    found = episode_mean(np.array([1.0, 1.0, 1.0, 5.0]), np.array([0, 0, 0, 1]))
    assert (found.value, found.episodes) == (2.0, 2)
    assert np.isnan([found.low, found.high]).all()
    assert not found.has_interval


def test_it_says_what_it_knows() -> None:
    assert str(Estimate(0.51234, 0.4, 0.6, 9)) == "0.512 [0.4, 0.6]"
    assert Estimate(0.5, 0.4, 0.6, 9).write(".0%") == "50% [40%, 60%]"
    assert str(Estimate(0.5, np.nan, np.nan, 2)) == "0.5"
    assert str(Estimate(np.nan, np.nan, np.nan, 2)) == "not known"


@pytest.mark.parametrize(("undefined", "has_interval"), [(5, True), (100, False)])
def test_undefined_replicates_do_not_count(undefined: int, has_interval: bool) -> None:
    replicates = np.linspace(0, 1, 100)
    replicates[:undefined] = np.nan
    assert estimate_of(0.5, replicates, 10).has_interval == has_interval

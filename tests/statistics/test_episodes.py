"""Episodes are found, held out and resampled whole."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policyscope.errors import NotEnoughData
from policyscope.statistics.episodes import (
    hold_out,
    percentile_interval,
    resample,
    steps_by_episode,
)


@given(st.lists(st.integers(0, 5), max_size=40))
def test_every_step_belongs_to_one_episode(numbers):
    episode = np.array(numbers, dtype=np.int32)
    pieces = steps_by_episode(episode)
    assert [number for number, _ in pieces] == sorted(set(numbers))
    for number, steps in pieces:
        np.testing.assert_array_equal(
            np.arange(len(episode))[steps], np.flatnonzero(episode == number)
        )


def test_contiguous_episodes_are_slices():
    pieces = steps_by_episode(np.array([7, 7, 3, 3, 3]))
    assert pieces == [(3, slice(2, 5)), (7, slice(0, 2))]


@given(st.integers(4, 30), st.integers(0, 100), st.floats(0.01, 0.99))
def test_a_split_never_cuts_an_episode(episodes, seed, share):
    episode = np.repeat(np.arange(episodes), 3)
    held_out = hold_out(episode, share, seed)
    inside, outside = set(episode[held_out]), set(episode[~held_out])
    assert inside
    assert outside
    assert not inside & outside


def test_three_episodes_are_not_split():
    with pytest.raises(NotEnoughData, match="Got 3 episodes; holding some out needs at least 4"):
        hold_out(np.array([0, 1, 2]), 0.3, 0)


def test_each_replicate_draws_as_many_episodes_as_there_are():
    weights = resample(7, 50, 0)
    assert weights.shape == (50, 7)
    np.testing.assert_array_equal(weights.sum(axis=1), 7)


def test_undefined_replicates_do_not_count():
    values = np.array([[np.nan], [1.0], [2.0], [3.0], [np.nan]])
    low, high = percentile_interval(values, 0.95)
    assert (low[0], high[0]) == (1.0, 3.0)
    assert np.isnan(percentile_interval(np.full((5, 1), np.nan), 0.95)[0][0])

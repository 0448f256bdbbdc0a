"""Top moments: the fold law, the strongest of distinct episodes, and ties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policyscope.errors import InvalidInput
from policyscope.features.moments import CollectMoments
from policyscope.testing.folds import FoldLaws


class TestOneMomentPerEpisode(FoldLaws):
    per_episode = 1

    def make(self):
        return CollectMoments(("m",), count=4, per_episode=self.per_episode)

    def batch(self, generator, steps):
        # Few distinct values, so that ties are common.
        codes = generator.integers(0, 5, size=(steps, 3)).astype(np.float32)
        index = np.arange(steps)
        return codes, index[:, None].astype(np.float32), index // 7, index % 7


class TestTwoMomentsPerEpisode(TestOneMomentPerEpisode):
    per_episode = 2


@given(seed=st.integers(0, 1000), per_episode=st.integers(1, 3))
def test_they_are_what_sorting_finds(seed, per_episode):
    generator = np.random.default_rng(seed)
    codes = generator.integers(0, 4, size=(40, 1)).astype(float)
    episode, step = np.arange(40) // 8, np.arange(40) % 8
    fold = CollectMoments(count=6, per_episode=per_episode)
    fold.update(codes, np.zeros((40, 0)), episode, step)
    expected, taken = [], {}
    for index in sorted(range(40), key=lambda i: (-codes[i, 0], episode[i], step[i])):
        number = int(episode[index])
        if codes[index, 0] > 0 and taken.get(number, 0) < per_episode and len(expected) < 6:
            taken[number] = taken.get(number, 0) + 1
            expected.append((number, int(step[index]), codes[index, 0]))
    found = [(m.episode, m.step, m.activation) for m in fold.result().of(0)]
    assert found == expected


def test_a_moment_carries_its_metrics_and_its_address():
    codes = np.array([[0.0, 1.0], [0.0, 3.0], [0.0, 2.0]], dtype=np.float32)
    fold = CollectMoments(("angle",), count=2)
    fold.update(codes, np.array([[0.1], [0.2], [0.3]]), np.array([4, 4, 9]), np.array([0, 1, 0]))
    moments = fold.result()
    assert moments.of(0) == ()
    first, second = moments.of(1)
    assert str(first.address("main")) == "main/ep4@1"
    assert (first.activation, first.metrics) == (3.0, {"angle": 0.2})
    assert (second.episode, second.activation) == (9, 2.0)
    np.testing.assert_array_equal(moments.distinct_episodes, [np.nan, 1.0])


def test_two_of_one_episode_are_half_as_diverse():
    fold = CollectMoments(count=2, per_episode=2)
    fold.update(np.array([[1.0], [2.0]]), np.zeros((2, 0)), np.array([0, 0]), np.array([0, 1]))
    np.testing.assert_array_equal(fold.result().distinct_episodes, [0.5])


def test_no_steps_have_no_moments():
    assert CollectMoments(("m",)).result().episode.shape == (0, 0)
    with pytest.raises(InvalidInput, match="count and per_episode of 1 or more"):
        CollectMoments(count=0)

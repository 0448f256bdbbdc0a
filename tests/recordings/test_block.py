import numpy as np

from policyscope.recordings.block import env_major


def test_env_major_puts_a_row_after_the_other_and_leaves_idle_places_out():
    episode = np.array([[0, 1], [-1, 1], [2, -1]], np.int32)
    assert episode.ravel()[env_major(episode)].tolist() == [0, 2, 1, 1]
    assert env_major(episode).tolist() == [0, 4, 1, 3]


def test_a_block_of_no_steps_has_no_samples():
    assert len(env_major(np.empty((0, 3), np.int32))) == 0

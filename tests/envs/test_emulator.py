"""Single emulators in rows: what the C++ vector environment shows, byte for byte, and memory."""

import numpy as np
import pytest

pytest.importorskip("ale_py", reason="needs the extra [atari]")

from policyscope.envs.atari import Atari
from policyscope.envs.emulator import Emulators
from policyscope.errors import InvalidInput


@pytest.mark.parametrize(
    ("id", "arguments"),
    [
        ("ALE/MsPacman-v5", {}),
        ("PongNoFrameskip-v4", {}),
        ("ALE/Breakout-v5", {"episodic_life": True, "reward_clipping": True}),
        ("ALE/Seaquest-v5", {"grayscale": False, "stack_num": 2, "maxpool": False}),
        ("ALE/SpaceInvaders-v5", {"frameskip": 1, "noop_max": 0, "use_fire_reset": False}),
        (
            "ALE/Freeway-v5",
            {"img_height": 210, "img_width": 160, "max_num_frames_per_episode": 150},
        ),
        ("ALE/Frostbite-v5", {"img_height": 64, "img_width": 96, "full_action_space": True}),
    ],
)
def test_emulators_show_what_the_vector_environment_shows(id, arguments):
    vector, single = Atari(id, 2, threads=1, **arguments), Emulators(id, 2, **arguments)
    assert vector.observation_space == single.observation_space
    assert vector.action_space == single.action_space
    generator = np.random.default_rng(0)
    for env in (vector, single):
        env.reset(np.arange(2), [5, 70])
    for step in range(60):
        np.testing.assert_array_equal(vector.observation, single.observation)
        np.testing.assert_array_equal(vector.lives, single.lives)
        action = generator.integers(0, vector.action_space.n, 2)
        expected, answer = vector.step(action), single.step(action)
        np.testing.assert_array_equal(expected.reward, answer.reward)
        np.testing.assert_array_equal(expected.terminated, answer.terminated)
        np.testing.assert_array_equal(expected.truncated, answer.truncated)
        over = np.flatnonzero(expected.terminated | expected.truncated)
        if len(over):
            for env in (vector, single):
                env.reset(over, [step] * len(over))
    vector.close()


def test_fewer_rows_go_on_as_before():
    env, all_rows = Emulators("ALE/Pong-v5", 3), Emulators("ALE/Pong-v5", 3)
    for one in (env, all_rows):
        one.reset(np.arange(3), [1, 2, 3])
    assert env.keep(np.array([0, 2]))
    assert (env.rows, len(env.lives), env.ram.shape) == (2, 2, (2, 128))
    for _ in range(5):
        env.step(np.array([2, 3]))
        all_rows.step(np.array([2, 0, 3]))
    np.testing.assert_array_equal(env.observation, all_rows.observation[[0, 2]])
    assert env.screen(1).shape == (210, 160, 3)


def test_a_byte_out_of_range_is_refused():
    env = Emulators("ALE/Pong-v5", 1)
    env.reset(np.array([0]), [1])
    for ram in ({128: 0}, {0: 256}, {-1: 0}):
        with pytest.raises(InvalidInput, match="out of range"):
            env.edit(0, {"ram": ram})


def test_both_forms_play_the_same_episode_of_a_seed_beyond_31_bits():
    one, other = Emulators("ALE/Breakout-v5", 1), Atari("ALE/Breakout-v5", 1, threads=1)
    for environment in (one, other):
        environment.reset(np.array([0]), [9 * 10**9])
    for _ in range(5):
        np.testing.assert_array_equal(one.observation, other.observation)
        one.step(np.array([1]))
        other.step(np.array([1]))

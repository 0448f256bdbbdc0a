"""Box2D in rows: an episode does not depend on those before it."""

import gymnasium
import numpy as np
import pytest

pytest.importorskip("Box2D", reason="needs the extra [box2d]")

from policyscope.envs.box2d import Box2D, is_box2d


def play(env, seed, steps):
    env.reset(np.array([0]), [seed])
    generator = np.random.default_rng(0)
    seen = [env.observation[0].copy()]
    for _ in range(steps):
        answer = env.step(np.stack([generator.uniform(-1, 1, 4).astype(np.float32)]))
        seen.append(env.observation[0].copy())
        if answer.terminated[0]:
            break
    return np.stack(seen)


def test_a_walkers_episode_is_the_same_whatever_was_played_before():
    fresh, used = Box2D("BipedalWalker-v3", 1), Box2D("BipedalWalker-v3", 1)
    for seed in (7, 8, 9, 0, 1):
        play(used, seed, 200)
    # With one world for all episodes, this seed's differs in its last digits.
    np.testing.assert_array_equal(play(used, 2, 200), play(fresh, 2, 200))


def test_a_first_episode_is_gymnasiums_own():
    env = gymnasium.make("BipedalWalker-v3")
    seen = [env.reset(seed=1)[0]]
    generator = np.random.default_rng(0)
    seen += [env.step(generator.uniform(-1, 1, 4).astype(np.float32))[0] for _ in range(40)]
    np.testing.assert_array_equal(play(Box2D("BipedalWalker-v3", 1), 1, 40), np.stack(seen))


def test_which_ids_are_box2ds():
    assert is_box2d("LunarLander-v3")
    assert is_box2d("CarRacing-v3")
    assert not is_box2d("CartPole-v1")
    assert not is_box2d("nothing")

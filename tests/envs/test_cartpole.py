"""CartPole in rows: every episode is bit for bit the one gymnasium.make plays alone."""

import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policyscope.envs.cartpole import CartPole, initial_state
from policyscope.envs.environment import Environment


class Alone:
    """One episode of gymnasium.make, which the rows are held against."""

    def __init__(self, seed, **arguments):
        self.env = gymnasium.make("CartPole-v1", **arguments)
        self.observation, _ = self.env.reset(seed=seed)
        self.over = False

    def step(self, action):
        self.observation, reward, terminated, truncated, _ = self.env.step(action)
        self.over = terminated or truncated
        return reward, terminated, truncated and not terminated


def lean(observation, against):
    """Actions that hold the pole up for long, or push it over in another way per row."""
    wanted = observation[:, 2] + 0.5 * observation[:, 3] > 0
    return np.where(against, ~wanted, wanted).astype(np.int64)


def compare(env: Environment, alone: list[Alone], action):
    """One step of all, compared; returns the rows whose episode ended."""
    answer = env.step(action)
    for row, other in enumerate(alone):
        reward, terminated, truncated = other.step(int(action[row]))
        assert env.observation[row].tobytes() == other.observation.tobytes()
        assert answer.reward[row] == reward
        assert answer.terminated[row] == terminated
        assert answer.truncated[row] == truncated
    return np.flatnonzero(answer.terminated | answer.truncated)


@settings(max_examples=10)
@given(seeds=st.lists(st.integers(0, 2**63 - 1), min_size=2, max_size=5), data=st.data())
def test_every_episode_is_the_one_played_alone(seeds, data):
    """Whatever plays beside it, whenever it began, and whatever was kept."""
    generator = np.random.default_rng(data.draw(st.integers(0, 99)))
    env = CartPole("CartPole-v1", len(seeds))
    env.reset(np.arange(len(seeds)), seeds)
    alone = [Alone(seed) for seed in seeds]
    for step in range(120):
        ended = compare(env, alone, generator.integers(0, 2, env.rows))
        for row in ended:
            alone[row] = Alone(seeds[0] + step)
        if len(ended):
            env.reset(ended, [seeds[0] + step] * len(ended))
            assert all(np.array_equal(env.observation[r], alone[r].observation) for r in ended)
        if step == 60:
            kept = np.arange(env.rows - 1, 0, -1)
            assert env.keep(kept)
            alone = [alone[row] for row in kept]
            assert env.observation.shape == (len(kept), 4)


@pytest.mark.parametrize("sutton_barto_reward", [False, True])
def test_episodes_that_survive_are_truncated_at_their_own_step(sutton_barto_reward):
    arguments = {"sutton_barto_reward": sutton_barto_reward}
    env = CartPole("CartPole-v1", 4, **arguments)
    env.reset(np.arange(4), [0, 1, 2, 3])
    alone, truncated = [Alone(seed, **arguments) for seed in range(4)], 0
    for step in range(1, 620):
        against = (np.arange(4) < 2) & (step > 30)
        for row in compare(env, alone, lean(env.observation, against)):
            truncated += row >= 2
            alone[row] = Alone(step, **arguments)
            env.reset(np.array([row]), [step])
        if step == 505:
            assert truncated == 2


def test_version_zero_ends_at_200_steps():
    env = CartPole("CartPole-v0", 1)
    env.reset(np.array([0]), [0])
    ends = [env.step(lean(env.observation, False)).truncated[0] for _ in range(200)]
    assert ends == [False] * 199 + [True]


@given(seed=st.integers(0, 2**63 - 1))
def test_the_initial_state_is_the_one_gymnasium_draws(seed):
    # A generator seeded as gymnasium.Env.reset seeds it.
    generator, _ = gymnasium.utils.seeding.np_random(seed)
    np.testing.assert_array_equal(initial_state(seed), generator.uniform(-0.05, 0.05, 4))


def test_a_reset_leaves_the_other_rows_alone():
    env = CartPole("CartPole-v1", 3)
    env.reset(np.arange(3), [5, 6, 7])
    env.step(np.array([0, 1, 0]))
    before = env.observation.copy()
    env.reset(np.array([1]), [6])
    np.testing.assert_array_equal(env.observation[[0, 2]], before[[0, 2]])
    np.testing.assert_array_equal(env.observation[1], initial_state(6).astype(np.float32))


def test_no_row_is_reset_by_itself():
    env = CartPole("CartPole-v1", 1)
    env.reset(np.array([0]), [0])
    while not env.step(np.array([1])).terminated[0]:
        pass
    angle = env.observation[0, 2]
    env.step(np.array([1]))
    assert abs(env.observation[0, 2]) > abs(angle)


def test_its_spaces_are_those_of_one_row():
    env = CartPole("CartPole-v1", 2)
    alone = gymnasium.make("CartPole-v1")
    assert env.observation_space == alone.observation_space
    assert env.action_space == alone.action_space
    assert (env.id, env.rows) == ("CartPole-v1", 2)
    env.close()

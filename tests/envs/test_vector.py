"""Gymnasium's environments in rows: episodes as played alone, and failures that name their row."""

import multiprocessing
import sys
import warnings

import gymnasium
import numpy as np
import pytest

from policyscope.envs.vector import GymnasiumRows
from policyscope.errors import EnvironmentFailed

FRAGILE, PARTS = "policyscope-tests/Fragile-v0", "policyscope-tests/Parts-v0"


class Fragile(gymnasium.Env):
    """Raises at the step, or the seed, it is told to."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, bad_action=1, bad_seed=666):
        self.bad_action, self.bad_seed = bad_action, bad_seed

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed == self.bad_seed:
            raise RuntimeError("no such world")
        return np.zeros(2, np.float32), {}

    def step(self, action):
        if action == self.bad_action:
            raise ZeroDivisionError("the world ended")
        return np.zeros(2, np.float32), 1.0, False, False, {}


class Parts(gymnasium.Env):
    """Observes parts within parts, and says its seed when it begins."""

    observation_space = gymnasium.spaces.Dict(
        {
            "image": Fragile.observation_space,
            "place": gymnasium.spaces.Tuple(
                (
                    gymnasium.spaces.Discrete(9),
                    gymnasium.spaces.Dict({"deep": Fragile.observation_space}),
                )
            ),
        }
    )
    action_space = gymnasium.spaces.Discrete(2)

    def seen(self):
        whole = np.full(2, self.number / 10, np.float32)
        return {"image": whole, "place": (self.steps, {"deep": whole})}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.number, self.steps = seed, 0
        return self.seen(), {"seed": seed}

    def step(self, action):
        self.steps += 1
        return self.seen(), 1.0, False, False, {"steps": self.steps}


@pytest.fixture(autouse=True)
def _registered():
    for name, kind in ((FRAGILE, Fragile), (PARTS, Parts)):
        gymnasium.register(name, kind)
    yield
    for name in (FRAGILE, PARTS):
        del gymnasium.registry[name]


def assert_plays_as_alone(env, id, steps, **arguments):
    """Random actions in every row; rows that end begin again with another seed."""
    generator = np.random.default_rng(0)
    alone = [gymnasium.make(id, **arguments) for _ in range(env.rows)]
    seen = [world.reset(seed=row)[0] for row, world in enumerate(alone)]
    env.reset(np.arange(env.rows), list(range(env.rows)))
    begun = 0
    for step in range(steps):
        np.testing.assert_array_equal(env.observation, np.stack(seen))
        action = generator.integers(0, env.action_space.n, env.rows)
        answer = env.step(action)
        for row, world in enumerate(alone):
            seen[row], reward, terminated, truncated, _ = world.step(action[row])
            assert answer.reward[row] == np.float32(reward)
            assert answer.terminated[row] == terminated
            assert answer.truncated[row] == (truncated and not terminated)
        np.testing.assert_array_equal(env.observation, np.stack(seen))
        ended = np.flatnonzero(answer.terminated | answer.truncated)
        if len(ended):
            begun += len(ended)
            env.reset(ended, [step] * len(ended))
            for row in ended:
                seen[row], _ = alone[row].reset(seed=step)
    env.close()
    return begun


@pytest.mark.parametrize("id", ["MountainCar-v0", "Acrobot-v1"])
def test_episodes_are_those_played_alone(id):
    env = GymnasiumRows(id, 3, max_episode_steps=30)
    assert assert_plays_as_alone(env, id, 70, max_episode_steps=30) == 6


def test_episodes_in_processes_are_those_played_alone():
    env = GymnasiumRows("MountainCar-v0", 2, processes=True, max_episode_steps=10)
    assert assert_plays_as_alone(env, "MountainCar-v0", 25, max_episode_steps=10) == 4


def test_rows_may_begin_one_by_one():
    env = GymnasiumRows("Acrobot-v1", 3)
    for row in (2, 0, 1):
        env.reset(np.array([row]), [40 + row])
    expected = [gymnasium.make("Acrobot-v1").reset(seed=40 + row)[0] for row in range(3)]
    np.testing.assert_array_equal(env.observation, np.stack(expected))


def test_a_step_that_raises_names_its_row():
    env = GymnasiumRows(FRAGILE, 3)
    env.reset(np.arange(3), [0, 1, 2])
    with pytest.raises(EnvironmentFailed) as raised:
        env.step(np.array([0, 1, 0]))
    assert str(raised.value) == "row 1: step raised ZeroDivisionError('the world ended')"
    assert raised.value.row == 1
    assert isinstance(raised.value.__cause__, ZeroDivisionError)


def test_a_reset_that_raises_names_its_row_and_seed():
    env = GymnasiumRows(FRAGILE, 3)
    env.reset(np.arange(3), [0, 1, 2])
    with pytest.raises(EnvironmentFailed) as raised:
        env.reset(np.array([2]), [666])
    assert str(raised.value) == "row 2: reset(seed=666) raised RuntimeError('no such world')"
    assert raised.value.row == 2


@pytest.fixture
def _spawning():
    """The default that torchrl, for one, sets when it is imported."""
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method("spawn", force=True)
    yield
    multiprocessing.set_start_method(before, force=True)


@pytest.mark.usefixtures("_spawning")
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere rows are spawned")
def test_processes_know_the_environments_registered_here_whatever_the_default():
    env = GymnasiumRows(PARTS, 2, processes=True)
    env.reset(np.arange(2), [3, 5])
    np.testing.assert_allclose(env.observation["image"][:, 0], [0.3, 0.5])
    env.close()


def test_a_process_that_raises_names_its_row():
    env = GymnasiumRows(FRAGILE, 2, processes=True)
    env.reset(np.arange(2), [0, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Gymnasium says a second time what was raised.
        with pytest.raises(EnvironmentFailed) as raised:
            env.step(np.array([0, 1]))
    assert str(raised.value) == "row 1: step raised ZeroDivisionError('the world ended')"
    assert raised.value.row == 1
    env.close()


def test_an_observation_of_parts_comes_by_name():
    env = GymnasiumRows(PARTS, 2)
    env.reset(np.arange(2), [3, 5])
    assert list(env.observation) == ["image", "place.0", "place.1.deep"]
    np.testing.assert_allclose(env.observation["image"][:, 0], [0.3, 0.5])
    env.step(np.array([0, 0]))
    np.testing.assert_array_equal(env.observation["place.0"], [1, 1])


def test_what_a_reset_says_is_not_what_the_last_episode_said():
    env = GymnasiumRows(PARTS, 2)
    env.reset(np.arange(2), [3, 5])
    np.testing.assert_array_equal(env.info["seed"], [3, 5])
    env.step(np.array([0, 0]))
    np.testing.assert_array_equal(env.info["steps"], [1, 1])
    env.reset(np.array([1]), [8])
    assert env.info["steps"][0] == 1
    np.testing.assert_array_equal(env.info["_steps"], [True, False])
    assert env.info["seed"][1] == 8
    np.testing.assert_array_equal(env.info["_seed"], [False, True])

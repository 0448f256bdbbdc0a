"""MountainCar, Acrobot and Pendulum: metrics against the drawing, endings by playing."""

import gymnasium
import numpy as np
import pytest

from policyscope.envs.ending import endings_of, name_ending
from policyscope.envs.event import events_of
from policyscope.envs.metric import Step, metrics_of, read_metric
from policyscope.envs.vector import GymnasiumRows


def read(id, observation):
    """Every metric of an environment at one observation."""
    env = GymnasiumRows(id, 1)
    step = Step(np.array([observation], np.float32), env)
    return {metric.name: float(read_metric(metric, step)[0]) for metric in metrics_of(id)}


def test_a_car_in_the_valley_is_low_and_at_the_flag_high():
    low, high = read("MountainCar-v0", [-np.pi / 6, 0.0]), read("MountainCar-v0", [0.5, 0.02])
    assert low["car_height"] == pytest.approx(0.1, abs=1e-3)
    assert high["car_height"] == pytest.approx(1.0, abs=0.01)
    assert (high["car_position"], high["car_velocity"]) == pytest.approx((0.5, 0.02))


@pytest.mark.parametrize("id", ["MountainCar-v0", "MountainCarContinuous-v0"])
def test_reaching_the_flag_ends_the_episode(id):
    env = gymnasium.make(id)
    for state, ended in (((0.49, 0.07), "goal_reached"), ((-0.5, 0.0), None)):
        env.reset(seed=0)
        env.unwrapped.state = np.array(state)
        action = 2 if env.action_space.shape == () else np.array([1.0], np.float32)
        observation, reward, terminated, *_ = env.step(action)
        assert terminated == (ended is not None)
        if ended:
            assert name_ending(id, observation, True, reward) == ended
    assert name_ending(id, observation, False) == "time_out"
    assert endings_of(id) == ("goal_reached", "time_out")


@pytest.mark.parametrize("first", [-2.0, 0.0, 1.0, 3.0])
@pytest.mark.parametrize("second", [-1.0, 0.0, 2.0])
def test_the_tip_of_the_acrobot_is_where_it_is_drawn(first, second):
    """Gymnasium draws from (−cos, sin) swapped: x to the right, y upwards."""
    state = [np.cos(first), np.sin(first), np.cos(second), np.sin(second), 0.5, -0.5]
    told = read("Acrobot-v1", state)
    assert told["first_angle"] == pytest.approx(first, abs=1e-5)
    assert told["second_angle"] == pytest.approx(second, abs=1e-5)
    assert told["tip_height"] == pytest.approx(-np.cos(first) - np.cos(first + second), abs=1e-5)


def test_an_acrobot_is_done_where_its_tip_is_above_one():
    env = gymnasium.make("Acrobot-v1")
    env.reset(seed=0)
    env.unwrapped.state = np.array([np.pi, 0.1, 0.0, 0.0])
    observation, reward, terminated, *_ = env.step(1)
    assert terminated
    assert read("Acrobot-v1", observation)["tip_height"] > 1
    assert name_ending("Acrobot-v1", observation, True, reward) == "goal_reached"


def test_a_pendulum_drawn_to_the_left_has_a_positive_angle():
    """The rod (1, 0) is turned by θ + 90°, counter-clockwise with y upwards."""
    for lean in (-0.5, 0.3, 2.0):
        rod = np.exp(1j * (lean + np.pi / 2))
        told = read("Pendulum-v1", [np.cos(lean), np.sin(lean), 1.0])
        assert told["pendulum_angle"] == pytest.approx(lean, abs=1e-5)
        assert (rod.real < 0) == (told["pendulum_angle"] > 0)
        assert told["pendulum_height"] == pytest.approx(rod.imag, abs=1e-5)


@pytest.mark.parametrize("id", ["MountainCar-v0", "Acrobot-v1", "Pendulum-v1"])
def test_every_event_happens_somewhere_and_not_everywhere(id):
    names = [metric.name for metric in metrics_of(id)]
    values = np.linspace(-1.2, 1.2, 49)
    for event in events_of(id, names):
        happens = event.happens(dict.fromkeys(names, values))
        assert happens.any()
        assert not happens.all()

"""MuJoCo's robots: every joint and motor by its name, and what the reward itself is made of."""

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="needs the extra [mujoco]")

from policyscope.envs.ending import name_ending
from policyscope.envs.event import events_of
from policyscope.envs.metric import Step, find_metrics, metrics_of, read_metric
from policyscope.envs.vector import GymnasiumRows

ROBOTS = [
    "HalfCheetah",
    "Hopper",
    "Walker2d",
    "Ant",
    "Humanoid",
    "HumanoidStandup",
    "Swimmer",
    "Reacher",
    "Pusher",
    "InvertedPendulum",
    "InvertedDoublePendulum",
]


def read(env):
    step = Step(env.observation, env, env.info)
    return {metric.name: read_metric(metric, step) for metric in metrics_of(env.id)}


def moved(id, steps=5, rows=2, **options):
    env = GymnasiumRows(id, rows, **options)
    env.reset(np.arange(rows), list(range(rows)))
    low, high = env.action_space.low, env.action_space.high
    generator = np.random.default_rng(0)
    for _ in range(steps):
        env.step(generator.uniform(low, high, (rows, len(low))).astype(np.float32))
    return env


@pytest.mark.filterwarnings("ignore:.*is out of date:DeprecationWarning")
@pytest.mark.parametrize("version", ["v4", "v5"])
@pytest.mark.parametrize("robot", ROBOTS)
def test_every_robot_has_all_its_joints_and_motors(robot, version):
    if (robot, version) == ("Pusher", "v4"):
        pytest.skip("Gymnasium runs Pusher-v4 on mujoco below 3 only")
    env = moved(f"{robot}-{version}", rows=1)
    told = read(env)
    world = env.ask(lambda one: one.unwrapped)[0]
    joints = [world.model.joint(index).name for index in range(world.model.njnt)]
    for joint in joints:
        assert f"{joint}_position" in told or f"{joint}_quaternion_w" in told
    assert sum(name.endswith("_control") for name in told) == world.model.nu
    assert all(np.isfinite(values).all() for values in told.values())
    assert told["contacts"][0] == world.data.ncon
    env.close()


def test_the_state_of_a_humanoid():
    env = moved("Humanoid-v5", steps=12)
    told = read(env)
    for row, world in enumerate(env.ask(lambda one: one.unwrapped)):
        assert told["torso_height"][row] == np.float32(world.data.qpos[2])
        assert told["forward_velocity"][row] == np.float32(world.data.qvel[0])
        assert told["left_knee_position"][row] == np.float32(world.data.joint("left_knee").qpos[0])
        motor = world.data.actuator("right_knee").ctrl[0]
        assert told["right_knee_control"][row] == np.float32(motor)
    assert (told["contacts"] > 0).any() or told["torso_height"].min() > 1


def test_a_cheetahs_height_and_place_are_those_of_its_body():
    env = moved("HalfCheetah-v5", steps=0)
    told = read(env)
    for row, world in enumerate(env.ask(lambda one: one.unwrapped)):
        at = world.data.body("torso").xpos
        assert told["torso_height"][row] == pytest.approx(at[2], abs=1e-6)
        assert told["torso_x"][row] == pytest.approx(at[0], abs=1e-6)


def test_info_is_a_metric_by_its_key():
    env = moved("HalfCheetah-v5", steps=3)
    [velocity] = find_metrics("HalfCheetah-v5", ["info:x_velocity"])
    told = read_metric(velocity, Step(env.observation, env, env.info))
    np.testing.assert_allclose(told, env.info["x_velocity"], rtol=1e-6)
    [absent] = find_metrics("HalfCheetah-v5", ["info:nothing"])
    assert np.isnan(read_metric(absent, Step(env.observation, env, env.info))).all()


def test_robots_in_processes_are_read_too():
    near, far = moved("Hopper-v5"), moved("Hopper-v5", processes=True)
    mine, theirs = read(near), read(far)
    assert mine.keys() == theirs.keys()
    for name, values in mine.items():
        np.testing.assert_array_equal(values, theirs[name])
    far.close()


def test_endings_and_events():
    assert name_ending("Humanoid-v4", np.zeros(3), True) == "fell"
    assert name_ending("Humanoid-v5", np.zeros(3), False) == "survived"
    assert name_ending("InvertedPendulum-v5", np.zeros(4), True) == "pole_fell"
    assert name_ending("HalfCheetah-v5", np.zeros(3), False) == "time_out"
    names = {metric.name for metric in metrics_of("Hopper-v5")}
    told = {event.name for event in events_of("Hopper-v5", names)}
    assert told == {"off_the_ground", "moving_backwards", "sinking"}
    assert metrics_of("HalfCheetah-v3") == []

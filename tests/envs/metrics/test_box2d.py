"""LunarLander and BipedalWalker: metrics against the physics, endings by playing."""

import numpy as np
import pytest

pytest.importorskip("Box2D", reason="needs the extra [box2d]")

from policyscope.envs.box2d import Box2D
from policyscope.envs.ending import endings_of, name_ending
from policyscope.envs.event import events_of
from policyscope.envs.metric import Step, metrics_of, read_metric

LANDER, WALKER = "LunarLander-v3", "BipedalWalker-v3"


def read(env):
    step = Step(env.observation, env)
    return {m.name: float(read_metric(m, step)[0]) for m in metrics_of(env.id)}


def play(policy, seed=0, id=LANDER):
    """Plays one episode; yields the world and its metrics, and last how it ended."""
    env = Box2D(id, 1)
    env.reset(np.array([0]), [seed])
    while True:
        yield env.ask(lambda one: one.unwrapped)[0], read(env)
        answer = env.step(np.array([policy(env.observation[0])]))
        if answer.terminated[0] or answer.truncated[0]:
            yield name_ending(
                id, env.observation[0], bool(answer.terminated[0]), float(answer.reward[0])
            )
            return


def careful(observation):
    """Gymnasium's own heuristic, which lands well."""
    x, y, vx, vy, angle, spin, left, right = observation
    lean = np.clip(x * 0.5 + vx, -0.4, 0.4)
    turn = (lean - angle) * 0.5 - spin
    lift = (0.55 * abs(x) - y) * 0.5 - vy * 0.5
    if left or right:
        turn, lift = 0, -vy * 0.5
    if lift > abs(turn) and lift > 0.05:
        return 2
    return 3 if turn < -0.05 else 1 if turn > 0.05 else 0


def test_metrics_are_in_metres_and_seconds():
    for _, (world, told) in zip(range(20), play(lambda o: int(o[3] < -0.3) * 2), strict=False):
        lander = world.lander
        assert told["lander_x"] == pytest.approx(lander.position.x - 10, abs=1e-4)
        assert told["lander_velocity_x"] == pytest.approx(lander.linearVelocity.x, abs=1e-4)
        assert told["lander_velocity_y"] == pytest.approx(lander.linearVelocity.y, abs=1e-4)
        assert told["lander_angular_velocity"] == pytest.approx(lander.angularVelocity, abs=1e-4)


def test_the_right_leg_is_the_one_on_the_right():
    world, _ = next(play(careful))
    assert world.legs[0].position.x > world.lander.position.x > world.legs[1].position.x


def test_endings_of_a_lander():
    landed = [ending for seed in range(3) for *_, ending in [play(careful, seed)]]
    assert "landed" in landed
    assert [*play(lambda o: 0)][-1] == "crashed"
    assert [*play(lambda o: 2 if o[4] > -0.1 or o[3] < 0 else 1, 1)][-1] in ("flew_away", "crashed")
    away = np.zeros(8)
    away[0] = -1.01
    assert name_ending(LANDER, away, True, -100.0) == "flew_away"
    assert name_ending(LANDER, np.zeros(8), False) == "time_out"
    assert name_ending(LANDER, np.array([0, 0, 0, 0, 0, 0, 1, 1.0]), True) == "landed"
    assert name_ending(LANDER, np.array([0, 0, 0, -1, 0, 0, 1, 1.0]), True) == "crashed"
    assert set(endings_of(LANDER)) == {"landed", "crashed", "flew_away", "time_out"}


def test_endings_of_a_walker():
    assert name_ending(WALKER, np.zeros(24), True, -100.0) == "fell"
    assert name_ending(WALKER, np.zeros(24), True, 0.3) == "reached_the_end"
    assert name_ending(WALKER, np.zeros(24), False, 0.0) == "time_out"


def test_a_walkers_metrics_are_in_metres_and_seconds():
    env = Box2D(WALKER, 1)
    env.reset(np.array([0]), [0])
    for _ in range(15):
        env.step(np.array([[0.9, 0.3, -0.5, 0.2]], np.float32))
    world, told = env.ask(lambda one: one.unwrapped)[0], read(env)
    hull = world.hull
    assert told["hull_velocity_x"] == pytest.approx(hull.linearVelocity.x, abs=1e-4)
    assert told["hull_velocity_y"] == pytest.approx(hull.linearVelocity.y, abs=1e-4)
    assert told["hull_angular_velocity"] == pytest.approx(hull.angularVelocity, abs=1e-4)
    assert told["second_knee_angle"] == pytest.approx(world.joints[3].angle, abs=1e-4)
    assert told["second_hip_velocity"] == pytest.approx(world.joints[2].speed, abs=1e-4)
    assert told["lidar_0"] == pytest.approx(world.lidar[0].fraction * 160 / 30, abs=1e-4)
    assert len(told) == len(metrics_of(WALKER)) == 24


@pytest.mark.parametrize("id", [LANDER, WALKER])
def test_every_event_happens_somewhere_and_not_everywhere(id):
    names = [metric.name for metric in metrics_of(id)]
    values = np.linspace(-5, 5, 49)
    for event in events_of(id, names):
        happens = event.happens(dict.fromkeys(names, values))
        assert happens.any()
        assert not happens.all()

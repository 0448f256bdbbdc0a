"""MiniGrid: where things are, by planting them, and how episodes end."""

import numpy as np
import pytest

pytest.importorskip("minigrid", reason="needs the extra [minigrid]")

from policyscope.envs.ending import endings_of, name_ending
from policyscope.envs.event import events_of
from policyscope.envs.metric import Step, metrics_of, read_metric
from policyscope.envs.minigrid import FIXED_START, MiniGrid
from policyscope.envs.snapshots import edit

ID = "MiniGrid-DoorKey-6x6-v0"
LEFT, RIGHT, FORWARD, PICK_UP, DROP, TOGGLE = range(6)


def read(env, row=0):
    step = Step(env.observation, env)
    return {metric.name: float(read_metric(metric, step)[row]) for metric in metrics_of(env.id)}


@pytest.mark.parametrize("processes", [False, True])
def test_planted_things_are_found_where_they_are(processes):
    env = MiniGrid(ID, 2, processes=processes)
    env.reset(np.arange(2), [0, 1])
    edit(env, 1, agent=(1, 3), agent_direction=0)
    edit(env, 1, key=(1, 1))
    told = read(env, 1)
    assert (told["agent_x"], told["agent_y"], told["agent_direction"]) == (1, 3, 0)
    assert (told["key_x"], told["key_y"]) == (1, 1)
    assert (told["goal_x"], told["goal_y"]) == (4, 4)
    assert told["distance_to_goal"] == 4
    assert told["door_open"] == told["carrying"] == 0
    env.close()


def test_what_is_carried_is_where_the_agent_is():
    env = MiniGrid(ID, 1)
    env.reset(np.array([0]), [0])
    edit(env, 0, agent=(1, 3), agent_direction=3)
    edit(env, 0, key=(1, 2))
    env.step(np.array([PICK_UP]))
    env.step(np.array([FORWARD]))
    told = read(env)
    assert told["carrying"] == 1
    assert (told["key_x"], told["key_y"]) == (told["agent_x"], told["agent_y"]) == (1, 2)


def test_memory_tells_its_cue_its_goal_and_its_decoy():
    env = MiniGrid(FIXED_START, 6)
    env.reset(np.arange(6), list(range(6)))
    for row, world in enumerate(env.ask(lambda one: one.unwrapped)):
        told = read(env, row)
        assert (told["agent_x"], told["agent_y"]) == (1, 3)
        assert (told["goal_x"], told["goal_y"]) == world.success_pos
        assert (told["decoy_x"], told["decoy_y"]) == world.failure_pos
        assert told["cue_is_ball"] == (world.grid.get(1, 2).type == "ball")


def test_endings():
    assert endings_of(ID) == ("success", "failure", "time_out")
    assert name_ending(ID, {}, True, 0.9) == "success"
    assert name_ending(ID, {}, True, 0.0) == "failure"
    assert name_ending(ID, {}, False, 0.0) == "time_out"


def test_events():
    names = [metric.name for metric in metrics_of(ID)]
    told = {event.name: event for event in events_of(ID, names)}
    assert set(told) == {
        "carries_something",
        "next_to_goal",
        "faces_right",
        "faces_down",
        "faces_left",
        "faces_up",
    }
    faced = np.arange(4.0)
    happens = told["faces_left"].happens({"agent_direction": faced})
    np.testing.assert_array_equal(happens, faced == 2)


def test_worlds_without_a_thing_have_no_metric_of_it():
    assert "key_x" not in {metric.name for metric in metrics_of("MiniGrid-Empty-5x5-v0")}
    assert metrics_of("MiniGrid-Nowhere-v0") == []

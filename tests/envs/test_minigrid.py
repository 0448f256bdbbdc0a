"""MiniGrid in rows: what is seen, and Memory from its fixed start."""

import numpy as np
import pytest

pytest.importorskip("minigrid", reason="needs the extra [minigrid]")

from policyscope.envs.minigrid import FIXED_START, MiniGrid, is_minigrid


def test_the_mission_is_left_out():
    env = MiniGrid("MiniGrid-DoorKey-5x5-v0", 2)
    env.reset(np.arange(2), [0, 1])
    assert {part: values.shape for part, values in env.observation.items()} == {
        "direction": (2,),
        "image": (2, 7, 7, 3),
    }
    assert env.arguments == {}


@pytest.mark.parametrize("processes", [False, True])
def test_an_image_alone_as_planes_of_zeros_and_ones(processes):
    env = MiniGrid(FIXED_START, 2, one_hot=True, image_only=True, processes=processes)
    env.reset(np.arange(2), [0, 1])
    assert env.observation.shape == (2, 7, 7, 20)
    # One thing, one colour and one state in every cell.
    np.testing.assert_array_equal(env.observation.sum(axis=-1), 3)
    assert env.arguments == {"one_hot": True, "image_only": True}
    env.close()


def test_memory_begins_beside_what_must_be_remembered():
    env = MiniGrid(FIXED_START, 8)
    env.reset(np.arange(8), list(range(8)))
    worlds = [one.unwrapped for one in env._env.envs]
    assert all(tuple(world.agent_pos) == (1, 3) for world in worlds)
    assert all(world.agent_dir == 0 for world in worlds)
    assert {world.grid.get(1, 2).type for world in worlds} == {"key", "ball"}
    assert len({world.success_pos for world in worlds}) == 2


def test_the_way_to_the_matching_object_is_success():
    """Ahead to the fork, then a turn to the matching side and one step."""
    env = MiniGrid(FIXED_START, 1)
    env.reset(np.array([0]), [0])
    world = env._env.envs[0].unwrapped
    turn = 1 if world.success_pos[1] > 3 else 0
    answers = [env.step(np.array([action])) for action in [2, 2, 2, 2, turn, 2]]
    assert [bool(answer.terminated[0]) for answer in answers] == [False] * 5 + [True]
    assert answers[-1].reward[0] > 0.9


def test_which_ids_are_minigrids():
    assert is_minigrid("BabyAI-GoToRedBall-v0")
    assert not is_minigrid("CartPole-v1")

"""Snapshots: a restored row has the same future, bit for bit; edits are seen, or refused."""

import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policyscope.envs.cartpole import CartPole
from policyscope.envs.environment import row_of
from policyscope.envs.snapshots import edit, editable, restore, save
from policyscope.envs.vector import GymnasiumRows
from policyscope.errors import InvalidInput, UnknownName


def make(kind, rows=2):
    """Rows of one kind; skipped, with the reason, where its extra is missing."""
    if kind == "cartpole":
        return CartPole("CartPole-v1", rows)
    if kind in ("BipedalWalker-v3", "LunarLander-v3"):
        pytest.importorskip("Box2D", reason="needs the extra [box2d]")
        from policyscope.envs.box2d import Box2D

        return Box2D(kind, rows)
    if kind.startswith("MiniGrid"):
        pytest.importorskip("minigrid", reason="needs the extra [minigrid]")
        from policyscope.envs.minigrid import MiniGrid

        return MiniGrid(kind, rows)
    if kind.startswith(("ALE", "Pong")):
        pytest.importorskip("ale_py", reason="needs the extra [atari]")
        from policyscope.envs.emulator import Emulators

        return Emulators(kind, rows)
    if kind in ("HalfCheetah-v5", "Humanoid-v5", "Ant-v5"):
        pytest.importorskip("mujoco", reason="needs the extra [mujoco]")
    return GymnasiumRows(kind, rows)


def actions_for(env, steps, seed=0):
    generator = np.random.default_rng(seed)
    if isinstance(env.action_space, gymnasium.spaces.Discrete):
        return generator.integers(0, env.action_space.n, (steps, env.rows))
    low, high = env.action_space.low, env.action_space.high
    return generator.uniform(low, high, (steps, env.rows, *low.shape)).astype(np.float32)


def bytes_seen(env, row):
    seen = row_of(env.observation, row)
    parts = seen.values() if isinstance(seen, dict) else [seen]
    return b"".join(np.asarray(part).tobytes() for part in parts)


def future(env, actions, row):
    """What a row sees and earns, until it ends."""
    told = [bytes_seen(env, row)]
    for action in actions:
        answer = env.step(action)
        told.append((bytes_seen(env, row), answer.reward[row].tobytes()))
        ended = np.flatnonzero(answer.terminated | answer.truncated)
        if row in ended:
            break
        env.reset(ended, [9] * len(ended)) if len(ended) else None
    return told


KINDS = [
    "cartpole",
    "CartPole-v1",
    "MountainCar-v0",
    "MountainCarContinuous-v0",
    "Acrobot-v1",
    "Pendulum-v1",
    "LunarLander-v3",
    "BipedalWalker-v3",
    "HalfCheetah-v5",
    "Humanoid-v5",
    "Ant-v5",
    "MiniGrid-DoorKey-5x5-v0",
    "MiniGrid-Dynamic-Obstacles-5x5-v0",
    "ALE/MsPacman-v5",
    "PongNoFrameskip-v4",
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_restored_row_has_the_same_future(kind):
    """In its own row after going on, in another row, and in another environment."""
    env = make(kind)
    env.reset(np.arange(2), [3, 4])
    for action in actions_for(env, 6, seed=1):
        env.step(action)
    actions = actions_for(env, 30, seed=2)
    actions[:, 1] = actions[:, 0]
    moment = save(env, [0])[0]
    told = future(env, actions, 0)
    env.reset(np.arange(2), [5, 6])
    restore(env, {0: moment})
    assert future(env, actions, 0) == told
    env.reset(np.arange(2), [5, 6])
    restore(env, {1: moment})
    assert future(env, actions, 1) == told
    other = make(kind)
    other.reset(np.arange(2), [8, 9])
    restore(other, {0: moment})
    assert future(other, actions, 0) == told
    env.close()
    other.close()


@pytest.mark.parametrize("kind", ["cartpole", "Acrobot-v1", "MiniGrid-DoorKey-5x5-v0"])
def test_other_rows_do_not_notice(kind):
    env, untouched = make(kind, 3), make(kind, 3)
    for one in (env, untouched):
        one.reset(np.arange(3), [1, 2, 3])
    moment = save(env, [1])[0]
    for one in (env, untouched):
        one.step(actions_for(one, 1)[0])
    restore(env, {1: moment})
    for action in actions_for(env, 4, seed=5):
        for one in (env, untouched):
            one.step(action)
        for row in (0, 2):
            assert bytes_seen(env, row) == bytes_seen(untouched, row)


def test_rows_in_processes_can_be_saved_and_restored():
    env = GymnasiumRows("Acrobot-v1", 2, processes=True)
    env.reset(np.arange(2), [1, 2])
    moment = save(env)[0]
    actions = actions_for(env, 5)
    told = future(env, actions, 0)
    restore(env, {0: moment})
    assert future(env, actions, 0) == told
    edit(env, 1, first_angle=0.5)
    assert env.observation[1][1] == np.float32(np.sin(0.5))
    env.close()


def test_a_refusal_leaves_rows_in_processes_alive():
    pytest.importorskip("minigrid", reason="needs the extra [minigrid]")
    from policyscope.envs.minigrid import MiniGrid

    env = MiniGrid("MiniGrid-DoorKey-5x5-v0", 2, processes=True)
    with pytest.raises(InvalidInput, match="has not begun"):
        save(env)
    env.reset(np.arange(2), [0, 1])
    before = bytes_seen(env, 0)
    with pytest.raises(InvalidInput, match="there is a wall"):
        edit(env, 0, key=(0, 0))
    assert bytes_seen(env, 0) == before
    env.step(np.array([0, 0]))
    assert len(save(env)) == 2
    env.close()


def test_a_row_that_had_ended_goes_on():
    env = GymnasiumRows("MountainCar-v0", 1, max_episode_steps=3)
    env.reset(np.array([0]), [0])
    moment = save(env)[0]
    for _ in range(2):
        answers = [env.step(np.array([1])) for _ in range(3)]
        assert [bool(one.truncated[0]) for one in answers] == [False, False, True]
        restore(env, {0: moment})


@settings(max_examples=20)
@given(st.lists(st.floats(-0.2, 0.2), min_size=4, max_size=4))
def test_an_edited_cart_stands_where_it_was_put(state):
    for env in (CartPole("CartPole-v1", 2), GymnasiumRows("CartPole-v1", 2)):
        env.reset(np.arange(2), [0, 1])
        before = env.observation[0].copy()
        edit(env, 1, **dict(zip(editable(env), state, strict=True)))
        np.testing.assert_array_equal(env.observation[1], np.float32(state))
        np.testing.assert_array_equal(env.observation[0], before)


def test_an_edited_robot_is_seen_and_goes_on_from_there():
    env = make("HalfCheetah-v5")
    env.reset(np.arange(2), [0, 1])
    edit(env, 0, bthigh_position=0.3, rootx_velocity=2.0)
    inner = env._env.envs[0].unwrapped
    assert inner.data.qpos[3] == 0.3
    assert env.observation[0][2] == 0.3
    assert env.observation[0][8] == 2.0


def test_things_of_a_grid_are_moved_but_not_into_a_wall():
    env = make("MiniGrid-DoorKey-5x5-v0")
    env.reset(np.arange(2), [0, 1])
    world = env._env.envs[0].unwrapped
    edit(env, 0, agent_direction=0)
    before = bytes_seen(env, 0)
    edit(env, 0, key=(3, 1))
    assert world.grid.get(3, 1).type == "key"
    assert world.grid.get(1, 2) is None
    edit(env, 0, agent=(1, 2), agent_direction=1)
    assert (tuple(world.agent_pos), world.agent_dir) == ((1, 2), 1)
    assert bytes_seen(env, 0) != before
    for changes, message in [
        ({"key": (0, 0)}, r"key cannot be at \(0, 0\): there is a wall"),
        ({"agent": (2, 0)}, r"agent cannot be at \(2, 0\): there is a wall"),
        ({"key": (1, 2)}, r"there is a agent"),
        ({"agent": (9, 1)}, "the grid is 5×5"),
        ({"ball": (1, 1)}, "There is no ball in this grid"),
        ({"agent_direction": 4}, "expected 0, 1, 2 or 3"),
    ]:
        with pytest.raises(InvalidInput, match=message):
            edit(env, 0, **changes)


@pytest.mark.parametrize("id", ["PongNoFrameskip-v4", "ALE/Pong-v5"])
def test_a_byte_written_into_a_console_is_there_and_survives_a_snapshot(id):
    env = make(id)
    env.reset(np.arange(2), [1, 2])
    for _ in range(3):
        env.step(np.zeros(2, np.int64))
    edit(env, 0, ram={14: 20})
    assert (env.ram[0, 14], env.ram[1, 14]) == (20, 0)
    moment = save(env, [0])[0]
    env.reset(np.arange(2), [1, 2])
    restore(env, {0: moment})
    assert (env.ram[0, 14], env.ram[1, 14]) == (20, 0)


def test_what_cannot_be_done_is_refused():
    env = CartPole("CartPole-v1", 2)
    env.reset(np.arange(2), [0, 1])
    with pytest.raises(UnknownName, match="Did you mean 'pole_angle'"):
        edit(env, 0, pole_angel=0.1)
    with pytest.raises(InvalidInput, match="pole_angle is nan"):
        edit(env, 0, pole_angle=float("nan"))
    with pytest.raises(InvalidInput, match=r"Rows \[2\] are not among the 2 rows"):
        save(env, [2])
    other = GymnasiumRows("Acrobot-v1", 2)
    with pytest.raises(InvalidInput, match="has not begun an episode"):
        save(other)
    other.reset(np.arange(2), [0, 1])
    with pytest.raises(InvalidInput, match="snapshot is of CartPole-v1"):
        restore(other, {0: save(env)[0]})


def test_a_world_nobody_knows_is_refused():
    env = GymnasiumRows("Blackjack-v1", 1)
    env.reset(np.array([0]), [0])
    with pytest.raises(InvalidInput, match="BlackjackEnv has no known way to save"):
        save(env)


def test_a_lander_can_be_saved_but_not_edited():
    env = make("LunarLander-v3")
    env.reset(np.arange(2), [0, 1])
    with pytest.raises(InvalidInput, match="LunarLander can be saved and restored, but not edited"):
        edit(env, 0, lander_x=0.0)
    plain = GymnasiumRows("LunarLander-v3", 1)
    plain.reset(np.array([0]), [0])
    with pytest.raises(InvalidInput, match="nobody remembers how it was played"):
        save(plain)


def test_a_stack_of_frames_cannot_be_edited():
    def stacked(env):
        return gymnasium.wrappers.FrameStackObservation(env, 3)

    env = GymnasiumRows("Acrobot-v1", 1, wrap=stacked)
    env.reset(np.array([0]), [0])
    moment = save(env)[0]
    actions = actions_for(env, 6)
    told = future(env, actions, 0)
    restore(env, {0: moment})
    assert future(env, actions, 0) == told
    with pytest.raises(InvalidInput, match="FrameStackObservation makes observations from more"):
        edit(env, 0, first_angle=0.1)

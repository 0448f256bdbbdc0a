"""Procgen in rows: levels by seed, states that read and write back, and edits of what is there."""

import numpy as np
import pytest

from policyscope.envs.seeds import game_seed
from policyscope.errors import InvalidInput, MissingExtra

try:
    from policyscope.envs.procgen import Procgen, load, where

    load()
except MissingExtra as error:
    pytest.skip(str(error), allow_module_level=True)

from policyscope.envs.ending import name_ending
from policyscope.envs.metric import Step, metrics_of, read_metric
from policyscope.envs.procgen_state import SPACE, WALL, build, parse
from policyscope.envs.snapshots import edit, editable, restore, save

ID = "procgen-heist-v0"


def make(rows=2, id=ID, seeds=None):
    env = Procgen(id, rows, threads=0, distribution_mode="easy")
    env.reset(np.arange(rows), seeds or list(range(5, 5 + rows)))
    return env


def read(env, row=0):
    step = Step(env.observation, env)
    return {metric.name: float(read_metric(metric, step)[row]) for metric in metrics_of(env.id)}


@pytest.mark.parametrize("game", ["heist", "maze", "coinrun", "bigfish"])
def test_a_level_is_the_same_alone_and_among_others(game):
    id = f"procgen-{game}-v0"
    many, one = make(3, id, [1, 2, 3]), make(1, id, [9])
    generator = np.random.default_rng(0)
    for _ in range(5):
        many.step(generator.integers(0, 15, 3))
    before = many.observation.copy()
    many.reset(np.array([1]), [9])
    np.testing.assert_array_equal(many.observation[[0, 2]], before[[0, 2]])
    for _ in range(40):
        np.testing.assert_array_equal(many.observation[1], one.observation[0])
        action = generator.integers(0, 15, 3)
        assert many.step(action).reward[1] == one.step(action[1:2]).reward[0]
    assert many.level(1).fields["current_level_seed"] == 9


@pytest.mark.parametrize("game", ["heist", "maze", "coinrun", "miner"])
def test_a_state_read_and_written_is_the_same_bytes(game):
    env = make(2, f"procgen-{game}-v0")
    for _ in range(10):
        env.step(np.array([7, 5]))
        for row in range(2):
            assert build(parse(env.state(row))) == env.state(row)


@pytest.mark.parametrize("game", ["heist", "coinrun"])
def test_a_restored_row_has_the_same_future(game):
    env = make(2, f"procgen-{game}-v0")
    actions = np.random.default_rng(0).integers(0, 15, (30, 1)).repeat(2, axis=1)
    for action in actions[:7]:
        env.step(action)
    [moment] = save(env, [0])

    def future(row):
        told = [env.observation[row].copy()]
        for action in actions:
            env.step(action)
            told.append(env.observation[row].copy())
        return np.stack(told)

    first = future(0)
    restore(env, {1: moment})
    np.testing.assert_array_equal(future(1), first)


def test_things_are_moved_and_seen_there():
    env = make()
    before, neighbour = env.observation[0].copy(), env.observation[1].copy()
    edit(env, 0, agent=(4, 8), gem=(0, 0), blue_key=(2, 8))
    told = read(env)
    assert (told["agent_x"], told["agent_y"]) == (4.5, 8.5)
    assert (told["gem_x"], told["gem_y"]) == (0.5, 0.5)
    assert (told["blue_key_x"], told["blue_key_y"]) == (2.5, 8.5)
    assert told["distance_to_gem"] == pytest.approx(np.hypot(4, 8), rel=1e-5)
    assert (env.observation[0] != before).any()
    np.testing.assert_array_equal(env.observation[1], neighbour)


def test_walls_are_built_and_taken_away():
    env = make()
    level = env.level(0)
    assert (level.grid[8, 3], level.grid[8, 1]) == (WALL, SPACE)
    count = read(env)["walls"]
    edit(env, 0, walls={(3, 8): False, (1, 8): True, (2, 8): True})
    level = env.level(0)
    assert (level.grid[8, 3], level.grid[8, 1]) == (SPACE, WALL)
    assert read(env)["walls"] == count + 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"agent": (3, 8)}, r"agent cannot be at \(3, 8\): there is a wall"),
        ({"gem": (3, 8)}, r"gem cannot be at \(3, 8\): there is a wall"),
        ({"agent": (2, 2)}, "the green_lock is there"),
        ({"gem": (0, 7)}, "the agent is there"),
        ({"walls": {(0, 7): True}}, r"No wall can be at \(0, 7\): the agent is there"),
        ({"agent": (9, 0)}, r"\(9, 0\) is outside the level of 9×9 cells"),
        ({"red_key": (0, 0)}, "There is no red key in this level to move"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(changes, message):
    env = make()
    before = env.state(0)
    with pytest.raises(InvalidInput, match=message):
        edit(env, 0, **changes)
    assert env.state(0) == before


def test_a_gem_put_beside_the_agent_is_taken():
    """The level's truth is the game's own: reaching the moved gem is a success."""
    env = make()
    edit(env, 0, agent=(0, 8), gem=(1, 8))
    for _ in range(10):
        answer = env.step(np.array([7, 4]))
        if answer.terminated[0]:
            break
    assert answer.terminated[0]
    assert not answer.truncated[0]
    assert name_ending(ID, env.observation[0], True, float(answer.reward[0])) == "success"


def test_time_runs_out():
    env = make()
    for step in range(1000):
        answer = env.step(np.array([4, 4]))
        assert answer.truncated.all() == (step == 999)
    assert not answer.terminated.any()


def test_a_key_is_taken_and_held():
    env = make()
    before = read(env)
    assert (before["keys_left"], before["has_blue_key"]) == (2, 0)
    edit(env, 0, agent=(0, 8), blue_key=(1, 8))
    for _ in range(4):
        env.step(np.array([7, 4]))
    after = read(env)
    assert (after["keys_left"], after["has_blue_key"]) == (1, 1)
    assert np.isnan(after["blue_key_x"])


@pytest.mark.parametrize(("game", "thing"), [("maze", "cheese"), ("coinrun", "coin")])
def test_other_games_know_their_goal(game, thing):
    env = make(1, f"procgen-{game}-v0")
    told = read(env)
    assert (told[f"{thing}_x"], told[f"{thing}_y"]) == where(env.level(0), thing)
    assert told[f"distance_to_{thing}"] > 0
    assert thing in editable(env)


def test_cheese_is_moved_through_the_maze():
    env = make(1, "procgen-maze-v0", [5])
    edit(env, 0, cheese=(6, 10))
    assert where(env.level(0), "cheese") == (6.5, 10.5)
    assert (env.level(0).grid == 2).sum() == 1


def test_what_it_is_not_made_with():
    for id, arguments, message in [
        ("procgen-chess-v0", {}, "no game of Procgen. Known: bigfish"),
        (ID, {"num_levels": 3}, "takes no num_levels: the seed of an episode is its level"),
        (ID, {"distribution_mode": "silly"}, "cannot be made with"),
    ]:
        with pytest.raises(InvalidInput, match=message):
            Procgen(id, 1, **arguments)
    with pytest.raises(InvalidInput, match="There is no level -1"):
        make(1, seeds=[-1])


def test_seeds_beyond_31_bits_have_levels():
    """As runs with --seed 3 and beyond have them."""
    environment = make(2, seeds=[9 * 10**9, 9 * 10**9 + 1])
    levels = [environment.level(row).fields["current_level_seed"] for row in range(2)]
    assert levels == [game_seed(9 * 10**9), game_seed(9 * 10**9 + 1)]
    assert levels[0] != levels[1]

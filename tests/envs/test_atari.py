"""Atari in rows: what an id stands for, and episodes that do not depend on their neighbours."""

import numpy as np
import pytest

pytest.importorskip("ale_py", reason="needs the extra [atari]")

from policyscope.envs.atari import Atari, action_meanings, find_game, is_atari
from policyscope.errors import InvalidInput

ID = "ALE/Breakout-v5"


def test_an_id_says_how_it_is_played():
    sticky = find_game("ALE/MsPacman-v5", {})
    assert (sticky.rom, sticky.screening.repeat_action_probability) == ("ms_pacman", 0.25)
    bare = find_game("MsPacmanNoFrameskip-v4", {})
    assert (bare.rom, bare.screening.repeat_action_probability) == ("ms_pacman", 0.0)
    assert bare.screening.frameskip == 4
    assert not bare.screening.reward_clipping
    assert find_game("ALE/Pong-v5", {"repeat_action_probability": 0.0}).screening.stack_num == 4


def test_ids_that_skip_at_random_are_left_to_gymnasium():
    assert not is_atari("Pong-v4")
    assert not is_atari("CartPole-v1")
    with pytest.raises(InvalidInput, match="Pong-v4 is no Atari game with a fixed number"):
        find_game("Pong-v4", {})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"colour": True}, "takes no colour here. Known: .*frameskip"),
        ({"frameskip": 0}, "frameskip is 0"),
        ({"repeat_action_probability": 1.5}, "is 1.5; expected 0 to 1"),
        ({"stack_num": 0}, "size below 1"),
    ],
)
def test_arguments_that_cannot_be(arguments, message):
    with pytest.raises(InvalidInput, match=message):
        find_game(ID, arguments)


def test_an_episode_is_the_same_alone_and_among_others():
    """Row 1 begins late, and again in the middle of the others."""
    together, alone = Atari(ID, 3, threads=1), Atari(ID, 1, threads=1)
    generator = np.random.default_rng(0)
    together.reset(np.arange(3), [1, 2, 3])
    for _ in range(7):
        together.step(generator.integers(0, 4, 3))
    before = together.observation.copy()
    together.reset(np.array([1]), [77])
    np.testing.assert_array_equal(together.observation[[0, 2]], before[[0, 2]])
    alone.reset(np.array([0]), [77])
    for _ in range(40):
        np.testing.assert_array_equal(together.observation[1], alone.observation[0])
        action = generator.integers(0, 4, 3)
        many, one = together.step(action), alone.step(action[1:2])
        assert many.reward[1] == one.reward[0]
        assert many.terminated[1] == one.terminated[0]
    together.close()
    alone.close()


def test_rewards_are_the_games_own():
    env = Atari("ALE/MsPacman-v5", 2, threads=1)
    env.reset(np.arange(2), [0, 1])
    generator = np.random.default_rng(0)
    rewards = np.stack([env.step(generator.integers(0, 9, 2)).reward for _ in range(120)])
    assert set(np.unique(rewards)) >= {0.0, 10.0}
    assert env.info["lives"].tolist() == env.lives.tolist()
    env.close()


def test_it_cannot_be_asked_for_memory_and_says_what_can():
    env = Atari("ALE/Pong-v5", 1, threads=1)
    with pytest.raises(InvalidInput, match="Make it with ram=True"):
        env.ask(lambda inner: inner)
    env.close()


def test_actions_have_meanings():
    assert action_meanings(find_game(ID, {})) == ("NOOP", "FIRE", "RIGHT", "LEFT")
    assert len(action_meanings(find_game(ID, {"full_action_space": True}))) == 18


def test_seeds_beyond_31_bits_play():
    """As runs with --seed 3 and beyond have them."""
    beyond = Atari(ID, 1, threads=1)
    beyond.reset(np.array([0]), [9 * 10**9])
    beyond.step(np.array([0]))
    beyond.reset(np.array([0]), [9 * 10**9 + 1])

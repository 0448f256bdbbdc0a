"""Rows stepped in turn: what SyncVectorEnv gives, without its copies."""

from functools import partial

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from policyscope.envs.in_turn import InTurn
from policyscope.errors import InvalidInput

LENGTHS = (3, 5, 4)


class Talking(gymnasium.Env):
    """Ends after `length` steps; says something of every kind, and at some steps nothing."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2, 3), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, length):
        self.length = length

    def seen(self):
        return self.np_random.random((2, 3), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.seen(), {"seed": seed, "options": options}

    def step(self, action):
        self.steps += 1
        told = {
            "steps": self.steps,
            "share": self.steps / self.length,
            "place": np.full(2, self.steps),
            "won": bool(action),
            "name": f"row of {self.length}",
            "deep": {"steps": self.steps},
        }
        if self.length % 2:
            told["odd"] = np.float32(self.length)
        return self.seen(), self.steps / 3, self.steps >= self.length, False, told


class Parts(Talking):
    """Observes parts within parts."""

    observation_space = gymnasium.spaces.Dict(
        {
            "image": Talking.observation_space,
            "pair": gymnasium.spaces.Tuple((gymnasium.spaces.Discrete(9), Talking.action_space)),
        }
    )

    def seen(self):
        return {"image": super().seen(), "pair": (self.steps, self.steps % 2)}


def assert_same(mine, theirs):
    if isinstance(theirs, dict):
        assert mine.keys() == theirs.keys()
        for key in theirs:
            assert_same(mine[key], theirs[key])
    elif isinstance(theirs, tuple):
        for one, other in zip(mine, theirs, strict=True):
            assert_same(one, other)
    else:
        np.testing.assert_array_equal(mine, theirs)
        assert np.asarray(mine).dtype == np.asarray(theirs).dtype


@pytest.mark.parametrize("kind", [Talking, Parts])
def test_rows_in_turn_are_those_of_sync_vector_env(kind):
    makers = [partial(kind, length) for length in LENGTHS]
    mine, theirs = InTurn(makers), SyncVectorEnv(makers, autoreset_mode=AutoresetMode.DISABLED)
    seeds = [7, 8, 9]
    assert_same(mine.reset(seed=seeds), theirs.reset(seed=seeds))
    generator = np.random.default_rng(0)
    for step in range(20):
        action = generator.integers(0, 2, len(LENGTHS))
        *answer, told = mine.step(action)
        *expected, said = theirs.step(action)
        assert_same((*answer, dict(told)), (*expected, said))
        ended = answer[2] | answer[3]
        if ended.any():
            again = [step if over else None for over in ended]
            observation, _ = mine.reset(seed=again, options={"reset_mask": ended})
            assert_same(observation, theirs.reset(seed=again, options={"reset_mask": ended})[0])
    assert mine.call("seen")[0] is not None


def test_an_observation_stays_as_it_was():
    rows = InTurn([partial(Talking, 9)] * 2)
    first, _ = rows.reset(seed=[1, 2])
    kept = first.copy()
    second = rows.step(np.zeros(2, np.int64))[0]
    assert not np.array_equal(second, kept)
    np.testing.assert_array_equal(first, kept)


def test_what_a_row_says_when_it_begins_is_all_that_is_said():
    rows = InTurn([partial(Talking, 9)] * 3)
    _, told = rows.reset(seed=[4, 5, 6])
    assert told["seed"].tolist() == [4, 5, 6]
    assert told["options"].tolist() == [None] * 3
    mask = np.array([False, True, False])
    _, told = rows.reset(seed=[None, 8, None], options={"reset_mask": mask, "easy": True})
    np.testing.assert_array_equal(told["_seed"], mask)
    assert told["seed"][1] == 8
    np.testing.assert_array_equal(told["options"]["easy"], mask)


def test_rows_that_are_not_alike_are_refused():
    with pytest.raises(InvalidInput, match="Row 1 observes Dict"):
        InTurn([partial(Talking, 3), partial(Parts, 3)])

"""What an environment need not implement."""

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, Tuple

from policyscope.envs.environment import Environment, Transition, blank_observation, row_of


class Least(Environment):
    def reset(self, rows, seeds):
        self.observation[rows] = 0

    def step(self, action):
        false = np.zeros(2, np.bool_)
        return Transition(np.zeros(2, np.float32), false, false)


def test_the_least_environment_cannot_drop_rows_and_holds_nothing():
    env = Least()
    assert env.keep(np.array([0])) is False
    assert env.close() is None
    assert env.info == {}


def test_of_a_row_even_a_number_is_an_array():
    seen = {"direction": np.array([3, 1]), "view": np.zeros((2, 5))}
    row = row_of(seen, 1)
    assert {part: values.shape for part, values in row.items()} == {"direction": (), "view": (5,)}
    assert isinstance(row["direction"], np.ndarray)
    assert row["direction"] == row_of(seen["direction"], 1) == 1


def test_a_blank_observation_is_zeros_in_the_shapes_and_types_of_the_space():
    """Words that are looked up have a zeroth; what a space says is its largest, many have not."""
    env = Least()
    cells = Box(0, 255, (7, 7, 3), np.uint8)
    env.observation_space = Dict({"cells": cells, "rest": Tuple((Discrete(4), Box(1, 2, (5,))))})
    blank = blank_observation(env)
    assert isinstance(blank, dict)
    assert {part: (values.shape, values.dtype) for part, values in blank.items()} == {
        "cells": ((1, 7, 7, 3), np.uint8),
        "rest.0": ((1,), np.int64),
        "rest.1": ((1, 5), np.float32),
    }
    assert not any(values.any() for values in blank.values())

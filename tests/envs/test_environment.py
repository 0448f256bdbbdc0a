"""What an environment need not implement."""

import numpy as np

from policyscope.envs.environment import Environment, Transition


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

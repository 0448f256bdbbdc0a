"""Gymnasium's vectorised CartPole, with rows that begin their episodes one by one.

Gymnasium's CartPoleVectorEnv draws all initial states from one stream and resets by itself. Here
each row's initial state is the one that `gymnasium.make("CartPole-v1").reset(seed=s)` would give,
so an episode is the same alone and among a thousand others.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from jaxtyping import Float, Int, UInt8

from policyscope.envs.environment import Environment, Transition
from policyscope.envs.vector import draw
from policyscope.errors import InvalidInput

STEP_LIMITS = {"CartPole-v0": 200, "CartPole-v1": 500}


@lru_cache(maxsize=4096)
def initial_state(seed: int) -> Float[np.ndarray, " 4"]:
    """The state that CartPole's own reset(seed=seed) draws."""
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
    return generator.uniform(low=-0.05, high=0.05, size=(4,))


class Pushes(gymnasium.Space[Any]):
    """Zeros and ones of any number; gymnasium's own check costs a fifth of its step."""

    def contains(self, x: Any) -> bool:
        return bool(x.dtype.kind in "iu" and x.min() >= 0 and x.max() <= 1)


class CartPole(Environment):
    """CartPole-v0 and -v1, `arguments` as in CartPoleVectorEnv (`sutton_barto_reward`)."""

    _canvas: gymnasium.Env[Any, Any] | None = None
    """A single CartPole, on which rows are drawn."""
    editable = ("cart_position", "cart_velocity", "pole_angle", "pole_angular_velocity")

    def __init__(self, id: str, rows: int, **arguments: Any) -> None:
        limit = STEP_LIMITS[id]
        self._env = CartPoleVectorEnv(num_envs=rows, max_episode_steps=limit, **arguments)
        self._env.action_space = Pushes()
        self._env.reset(seed=0)
        self._none_done = np.zeros(rows, np.bool_)
        self.id = id
        self.arguments = arguments
        self.rows = rows
        self.observation_space = self._env.single_observation_space
        self.action_space = self._env.single_action_space
        self._write_observation()

    def reset(self, rows: Int[np.ndarray, " begun"], seeds: Sequence[int]) -> None:
        """Begins an episode in each of `rows`; see Environment."""
        states = np.array([initial_state(int(seed)) for seed in seeds])
        self._state[:, rows] = states.T
        self._env.steps[rows] = 0
        self.observation[rows] = states

    def step(self, action: Int[np.ndarray, " row"]) -> Transition:
        """Acts once in every row; see Environment."""
        self.observation, reward, terminated, truncated, _ = self._env.step(action)
        # Rows that ended wait for our reset; the environment's own would draw from its stream.
        self._env.prev_done = self._none_done
        return Transition(reward, terminated, truncated & ~terminated)

    def keep(self, rows: Int[np.ndarray, " kept"]) -> bool:
        """Goes on with these rows only; see Environment."""
        state, steps = self._state[:, rows].copy(), self._env.steps[rows].copy()
        self.rows = self._env.num_envs = len(rows)
        self._env.state = state
        self._env.steps = steps
        self._env.prev_done = self._none_done = np.zeros(self.rows, np.bool_)
        self._write_observation()
        return True

    def save(self, row: int) -> tuple[Float[np.ndarray, " 4"], int]:
        """The state of one row and how many steps it has made; see snapshots."""
        return self._state[:, row].copy(), int(self._env.steps[row])

    def restore(self, row: int, saved: tuple[Float[np.ndarray, " 4"], int]) -> None:
        """Puts one row back into a saved state; see snapshots."""
        self._state[:, row], self._env.steps[row] = saved
        self.observation[row] = self._state[:, row]

    def edit(self, row: int, changes: Mapping[str, Any]) -> None:
        """Changes entries of one row's state; see snapshots."""
        for name, value in changes.items():
            if not np.isfinite(value):
                raise InvalidInput(f"{name} is {value}; expected a finite number.")
        for name, value in changes.items():
            self._state[self.editable.index(name), row] = value
        self.observation[row] = self._state[:, row]

    def picture(self, row: int) -> UInt8[np.ndarray, "height width 3"]:
        if self._canvas is None:
            self._canvas = gymnasium.make(self.id, render_mode="rgb_array")
            self._canvas.reset(seed=0)
        shown: Any = self._canvas.unwrapped
        shown.state = self._state[:, row].copy()
        return draw(self._canvas)

    def close(self) -> None:
        """Puts away what the rows are drawn with."""
        if self._canvas is not None:
            self._canvas.close()

    @property
    def _state(self) -> np.ndarray:
        return cast(np.ndarray, self._env.state)

    def _write_observation(self) -> None:
        self.observation = np.ascontiguousarray(self._state.T, np.float32)

"""Rows of one process, stepped in turn, with as little between them as possible.

Gymnasium's SyncVectorEnv also resets by itself, copies what it returns, and sorts what the rows say
by key at every step; for small worlds that is a fifth of their step. Here the caller resets, every
observation is new, and what the rows say is sorted when somebody asks.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array, iterate
from jaxtyping import Bool, Float

from policyscope.errors import InvalidInput

Stepped = tuple[
    Any,
    Float[np.ndarray, " row"],
    Bool[np.ndarray, " row"],
    Bool[np.ndarray, " row"],
    Mapping[str, Any],
]


class InTurn(VectorEnv[Any, Any, Any]):
    """A vector environment of `makers`, which all make the same."""

    def __init__(self, makers: Sequence[Callable[[], gymnasium.Env[Any, Any]]]) -> None:
        self.envs = [make() for make in makers]
        self.num_envs = len(self.envs)
        self.single_observation_space = self.envs[0].observation_space
        self.single_action_space = self.envs[0].action_space
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._seen: list[Any] = [None] * self.num_envs
        for row, env in enumerate(self.envs):
            spaces = env.observation_space, env.action_space
            if spaces != (self.single_observation_space, self.single_action_space):
                raise InvalidInput(
                    f"Row {row} observes {spaces[0]} and acts in {spaces[1]}; row 0 observes "
                    f"{self.single_observation_space} and acts in {self.single_action_space}."
                )

    def reset(
        self,
        *,
        seed: Sequence[int | None] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Begins all rows, or those of `options["reset_mask"]`, which alone say something then."""
        others = dict(options or {})
        mask = others.pop("reset_mask", np.ones(self.num_envs, np.bool_))
        options = others or None
        told: list[Mapping[str, Any]] = [{}] * self.num_envs
        for row in np.flatnonzero(mask):
            with_seed = None if seed is None else seed[row]
            self._seen[row], told[row] = self.envs[row].reset(seed=with_seed, options=options)
        return self._observation(), self.by_key(told)

    def step(self, actions: Any) -> Stepped:
        """Acts once in every row."""
        reward = np.empty(self.num_envs)
        terminated = np.empty(self.num_envs, np.bool_)
        truncated = np.empty(self.num_envs, np.bool_)
        told: list[Mapping[str, Any]] = [{}] * self.num_envs
        for row, action in enumerate(iterate(self.action_space, actions)):
            answer = self.envs[row].step(action)
            self._seen[row], reward[row], terminated[row], truncated[row], told[row] = answer
        return self._observation(), reward, terminated, truncated, Told(self, told)

    def call(self, name: str, *arguments: Any) -> tuple[Any, ...]:
        """What each row's method `name` returns."""
        return tuple(env.get_wrapper_attr(name)(*arguments) for env in self.envs)

    def close_extras(self, **_: Any) -> None:
        """Closes every row."""
        for env in self.envs:
            env.close()

    def by_key(self, told: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """What the rows say as [row] arrays by key, and `_key` saying which rows do."""
        found: dict[str, Any] = {}
        for row, one in enumerate(told):
            found = self._add_info(found, dict(one), row)
        return found

    def _observation(self) -> Any:
        space = self.single_observation_space
        if isinstance(space, Box) and space.shape:
            # As `concatenate`, which takes longer for a few numbers.
            length, *others = space.shape
            joined = np.empty((self.num_envs * length, *others), space.dtype)
            np.concatenate(self._seen, out=joined)
            return joined.reshape(self.num_envs, length, *others)
        return concatenate(space, self._seen, create_empty_array(space, self.num_envs))


class Told(Mapping[str, Any]):
    """What the rows said at one step, by key; sorted once somebody asks."""

    def __init__(self, rows: InTurn, told: Sequence[Mapping[str, Any]]) -> None:
        self._rows = rows
        self._told = told

    @cached_property
    def _by_key(self) -> dict[str, Any]:
        return self._rows.by_key(self._told)

    def __getitem__(self, key: str) -> Any:
        return self._by_key[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_key)

    def __len__(self) -> int:
        return len(self._by_key)

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
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array, iterate
from jaxtyping import Bool, Float, Shaped

from policyscope.errors import InvalidInput

Info = Mapping[str, Any]
Stepped = tuple[
    Any,
    Float[np.ndarray, " row"],
    Bool[np.ndarray, " row"],
    Bool[np.ndarray, " row"],
    Info,
]


class InTurn:
    """The rows that `makers` make, which are all alike; used as Gymnasium's vector environments."""

    def __init__(self, makers: Sequence[Callable[[], gymnasium.Env[Any, Any]]]) -> None:
        self.envs = [make() for make in makers]
        self.single_observation_space = self.envs[0].observation_space
        self.single_action_space = self.envs[0].action_space
        self.action_space = batch_space(self.single_action_space, len(makers))
        self._seen: list[Any] = [None] * len(makers)
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
        mask = others.pop("reset_mask", np.ones(len(self.envs), np.bool_))
        told: list[Info] = [{}] * len(self.envs)
        for row in np.flatnonzero(mask).tolist():
            self._seen[row], told[row] = self.envs[row].reset(
                seed=None if seed is None else seed[row], options=others or None
            )
        return self._observation(), by_key(told)

    def step(self, actions: Any) -> Stepped:
        """Acts once in every row."""
        count = len(self.envs)
        reward, told = np.empty(count), list[Info]([{}]) * count
        terminated, truncated = np.empty(count, np.bool_), np.empty(count, np.bool_)
        for row, action in enumerate(iterate(self.action_space, actions)):
            answer = self.envs[row].step(action)
            self._seen[row], reward[row], terminated[row], truncated[row], told[row] = answer
        return self._observation(), reward, terminated, truncated, Told(told)

    def call(self, name: str, *arguments: Any) -> tuple[Any, ...]:
        """What each row's method `name` returns."""
        return tuple(env.get_wrapper_attr(name)(*arguments) for env in self.envs)

    def close(self) -> None:
        """Closes every row."""
        for env in self.envs:
            env.close()

    def _observation(self) -> Any:
        space, count = self.single_observation_space, len(self.envs)
        if isinstance(space, Box) and space.shape:
            # As `concatenate`, which takes longer for a few numbers.
            length, *others = space.shape
            joined = np.empty((count * length, *others), space.dtype)
            np.concatenate(self._seen, out=joined)
            return joined.reshape(count, length, *others)
        return concatenate(space, self._seen, create_empty_array(space, count))


class Told(Mapping[str, Any]):
    """What the rows said at one step, by key; sorted once somebody asks."""

    def __init__(self, told: Sequence[Info]) -> None:
        self._told = told

    @cached_property
    def _by_key(self) -> dict[str, Any]:
        return by_key(self._told)

    def __getitem__(self, key: str) -> Any:
        return self._by_key[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_key)

    def __len__(self) -> int:
        return len(self._by_key)


def by_key(told: Sequence[Info]) -> dict[str, Any]:
    """What the rows say as [row] arrays by key, and `_key` saying which rows do, as Gymnasium's."""
    found: dict[str, Any] = {}
    for key in dict.fromkeys(key for one in told for key in one):
        says = np.array([key in one for one in told])
        values = [one[key] for one in told if key in one]
        if isinstance(values[0], Mapping):
            found[key] = by_key([one.get(key, {}) for one in told])
        else:
            found[key] = together(values, says)
        found[f"_{key}"] = says
    return found


def together(
    values: Sequence[Any], says: Bool[np.ndarray, " row"]
) -> Shaped[np.ndarray, "row ..."]:
    """One array of what the rows that say something say, zeros or None for the others."""
    first = values[0]
    if isinstance(first, np.ndarray | np.generic | bool | int | float):
        like = np.asarray(first)
        array = np.zeros((len(says), *like.shape), like.dtype)
    else:
        array = np.full(len(says), None)
    for row, value in zip(np.flatnonzero(says), values, strict=True):
        array[row] = value
    return array

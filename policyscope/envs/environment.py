"""B rows of one environment that begin their episodes when, and with the seed, they are told to."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import gymnasium
import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt8

from policyscope.errors import InvalidInput

Observation = Shaped[np.ndarray, "row ..."] | dict[str, Shaped[np.ndarray, "row ..."]]
"""What every row observes: one array, or several by name (of a Dict or Tuple space)."""


@dataclass(frozen=True)
class Transition:
    """What the world answered to one action of every row."""

    reward: Float[np.ndarray, " row"]
    terminated: Bool[np.ndarray, " row"]
    truncated: Bool[np.ndarray, " row"]


class Environment(ABC):
    """B copies of an environment, stepped together.

    It never resets by itself: a row that ended stays ended until `reset` begins its next episode,
    so no recorded step is ever the leftover of an automatic reset. `observation` is what the next
    action answers to, [row, …]; it may be overwritten by the next `reset` or `step`.
    """

    id: str
    arguments: Mapping[str, Any]
    rows: int
    observation_space: gymnasium.Space[Any]
    action_space: gymnasium.Space[Any]
    observation: Any
    """An Observation. (Typed loosely, because whoever knows the environment knows which.)"""
    info: Mapping[str, Any] = MappingProxyType({})
    """What it says beside the observation, of the same moment: [row] arrays by key, and `_key`
    saying in which rows they were told."""

    @abstractmethod
    def reset(self, rows: Int[np.ndarray, " begun"], seeds: Sequence[int]) -> None:
        """Begins an episode in each of `rows`, row i with seeds[i]."""

    @abstractmethod
    def step(self, action: Shaped[np.ndarray, "row ..."]) -> Transition:
        """Acts once in every row; one that ended must have been begun again."""

    def keep(self, rows: Int[np.ndarray, " kept"]) -> bool:
        """Goes on with these rows only, and says whether it could; most environments cannot."""
        return False

    def ask(self, question: Callable[[gymnasium.Env[Any, Any]], Any]) -> list[Any]:
        """What `question` answers about each row's own environment, row by row.

        A function of a module, so that rows in other processes know it too. Raises InvalidInput
        where all rows are one program.
        """
        raise InvalidInput(
            f"{self.id} runs all rows as one program; no row has an environment to ask."
        )

    def picture(self, row: int) -> UInt8[np.ndarray, "height width 3"]:
        """What one row looks like now, as a person would see it; see `make_drawable`.

        InvalidInput where it cannot be drawn, MissingExtra where that needs a package.
        """
        raise InvalidInput(f"{self.id} ({type(self).__name__}) cannot be drawn.")

    def close(self) -> None:  # noqa: B027 (most environments hold nothing)
        """Frees what the environment holds."""


def parts_of(observation: Any) -> Observation:
    """The observation of a vector environment; nested dicts and tuples become parts by name.

    A part's name is its path, as `camera.left` or `0.position`.
    """
    if isinstance(observation, np.ndarray):
        return observation
    if isinstance(observation, Mapping):
        nested = {str(key): value for key, value in observation.items()}
    elif isinstance(observation, tuple):
        nested = {str(index): value for index, value in enumerate(observation)}
    else:
        return np.asarray(observation)
    parts: dict[str, np.ndarray] = {}
    for key, value in nested.items():
        inner = parts_of(value)
        if isinstance(inner, dict):
            parts |= {f"{key}.{deeper}": array for deeper, array in inner.items()}
        else:
            parts[key] = inner
    return parts


def row_of(observation: Observation, row: int) -> Any:
    """What one row observes."""
    if isinstance(observation, dict):
        return {part: values[row, ...] for part, values in observation.items()}
    # With the dots what has no further axis stays an array.
    return observation[row, ...]


def blank_observation(environment: Environment) -> Observation:
    """One row that observes nothing but zeros, in the shapes and types of the observation space.

    Not a draw from the space: many allow what is never observed, as MiniGrid's cells of up to 255,
    and an agent that looks words up cannot act on those.
    """
    return parts_of(blank(environment.observation_space.sample()))


def blank(drawn: Any) -> Any:
    """Zeros like what was drawn from a space, with a row axis in front of every part."""
    if isinstance(drawn, Mapping):
        return {key: blank(value) for key, value in drawn.items()}
    if isinstance(drawn, tuple):
        return tuple(blank(value) for value in drawn)
    return np.zeros_like(np.asarray(drawn)[None])

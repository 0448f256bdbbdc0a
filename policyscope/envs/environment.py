"""B rows of one environment that begin their episodes when, and with the seed, they are told to."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from policyscope.errors import InvalidInput


@dataclass(frozen=True)
class Transition:
    """What the world answered to one action of every row."""

    reward: Float[np.ndarray, " row"]
    terminated: Bool[np.ndarray, " row"]
    truncated: Bool[np.ndarray, " row"]
    info: Mapping[str, Any] = field(default_factory=dict)


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
    observation: Shaped[np.ndarray, "row ..."]

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

    def close(self) -> None:  # noqa: B027 (most environments hold nothing)
        """Frees what the environment holds."""

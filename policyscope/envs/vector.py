"""Any Gymnasium environment as rows, through SyncVectorEnv or AsyncVectorEnv."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from jaxtyping import Int, Shaped

from policyscope.envs.environment import Environment, Transition
from policyscope.errors import EnvironmentFailed, InvalidInput

Revision = Callable[[gymnasium.Env[Any, Any], Any], Any]
"""Changes the environment of one row as its argument says; returns what is observed then."""

REVISED = "revised"


class Named(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Says which row raised, and whether while resetting or stepping."""

    def __init__(self, env: gymnasium.Env[Any, Any], row: int) -> None:
        super().__init__(env)
        self.row = row

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        if options and REVISED in options:
            if self.row in options[REVISED]:
                revise, argument = options[REVISED][self.row]
                return revise(self.env, argument), {}
            options = None
        try:
            return self.env.reset(seed=seed, options=options)
        except Exception as error:
            message = f"row {self.row}: reset(seed={seed}) raised {error!r}"
            raise EnvironmentFailed(message, self.row) from error

    def step(self, action: Any) -> Any:
        try:
            return self.env.step(action)
        except Exception as error:
            message = f"row {self.row}: step raised {error!r}"
            raise EnvironmentFailed(message, self.row) from error

    def ask(self, question: Callable[[gymnasium.Env[Any, Any]], Any]) -> Any:
        """What `question` answers about this row's environment."""
        return question(self.env)


class GymnasiumRows(Environment):
    """Rows of `gymnasium.make(id, **arguments)`, in this process or one process per row."""

    def __init__(self, id: str, rows: int, *, processes: bool = False, **arguments: Any) -> None:
        def maker(row: int) -> Callable[[], gymnasium.Env[Any, Any]]:
            return lambda: Named(gymnasium.make(id, **arguments), row)

        kind = AsyncVectorEnv if processes else SyncVectorEnv
        self._env = kind([maker(row) for row in range(rows)], autoreset_mode=AutoresetMode.DISABLED)
        self.id = id
        self.arguments = arguments
        self.rows = rows
        self.observation_space = self._env.single_observation_space
        self.action_space = self._env.single_action_space
        self.observation = np.zeros(0)
        self._begun = False
        if self.observation_space.shape is None:
            self.close()
            raise InvalidInput(
                f"{id} observes a {type(self.observation_space).__name__} of parts; expected one "
                "array. Register it again with gymnasium's FlattenObservation around it."
            )

    def reset(self, rows: Int[np.ndarray, " begun"], seeds: Sequence[int]) -> None:
        """Begins an episode in each of `rows`; see Environment."""
        mask = np.zeros(self.rows, np.bool_)
        mask[rows] = True
        by_row: list[int | None] = [None] * self.rows
        for row, seed in zip(rows, seeds, strict=True):
            by_row[row] = int(seed)
        # The first reset must reach every row; those not asked for are begun again later.
        options = {"reset_mask": mask} if self._begun else None
        self.observation, _ = self._env.reset(seed=by_row, options=options)
        self._begun = True

    def step(self, action: Shaped[np.ndarray, "row ..."]) -> Transition:
        """Acts once in every row; see Environment."""
        self.observation, reward, terminated, truncated, info = self._env.step(action)
        return Transition(
            np.asarray(reward, np.float32), terminated.copy(), truncated & ~terminated, info
        )

    def ask(self, question: Callable[[gymnasium.Env[Any, Any]], Any]) -> list[Any]:
        return list(self._env.call("ask", question))

    def revise(self, revision: Revision, arguments: Mapping[int, Any]) -> None:
        """Changes single rows by other means than a reset, each with its argument.

        For the vector environment it is a reset, so that rows that had ended go on.
        """
        options: dict[str, Any] = {
            REVISED: {row: (revision, argument) for row, argument in arguments.items()}
        }
        if self._begun:
            mask = np.zeros(self.rows, np.bool_)
            mask[list(arguments)] = True
            options["reset_mask"] = mask
        self.observation, _ = self._env.reset(options=options)
        self._begun = True

    def close(self) -> None:
        """Closes every row."""
        self._env.close()

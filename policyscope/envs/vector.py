"""Any Gymnasium environment as rows, in this process or one process per row."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode
from jaxtyping import Bool, Int, Shaped, UInt8

from policyscope.envs.environment import Environment, Transition, parts_of
from policyscope.envs.in_turn import InTurn
from policyscope.errors import EnvironmentFailed, InvalidInput, MissingExtra, PolicyscopeError

Revision = Callable[[gymnasium.Env[Any, Any], Any], Any]
"""Changes the environment of one row as its argument says; returns what is observed then."""

REVISED = "revised"
REFUSED = "refused"
START_METHOD = "fork" if sys.platform == "linux" else "spawn"
"""How the processes of rows begin: said here, because whoever is imported may change the default.

A forked one knows the environments that were registered in this process; macOS cannot fork safely.
"""


@dataclass(frozen=True)
class Refusal:
    """An error as an answer: raised in a row's own process, it would end that process."""

    error: PolicyscopeError


Wrapping = Callable[[gymnasium.Env[Any, Any]], gymnasium.Env[Any, Any]]


class Named(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Says which row raised, and whether while resetting or stepping; knows what was last seen."""

    seen: Any = None

    def __init__(self, env: gymnasium.Env[Any, Any], row: int) -> None:
        super().__init__(env)
        self.row = row

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        if options and REVISED in options:
            if self.row in options[REVISED]:
                return self._revise(*options[REVISED][self.row])
            options = None
        try:
            self.seen, info = self.env.reset(seed=seed, options=options)
        except Exception as error:
            message = f"row {self.row}: reset(seed={seed}) raised {error!r}"
            raise EnvironmentFailed(message, self.row) from error
        return self.seen, info

    def step(self, action: Any) -> Any:
        try:
            answer = self.env.step(action)
        except Exception as error:
            message = f"row {self.row}: step raised {error!r}"
            raise EnvironmentFailed(message, self.row) from error
        self.seen = answer[0]
        return answer

    def ask(self, question: Callable[[gymnasium.Env[Any, Any]], Any]) -> Any:
        """What `question` answers about this row's environment; a Refusal where it refuses."""
        try:
            return question(self)
        except (InvalidInput, MissingExtra) as error:
            return Refusal(error)

    def _revise(self, revise: Revision, argument: Any) -> Any:
        try:
            self.seen = revise(self, argument)
        except InvalidInput as error:
            if self.seen is None:
                raise
            return self.seen, {REFUSED: str(error)}
        return self.seen, {}


def make_row(
    id: str, row: int, wrap: Wrapping | None, arguments: Mapping[str, Any]
) -> gymnasium.Env[Any, Any]:
    """The environment of one row; a function of the module, so that processes can be handed it."""
    # Rows are made alike: Gymnasium's checker looks at the first for all.
    unchecked = {"disable_env_checker": True} if row else {}
    env = gymnasium.make(id, **{**unchecked, **arguments})
    return Named(wrap(env) if wrap else env, row)


def draw(env: gymnasium.Env[Any, Any]) -> UInt8[np.ndarray, "height width 3"]:
    """What an environment shows where it was made with `render_mode="rgb_array"`."""
    id = env.spec.id if env.spec else type(env.unwrapped).__name__
    if env.render_mode != "rgb_array":
        raise InvalidInput(
            f"{id} was made with render_mode={env.render_mode!r} and cannot be drawn so. Make it "
            'with render_mode="rgb_array" (make_drawable does).'
        )
    try:
        image: Any = env.render()
    except gymnasium.error.DependencyNotInstalled as error:
        raise MissingExtra(
            f"{id} cannot be drawn: {error}. Run: pip install 'policyscope[frames]'"
        ) from error
    except Exception as error:  # its drawing is anybody's code
        raise InvalidInput(
            f"{id} cannot be drawn: {error!r}. Without a screen, MuJoCo needs MUJOCO_GL=egl or "
            "osmesa."
        ) from error
    return as_image(id, image)


def as_image(id: str, image: Any) -> UInt8[np.ndarray, "height width 3"]:
    """What an environment drew, if it is a picture."""
    found = np.asarray(image)
    if found.dtype != np.uint8 or found.ndim != 3 or found.shape[2] != 3:
        raise InvalidInput(
            f"{id} drew {found.dtype} of shape {list(found.shape)}; expected uint8 "
            "[height, width, 3]."
        )
    return found


class GymnasiumRows(Environment):
    """Rows of `gymnasium.make(id, **arguments)`, in this process or one process per row.

    `wrap` puts the environment of each row into wrappers first.
    """

    def __init__(
        self,
        id: str,
        rows: int,
        /,
        *,
        processes: bool = False,
        wrap: Wrapping | None = None,
        **arguments: Any,
    ) -> None:
        makers = [partial(make_row, id, row, wrap, arguments) for row in range(rows)]
        if processes:
            self._env = AsyncVectorEnv(
                makers, context=START_METHOD, autoreset_mode=AutoresetMode.DISABLED
            )
        else:
            self._env = InTurn(makers)
        self.id = id
        self.arguments = arguments
        self.rows = rows
        self.observation_space = self._env.single_observation_space
        self.action_space = self._env.single_action_space
        self.observation = np.zeros(0)
        self._begun = False

    def reset(self, rows: Int[np.ndarray, " begun"], seeds: Sequence[int]) -> None:
        """Begins an episode in each of `rows`; see Environment."""
        mask = np.zeros(self.rows, np.bool_)
        mask[rows] = True
        by_row: list[int | None] = [None] * self.rows
        for row, seed in zip(rows, seeds, strict=True):
            by_row[row] = int(seed)
        # The first reset must reach every row; those not asked for are begun again later.
        options = {"reset_mask": mask} if self._begun else None
        observation, info = self._env.reset(seed=by_row, options=options)
        self.observation = parts_of(observation)
        self.info = merged(self.info, info, mask if self._begun else np.ones_like(mask))
        self._begun = True

    def step(self, action: Shaped[np.ndarray, "row ..."]) -> Transition:
        """Acts once in every row; see Environment."""
        observation, reward, terminated, truncated, self.info = self._env.step(action)
        self.observation = parts_of(observation)
        return Transition(
            np.asarray(reward, np.float32), terminated.copy(), truncated & ~terminated
        )

    def ask(self, question: Callable[[gymnasium.Env[Any, Any]], Any]) -> list[Any]:
        answers = list(self._env.call("ask", question))
        for answer in answers:
            if isinstance(answer, Refusal):
                raise answer.error
        return answers

    def picture(self, row: int) -> UInt8[np.ndarray, "height width 3"]:
        return self.ask(draw)[row]

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
        observation, info = self._env.reset(options=options)
        self.observation = parts_of(observation)
        self._begun = True
        if REFUSED in info:
            raise InvalidInput(str(next(said for said in info[REFUSED] if said)))

    def close(self) -> None:
        """Closes every row."""
        self._env.close()


def merged(
    before: Mapping[str, Any], begun: Mapping[str, Any], rows: Bool[np.ndarray, " row"]
) -> Mapping[str, Any]:
    """What was said, with what the rows that have begun anew say instead of their last words."""
    result = dict(begun)
    for key, values in before.items():
        if key.startswith("_") or not isinstance(values, np.ndarray) or len(values) != len(rows):
            continue
        told = np.asarray(before.get(f"_{key}", np.ones_like(rows)), np.bool_) & ~rows
        if key in begun and isinstance(begun[key], np.ndarray):
            now = np.asarray(begun.get(f"_{key}", rows), np.bool_) & rows
            joined = values.copy()
            joined[now] = begun[key][now]
            result[key], result[f"_{key}"] = joined, told | now
        else:
            result[key], result[f"_{key}"] = values, told
    return result

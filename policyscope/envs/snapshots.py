"""Snapshots: one row's whole state at one moment, to go back to it, or to change what is there.

    [moment] = save(environment, [0])
    …
    restore(environment, {0: moment})
    edit(environment, 0, pole_angle=0.1, cart_position=0.0)

A restored row has the same future, bit for bit, under the same actions. What a world cannot copy is
played again from its seed (Box2D; Atari with sticky actions). Whatever can do neither is refused.

Which names `edit` takes depends on the world: `editable` tells them. They are those of its metrics:
the state of classic control, the joints of a MuJoCo robot; in MiniGrid the agent and the things, as
(x, y); in Atari `ram={index: value}`.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import gymnasium
import numpy as np
from gymnasium.wrappers import PassiveEnvChecker

from policyscope.envs.environment import Environment
from policyscope.envs.metrics.mujoco import joint_readings
from policyscope.envs.vector import GymnasiumRows
from policyscope.errors import InvalidInput, UnknownName


@dataclass(frozen=True)
class Snapshot:
    """One row's whole state; `state` is the environment's own affair."""

    environment: str
    arguments: Mapping[str, Any]
    state: Any


@runtime_checkable
class Saving(Protocol):
    """What an environment with rows of its own implements to have snapshots."""

    def save(self, row: int) -> Any:
        """The state of one row, not touched by what happens later."""
        ...

    def restore(self, row: int, saved: Any) -> None:
        """Puts one row back into a saved state, which stays good for another time."""
        ...


@runtime_checkable
class Editing(Protocol):
    """What an environment with rows of its own implements to be edited."""

    editable: tuple[str, ...]

    def edit(self, row: int, changes: Mapping[str, Any]) -> None:
        """Changes one row's state by name; the observation shows it."""
        ...


def save(environment: Environment, rows: Iterable[int] | None = None) -> list[Snapshot]:
    """The states of `rows`, by default of all. InvalidInput where the world cannot be saved."""
    wanted = list(range(environment.rows) if rows is None else map(int, rows))
    check_rows(environment, wanted)
    if isinstance(environment, GymnasiumRows):
        every = environment.ask(capture)
        states = [every[row] for row in wanted]
    elif isinstance(environment, Saving):
        states = [environment.save(row) for row in wanted]
    else:
        raise InvalidInput(
            f"{environment.id} ({type(environment).__name__}) cannot save single rows."
        )
    return [Snapshot(environment.id, dict(environment.arguments), state) for state in states]


def restore(environment: Environment, snapshots: Mapping[int, Snapshot]) -> None:
    """Puts each row back into its snapshot, also one taken in another row or environment.

    The id and the arguments must be those of the snapshot.
    """
    check_rows(environment, snapshots)
    for snapshot in snapshots.values():
        mine = (environment.id, dict(environment.arguments))
        theirs = (snapshot.environment, dict(snapshot.arguments))
        if mine != theirs:
            raise InvalidInput(
                f"The snapshot is of {theirs[0]} made with {theirs[1]}; these rows are {mine[0]} "
                f"made with {mine[1]}."
            )
    if isinstance(environment, GymnasiumRows):
        environment.revise(revert, {row: one.state for row, one in snapshots.items()})
    elif isinstance(environment, Saving):
        for row, snapshot in snapshots.items():
            environment.restore(row, snapshot.state)
    else:
        raise InvalidInput(
            f"{environment.id} ({type(environment).__name__}) cannot restore single rows."
        )


def edit(environment: Environment, row: int, **changes: Any) -> None:
    """Changes the state of one row by name, and what it observes with it.

    UnknownName for a name that is not `editable`; InvalidInput for a state that cannot be.
    """
    check_rows(environment, [row])
    known = editable(environment)
    for name in changes:
        if name not in known:
            raise UnknownName.among(f"editable state of {environment.id}", name, known)
    if isinstance(environment, GymnasiumRows):
        environment.revise(change, {row: changes})
    else:
        assert isinstance(environment, Editing)
        environment.edit(row, changes)


def editable(environment: Environment) -> tuple[str, ...]:
    """The names that `edit` takes. InvalidInput where nothing can be edited."""
    if isinstance(environment, GymnasiumRows):
        return environment.ask(names_of)[0]
    if isinstance(environment, Editing):
        return environment.editable
    raise InvalidInput(f"{environment.id} ({type(environment).__name__}) cannot be edited.")


def check_rows(environment: Environment, rows: Iterable[int]) -> None:
    """Raises InvalidInput for a row that is not there."""
    outside = [row for row in rows if not 0 <= row < environment.rows]
    if outside:
        raise InvalidInput(f"Rows {outside} are not among the {environment.rows} rows from 0.")


# ── In the process of the row ────────────────────────────────────────────────────────────────────


class Keeper(ABC):
    """How one family of worlds is saved, restored and edited; the innermost environment only."""

    @abstractmethod
    def recognizes(self, world: Any) -> bool:
        """Whether `world` belongs to the family."""

    @abstractmethod
    def save(self, world: Any) -> Any:
        """Its state, not touched by what happens later."""

    @abstractmethod
    def restore(self, world: Any, state: Any) -> None:
        """Puts it into a saved state."""

    def names(self, world: Any) -> tuple[str, ...]:
        """What can be edited."""
        raise InvalidInput(f"A {type(world).__name__} can be saved and restored, but not edited.")

    def edit(self, world: Any, changes: Mapping[str, Any]) -> Any:
        """Changes it; returns what it observes then."""
        raise NotImplementedError  # pragma: no cover (names() has refused)


UNSAVED = (gymnasium.Space, gymnasium.Env)
"""What an environment holds that is no state."""


def memory(
    world: Any, without: tuple[str, ...] = ("spec", "_cached_spec", "metadata")
) -> dict[str, Any]:
    """A copy of everything that a world or wrapper holds in its own attributes."""
    held = {
        name: value
        for name, value in vars(world).items()
        if name not in without and not isinstance(value, UNSAVED) and not callable(value)
    }
    # All at once: what two attributes share, their copies share too.
    return copy.deepcopy(held)


class Remembering(Keeper):
    """Worlds whose state is in attributes that can be copied."""

    ignored: tuple[str, ...] = ("spec", "_cached_spec", "metadata", "screen", "clock", "window")

    def save(self, world: Any) -> dict[str, Any]:
        return memory(world, self.ignored)

    def restore(self, world: Any, state: dict[str, Any]) -> None:
        vars(world).update(copy.deepcopy(state))


CLASSIC = {
    "CartPoleEnv": ("cart_position", "cart_velocity", "pole_angle", "pole_angular_velocity"),
    "MountainCarEnv": ("car_position", "car_velocity"),
    "Continuous_MountainCarEnv": ("car_position", "car_velocity"),
    "AcrobotEnv": (
        "first_angle",
        "second_angle",
        "first_angular_velocity",
        "second_angular_velocity",
    ),
    "PendulumEnv": ("pendulum_angle", "pendulum_angular_velocity"),
}
"""The entries of `state`, by class."""


class ClassicControl(Remembering):
    """CartPole, MountainCar, Acrobot and Pendulum: a short vector called `state`."""

    def recognizes(self, world: Any) -> bool:
        return type(world).__name__ in CLASSIC and hasattr(world, "state")

    def names(self, world: Any) -> tuple[str, ...]:
        return CLASSIC[type(world).__name__]

    def edit(self, world: Any, changes: Mapping[str, Any]) -> Any:
        state = np.array(world.state, np.float64)
        for name, value in changes.items():
            state[self.names(world).index(name)] = finite(name, value)
        world.state = state
        for observe in ("_get_ob", "_get_obs"):
            if hasattr(world, observe):
                return getattr(world, observe)()
        return state.astype(np.float32)


class MuJoCo(Keeper):
    """MuJoCo's robots: the simulation is copied whole, with what it has derived so far."""

    ignored = ("spec", "_cached_spec", "metadata", "model", "data", "mujoco_renderer")

    def recognizes(self, world: Any) -> bool:
        return hasattr(world, "model") and hasattr(world, "data") and hasattr(world, "set_state")

    def save(self, world: Any) -> Any:
        return copy.copy(world.data), memory(world, self.ignored)

    def restore(self, world: Any, state: Any) -> None:
        from mujoco import mj_copyData  # pyright: ignore[reportAttributeAccessIssue]

        data, held = state
        mj_copyData(world.data, world.model, data)
        vars(world).update(copy.deepcopy(held))

    def names(self, world: Any) -> tuple[str, ...]:
        return tuple(self._places(world))

    def edit(self, world: Any, changes: Mapping[str, Any]) -> Any:
        places = self._places(world)
        state = {"qpos": world.data.qpos.copy(), "qvel": world.data.qvel.copy()}
        for name, value in changes.items():
            array, index = places[name]
            state[array][index] = finite(name, value)
        world.set_state(state["qpos"], state["qvel"])
        return world._get_obs()

    def _places(self, world: Any) -> dict[str, tuple[str, Any]]:
        return {one.name: (one.array, one.index) for one in joint_readings(world.model)}


class MiniGridWorlds(Remembering):
    """MiniGrid: a grid of things, and an agent."""

    moved = ("key", "ball", "box", "door", "goal", "lava")

    def recognizes(self, world: Any) -> bool:
        return hasattr(world, "grid") and hasattr(world, "agent_pos") and hasattr(world, "gen_obs")

    def names(self, world: Any) -> tuple[str, ...]:
        return ("agent", "agent_direction", *self.moved)

    def edit(self, world: Any, changes: Mapping[str, Any]) -> Any:
        moves: list[tuple[str, tuple[int, int]]] = []
        for name, value in changes.items():
            if name == "agent_direction":
                if value not in range(4):
                    raise InvalidInput(f"agent_direction is {value!r}; expected 0, 1, 2 or 3.")
            else:
                moves.append((name, self._free(world, name, value)))
        for name, target in moves:
            if name == "agent":
                world.agent_pos = target
            else:
                self._move(world, name, target)
        if "agent_direction" in changes:
            world.agent_dir = int(changes["agent_direction"])
        return world.gen_obs()

    def _free(self, world: Any, name: str, target: Any) -> tuple[int, int]:
        x, y = (int(place) for place in target)
        if not (0 <= x < world.grid.width and 0 <= y < world.grid.height):
            raise InvalidInput(
                f"{name} cannot be at ({x}, {y}): the grid is {world.grid.width}×"
                f"{world.grid.height}."
            )
        there = world.grid.get(x, y)
        if name != "agent" and self._find(world, name) == (x, y):
            return x, y
        blocked = there is not None and (name != "agent" or not there.can_overlap())
        if blocked or (name != "agent" and (x, y) == tuple(world.agent_pos)):
            what = there.type if there is not None else "agent"
            raise InvalidInput(f"{name} cannot be at ({x}, {y}): there is a {what}.")
        return x, y

    def _find(self, world: Any, name: str) -> tuple[int, int]:
        for index, cell in enumerate(world.grid.grid):
            if cell is not None and cell.type == name:
                return index % world.grid.width, index // world.grid.width
        raise InvalidInput(f"There is no {name} in this grid to move.")

    def _move(self, world: Any, name: str, target: tuple[int, int]) -> None:
        source = self._find(world, name)
        thing = world.grid.get(*source)
        world.grid.set(*source, None)
        world.grid.set(*target, thing)
        thing.cur_pos = target


class Consoles(Keeper):
    """Single Atari emulators, as Gymnasium makes them; rows with `ram=True` have their own way."""

    def recognizes(self, world: Any) -> bool:
        return hasattr(world, "ale")

    def save(self, world: Any) -> Any:
        if world.ale.getFloat("repeat_action_probability") > 0:
            raise InvalidInput(
                "With sticky actions an emulator does not tell what it will repeat. Make it with "
                "ram=True, or with repeat_action_probability=0."
            )
        return world.ale.cloneState(include_rng=True), copy.deepcopy(world._np_random)

    def restore(self, world: Any, state: Any) -> None:
        world.ale.restoreState(state[0])
        world._np_random = copy.deepcopy(state[1])

    def names(self, world: Any) -> tuple[str, ...]:
        return ("ram",)

    def edit(self, world: Any, changes: Mapping[str, Any]) -> Any:
        for index, value in changes["ram"].items():
            world.ale.setRAM(int(index), int(value))
        return world._get_obs()


class Replayed(Keeper):
    """Box2D's worlds: played again from their seed. (Works through the wrapper that remembers.)"""

    def recognizes(self, world: Any) -> bool:
        return type(world).__module__.startswith("gymnasium.envs.box2d.")

    def save(self, world: Any) -> None:
        return None

    def restore(self, world: Any, state: None) -> None:
        pass


KEEPERS: list[Keeper] = [ClassicControl(), MuJoCo(), MiniGridWorlds(), Consoles(), Replayed()]


def keeper_of(env: gymnasium.Env[Any, Any]) -> Keeper:
    """The keeper of the innermost environment."""
    for keeper in KEEPERS:
        if keeper.recognizes(env.unwrapped):
            return keeper
    raise InvalidInput(
        f"{type(env.unwrapped).__name__} has no known way to save and restore its state. Known: "
        "classic control, Box2D, MuJoCo, MiniGrid and Atari."
    )


def finite(name: str, value: Any) -> float:
    """The value as a number; InvalidInput for NaN and infinity."""
    number = float(value)
    if not np.isfinite(number):
        raise InvalidInput(f"{name} is {number}; expected a finite number.")
    return number


def layers(env: gymnasium.Env[Any, Any]) -> list[Any]:
    """The wrappers, the outermost first, without the checker that only one row has."""
    found: list[Any] = []
    while isinstance(env, gymnasium.Wrapper):
        if not isinstance(env, PassiveEnvChecker):
            found.append(env)
        env = env.env
    return found


def is_replayed(layer: Any) -> bool:
    """Whether a wrapper remembers the actions since the seed."""
    return hasattr(layer, "began") and hasattr(layer, "acted")


def capture(env: Any) -> tuple[Any, list[dict[str, Any]], Any]:
    """The state of a row: of its world, of every wrapper, and what it last saw."""
    if env.seen is None:
        raise InvalidInput("This row has not begun an episode yet: there is no state to save.")
    keeper = keeper_of(env)
    if isinstance(keeper, Replayed) and not any(map(is_replayed, layers(env))):
        raise InvalidInput(
            f"{type(env.unwrapped).__name__} can only be saved by playing it again, and nobody "
            "remembers how it was played. Make it with policyscope's make."
        )
    held = [memory(layer) for layer in layers(env)]
    return keeper.save(env.unwrapped), held, copy.deepcopy(env.seen)


def revert(env: Any, state: tuple[Any, list[dict[str, Any]], Any]) -> Any:
    """Puts a row into a captured state; returns what it saw then."""
    world, held, seen = state
    keeper = keeper_of(env)
    if isinstance(keeper, Replayed):
        played = next(memo for memo in held if "acted" in memo)
        env.env.reset(seed=played["began"])
        for action in played["acted"]:
            env.env.step(action)
    keeper.restore(env.unwrapped, world)
    for layer, memo in zip(layers(env), held, strict=True):
        row = getattr(layer, "row", None)
        vars(layer).update(copy.deepcopy(memo))
        if row is not None:
            layer.row = row  # A snapshot may come from another row.
    return copy.deepcopy(seen)


def change(env: Any, changes: Mapping[str, Any]) -> Any:
    """Edits a row; returns what it sees then, through its wrappers."""
    if env.seen is None:
        raise InvalidInput("This row has not begun an episode yet: there is no state to edit.")
    outside = [layer for layer in layers(env) if remakes_observation(layer)]
    if outside:
        raise InvalidInput(
            f"{type(outside[0]).__name__} makes observations from more than the state of the "
            "moment, so an edited one cannot be shown."
        )
    observation = keeper_of(env).edit(env.unwrapped, changes)
    for layer in reversed(layers(env)):
        if isinstance(layer, gymnasium.ObservationWrapper):
            observation = layer.observation(observation)
    return observation


def remakes_observation(layer: Any) -> bool:
    """Whether a wrapper changes observations, and not one by one."""
    if isinstance(layer, gymnasium.ObservationWrapper):
        return False
    return layer.observation_space != layer.env.observation_space


def names_of(env: Any) -> tuple[str, ...]:
    """What can be edited in a row."""
    return keeper_of(env).names(env.unwrapped)

"""Procgen in rows, over its own batches: the seed of an episode is the number of its level.

    make("procgen-heist-v0", 16, distribution_mode="easy")

Procgen seeds a whole batch and goes on to a next level by itself. Here the first state of level s
is made once, aside, and written into whichever row plays it, so an episode is the same in any row.
A level that ends is replaced within the same step: what an ended row observes until its reset is
the first frame of a level that nobody plays. There are 2**31 - 1 levels; the seeds beyond are
hashed to one of them (see `seeds.py`).

Levels of heist, maze and coinrun can be edited (snapshots.edit): the agent and things moved, walls
put and taken away. What would stand in a wall is refused.
"""

import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from jaxtyping import Int, UInt8

from policyscope.envs.environment import Environment, Transition
from policyscope.envs.procgen_state import SPACE, WALL, Level, build, parse
from policyscope.envs.seeds import game_seed
from policyscope.errors import InvalidInput, MissingExtra

PREFIX = "procgen-"
INSTALL = (
    "procgen is not installed. It asks for numpy below 2 but runs on 2, so it goes in by itself: "
    "pip install 'policyscope[procgen]' && pip install --no-deps procgen-mirror gym3"
)
COLOURS = ("blue", "green", "red")
PLAYER, LOCK, KEY, GEM = 0, 1, 2, 9
"""Types of entities in heist; locks and keys have their colour as theme."""
CHEESE, COIN = 2, 1
"""Values of a grid's cell in maze and coinrun."""
Cell = tuple[int, int]


def load() -> Any:
    """Procgen's module of environments, without the registration in the old gym it begins with."""
    if "procgen.env" in sys.modules:
        return sys.modules["procgen.env"]
    spec = importlib.util.find_spec("procgen")
    if spec is None or spec.submodule_search_locations is None:
        raise MissingExtra(INSTALL)
    package = ModuleType("procgen")
    package.__path__ = list(spec.submodule_search_locations)
    package.__spec__ = spec
    fresh = "procgen" not in sys.modules
    sys.modules.setdefault("procgen", package)
    try:
        return importlib.import_module("procgen.env")
    except ImportError as error:
        raise MissingExtra(f"{INSTALL} ({error})") from error
    finally:
        if fresh:
            # Whoever imports it later gets the whole package.
            del sys.modules["procgen"]


def is_procgen(id: str) -> bool:
    """Whether `id` is a game of Procgen."""
    return id.startswith(PREFIX)


@lru_cache(maxsize=1024)
def first_state(game: str, seed: int, options: tuple[tuple[str, Any], ...]) -> bytes:
    """The state in which level `seed` begins."""
    maker = load().ProcgenGym3Env(
        num=1,
        env_name=game,
        start_level=seed,
        num_levels=1,
        rand_seed=seed,
        num_threads=0,
        **dict(options),
    )
    state = maker.get_state()[0]
    maker.close()
    return state


class Procgen(Environment):
    """Rows of one game; `level(row)` is what it looks like inside."""

    def __init__(self, id: str, rows: int, /, *, threads: int = 4, **arguments: Any) -> None:
        module = load()
        self.game = id.removeprefix(PREFIX).rpartition("-v")[0]
        if self.game not in module.ENV_NAMES:
            raise InvalidInput(f"{id} is no game of Procgen. Known: {', '.join(module.ENV_NAMES)}.")
        refused = {"start_level", "num_levels", "rand_seed"} & set(arguments)
        if refused:
            raise InvalidInput(
                f"{id} takes no {', '.join(sorted(refused))}: the seed of an episode is its level."
            )
        self._options = tuple(sorted(arguments.items()))
        try:
            self._env = module.ProcgenGym3Env(
                num=rows, env_name=self.game, rand_seed=0, num_threads=threads, **arguments
            )
        except (AssertionError, TypeError) as error:
            raise InvalidInput(f"{id} cannot be made with {arguments}: {error}") from error
        self.id = id
        self.arguments = arguments
        self.rows = rows
        self.observation_space = Box(0, 255, (64, 64, 3), np.uint8)
        self.action_space = Discrete(len(module.ProcgenGym3Env.get_combos(None)))
        self.observation: UInt8[np.ndarray, "row 64 64 3"] = np.zeros((rows, 64, 64, 3), np.uint8)
        self.editable = tuple(PLACES.get(self.game, ()))
        self._levels: dict[int, Level] = {}
        self._elapsed = np.zeros(rows, np.int64)
        self._timeout = np.full(rows, np.iinfo(np.int64).max)

    def reset(self, rows: Int[np.ndarray, " begun"], seeds: Sequence[int]) -> None:
        """Begins the level of seeds[i] in row i; see Environment."""
        for row, seed in zip(rows, seeds, strict=True):
            if seed < 0:
                raise InvalidInput(f"There is no level {seed}; expected 0 or more.")
            self._write(int(row), first_state(self.game, game_seed(int(seed)), self._options))
        self._look()

    def step(self, action: Int[np.ndarray, " row"]) -> Transition:
        """Acts once in every row; see Environment."""
        self._env.act(np.asarray(action))
        self._elapsed += 1
        reward, seen, first = self._env.observe()
        self.observation = seen["rgb"].copy()
        self._levels.clear()
        ended = first.astype(np.bool_)
        truncated = ended & (self._elapsed >= self._timeout) & (reward <= 0)
        return Transition(reward.astype(np.float32), ended & ~truncated, truncated)

    def picture(self, row: int) -> UInt8[np.ndarray, "64 64 3"]:
        return self.observation[row].copy()

    def close(self) -> None:
        """Frees the games."""
        self._env.close()

    def level(self, row: int) -> Level:
        """The level of one row as it is now; read once a step."""
        if row not in self._levels:
            self._levels[row] = parse(self.state(row))
        return self._levels[row]

    def state(self, row: int) -> bytes:
        """The bytes of one row's level."""
        size = load().MAX_STATE_SIZE
        if not hasattr(self, "_buffer"):
            self._buffer = self._env._ffi.new(f"char[{size}]")
        length = self._env.call_c_func("get_state", row, self._buffer, size)
        return bytes(self._env._ffi.buffer(self._buffer, length))

    def save(self, row: int) -> tuple[bytes, int, int]:
        """The state of one row, how many steps it has made and may make; see snapshots."""
        return self.state(row), int(self._elapsed[row]), int(self._timeout[row])

    def restore(self, row: int, saved: tuple[bytes, int, int]) -> None:
        """Puts one row back into a saved state; see snapshots."""
        self._write(row, saved[0])
        self._elapsed[row], self._timeout[row] = saved[1:]
        self._look()

    def edit(self, row: int, changes: Mapping[str, Any]) -> None:
        """Moves the agent, things and walls of one row's level; see snapshots."""
        level, elapsed = parse(self.state(row)), self._elapsed[row]
        for name, value in changes.items():
            if name == "walls":
                for cell, is_wall in value.items():
                    build_wall(level, cell_of(level, cell), bool(is_wall))
        for name, value in changes.items():
            if name != "walls":
                place(level, name, cell_of(level, value))
        self._write(row, build(level))
        self._elapsed[row] = elapsed
        self._look()

    def _write(self, row: int, state: bytes) -> None:
        self._env.call_c_func("set_state", row, state, len(state))
        self._elapsed[row] = 0
        self._levels.clear()
        self._timeout[row] = parse(state).fields["timeout"]

    def _look(self) -> None:
        self.observation = self._env.observe()[1]["rgb"].copy()


# ── Moving things ────────────────────────────────────────────────────────────────────────────────


PLACES: dict[str, dict[str, tuple[str, int, int | None]]] = {
    "heist": {
        "agent": ("entity", PLAYER, None),
        "gem": ("entity", GEM, None),
        **{f"{colour}_key": ("entity", KEY, theme) for theme, colour in enumerate(COLOURS)},
        **{f"{colour}_lock": ("entity", LOCK, theme) for theme, colour in enumerate(COLOURS)},
        "walls": ("grid", WALL, None),
    },
    "maze": {
        "agent": ("entity", PLAYER, None),
        "cheese": ("grid", CHEESE, None),
        "walls": ("grid", WALL, None),
    },
    "coinrun": {"agent": ("entity", PLAYER, None), "coin": ("grid", COIN, None)},
}
"""What can be moved, by game: an entity of a type and theme, or a value in the grid."""


def where(level: Level, name: str) -> tuple[float, float] | None:
    """The middle of a thing in cells; None where it is not there (any more)."""
    kind, value, theme = PLACES[level.game][name]
    if kind == "entity":
        found = level.find(value, theme)
        if not len(found):
            return None
        one = level.entities[found[0]]
        return float(one["x"]), float(one["y"])
    y, x = np.nonzero(level.grid == value)
    return (float(x[0]) + 0.5, float(y[0]) + 0.5) if len(x) else None


def cell_of(level: Level, cell: Any) -> Cell:
    """The cell as two whole numbers inside the level."""
    x, y = (int(number) for number in cell)
    height, width = level.grid.shape
    if not (0 <= x < width and 0 <= y < height):
        raise InvalidInput(f"({x}, {y}) is outside the level of {width}×{height} cells.")
    return x, y


def occupant(level: Level, cell: Cell, ignored: str) -> str | None:
    """What stands in a cell, besides what is to be moved."""
    for name in PLACES[level.game]:
        found = None if name in (ignored, "walls") else where(level, name)
        if found is not None and (int(found[0]), int(found[1])) == cell:
            return name
    return None


def place(level: Level, name: str, cell: Cell) -> None:
    """Moves a thing to the middle of a cell."""
    x, y = cell
    before = where(level, name)
    if before is None:
        raise InvalidInput(f"There is no {name.replace('_', ' ')} in this level to move.")
    if level.grid[y, x] not in (SPACE, CHEESE, COIN):
        raise InvalidInput(f"{name} cannot be at ({x}, {y}): there is a wall.")
    taken = occupant(level, cell, name)
    # The agent may stand on what it can take, not in a lock.
    if taken is not None and (name != "agent" or taken.endswith("_lock")):
        raise InvalidInput(f"{name} cannot be at ({x}, {y}): the {taken} is there.")
    kind, value, theme = PLACES[level.game][name]
    if kind == "entity":
        index = level.find(value, theme)[0]
        level.entities["x"][index] = x + 0.5
        level.entities["y"][index] = y + 0.5
        level.entities["vx"][index] = level.entities["vy"][index] = 0.0
    else:
        level.grid[int(before[1]), int(before[0])] = SPACE
        level.grid[y, x] = value


def build_wall(level: Level, cell: Cell, is_wall: bool) -> None:
    """Puts a wall into a cell, or takes it away."""
    x, y = cell
    taken = occupant(level, cell, "walls")
    if is_wall and taken is not None:
        raise InvalidInput(f"No wall can be at ({x}, {y}): the {taken} is there.")
    level.grid[y, x] = WALL if is_wall else SPACE


def in_rows_only(**_: Any) -> gymnasium.Env[Any, Any]:
    """Refuses to make a single environment of Gymnasium's kind."""
    raise InvalidInput("Procgen is made in rows here: policyscope.envs.make.make(id, rows).")


def register() -> None:
    """Makes the ids of all games known."""
    for game in load().ENV_NAMES:
        id = f"{PREFIX}{game}-v0"
        if id not in gymnasium.registry:
            gymnasium.register(id, in_rows_only)

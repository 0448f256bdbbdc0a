"""Atari in rows, one emulator per row: frame for frame what the C++ vector environment shows, and
the console's memory besides, which can be read, saved, restored and written.

A step costs what it costs in C++, on one thread: nearly all of it is the emulator's. A reset costs
a hundredth, because no cartridge is read again (see `console.py`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete
from jaxtyping import Int, UInt8

from policyscope.envs.atari import find_game
from policyscope.envs.console import Console, ConsoleState
from policyscope.envs.environment import Environment, Transition
from policyscope.envs.seeds import game_seed
from policyscope.envs.shrinking import Shrinking
from policyscope.errors import InvalidInput, MissingExtra

try:
    import ale_py
except ImportError as error:  # pragma: no cover (tests have it, or skip)
    raise MissingExtra.of("ale-py", "atari") from error

RAM_SIZE = 128


class Emulators(Environment):
    """Rows of one game with `ram`, [row, 128], the console's memory as it is now."""

    editable = ("ram",)

    def __init__(self, id: str, rows: int, /, **arguments: Any) -> None:
        self.game = find_game(id, arguments)
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
        self.consoles = [Console(self.game) for _ in range(rows)]
        self.id = id
        self.arguments = {**arguments, "ram": True}
        self.rows = rows
        one = self.consoles[0]
        self.observation_space = Box(0, 255, one.frames.shape, np.uint8)
        self.action_space = Discrete(len(one.actions))
        self._ram: UInt8[np.ndarray, "row 128"] | None = None
        self.observation: UInt8[np.ndarray, "row ..."] = np.zeros(
            (rows, *one.frames.shape), np.uint8
        )
        self._raw: UInt8[np.ndarray, "row two ..."] = np.zeros((rows, *one.raw.shape), np.uint8)
        self._connect()
        seen = self.game.screening
        self._shrink = Shrinking(
            (one.raw.shape[1], one.raw.shape[2]), (seen.img_height, seen.img_width)
        )

    @property
    def ram(self) -> UInt8[np.ndarray, "row 128"]:
        """The consoles' memory."""
        if self._ram is None:
            self._ram = np.stack([console.ale.getRAM() for console in self.consoles])
        return self._ram

    @property
    def lives(self) -> Int[np.ndarray, " row"]:
        """How many lives each row has left."""
        return np.array([console.lives for console in self.consoles], np.int32)

    def screen(self, row: int) -> UInt8[np.ndarray, "height width 3"]:
        """What the television shows."""
        return self.consoles[row].ale.getScreenRGB()

    def picture(self, row: int) -> UInt8[np.ndarray, "height width 3"]:
        return self.screen(row)

    def reset(self, rows: Int[np.ndarray, " begun"], seeds: Sequence[int]) -> None:
        """Begins an episode in each of `rows`; see Environment."""
        for row, seed in zip(rows, seeds, strict=True):
            self.consoles[row].reset(game_seed(int(seed)))
        self._show([self.consoles[row] for row in rows], self._raw[rows, 0])

    def step(self, action: Int[np.ndarray, " row"]) -> Transition:
        """Acts once in every row; see Environment."""
        reward = np.zeros(self.rows, np.float32)
        terminated, truncated = np.zeros((2, self.rows), np.bool_)
        for row, (console, pressed) in enumerate(zip(self.consoles, action.tolist(), strict=True)):
            reward[row], terminated[row], truncated[row] = console.step(pressed)
        self._show(self.consoles, self._raw[:, 0])
        return Transition(reward, terminated, truncated)

    def keep(self, rows: Int[np.ndarray, " kept"]) -> bool:
        """Goes on with these rows only; see Environment."""
        self.consoles = [self.consoles[row] for row in rows]
        self.observation, self._raw = self.observation[rows], self._raw[rows]
        self._connect()
        self.rows = len(self.consoles)
        self._tell()
        return True

    def save(self, row: int) -> ConsoleState:
        """The state of one row; see snapshots."""
        return self.consoles[row].save()

    def restore(self, row: int, saved: ConsoleState) -> None:
        """Puts one row back into a saved state; see snapshots."""
        self.consoles[row].restore(saved)
        self._tell()

    def edit(self, row: int, changes: Mapping[str, Any]) -> None:
        """Writes `ram={index: value}` into one row's memory; seen from the next frame on."""
        for index, value in changes["ram"].items():
            if not 0 <= index < RAM_SIZE or not 0 <= value < 256:
                raise InvalidInput(
                    f"ram[{index}] = {value} is out of range; expected an index below {RAM_SIZE} "
                    "and a value below 256."
                )
        for index, value in changes["ram"].items():
            self.consoles[row].write(int(index), int(value))
        self._tell()

    def _connect(self) -> None:
        """Lets each console write its frames where the agent reads them, its screen beside them."""
        for console, frames, raw in zip(self.consoles, self.observation, self._raw, strict=True):
            console.frames, console.raw = frames, raw

    def _show(
        self, consoles: Sequence[Console], screens: UInt8[np.ndarray, "shown height width ..."]
    ) -> None:
        """Puts what each of `consoles` has on its screen before the agent."""
        for console, frame in zip(consoles, self._shrink(screens), strict=True):
            console.see(frame)
        self._tell()

    def _tell(self) -> None:
        self._ram = None
        self.info = {"lives": self.lives}

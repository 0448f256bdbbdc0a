"""Atari in rows, one emulator per row: frame for frame what the C++ vector environment shows, and
the console's memory besides, which can be read, saved, restored and written.

An emulator after switching on depends on the seed only through its random numbers, so a reset is
a restored state, not the reading of a cartridge: 0.1 ms instead of 85.
"""

import atexit
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete
from jaxtyping import Float32, Int, UInt8

from policyscope.envs.atari import Game, find_game
from policyscope.envs.environment import Environment, Transition
from policyscope.envs.seeds import game_seed
from policyscope.errors import InvalidInput, MissingExtra

try:
    import ale_py
    from ale_py.roms import get_rom_path
except ImportError as error:  # pragma: no cover (tests have it, or skip)
    raise MissingExtra.of("ale-py", "atari") from error

RAM_SIZE = 128

Pressed = int | tuple[int, int]
"""What was done to a console: an action, or an (index, value) written into its memory."""


@dataclass(frozen=True)
class ConsoleState:
    """Everything that decides a console's future.

    With sticky actions the emulator does not tell which action it last obeyed. Such a console is
    known by its seed and by all that was `pressed` since, and is restored by doing it again.
    """

    seed: int
    state: Any
    frames: UInt8[np.ndarray, "..."]
    raw: UInt8[np.ndarray, "two ..."]
    lives: int
    elapsed: int
    pressed: tuple[Pressed, ...]


class Console:
    """One emulator and its preprocessing, step for step as in AtariVectorEnv."""

    def __init__(self, game: Game) -> None:
        self.screening = game.screening
        self.path = get_rom_path(game.rom)
        if self.path is None:
            raise InvalidInput(f"ale-py has no cartridge called {game.rom!r}.")
        self.ale = ale_py.ALEInterface()
        self.ale.setFloat("repeat_action_probability", game.screening.repeat_action_probability)
        self.ale.setInt("random_seed", 0)
        self.ale.loadROM(self.path)
        full = game.screening.full_action_space
        self.actions = self.ale.getLegalActionSet() if full else self.ale.getMinimalActionSet()
        self.fires = game.screening.use_fire_reset and ale_py.Action.FIRE in self.actions
        channels = () if game.screening.grayscale else (3,)
        size = (game.screening.img_height, game.screening.img_width)
        self.frames = np.zeros((game.screening.stack_num, *size, *channels), np.uint8)
        self.raw = np.zeros((2, *self.ale.getScreenDims(), *channels), np.uint8)
        self.is_sticky = game.screening.repeat_action_probability > 0
        self.shrink = Shrinking((self.raw.shape[1], self.raw.shape[2]), size)
        self.is_over = True

    def reset(self, seed: int) -> None:
        """Switches on, starts the game and waits the number of frames that the seed says."""
        self._boot(seed)
        self.seed = seed
        self.pressed: list[Pressed] = []
        if self.fires:
            self.ale.act(ale_py.Action.FIRE)
        for _ in range(waited_frames(seed, self.screening.noop_max) - self.fires):
            self.ale.act(ale_py.Action.NOOP)
            if self.ale.game_over():
                self.ale.reset_game()
        self.frames[:] = 0
        self.raw[1] = 0
        self._look(0)
        self._push()
        self.elapsed = 0
        self.lives = self.ale.lives()
        self.is_over = False

    def step(self, action: int) -> tuple[float, bool, bool]:
        """Presses a button for some frames; returns reward, terminated and truncated."""
        screening = self.screening
        if self.is_sticky:
            self.pressed.append(action)
        pressed, reward, terminated, truncated = self.actions[action], 0, False, False
        for left in range(screening.frameskip, 0, -1):
            reward += self.ale.act(pressed)
            self.elapsed += 1
            has_lost_life = 0 < self.ale.lives() < self.lives
            terminated = self.ale.game_over() or (screening.episodic_life and has_lost_life)
            truncated = self.elapsed >= screening.max_num_frames_per_episode
            if terminated or truncated:
                break
            if left <= 2:
                self._look(left - 1)
        self._push()
        self.lives = self.ale.lives()
        self.is_over = terminated or truncated
        if screening.reward_clipping:
            reward = min(max(reward, -1), 1)
        return float(reward), terminated, truncated and not terminated

    def write(self, index: int, value: int) -> None:
        """Puts a byte into the memory; the screen shows it from the next frame on."""
        self.ale.setRAM(index, value)
        if self.is_sticky:
            self.pressed.append((index, value))

    def save(self) -> ConsoleState:
        """Everything that decides what happens next."""
        return ConsoleState(
            seed=self.seed,
            state=None if self.is_sticky else self.ale.cloneState(include_rng=True),
            frames=self.frames.copy(),
            raw=self.raw.copy(),
            lives=self.lives,
            elapsed=self.elapsed,
            pressed=tuple(self.pressed),
        )

    def restore(self, saved: ConsoleState) -> None:
        """Goes back to a saved state, by doing all of it again where actions stick."""
        if self.is_sticky:
            self.reset(saved.seed)
            for pressed in saved.pressed:
                if isinstance(pressed, tuple):
                    self.write(*pressed)
                else:
                    self.step(pressed)
        else:
            self.ale.restoreState(saved.state)
        self.seed = saved.seed
        self.pressed = list(saved.pressed)
        self.frames[:] = saved.frames
        self.raw[:] = saved.raw
        self.lives = saved.lives
        self.elapsed = saved.elapsed
        self.is_over = self.ale.game_over()

    def _boot(self, seed: int) -> None:
        if self.is_sticky:
            self.ale.reset_game()  # It also lets go of the last button.
        self.ale.restoreState(
            boot_state(
                self.path,
                seed if self.is_sticky else 0,
                self.screening.repeat_action_probability,
            )
        )

    def _look(self, slot: int) -> None:
        screen = self.ale.getScreenGrayscale if self.screening.grayscale else self.ale.getScreenRGB
        self.raw[slot] = screen()

    def _push(self) -> None:
        if self.screening.maxpool:
            np.maximum(self.raw[0], self.raw[1], out=self.raw[0])
        self.frames[:-1] = self.frames[1:]
        self.frames[-1] = self.shrink(self.raw[0])


@lru_cache(maxsize=4096)
def boot_state(path: Any, seed: int, repeat_action_probability: float) -> Any:
    """The state of a console that was just switched on."""
    console = ale_py.ALEInterface()
    console.setFloat("repeat_action_probability", repeat_action_probability)
    console.setInt("random_seed", seed)
    console.loadROM(path)
    console.reset_game()
    return console.cloneState(include_rng=True)


# ale-py complains of states that outlive the interpreter.
atexit.register(boot_state.cache_clear)


def waited_frames(seed: int, noop_max: int) -> int:
    """How many frames an episode begins with doing nothing: below noop_max, as the C++ draws it."""
    if noop_max == 0:
        return 0
    generator = np.random.MT19937()
    generator._legacy_seeding(seed)  # The seeding of C++'s std::mt19937.
    # Multiply and shift, with libstdc++'s rejection of the few draws that would bias it.
    limit = (2**32 - noop_max) % noop_max
    while True:
        product = int(generator.random_raw()) * noop_max
        if product % 2**32 >= limit:
            return product >> 32


class Shrinking:
    """Resizes a frame by averaging areas, in the order of sums of OpenCV's INTER_AREA.

    The order matters: averages often lie half way between two grey levels, where the last bit of a
    sum decides.
    """

    def __init__(self, source: tuple[int, int], target: tuple[int, int]) -> None:
        self.target = target
        self.is_identity = source == target
        if any(big < small for big, small in zip(source, target, strict=True)):
            raise InvalidInput(
                f"Frames of {source[0]}×{source[1]} can be shrunk, not grown to "
                f"{target[0]}×{target[1]}."
            )
        self.down, self.down_weight = area_weights(source[0], target[0])
        self.across, self.across_weight = area_weights(source[1], target[1])

    def __call__(self, frame: UInt8[np.ndarray, "..."]) -> UInt8[np.ndarray, "..."]:
        """The frame at its new size."""
        if self.is_identity:
            return frame
        deep = frame.reshape(*frame.shape[:2], -1)
        # Few distinct rows: an Atari screen repeats them, but finding out costs more than summing.
        wide = deep.astype(np.float32)
        narrow = weighted_sum(wide.transpose(1, 0, 2), self.across, self.across_weight)
        small = weighted_sum(narrow.transpose(1, 0, 2), self.down, self.down_weight)
        return np.rint(small).astype(np.uint8).reshape(*self.target, *frame.shape[2:])


def weighted_sum(
    values: Float32[np.ndarray, "source ..."],
    index: Int[np.ndarray, "part target"],
    weight: Float32[np.ndarray, "part target"],
) -> Float32[np.ndarray, "target ..."]:
    """Σ weight · values[index] over the parts, in their order."""
    shape = (-1, *[1] * (values.ndim - 1))
    total = values[index[0]] * weight[0].reshape(shape)
    for part in range(1, len(index)):
        total += values[index[part]] * weight[part].reshape(shape)
    return total


def area_weights(
    source: int, target: int
) -> tuple[Int[np.ndarray, "part target"], Float32[np.ndarray, "part target"]]:
    """Which source pixels each target pixel covers, and what share of it each is."""
    scale = source / target
    cells: list[list[tuple[int, float]]] = []
    for place in range(target):
        first, last = place * scale, place * scale + scale
        width = min(scale, source - first)
        begin = int(np.ceil(first))
        end = min(int(np.floor(last)), source - 1)
        begin = min(begin, end)
        cell: list[tuple[int, float]] = []
        if begin - first > 1e-3:  # OpenCV's own tolerance.
            cell.append((begin - 1, (begin - first) / width))
        cell.extend((pixel, 1.0 / width) for pixel in range(begin, end))
        if last - end > 1e-3:
            cell.append((end, min(min(last - end, 1.0), width) / width))
        cells.append(cell)
    parts = max(map(len, cells))
    # A weight of zero adds exactly nothing.
    padded = [cell + [(cell[-1][0], 0.0)] * (parts - len(cell)) for cell in cells]
    index = np.array([[pixel for pixel, _ in cell] for cell in padded])
    weight = np.array([[share for _, share in cell] for cell in padded], np.float32)
    return np.ascontiguousarray(index.T), np.ascontiguousarray(weight.T)


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
        # Each console writes its frames where the agent reads them.
        self.observation: UInt8[np.ndarray, "row ..."] = np.zeros(
            (rows, *one.frames.shape), np.uint8
        )
        for console, frames in zip(self.consoles, self.observation, strict=True):
            console.frames = frames

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
        self._tell()

    def step(self, action: Int[np.ndarray, " row"]) -> Transition:
        """Acts once in every row; see Environment."""
        reward = np.zeros(self.rows, np.float32)
        terminated, truncated = np.zeros((2, self.rows), np.bool_)
        for row, console in enumerate(self.consoles):
            reward[row], terminated[row], truncated[row] = console.step(int(action[row]))
        self._tell()
        return Transition(reward, terminated, truncated)

    def keep(self, rows: Int[np.ndarray, " kept"]) -> bool:
        """Goes on with these rows only; see Environment."""
        self.consoles = [self.consoles[row] for row in rows]
        self.observation = self.observation[rows]
        for console, frames in zip(self.consoles, self.observation, strict=True):
            console.frames = frames
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

    def _tell(self) -> None:
        self._ram = None
        self.info = {"lives": self.lives}

"""One Atari console: its emulator, what AtariVectorEnv would show of it, and its whole state.

An emulator after switching on depends on the seed only through its random numbers, so a reset is
a restored state with the numbers of its seed: 0.1 ms, or 6 where actions stick. Reading the
cartridge again, as ale-py does for every seed, takes 100.
"""

import atexit
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from policyscope.envs.atari import Game
from policyscope.errors import InvalidInput, MissingExtra

try:
    import ale_py
    from ale_py.roms import get_rom_path
except ImportError as error:  # pragma: no cover (tests have it, or skip)
    raise MissingExtra.of("ale-py", "atari") from error

TEMPLATE_SEED = 0
STATE_TEXT = 24
"""Where the length of a serialized state's text stands."""

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
    """One emulator and what it shows, step for step as in AtariVectorEnv.

    `reset` and `step` leave the screen in `raw[0]`. Whoever called them shrinks it and lets the
    console `see` it: many screens are shrunk at once for half of what they cost one by one.
    """

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
        actions = self.ale.getLegalActionSet() if full else self.ale.getMinimalActionSet()
        self.fires = game.screening.use_fire_reset and ale_py.Action.FIRE in actions
        self.actions = [action.value for action in actions]
        channels = () if game.screening.grayscale else (3,)
        size = (game.screening.img_height, game.screening.img_width)
        self.frames = np.zeros((game.screening.stack_num, *size, *channels), np.uint8)
        self.raw = np.zeros((2, *self.ale.getScreenDims(), *channels), np.uint8)
        self.is_sticky = game.screening.repeat_action_probability > 0
        self.is_over = True

    def reset(self, seed: int) -> None:
        """Switches on, starts the game and waits the number of frames that the seed says."""
        if self.is_sticky:
            self.ale.reset_game()  # It also lets go of the last button.
        self.ale.restoreState(
            boot_state(
                self.path,
                seed if self.is_sticky else 0,
                self.screening.repeat_action_probability,
            )
        )
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
        self._pool()
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
            terminated = self.ale.game_over() or (screening.episodic_life and self._lost_life())
            truncated = self.elapsed >= screening.max_num_frames_per_episode
            if terminated or truncated:
                break
            if left <= 2:
                self._look(left - 1)
        self._pool()
        self.lives = self.ale.lives()
        self.is_over = terminated or truncated
        if screening.reward_clipping:
            reward = min(max(reward, -1), 1)
        return float(reward), terminated, truncated and not terminated

    def see(self, frame: UInt8[np.ndarray, "..."]) -> None:
        """Puts the newest frame onto the stack."""
        flat = self.frames.reshape(-1)
        flat[: -frame.size] = flat[frame.size :]
        self.frames[-1] = frame

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
                    self.step(pressed)  # What it showed is in what was saved.
        else:
            self.ale.restoreState(saved.state)
        self.seed = saved.seed
        self.pressed = list(saved.pressed)
        self.frames[:] = saved.frames
        self.raw[:] = saved.raw
        self.lives = saved.lives
        self.elapsed = saved.elapsed
        self.is_over = self.ale.game_over()

    def _lost_life(self) -> bool:
        return 0 < self.ale.lives() < self.lives

    def _look(self, slot: int) -> None:
        screen = self.ale.getScreenGrayscale if self.screening.grayscale else self.ale.getScreenRGB
        screen(self.raw[slot])

    def _pool(self) -> None:
        if self.screening.maxpool:
            np.maximum(self.raw[0], self.raw[1], out=self.raw[0])


@lru_cache(maxsize=4096)
def boot_state(path: Path, seed: int, repeat_action_probability: float) -> Any:
    """The state of a console that was just switched on."""
    if seed == TEMPLATE_SEED:
        return switch_on(path, seed, repeat_action_probability)
    template = boot_state(path, TEMPLATE_SEED, repeat_action_probability).serialize()
    state = reseeded(template, TEMPLATE_SEED, seed)
    if state is None:  # Some other version of ale-py keeps its states otherwise.
        return switch_on(path, seed, repeat_action_probability)
    return ale_py.ALEState(state)


# ale-py complains of states that outlive the interpreter.
atexit.register(boot_state.cache_clear)


def switch_on(path: Path, seed: int, repeat_action_probability: float) -> Any:
    """The state of a console that is switched on now; reading the cartridge takes 0.1 s."""
    console = ale_py.ALEInterface()
    console.setFloat("repeat_action_probability", repeat_action_probability)
    console.setInt("random_seed", seed)
    console.loadROM(path)
    console.reset_game()
    return console.cloneState(include_rng=True)


def reseeded(state: bytes, old: int, new: int) -> bytes | None:
    """A state that holds the fresh random numbers of seed `old`, with those of `new` instead.

    None where it holds no such numbers. They are the last part of a text, and written out as
    text themselves; before each text stands its length.
    """
    before, after = fresh_numbers(old), fresh_numbers(new)
    begin = state.find(before)
    if begin < 0 or state.count(before) > 1:
        return None
    length = int.from_bytes(state[STATE_TEXT : STATE_TEXT + 4], "little")
    inner = int.from_bytes(state[begin - 4 : begin], "little")
    if inner != len(before) or STATE_TEXT + 4 + length != begin + len(before):
        return None
    longer = len(after) - len(before)
    return b"".join(
        (
            state[:STATE_TEXT],
            (length + longer).to_bytes(4, "little"),
            state[STATE_TEXT + 4 : begin - 4],
            len(after).to_bytes(4, "little"),
            after,
            state[begin + len(before) :],
        )
    )


def fresh_numbers(seed: int) -> bytes:
    """C++'s std::mt19937 just after seeding, as it writes itself out."""
    state = twister(seed).state["state"]
    return " ".join(map(str, (*state["key"].tolist(), state["pos"]))).encode()


def twister(seed: int) -> np.random.MT19937:
    """C++'s std::mt19937 just after seeding."""
    generator = np.random.MT19937()
    generator._legacy_seeding(seed)
    return generator


def waited_frames(seed: int, noop_max: int) -> int:
    """How many frames an episode begins with doing nothing: below noop_max, as the C++ draws it."""
    if noop_max == 0:
        return 0
    generator = twister(seed)
    # Multiply and shift, with libstdc++'s rejection of the few draws that would bias it.
    limit = (2**32 - noop_max) % noop_max
    while True:
        product = int(generator.random_raw()) * noop_max
        if product % 2**32 >= limit:
            return product >> 32

"""Atari in rows, over ale-py's C++ vector environment: 84×84 grey frames, four of them stacked.

    make("ALE/MsPacman-v5", 16)                        # sticky actions, as its id says
    make("MsPacmanNoFrameskip-v4", 16)                 # none
    make("ALE/MsPacman-v5", 16, ram=True)              # the same frames, and the console's memory

Rewards are the game's own: clipping is for training, and a clipped return is no score. The C++
environment resets single rows with seeds of their own, so an episode is the same alone and among
others; but it reads the cartridge again for each, which takes 0.1 s, and it cannot show the
console's memory, which is what `emulator.py` is for. Consoles take seeds below 2**31 - 1; larger
ones are hashed (see `seeds.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import gymnasium
import numpy as np
from jaxtyping import Int, UInt8

from policyscope.envs.environment import Environment, Transition
from policyscope.envs.seeds import game_seed
from policyscope.errors import InvalidInput, MissingExtra

try:
    import ale_py
    from ale_py.roms import get_rom_path
    from ale_py.vector_env import AtariVectorEnv
except ImportError as error:  # pragma: no cover (tests have it, or skip)
    raise MissingExtra.of("ale-py", "atari") from error

ENTRY_POINT = "ale_py.env:AtariEnv"
SKIPPED = 4
TOLD = ("lives", "frame_number", "episode_frame_number")


@dataclass(frozen=True)
class Screening:
    """How a game is started, clocked and seen; the names are AtariVectorEnv's."""

    frameskip: int = SKIPPED
    repeat_action_probability: float = 0.0
    full_action_space: bool = False
    max_num_frames_per_episode: int = 108_000
    img_height: int = 84
    img_width: int = 84
    grayscale: bool = True
    stack_num: int = 4
    maxpool: bool = True
    noop_max: int = 30
    use_fire_reset: bool = True
    episodic_life: bool = False
    reward_clipping: bool = False

    def __post_init__(self) -> None:
        if self.frameskip < 1:
            raise InvalidInput(f"frameskip is {self.frameskip}; expected at least 1.")
        if self.stack_num < 1 or self.img_height < 1 or self.img_width < 1 or self.noop_max < 0:
            raise InvalidInput(f"{self} has a size below 1, or noop_max below 0.")
        if not 0 <= self.repeat_action_probability <= 1:
            raise InvalidInput(
                f"repeat_action_probability is {self.repeat_action_probability}; expected 0 to 1."
            )


@dataclass(frozen=True)
class Game:
    """What an Atari id stands for: a cartridge, and what the id says about playing it."""

    rom: str
    screening: Screening


ARGUMENTS = frozenset({*Screening.__dataclass_fields__, "ram", "threads"})


def is_atari(id: str) -> bool:
    """Whether `id` is a game of ale-py that the preprocessed forms can play."""
    spec = gymnasium.registry.get(id)
    return (
        spec is not None
        and spec.entry_point == ENTRY_POINT
        # The oldest ids skip a random number of frames, which neither form does.
        and isinstance(spec.kwargs["frameskip"], int)
    )


def find_game(id: str, arguments: Mapping[str, Any]) -> Game:
    """The cartridge of `id`, and how it is played: as `arguments` say, else as the id does."""
    if not is_atari(id):
        raise InvalidInput(f"{id} is no Atari game with a fixed number of skipped frames.")
    unknown = sorted(set(arguments) - set(Screening.__dataclass_fields__))
    if unknown:
        raise InvalidInput(
            f"{id} takes no {', '.join(unknown)} here. Known: {', '.join(sorted(ARGUMENTS))}."
        )
    registered = dict(gymnasium.registry[id].kwargs)
    rom = registered.pop("game")
    said = {name: registered[name] for name in registered if name in Screening.__dataclass_fields__}
    if said.get("frameskip") == 1:
        # "NoFrameskip" leaves the skipping to the preprocessing, which this is.
        said["frameskip"] = SKIPPED
    return Game(rom, Screening(**{**said, **arguments}))


class Atari(Environment):
    """Rows of one game; `lives` is how many each row has left."""

    lives: Int[np.ndarray, " row"]

    def __init__(self, id: str, rows: int, /, *, threads: int = 0, **arguments: Any) -> None:
        game = find_game(id, arguments)
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
        self._env = AtariVectorEnv(
            game.rom, rows, num_threads=threads, autoreset_mode="NextStep", **asdict(game.screening)
        )
        self.id = id
        self.arguments = arguments
        self.rows = rows
        self.game = game
        self.observation_space = self._env.single_observation_space
        self.action_space = self._env.single_action_space
        shape = cast(tuple[int, ...], self.observation_space.shape)
        self.observation: UInt8[np.ndarray, "row ..."] = np.zeros((rows, *shape), np.uint8)
        self._begun = False

    def reset(self, rows: Int[np.ndarray, " begun"], seeds: Sequence[int]) -> None:
        """Begins an episode in each of `rows`; see Environment."""
        by_row = np.zeros(self.rows, np.int64)
        by_row[rows] = [game_seed(int(seed)) for seed in seeds]
        if not self._begun:
            # The first reset must reach every row; those not asked for are begun again later.
            self.observation, info = self._env.reset(seed=by_row)
        else:
            mask = np.zeros(self.rows, np.bool_)
            mask[rows] = True
            self.observation, info = self._env.reset(
                seed=by_row[mask], options={"reset_mask": mask}
            )
        self._begun = True
        self._tell(info)

    def step(self, action: Int[np.ndarray, " row"]) -> Transition:
        """Acts once in every row; see Environment."""
        self.observation, reward, terminated, truncated, info = self._env.step(action)
        self._tell(info)
        return Transition(reward.astype(np.float32), terminated, truncated & ~terminated)

    def ask(self, question: Callable[[gymnasium.Env[Any, Any]], Any]) -> list[Any]:
        raise InvalidInput(
            f"{self.id} plays in C++ here, which shows no console's memory. Make it with ram=True: "
            "the same frames, rewards and endings, from emulators that can be read."
        )

    def picture(self, row: int) -> UInt8[np.ndarray, "height width 3"]:
        raise InvalidInput(
            f"{self.id} plays in C++ here, which shows no screen. Make it with ram=True: the same "
            "frames, rewards and endings, from emulators that can be seen."
        )

    def close(self) -> None:
        """Stops the threads."""
        self._env.close()

    def _tell(self, info: Mapping[str, Any]) -> None:
        self.lives = info["lives"]
        self.info = {key: info[key] for key in TOLD}


def action_meanings(game: Game) -> tuple[str, ...]:
    """What each action presses, such as "UP" or "FIRE"."""
    console = ale_py.ALEInterface()
    console.loadROM(str(get_rom_path(game.rom)))
    full = game.screening.full_action_space
    actions = console.getLegalActionSet() if full else console.getMinimalActionSet()
    return tuple(action.name for action in actions)

"""Metrics, endings and events of Atari games, read from the console's 128 bytes of memory.

Where things are kept was found by others: the AtariARI annotations (Anand et al., 2019,
"Unsupervised State Representation Learning in Atari", arXiv 1906.08226; MIT) and OCAtari (Delfosse
et al., 2024, arXiv 2306.08649; MIT). Offsets turn the bytes into pixels of the 160×210 screen, at
the middle of what is drawn; a test holds them against the screen itself. Scores are kept in decimal
digits, two a byte.

Needs `make(…, ram=True)`, or an environment of single emulators.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt8

from policyscope.envs.ending import ending
from policyscope.envs.event import event
from policyscope.envs.metric import Metric, Step, Words, metric_family

ENTRY_POINT = "ale_py.env:AtariEnv"
MIDDLE_X, MIDDLE_Y = 80.0, 105.0
Memory = Int[np.ndarray, "row 128"]


@dataclass(frozen=True)
class Label:
    """A number of one game, and how its memory holds it."""

    name: str
    unit: str
    read: Callable[[Memory], Float[np.ndarray, " row"]]
    words: Words | None = None


def byte(index: int, offset: float = 0.0) -> Callable[[Memory], np.ndarray]:
    """One byte, moved by `offset`."""
    return lambda memory: memory[:, index] + offset


def digits(*indices: int) -> Callable[[Memory], np.ndarray]:
    """A decimal number, two digits a byte, the highest byte first."""

    def read(memory: Memory) -> Float[np.ndarray, " row"]:
        total = np.zeros(len(memory))
        for index in indices:
            total = total * 100 + (memory[:, index] >> 4) * 10 + (memory[:, index] & 15)
        return total

    return read


def bits(index: int, mask: int) -> Callable[[Memory], np.ndarray]:
    """How many of the bits in `mask` are set."""
    places = [1 << place for place in range(8) if mask >> place & 1]
    return lambda memory: np.sum([memory[:, index] & place > 0 for place in places], axis=0)


def place(thing: str, x: tuple[int, float], y: tuple[int, float] | None = None) -> list[Label]:
    """Where the middle of a thing is drawn, from its bytes and their offsets."""
    said = thing.replace("_", " ")
    labels = [
        Label(
            f"{thing}_x",
            "px",
            byte(*x),
            Words(f"{said} {{not}} {{far}} left", f"{said} {{not}} {{far}} right", MIDDLE_X),
        )
    ]
    if y is not None:
        labels.append(height(thing, y))
    return labels


def height(thing: str, y: tuple[int, float]) -> Label:
    """How far down the middle of a thing is drawn."""
    said = thing.replace("_", " ")
    return Label(
        f"{thing}_y",
        "px",
        byte(*y),
        Words(f"{said} {{not}} {{far}} up", f"{said} {{not}} {{far}} down", MIDDLE_Y),
    )


def score(read: Callable[[Memory], np.ndarray]) -> Label:
    """The score on the screen."""
    return Label("score", "points", read)


GHOSTS = {"orange_ghost": 6, "cyan_ghost": 7, "pink_ghost": 8, "red_ghost": 9}
"""Sue, Inky, Pinky and Blinky; x in this byte, y six bytes on."""
PACMAN_X, PACMAN_Y = -8.5, 5.5


def nearest_ghost(memory: Memory) -> Float[np.ndarray, " row"]:
    """The distance from the player to the ghost next to it."""
    distances = [
        np.hypot(memory[:, index] - memory[:, 10], memory[:, index + 6] - memory[:, 16])
        for index in GHOSTS.values()
    ]
    return np.min(distances, axis=0)


def signed(index: int, scale: float, offset: float) -> Callable[[Memory], np.ndarray]:
    """One byte that counts from −128 to 127."""
    return lambda memory: (memory[:, index] + 128) % 256 * scale - 128 * scale + offset


LABELS: dict[str, tuple[Label, ...]] = {
    "ms_pacman": (
        *place("player", (10, PACMAN_X), (16, PACMAN_Y)),
        *(
            label
            for ghost, index in GHOSTS.items()
            for label in place(ghost, (index, PACMAN_X), (index + 6, PACMAN_Y))
        ),
        *place("fruit", (11, PACMAN_X), (17, PACMAN_Y)),
        Label(
            "nearest_ghost_distance",
            "px",
            nearest_ghost,
            Words("a ghost {not} {very} near", "ghosts {not} {far} away", 40.0),
        ),
        Label("dots_eaten", "count", byte(119)),
        Label("power_pills_left", "count", bits(117, 0b111100)),
        Label("ghosts_count", "count", byte(19)),
        score(digits(122, 121, 120)),
    ),
    "pong": (
        # The upper and lower end of the field hide a part of the paddles, not of where they are.
        height("player", (51, -6.0)),
        height("enemy", (50, -8.0)),
        *place("ball", (49, -48.5), (54, -12.5)),
        Label("player_score", "points", byte(14)),
        Label("enemy_score", "points", byte(13)),
        score(lambda memory: memory[:, 14] - memory[:, 13]),
    ),
    "breakout": (
        *place("player", (72, -39.5)),
        *place("ball", (99, -48.5), (101, 10.5)),
        score(digits(76, 77)),
    ),
    "seaquest": (
        *place("player", (70, 7.5), (97, 36.0)),
        Label(
            "oxygen",
            "",
            byte(102),
            Words("oxygen {not} {very} low", "oxygen {not} {very} high", 32.0),
        ),
        Label("divers_collected", "count", byte(62)),
        score(digits(56, 57, 58)),
    ),
    "space_invaders": (
        *place("player", (28, 1.0)),
        *place("invaders", (26, 0.0)),
        Label("invaders_left", "count", byte(17)),
        score(digits(102, 104)),
    ),
    "enduro": (
        Label(
            "player_x",
            "px",
            signed(46, -0.5, 85.0),
            Words("car {not} {far} left", "car {not} {far} right", 85.0),
        ),
        Label("cars_to_pass", "count", digits(44, 43)),
        Label("day", "count", byte(45)),
    ),
}
"""By the name of the cartridge."""

WITHOUT_LIVES = ("pong", "enduro")


def console_memory(env: gymnasium.Env[Any, Any]) -> UInt8[np.ndarray, " 128"]:
    """The memory of one emulator."""
    return env.unwrapped.ale.getRAM()  # pyright: ignore[reportAttributeAccessIssue]


def console_lives(env: gymnasium.Env[Any, Any]) -> int:
    """How many lives are left in one emulator."""
    return env.unwrapped.ale.lives()  # pyright: ignore[reportAttributeAccessIssue]


def memory_of(step: Step) -> Memory:
    """The memory of every row."""
    ram = getattr(step.environment, "ram", None)
    return np.asarray(step.ask(console_memory) if ram is None else ram).astype(np.int64)


def read_lives(step: Step) -> Float[np.ndarray, " row"]:
    """How many lives every row has left."""
    lives = getattr(step.environment, "lives", None)
    return np.asarray(step.ask(console_lives) if lives is None else lives, np.float32)


@metric_family
def atari_metrics(environment: str) -> Sequence[Metric]:
    """The metrics of one game, none for an environment that is no game of ale-py."""
    spec = gymnasium.registry.get(environment)
    if spec is None or spec.entry_point != ENTRY_POINT:
        return ()
    game = spec.kwargs["game"]
    metrics = [
        Metric(label.name, label.unit, reader(label), (environment,), label.words)
        for label in LABELS.get(game, ())
    ]
    if game not in WITHOUT_LIVES:
        metrics.append(Metric("lives", "count", read_lives, (environment,)))
    return metrics


def reader(label: Label) -> Callable[[Step], Float[np.ndarray, " row"]]:
    """Reads one label of every row's memory."""
    return lambda step: np.asarray(label.read(memory_of(step)), np.float32)


@ending("ALE/*", "*NoFrameskip-v?", names=("game_over", "time_out"))
def game_ending(observation: Shaped[np.ndarray, "..."], terminated: bool) -> str:
    """The game ends when the last life is lost."""
    return "game_over" if terminated else "time_out"


PONG = ("ALE/Pong-v5", "PongNoFrameskip-v0", "PongNoFrameskip-v4", "Pong-v0", "Pong-v4")
PACMAN = ("ALE/MsPacman-v5", "MsPacmanNoFrameskip-v?", "MsPacman-v?")


@ending(*PONG, names=("won", "lost", "time_out"))
def pong_ending(
    observation: Shaped[np.ndarray, "..."], terminated: bool, reward: float = float("nan")
) -> str:
    """Whoever scored last has 21 points."""
    if not terminated:
        return "time_out"
    return "won" if reward > 0 else "lost"


@event("nearest_ghost_distance", environments=PACMAN)
def ghost_near(distance: np.ndarray) -> Bool[np.ndarray, " step"]:
    """A ghost is within 20 pixels of the player."""
    return distance < 20


@event("ball_x", environments=PONG)
def ball_near_player(x: np.ndarray) -> Bool[np.ndarray, " step"]:
    """The ball is in the player's quarter of the field."""
    return (x > 120) & (x < 160)


@event("ball_y", "player_y", environments=PONG)
def ball_above_player(ball: np.ndarray, player: np.ndarray) -> Bool[np.ndarray, " step"]:
    """The ball is higher than the player's paddle reaches."""
    return ball < player - 8


@event("ball_y", "player_y", environments=PONG)
def ball_below_player(ball: np.ndarray, player: np.ndarray) -> Bool[np.ndarray, " step"]:
    """The ball is lower than the player's paddle reaches."""
    return ball > player + 8


@event("oxygen", environments=("ALE/Seaquest-v5", "SeaquestNoFrameskip-v?", "Seaquest-v?"))
def oxygen_low(oxygen: np.ndarray) -> Bool[np.ndarray, " step"]:
    """Less than a quarter of the oxygen is left."""
    return oxygen < 16

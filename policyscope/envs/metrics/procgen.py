"""Metrics, endings and events of Procgen's heist, maze and coinrun, from the level itself.

Positions are in cells, x to the right and y upwards; what is not there (any more) is NaN.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

from policyscope.envs.ending import ending
from policyscope.envs.event import event
from policyscope.envs.metric import Metric, Step, Words, metric_family

THINGS = {
    "heist": (
        "agent",
        "gem",
        *(f"{c}_{t}" for t in ("key", "lock") for c in ("blue", "green", "red")),
    ),
    "maze": ("agent", "cheese"),
    "coinrun": ("agent", "coin"),
}
TARGETS = {"heist": "gem", "maze": "cheese", "coinrun": "coin"}
COLOURS = ("blue", "green", "red")
KEY, LOCK = 2, 1
Read = Callable[[Any], float]
"""Reads a number of one level."""


@metric_family
def procgen_metrics(environment: str) -> Sequence[Metric]:
    """The metrics of one game, none for an environment that is not of Procgen."""
    game = environment.removeprefix("procgen-").rpartition("-v")[0]
    if not environment.startswith("procgen-") or game not in THINGS:
        return ()
    made: list[Metric] = []

    def add(name: str, unit: str, read: Read, words: Words | None = None) -> None:
        made.append(Metric(name, unit, reader(read), (environment,), words))

    for thing in THINGS[game]:
        said = thing.replace("_", " ")
        for axis, (low, high) in enumerate((("left", "right"), ("down", "up"))):
            words = Words(f"{said} {{not}} {{far}} {low}", f"{said} {{not}} {{far}} {high}", 4.5)
            add(f"{thing}_{'xy'[axis]}", "cell", coordinate(thing, axis), words)
    target = TARGETS[game]
    add(
        f"distance_to_{target}",
        "cell",
        distance(target),
        Words(f"{{not}} {{very}} near the {target}", f"{{not}} {{far}} from the {target}", 4.5),
    )
    for axis in "xy":
        add(f"agent_velocity_{axis}", "cell/step", velocity(axis))
    if game == "heist":
        add("keys_left", "count", lambda level: float(len(level.find(KEY))))
        add("locks_left", "count", lambda level: float(len(level.find(LOCK))))
        for theme, colour in enumerate(COLOURS):
            words = Words(
                f"{{not}} without the {colour} key", f"{{not}} holding the {colour} key", 0.5
            )
            add(f"has_{colour}_key", "", holds(theme), words)
    if game in ("heist", "maze"):
        add("walls", "count", lambda level: float(np.count_nonzero(level.grid == 51)))
    return made


def reader(read: Read) -> Callable[[Step], Float[np.ndarray, " row"]]:
    """Reads one number of every row's level."""

    def read_rows(step: Step) -> Float[np.ndarray, " row"]:
        environment: Any = step.environment
        return np.array(
            [read(environment.level(row)) for row in range(environment.rows)], np.float32
        )

    return read_rows


def place_of(level: Any, thing: str) -> tuple[float, float]:
    """The middle of a thing, NaN where it is not there."""
    from policyscope.envs.procgen import where

    return where(level, thing) or (np.nan, np.nan)


def coordinate(thing: str, axis: int) -> Read:
    """One coordinate of a thing."""
    return lambda level: place_of(level, thing)[axis]


def distance(target: str) -> Read:
    """How far the agent is from a thing, as the crow flies."""

    def read(level: Any) -> float:
        agent, goal = place_of(level, "agent"), place_of(level, target)
        return float(np.hypot(agent[0] - goal[0], agent[1] - goal[1]))

    return read


def velocity(axis: str) -> Read:
    """The agent's speed along one axis."""
    return lambda level: float(level.entities[f"v{axis}"][0])


def holds(theme: int) -> Read:
    """Whether the agent holds a key."""

    def read(level: Any) -> float:
        keys = level.fields["has_keys"]
        return float(theme < len(keys) and keys[theme])

    return read


@ending("procgen-*", names=("success", "failure", "time_out"))
def procgen_ending(
    observation: Shaped[np.ndarray, "..."], terminated: bool, reward: float = float("nan")
) -> str:
    """Only success pays in these games' last step."""
    if not terminated:
        return "time_out"
    return "success" if reward > 0 else "failure"


def holding(colour: str) -> Callable[[np.ndarray], Bool[np.ndarray, " step"]]:
    """A condition on a key."""

    def condition(held: np.ndarray) -> Bool[np.ndarray, " step"]:
        return held > 0.5

    condition.__name__ = f"holds_{colour}_key"
    return condition


for _colour in COLOURS:
    event(f"has_{_colour}_key", environments=("procgen-heist-v*",))(holding(_colour))

"""Metrics, endings and events of MiniGrid: where the agent and the things are, cell by cell.

x grows to the right and y downwards, from 0 at the outer wall. A metric of a thing is there where
the world has such a thing; of several, the first in reading order counts. What is carried is where
the agent is; what is gone is NaN.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import gymnasium
import numpy as np
from jaxtyping import Bool, Float, Shaped

from policyscope.envs.ending import ending
from policyscope.envs.event import event
from policyscope.envs.metric import Metric, Step, Words, metric_family

FAMILY = ("MiniGrid-*", "BabyAI-*")
THINGS = ("key", "ball", "box", "door", "lava")
DIRECTIONS = ("right", "down", "left", "up")


def world(env: gymnasium.Env[Any, Any]) -> dict[str, float]:
    """Every number of one world, by the name of its metric."""
    inner: Any = env.unwrapped
    x, y = (float(place) for place in inner.agent_pos)
    numbers = {
        "agent_x": x,
        "agent_y": y,
        "agent_direction": float(inner.agent_dir),
        "carrying": float(inner.carrying is not None),
        **things(inner, x, y),
    }
    goal = goal_of(inner)
    if goal is not None:
        numbers["goal_x"], numbers["goal_y"] = goal
        numbers["distance_to_goal"] = abs(goal[0] - x) + abs(goal[1] - y)
    if hasattr(inner, "failure_pos"):
        # Memory: the object beside the start is the one to go to at the end.
        numbers["decoy_x"], numbers["decoy_y"] = map(float, inner.failure_pos)
        cue = inner.grid.get(1, inner.grid.height // 2 - 1)
        numbers["cue_is_ball"] = float(cue is not None and cue.type == "ball")
    return numbers


def things(inner: Any, x: float, y: float) -> dict[str, float]:
    """The places of the first key, ball, box, door and lava, and whether the door is open."""
    numbers: dict[str, float] = {}
    if inner.carrying is not None:
        numbers |= {f"{inner.carrying.type}_x": x, f"{inner.carrying.type}_y": y}
    width = inner.grid.width
    for index, cell in enumerate(inner.grid.grid):
        if cell is not None and cell.type in THINGS and f"{cell.type}_x" not in numbers:
            numbers[f"{cell.type}_x"] = float(index % width)
            numbers[f"{cell.type}_y"] = float(index // width)
            if cell.type == "door":
                numbers["door_open"] = float(cell.is_open)
    return numbers


def goal_of(inner: Any) -> tuple[float, float] | None:
    """Where the agent should go: the green square, or what the world itself calls success."""
    if hasattr(inner, "success_pos"):
        return float(inner.success_pos[0]), float(inner.success_pos[1])
    width = inner.grid.width
    for index, cell in enumerate(inner.grid.grid):
        if cell is not None and cell.type == "goal":
            return float(index % width), float(index // width)
    return None


def words_for(name: str) -> Words | None:
    """What low and high values of a metric are called."""
    thing, _, axis = name.rpartition("_")
    if axis == "x":
        return Words(f"{thing} {{not}} {{far}} left", f"{thing} {{not}} {{far}} right", 3.5)
    if axis == "y" and thing:
        return Words(f"{thing} {{not}} {{far}} up", f"{thing} {{not}} {{far}} down", 3.5)
    return {
        "carrying": Words("{not} empty-handed", "{not} carrying something", 0.5),
        "cue_is_ball": Words("the cue {not} a key", "the cue {not} a ball", 0.5),
        "door_open": Words("door {not} closed", "door {not} open", 0.5),
        "distance_to_goal": Words("{not} {very} near the goal", "{not} {far} from the goal", 3.5),
    }.get(name)


@metric_family
def minigrid_metrics(environment: str) -> Sequence[Metric]:
    """The metrics of one world, none for an environment that is not of MiniGrid."""
    if not environment.startswith(("MiniGrid-", "BabyAI-")):
        return ()
    if environment not in gymnasium.registry:
        return ()
    return world_metrics(environment)


@lru_cache(maxsize=256)
def world_metrics(environment: str) -> tuple[Metric, ...]:
    """What there is in a world, by looking at one."""
    try:
        env = gymnasium.make(environment)
    except ImportError:
        return ()
    env.reset(seed=0)
    names = list(world(env))
    env.close()
    return tuple(
        Metric(
            name, "" if name in UNITLESS else "cell", reader(name), (environment,), words_for(name)
        )
        for name in names
    )


UNITLESS = ("agent_direction", "carrying", "door_open", "cue_is_ball")


def reader(name: str) -> Callable[[Step], Float[np.ndarray, " row"]]:
    """Reads one number of every row's world."""

    def read(step: Step) -> Float[np.ndarray, " row"]:
        return np.array([one.get(name, np.nan) for one in step.ask(world)], np.float32)

    return read


@ending(*FAMILY, names=("success", "failure", "time_out"))
def minigrid_ending(
    observation: Shaped[np.ndarray, "..."] | dict[str, Any],
    terminated: bool,
    reward: float = float("nan"),
) -> str:
    """Only success pays."""
    if not terminated:
        return "time_out"
    return "success" if reward > 0 else "failure"


@event("carrying", environments=FAMILY)
def carries_something(carrying: np.ndarray) -> Bool[np.ndarray, " step"]:
    """The agent has something in its hands."""
    return carrying > 0.5


@event("distance_to_goal", environments=FAMILY)
def next_to_goal(distance: np.ndarray) -> Bool[np.ndarray, " step"]:
    """The goal is at most one cell away."""
    return distance <= 1


def facing(direction: int) -> Callable[[np.ndarray], Bool[np.ndarray, " step"]]:
    """A condition on the direction."""

    def condition(faced: np.ndarray) -> Bool[np.ndarray, " step"]:
        return faced == direction

    condition.__name__ = f"faces_{DIRECTIONS[direction]}"
    return condition


for _direction in range(4):
    event("agent_direction", environments=FAMILY)(facing(_direction))

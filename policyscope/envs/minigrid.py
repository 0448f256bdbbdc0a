"""MiniGrid in rows: what the agent sees as numbers or one-hot, and Memory from a fixed start.

    make("MiniGrid-DoorKey-8x8-v0", 4)                          # image and direction
    make("MiniGrid-MemoryS7FixedStart-v0", 4, one_hot=True)     # image as 20 planes of 0 and 1
    make("MiniGrid-Empty-8x8-v0", 4, image_only=True)           # one array, no parts

The mission is left out: it is text, the same in every episode of most of these worlds, and no
network here reads text.
"""

from functools import partial
from typing import Any, cast

import gymnasium
from gymnasium.spaces import Dict

from policyscope.envs.vector import GymnasiumRows
from policyscope.errors import MissingExtra

try:
    from minigrid.envs import MemoryEnv
    from minigrid.wrappers import ImgObsWrapper, OneHotPartialObsWrapper
except ImportError as error:  # pragma: no cover (tests have it, or skip)
    raise MissingExtra.of("minigrid", "minigrid") from error

PREFIXES = ("MiniGrid-", "BabyAI-")
FIXED_START = "MiniGrid-MemoryS7FixedStart-v0"


class FixedStartMemory(MemoryEnv):
    """MiniGrid's Memory, where the agent always starts beside the object it must remember."""

    def _gen_grid(self, width: int, height: int) -> None:
        super()._gen_grid(width, height)
        self.agent_pos = (1, height // 2)


class Unspoken(gymnasium.ObservationWrapper[Any, Any, Any]):
    """The observation without its mission."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        spaces = cast(Dict, env.observation_space).spaces
        self.observation_space = Dict({key: spaces[key] for key in spaces if key != "mission"})

    def observation(self, observation: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in observation.items() if key != "mission"}


def wrap(
    env: gymnasium.Env[Any, Any], one_hot: bool = False, image_only: bool = False
) -> gymnasium.Env[Any, Any]:
    """The environment, observing what the options say."""
    if one_hot:
        env = OneHotPartialObsWrapper(env)
    return ImgObsWrapper(env) if image_only else Unspoken(env)


class MiniGrid(GymnasiumRows):
    """Rows of a MiniGrid or BabyAI world."""

    def __init__(
        self,
        id: str,
        rows: int,
        /,
        *,
        processes: bool = False,
        one_hot: bool = False,
        image_only: bool = False,
        **arguments: Any,
    ) -> None:
        wrapping = partial(wrap, one_hot=one_hot, image_only=image_only)
        super().__init__(id, rows, processes=processes, wrap=wrapping, **arguments)
        options = {"one_hot": one_hot, "image_only": image_only}
        self.arguments = {**arguments, **{name: True for name, on in options.items() if on}}


def is_minigrid(id: str) -> bool:
    """Whether `id` is a world of MiniGrid."""
    return id.startswith(PREFIXES)


if FIXED_START not in gymnasium.registry:
    gymnasium.register(FIXED_START, FixedStartMemory, kwargs={"size": 7})

"""Box2D's worlds in rows, their episodes the same whatever was played before them.

BipedalWalker and CarRacing keep one physics world for all their episodes, and it remembers enough
of the last one to change the last digits of the next, with which chaos then begins. Here every
episode begins in a new world. Its physics cannot be copied (a copied body points nowhere), so a
moment is known by its seed and by the actions since.
"""

import warnings
from typing import Any

import gymnasium
import numpy as np

from policyscope.envs.vector import GymnasiumRows
from policyscope.errors import MissingExtra

try:
    with warnings.catch_warnings():
        # SWIG warns while it loads, and crashes where warnings are errors.
        warnings.simplefilter("ignore")
        from Box2D import b2World
except ImportError as error:  # pragma: no cover (tests have it, or skip)
    raise MissingExtra.of("Box2D", "box2d") from error

MODULE = "gymnasium.envs.box2d."


class Remembered(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Begins each episode in a new physics world, and remembers how it was played."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self.began: int | None = None
        self.acted: list[Any] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        inner: Any = self.unwrapped
        inner._destroy()
        inner.world = b2World(gravity=inner.world.gravity)
        self.began, self.acted = seed, []
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> Any:
        # Gymnasium takes longer to find that a number of numpy's is among a Discrete's.
        action = int(action) if isinstance(action, np.integer) else np.array(action)
        self.acted.append(action)
        return self.env.step(action)


class Box2D(GymnasiumRows):
    """Rows of LunarLander, BipedalWalker or CarRacing."""

    def __init__(self, id: str, rows: int, /, *, processes: bool = False, **arguments: Any) -> None:
        super().__init__(id, rows, processes=processes, wrap=Remembered, **arguments)


def is_box2d(id: str) -> bool:
    """Whether `id` is one of Gymnasium's Box2D worlds."""
    spec = gymnasium.registry.get(id)
    return spec is not None and str(spec.entry_point).startswith(MODULE)

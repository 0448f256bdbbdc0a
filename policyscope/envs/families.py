"""Which form an environment's rows take: its family's own where it has one, else Gymnasium's.

A family's package is imported when one of its ids is asked for, so that nobody waits for, or must
have, what they do not use.
"""

import importlib
import importlib.util
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import gymnasium

from policyscope.envs.environment import Environment
from policyscope.errors import MissingExtra


@dataclass(frozen=True)
class Family:
    """Environments that come with one package."""

    patterns: tuple[str, ...]
    package: str
    """What registers the ids when it is imported."""
    extra: str
    rows: Callable[..., Environment | None] | None = None
    """Makes the rows, or declines with None what Gymnasium's own rows should do."""


def atari_rows(id: str, rows: int, processes: bool, **arguments: Any) -> Environment | None:
    """Games with the usual preprocessing, in C++ or, with `ram`, in emulators that can be read."""
    from policyscope.envs.atari import ARGUMENTS, Atari, is_atari
    from policyscope.envs.emulator import Emulators

    if not is_atari(id) or not set(arguments) <= ARGUMENTS:
        return None
    if arguments.pop("ram", False):
        arguments.pop("threads", None)
        return Emulators(id, rows, **arguments)
    return Atari(id, rows, **arguments)


def minigrid_rows(id: str, rows: int, processes: bool, **arguments: Any) -> Environment:
    """Grids without their text."""
    from policyscope.envs.minigrid import MiniGrid

    return MiniGrid(id, rows, processes=processes, **arguments)


def box2d_rows(id: str, rows: int, processes: bool, **arguments: Any) -> Environment:
    """Worlds made anew for each episode."""
    from policyscope.envs.box2d import Box2D

    return Box2D(id, rows, processes=processes, **arguments)


def procgen_rows(id: str, rows: int, processes: bool, **arguments: Any) -> Environment:
    """Procgen's own batches."""
    from policyscope.envs.procgen import Procgen

    return Procgen(id, rows, **arguments)


FAMILIES = (
    Family(("procgen-*",), "policyscope.envs.procgen", "procgen", procgen_rows),
    Family(("ALE/*", "*NoFrameskip-v?"), "ale_py", "atari", atari_rows),
    Family(("MiniGrid-*", "BabyAI-*"), "minigrid", "minigrid", minigrid_rows),
    Family(
        ("LunarLander*", "BipedalWalker*", "CarRacing*"),
        "policyscope.envs.box2d",
        "box2d",
        box2d_rows,
    ),
    Family(
        (
            "HalfCheetah-*",
            "Hopper-*",
            "Walker2d-*",
            "Ant-*",
            "Humanoid-*",
            "HumanoidStandup-*",
            "Swimmer-*",
            "Reacher-*",
            "Pusher-*",
            "Inverted*Pendulum-*",
        ),
        "mujoco",
        "mujoco",
    ),
)


def family_of(id: str) -> Family | None:
    """The family that `id` belongs to by its name, registered or not."""
    for family in FAMILIES:
        if any(fnmatchcase(id, pattern) for pattern in family.patterns):
            return family
    return None


def introduce(id: str) -> None:
    """Imports what registers `id`; MissingExtra with the line that installs it."""
    family = family_of(id)
    if family is None:
        # Old Atari ids, as Pong-v4, have no pattern: whoever has the package has the ids.
        if id not in gymnasium.registry and importlib.util.find_spec("ale_py") is not None:
            importlib.import_module("ale_py")
        return
    try:
        module = importlib.import_module(family.package)
        if family.extra == "procgen":
            module.register()
        if family.extra == "minigrid":
            importlib.import_module("policyscope.envs.minigrid")
    except MissingExtra:
        raise
    except ModuleNotFoundError as error:
        raise MissingExtra.of(family.package, family.extra) from error


def family_rows(id: str, rows: int, processes: bool, **arguments: Any) -> Environment | None:
    """Rows in the family's own form; None where Gymnasium's are to be taken."""
    family = family_of(id)
    if family is None or family.rows is None:
        return None
    return family.rows(id, rows, processes, **arguments)


def arguments_to_draw(id: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments, and what else it takes for `picture` to work."""
    family = family_of(id)
    extra = "" if family is None else family.extra
    if extra == "procgen":
        return dict(arguments)
    if extra == "atari":
        from policyscope.envs.atari import ARGUMENTS

        if set(arguments) <= ARGUMENTS:
            return {**arguments, "ram": True}
    return {**arguments, "render_mode": "rgb_array"}


def arguments_to_read(
    id: str, arguments: Mapping[str, Any], metrics: Iterable[str]
) -> dict[str, Any]:
    """The arguments, and what else it takes for these metrics to be readable.

    Atari's C++ rows only know lives; all else needs `ram`: as fast on one core, but on that only.
    """
    family = family_of(id)
    needs_memory = any(name != "lives" and ":" not in name for name in metrics)
    if family is not None and family.extra == "atari" and needs_memory:
        return {"ram": True, **arguments}
    return dict(arguments)

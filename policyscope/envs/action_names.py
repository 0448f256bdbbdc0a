"""What actions are called, and where those that are directions lie on a pad of three by three."""

from typing import Any

import gymnasium

NAMES: dict[str, tuple[str, ...]] = {
    "CartPole": ("left", "right"),
    "LunarLander": ("nothing", "left engine", "main engine", "right engine"),
    "MountainCar": ("left", "nothing", "right"),
    "Acrobot": ("torque −1", "nothing", "torque +1"),
    "MiniGrid": ("turn left", "turn right", "forward", "pick up", "drop", "toggle", "done"),
}
"""By the beginning of an environment's id. (Gymnasium's documentation of each.)"""
PADS: dict[str, tuple[int, int]] = {
    "left": (0, 1),
    "right": (2, 1),
    "up": (1, 0),
    "down": (1, 2),
    "upleft": (0, 0),
    "upright": (2, 0),
    "downleft": (0, 2),
    "downright": (2, 2),
    "noop": (1, 1),
    "nothing": (1, 1),
}
PROCGEN = (
    "downleft", "left", "upleft", "down", "noop", "up", "downright", "right", "upright",
    "D", "A", "W", "S", "Q", "E",
)  # fmt: skip


def names_of(environment: str, space: gymnasium.Space[Any], rows: Any = None) -> list[str]:
    """What each discrete action, or each part of a continuous one, is called."""
    if isinstance(space, gymnasium.spaces.Discrete):
        count = int(space.n)
        for start, names in NAMES.items():
            if environment.startswith(start) and len(names) >= count:
                return list(names[:count])
        meanings = meanings_of(environment, rows)
        if len(meanings) == count:
            return meanings
        if "procgen" in environment and count == len(PROCGEN):
            return list(PROCGEN)
        return [str(index) for index in range(count)]
    size = int((getattr(space, "shape", None) and space.shape[0]) or 1) if space.shape else 1
    return [f"action[{index}]" for index in range(size)]


def meanings_of(environment: str, rows: Any) -> list[str]:
    """Atari's own words for its actions, where the games are installed."""
    if not (environment.startswith("ALE/") or "NoFrameskip" in environment or "-v4" in environment):
        return []
    try:
        one = gymnasium.make(environment)
    except Exception:  # whatever it lacks, its actions then have numbers
        return []
    try:
        ask = getattr(one.unwrapped, "get_action_meanings", None)
        return [] if ask is None else [str(word).lower() for word in ask()]
    finally:
        one.close()


def describe_actions(environment: str, space: gymnasium.Space[Any]) -> dict[str, Any]:
    """The actions as the pages take them; see `Actions` in the studio's documents."""
    names = names_of(environment, space)
    is_discrete = isinstance(space, gymnasium.spaces.Discrete)
    places = [PADS.get(name.removesuffix("fire") or name) for name in names] if is_discrete else []
    directions = [place for place in places if place is not None and place != (1, 1)]
    is_pad = len(set(directions)) >= 2
    return {
        "kind": "discrete" if is_discrete else "continuous",
        "names": names,
        "pad": [
            list(place) if is_pad and place and places.index(place) == index else None
            for index, place in enumerate(places or [None] * len(names))
        ],
    }

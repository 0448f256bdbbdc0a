"""Metrics, endings and events of Box2D's LunarLander and BipedalWalker.

Their observations are scaled to lie near ±1; the metrics are in metres, seconds and radians again,
with the constants of Gymnasium's sources. Angles grow counter-clockwise, so a lander with an angle
above 0 leans left.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Shaped

from policyscope.envs.ending import ending
from policyscope.envs.event import event
from policyscope.envs.metric import Metric, Step, Words, metric

LANDER = ("LunarLander-v3", "LunarLanderContinuous-v3")
WALKER = ("BipedalWalker-v3", "BipedalWalkerHardcore-v3")
FRAMES_PER_SECOND = 50
HALF_WIDTH = 600 / 30 / 2
HALF_HEIGHT = 400 / 30 / 2


def scaled(index: int, scale: float, offset: float = 0.0) -> Callable[[Step], np.ndarray]:
    """Reads one component of the observation and undoes its scaling."""

    def read(step: Step) -> Float[np.ndarray, " row"]:
        return step.observation[:, index] * scale + offset

    return read


def component(
    environments: tuple[str, ...],
    name: str,
    unit: str,
    read: Callable[[Step], np.ndarray],
    words: Words | None = None,
) -> Metric:
    """Makes a component of the observation a metric."""
    return metric(unit=unit, name=name, environments=environments, words=words)(read)


component(
    LANDER,
    "lander_x",
    "m",
    scaled(0, HALF_WIDTH),
    Words("lander {not} {far} left of the pad", "lander {not} {far} right of the pad"),
)
component(
    LANDER,
    "lander_height",
    "m",
    scaled(1, HALF_HEIGHT),
    Words("lander {not} {far} low", "lander {not} {far} high", HALF_HEIGHT / 2),
)
component(
    LANDER,
    "lander_velocity_x",
    "m/s",
    scaled(2, FRAMES_PER_SECOND / HALF_WIDTH),
    Words("lander {not} drifting left {fast}", "lander {not} drifting right {fast}"),
)
component(
    LANDER,
    "lander_velocity_y",
    "m/s",
    scaled(3, FRAMES_PER_SECOND / HALF_HEIGHT),
    Words("lander {not} sinking {fast}", "lander {not} rising {fast}"),
)
component(
    LANDER,
    "lander_angle",
    "rad",
    scaled(4, 1.0),
    Words("lander {not} leaning {far} right", "lander {not} leaning {far} left"),
)
component(
    LANDER,
    "lander_angular_velocity",
    "rad/s",
    scaled(5, FRAMES_PER_SECOND / 20),
    Words("lander {not} turning right {fast}", "lander {not} turning left {fast}"),
)
# The first leg that LunarLander builds is the one on the right.
component(
    LANDER,
    "right_leg_contact",
    "",
    scaled(6, 1.0),
    Words("right leg {not} in the air", "right leg {not} on the ground", 0.5),
)
component(
    LANDER,
    "left_leg_contact",
    "",
    scaled(7, 1.0),
    Words("left leg {not} in the air", "left leg {not} on the ground", 0.5),
)


@metric(
    unit="m/s",
    environments=LANDER,
    words=Words("lander {not} slow", "lander {not} {very} fast", 0.5),
)
def lander_speed(step: Step) -> Float[np.ndarray, " row"]:
    """How fast the lander moves, in whatever direction."""
    return np.hypot(
        step.observation[:, 2] * FRAMES_PER_SECOND / HALF_WIDTH,
        step.observation[:, 3] * FRAMES_PER_SECOND / HALF_HEIGHT,
    )


@ending(*LANDER, names=("landed", "crashed", "flew_away", "time_out"))
def lander_ending(
    observation: Shaped[np.ndarray, "..."], terminated: bool, reward: float = float("nan")
) -> str:
    """Coming to rest pays +100 and all else −100; without the reward, the legs and speed tell."""
    if not terminated:
        return "time_out"
    if abs(float(observation[0])) >= 1:
        return "flew_away"
    if np.isnan(reward):
        rests = bool(observation[6] or observation[7]) and not np.any(np.abs(observation[2:4]) > 0)
        return "landed" if rests else "crashed"
    return "landed" if reward > 0 else "crashed"


@event("left_leg_contact", "right_leg_contact", environments=LANDER)
def both_legs_down(left: np.ndarray, right: np.ndarray) -> Bool[np.ndarray, " step"]:
    """Both legs touch the ground."""
    return (left > 0.5) & (right > 0.5)


@event("lander_angle", environments=LANDER)
def lander_leans_left(lean: np.ndarray) -> Bool[np.ndarray, " step"]:
    """The lander leans left by more than 0.2 rad."""
    return lean > 0.2


@event("lander_angle", environments=LANDER)
def lander_leans_right(lean: np.ndarray) -> Bool[np.ndarray, " step"]:
    """The lander leans right by more than 0.2 rad."""
    return lean < -0.2


@event("lander_velocity_y", environments=LANDER)
def lander_sinks_fast(velocity: np.ndarray) -> Bool[np.ndarray, " step"]:
    """The lander sinks faster than 3 m/s."""
    return velocity < -3


component(
    WALKER,
    "hull_angle",
    "rad",
    scaled(0, 1.0),
    Words("hull {not} leaning {far} forward", "hull {not} leaning {far} back"),
)
component(
    WALKER,
    "hull_angular_velocity",
    "rad/s",
    scaled(1, FRAMES_PER_SECOND / 2),
    Words("hull {not} tipping forward {fast}", "hull {not} tipping back {fast}"),
)
component(
    WALKER,
    "hull_velocity_x",
    "m/s",
    scaled(2, FRAMES_PER_SECOND / (0.3 * 2 * HALF_WIDTH)),
    Words("walker {not} moving back {fast}", "walker {not} moving forward {fast}"),
)
component(
    WALKER,
    "hull_velocity_y",
    "m/s",
    scaled(3, FRAMES_PER_SECOND / (0.3 * 2 * HALF_HEIGHT)),
    Words("hull {not} sinking {fast}", "hull {not} rising {fast}"),
)
for _leg, _first in (("first", 4), ("second", 9)):
    component(
        WALKER,
        f"{_leg}_hip_angle",
        "rad",
        scaled(_first, 1.0),
        Words(
            f"{_leg} leg {{not}} swung {{far}} back", f"{_leg} leg {{not}} swung {{far}} forward"
        ),
    )
    component(WALKER, f"{_leg}_hip_velocity", "rad/s", scaled(_first + 1, 4.0))
    component(
        WALKER,
        f"{_leg}_knee_angle",
        "rad",
        scaled(_first + 2, 1.0, -1.0),
        Words(f"{_leg} knee {{not}} {{far}} bent", f"{_leg} knee {{not}} {{far}} straight", -0.8),
    )
    component(WALKER, f"{_leg}_knee_velocity", "rad/s", scaled(_first + 3, 6.0))
    component(
        WALKER,
        f"{_leg}_foot_contact",
        "",
        scaled(_first + 4, 1.0),
        Words(f"{_leg} foot {{not}} in the air", f"{_leg} foot {{not}} on the ground", 0.5),
    )
for _ray in range(10):
    # The rays fan out from straight down to straight ahead, 160 px long.
    component(WALKER, f"lidar_{_ray}", "m", scaled(14 + _ray, 160 / 30))


@ending(*WALKER, names=("fell", "reached_the_end", "time_out"))
def walker_ending(
    observation: Shaped[np.ndarray, "..."], terminated: bool, reward: float = float("nan")
) -> str:
    """A fall costs 100; only the end of the course ends it otherwise."""
    if not terminated:
        return "time_out"
    return "reached_the_end" if reward > -100 else "fell"


@event("first_foot_contact", "second_foot_contact", environments=WALKER)
def both_feet_in_the_air(first: np.ndarray, second: np.ndarray) -> Bool[np.ndarray, " step"]:
    """Neither foot touches the ground."""
    return (first < 0.5) & (second < 0.5)

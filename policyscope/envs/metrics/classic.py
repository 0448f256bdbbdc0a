"""Metrics, endings and events of classic control: CartPole.

Signs follow the drawing: x and θ grow to the right, so a pole with θ > 0 leans right. (The source
of the CartPole study counts θ ≥ +12° as "left"; we name what one sees.)
"""

import numpy as np
from jaxtyping import Bool, Float, Shaped

from policyscope.envs.ending import ending
from policyscope.envs.event import event
from policyscope.envs.metric import Step, Words, metric

CARTPOLE = ("CartPole-v0", "CartPole-v1")
ANGLE_LIMIT = 12 * 2 * np.pi / 360
POSITION_LIMIT = 2.4


@metric(
    unit="m", environments=CARTPOLE, words=Words("cart {not} {far} left", "cart {not} {far} right")
)
def cart_position(step: Step) -> Float[np.ndarray, " row"]:
    """The cart's distance from the middle; the episode ends beyond ±2.4."""
    return step.observation[:, 0]


@metric(
    unit="m/s",
    environments=CARTPOLE,
    words=Words("cart {not} moving left {fast}", "cart {not} moving right {fast}"),
)
def cart_velocity(step: Step) -> Float[np.ndarray, " row"]:
    """The cart's speed to the right."""
    return step.observation[:, 1]


@metric(
    unit="rad",
    environments=CARTPOLE,
    words=Words("pole {not} leaning {far} left", "pole {not} leaning {far} right"),
)
def pole_angle(step: Step) -> Float[np.ndarray, " row"]:
    """The pole's lean to the right; the episode ends beyond ±0.2095."""
    return step.observation[:, 2]


@metric(
    unit="rad/s",
    environments=CARTPOLE,
    words=Words("pole {not} swinging left {fast}", "pole {not} swinging right {fast}"),
)
def pole_angular_velocity(step: Step) -> Float[np.ndarray, " row"]:
    """How fast the pole turns to the right."""
    return step.observation[:, 3]


@ending(*CARTPOLE, names=("pole_left", "pole_right", "cart_out", "survived"))
def cartpole_ending(observation: Shaped[np.ndarray, "..."], terminated: bool) -> str:
    """Which limit the episode broke; the pole is looked at first, as in the source."""
    position, angle = float(observation[0]), float(observation[2])
    if not terminated:
        return "survived"
    if abs(angle) > ANGLE_LIMIT * (1 - 1e-6):
        return "pole_right" if angle > 0 else "pole_left"
    if abs(position) > POSITION_LIMIT * (1 - 1e-6):
        return "cart_out"
    return "pole_right" if angle > 0 else "pole_left"


@event("pole_angle", environments=CARTPOLE)
def pole_leans_left(angle: np.ndarray) -> Bool[np.ndarray, " step"]:
    """The pole is more than half way to falling left."""
    return angle < -ANGLE_LIMIT / 2


@event("pole_angle", environments=CARTPOLE)
def pole_leans_right(angle: np.ndarray) -> Bool[np.ndarray, " step"]:
    """The pole is more than half way to falling right."""
    return angle > ANGLE_LIMIT / 2


@event("pole_angular_velocity", environments=CARTPOLE)
def pole_swings_left(velocity: np.ndarray) -> Bool[np.ndarray, " step"]:
    """The pole turns left faster than 0.5 rad/s."""
    return velocity < -0.5


@event("pole_angular_velocity", environments=CARTPOLE)
def pole_swings_right(velocity: np.ndarray) -> Bool[np.ndarray, " step"]:
    """The pole turns right faster than 0.5 rad/s."""
    return velocity > 0.5


@event("cart_position", environments=CARTPOLE)
def cart_near_left_edge(position: np.ndarray) -> Bool[np.ndarray, " step"]:
    """The cart is in the outer quarter on the left."""
    return position < -0.75 * POSITION_LIMIT


@event("cart_position", environments=CARTPOLE)
def cart_near_right_edge(position: np.ndarray) -> Bool[np.ndarray, " step"]:
    """The cart is in the outer quarter on the right."""
    return position > 0.75 * POSITION_LIMIT

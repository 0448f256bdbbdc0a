"""Metrics, endings and events of classic control: MountainCar, Acrobot and Pendulum.

Angles are read from their cosine and sine, in radians between −π and π.
"""

import numpy as np
from jaxtyping import Bool, Float, Shaped

from policyscope.envs.ending import ending
from policyscope.envs.event import event
from policyscope.envs.metric import Step, Words, metric

MOUNTAIN_CAR = ("MountainCar-v0", "MountainCarContinuous-v0")
ACROBOT = ("Acrobot-v1",)
PENDULUM = ("Pendulum-v1",)
VALLEY = -np.pi / 6
"""Where the mountain car's valley is deepest: the height is sin(3x)."""
GOALS = {"MountainCar-v0": 0.5, "MountainCarContinuous-v0": 0.45}


@metric(
    unit="m",
    environments=MOUNTAIN_CAR,
    words=Words("car {not} {far} left of the valley", "car {not} {far} up the hill", VALLEY),
)
def car_position(step: Step) -> Float[np.ndarray, " row"]:
    """Where the car is, from −1.2 to 0.6; the flag stands near 0.5."""
    return step.observation[:, 0]


@metric(
    unit="m/step",
    environments=MOUNTAIN_CAR,
    words=Words("car {not} moving left {fast}", "car {not} moving right {fast}"),
)
def car_velocity(step: Step) -> Float[np.ndarray, " row"]:
    """The car's speed to the right."""
    return step.observation[:, 1]


@metric(
    unit="m",
    environments=MOUNTAIN_CAR,
    words=Words("car {not} {far} down", "car {not} {far} up", 0.55),
)
def car_height(step: Step) -> Float[np.ndarray, " row"]:
    """How high the car is drawn: 0.1 in the valley, 1 at the flag."""
    return np.sin(3 * step.observation[:, 0]) * 0.45 + 0.55


@ending(*MOUNTAIN_CAR, names=("goal_reached", "time_out"))
def mountain_car_ending(observation: Shaped[np.ndarray, "..."], terminated: bool) -> str:
    """Only the flag ends an episode early."""
    return "goal_reached" if terminated else "time_out"


@event("car_velocity", environments=MOUNTAIN_CAR)
def car_moves_left(velocity: np.ndarray) -> Bool[np.ndarray, " step"]:
    """The car rolls left faster than a seventh of its highest speed."""
    return velocity < -0.01


@event("car_velocity", environments=MOUNTAIN_CAR)
def car_moves_right(velocity: np.ndarray) -> Bool[np.ndarray, " step"]:
    """The car rolls right faster than a seventh of its highest speed."""
    return velocity > 0.01


@event("car_position", environments=MOUNTAIN_CAR)
def car_near_goal(position: np.ndarray) -> Bool[np.ndarray, " step"]:
    """The car is in the last tenth of the way from the valley to the flag."""
    return position > VALLEY + 0.9 * (0.5 - VALLEY)


def angle(cosine: np.ndarray, sine: np.ndarray) -> Float[np.ndarray, " row"]:
    """The angle in radians between −π and π."""
    return np.arctan2(sine, cosine)


@metric(
    unit="rad",
    environments=ACROBOT,
    words=Words("upper link {not} {far} to the left", "upper link {not} {far} to the right"),
)
def first_angle(step: Step) -> Float[np.ndarray, " row"]:
    """The upper link's angle; it hangs straight down at 0 and swings right for more."""
    return angle(step.observation[:, 0], step.observation[:, 1])


@metric(
    unit="rad",
    environments=ACROBOT,
    words=Words(
        "lower link {not} bent {far} clockwise", "lower link {not} bent {far} counter-clockwise"
    ),
)
def second_angle(step: Step) -> Float[np.ndarray, " row"]:
    """The lower link's angle against the upper one; 0 is straight."""
    return angle(step.observation[:, 2], step.observation[:, 3])


@metric(
    unit="rad/s",
    environments=ACROBOT,
    words=Words("upper link {not} swinging left {fast}", "upper link {not} swinging right {fast}"),
)
def first_angular_velocity(step: Step) -> Float[np.ndarray, " row"]:
    """How fast the upper link swings right."""
    return step.observation[:, 4]


@metric(
    unit="rad/s",
    environments=ACROBOT,
    words=Words(
        "lower link {not} bending clockwise {fast}",
        "lower link {not} bending counter-clockwise {fast}",
    ),
)
def second_angular_velocity(step: Step) -> Float[np.ndarray, " row"]:
    """How fast the lower link turns against the upper one."""
    return step.observation[:, 5]


@metric(
    unit="m",
    environments=ACROBOT,
    words=Words("tip {not} {far} below the pivot", "tip {not} {far} above the pivot"),
)
def tip_height(step: Step) -> Float[np.ndarray, " row"]:
    """How far the free end is above the pivot, from −2 to 2; the goal is above 1."""
    upper = angle(step.observation[:, 0], step.observation[:, 1])
    lower = angle(step.observation[:, 2], step.observation[:, 3])
    return -np.cos(upper) - np.cos(upper + lower)


@ending(*ACROBOT, names=("goal_reached", "time_out"))
def acrobot_ending(observation: Shaped[np.ndarray, "..."], terminated: bool) -> str:
    """Only the tip above its line ends an episode early."""
    return "goal_reached" if terminated else "time_out"


@event("tip_height", environments=ACROBOT)
def tip_above_pivot(height: np.ndarray) -> Bool[np.ndarray, " step"]:
    """The free end is higher than where the acrobot hangs."""
    return height > 0


@metric(
    unit="rad",
    environments=PENDULUM,
    words=Words("pendulum {not} {far} to the right", "pendulum {not} {far} to the left"),
)
def pendulum_angle(step: Step) -> Float[np.ndarray, " row"]:
    """The pendulum's angle from upright; it is drawn to the left for more than 0."""
    return angle(step.observation[:, 0], step.observation[:, 1])


@metric(
    unit="rad/s",
    environments=PENDULUM,
    words=Words("pendulum {not} turning right {fast}", "pendulum {not} turning left {fast}"),
)
def pendulum_angular_velocity(step: Step) -> Float[np.ndarray, " row"]:
    """How fast the pendulum turns, counter-clockwise for more than 0."""
    return step.observation[:, 2]


@metric(
    unit="m",
    environments=PENDULUM,
    words=Words("pendulum {not} {far} down", "pendulum {not} {far} up"),
)
def pendulum_height(step: Step) -> Float[np.ndarray, " row"]:
    """How high the free end is, from −1, hanging, to 1, upright."""
    return step.observation[:, 0]


@ending(*PENDULUM, names=("time_out",))
def pendulum_ending(observation: Shaped[np.ndarray, "..."], terminated: bool) -> str:
    """Nothing but the time ends it."""
    return "time_out"


@event("pendulum_angle", environments=PENDULUM)
def pendulum_upright(lean: np.ndarray) -> Bool[np.ndarray, " step"]:
    """The pendulum stands within 15° of upright."""
    return np.abs(lean) < np.pi / 12

"""Metrics, endings and events of Gymnasium's MuJoCo robots, v4 and v5.

Joints and actuators have the names of the robot's own model file, so the metrics of an id are only
known once its model was read. They are read from the simulation, not from the observation, which
leaves some out: a cheetah does not see how far it ran.

Forward is x, up is z. Planar robots slide along joints for x and z; free bodies have them as the
position of their root.
"""

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import gymnasium
import numpy as np
from jaxtyping import Bool, Float, Shaped

from policyscope.envs.ending import ending
from policyscope.envs.event import event
from policyscope.envs.metric import Metric, Step, Words, metric_family

PATTERN = re.compile(
    r"(HalfCheetah|Hopper|Walker2d|Ant|Humanoid|HumanoidStandup|Swimmer|Reacher|Pusher"
    r"|InvertedPendulum|InvertedDoublePendulum)-v[45]"
)
WALKERS = tuple(
    f"{robot}-v{n}" for robot in ("Hopper", "Walker2d", "Ant", "Humanoid") for n in (4, 5)
)
POLES = tuple(f"Inverted{kind}Pendulum-v{n}" for kind in ("", "Double") for n in (4, 5))
ENDLESS = tuple(
    f"{robot}-v{n}"
    for robot in ("HalfCheetah", "Swimmer", "HumanoidStandup", "Reacher", "Pusher")
    for n in (4, 5)
)
FREE, BALL, SLIDE, HINGE = range(4)
"""MuJoCo's mjtJoint."""
JOINT_UNITS = {SLIDE: "m", HINGE: "rad"}


AXES = {
    "x": (
        "torso_x",
        "{not} {far} behind the start",
        "{not} {far} ahead of the start",
        "forward_velocity",
        "{not} moving back {fast}",
        "{not} moving forward {fast}",
    ),
    "y": (
        "torso_y",
        "{not} {far} right of the start",
        "{not} {far} left of the start",
        "sideways_velocity",
        "{not} drifting right {fast}",
        "{not} drifting left {fast}",
    ),
    "z": (
        "torso_height",
        "torso {not} {far} low",
        "torso {not} {far} high",
        "vertical_velocity",
        "torso {not} sinking {fast}",
        "torso {not} rising {fast}",
    ),
}
"""By axis: the position's name and words, the velocity's name and words."""


@dataclass(frozen=True)
class Reading:
    """A number of the simulation: an entry of one of its arrays."""

    name: str
    unit: str
    array: str
    index: int | tuple[int, ...]
    words: Words | None = None
    offset: float = 0.0


def simulation(env: gymnasium.Env[Any, Any]) -> dict[str, np.ndarray]:
    """What the robot's simulation holds now; a copy, as the simulation goes on."""
    data = env.unwrapped.data  # pyright: ignore[reportAttributeAccessIssue]
    return {
        "qpos": data.qpos.copy(),
        "qvel": data.qvel.copy(),
        "ctrl": data.ctrl.copy(),
        "xpos": data.xpos.copy(),
        "contacts": np.array([data.ncon]),
    }


@metric_family
def mujoco_metrics(environment: str) -> Sequence[Metric]:
    """The metrics of one robot, none for an environment that is no robot of MuJoCo."""
    if not PATTERN.fullmatch(environment):
        return ()
    return robot_metrics(environment)


@lru_cache(maxsize=64)
def robot_metrics(environment: str) -> tuple[Metric, ...]:
    """What the model of a robot names; nothing where MuJoCo is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # That v4 is old is said when it is made to be played.
            env = gymnasium.make(environment)
    except (ImportError, gymnasium.error.DependencyNotInstalled):
        return ()
    model = env.unwrapped.model  # pyright: ignore[reportAttributeAccessIssue]
    readings = [*body_readings(model), *joint_readings(model), *actuator_readings(model)]
    env.close()
    return tuple(
        Metric(one.name, one.unit, reader(one), (environment,), one.words) for one in readings
    )


def reader(reading: Reading) -> Callable[[Step], Float[np.ndarray, " row"]]:
    """Reads one number of every row's simulation."""
    index = reading.index if isinstance(reading.index, tuple) else (reading.index,)

    def read(step: Step) -> Float[np.ndarray, " row"]:
        values = step.stack(simulation)[reading.array][:, *index]
        return (values + reading.offset).astype(np.float32)

    return read


def body_readings(model: Any) -> list[Reading]:
    """The whole robot: how high and fast its torso is, and how many contacts it has."""
    names = [model.body(body).name for body in range(model.nbody)]
    readings = [
        Reading(
            "contacts",
            "count",
            "contacts",
            0,
            Words("{not} {far} off the ground", "{not} {far} in touch with the ground", 0.5),
        )
    ]
    if "torso" in names:
        for axis, (at, dof, built) in root_of(model, names.index("torso")).items():
            position, low, high, velocity, back, forth = AXES[axis]
            readings += [
                Reading(position, "m", "qpos", at, Words(low, high, round(built[1], 2)), built[0]),
                Reading(velocity, "m/s", "qvel", dof, Words(back, forth)),
            ]
    for tip in ("fingertip", "tips_arm", "object", "target", "goal"):
        if tip in names:
            body = names.index(tip)
            readings += [
                Reading(f"{tip}_x", "m", "xpos", (body, 0)),
                Reading(f"{tip}_y", "m", "xpos", (body, 1)),
            ]
    return readings


def root_of(model: Any, torso: int) -> dict[str, tuple[int, int, tuple[float, float]]]:
    """By axis: where the torso's coordinate and velocity are, what to add to the coordinate, and
    its value as the robot is built.

    The coordinates are those of now; the simulation's body positions lag behind by one substep.
    """
    built = model.body_pos[torso]
    if model.jnt_type[0] == FREE:
        return {axis: (at, at, (0.0, float(built[at]))) for at, axis in enumerate("xyz")}
    found: dict[str, tuple[int, int, tuple[float, float]]] = {}
    for joint in range(model.njnt):
        if model.jnt_type[joint] == SLIDE and model.jnt_bodyid[joint] == torso:
            along = int(np.argmax(np.abs(model.jnt_axis[joint])))
            at, dof = int(model.jnt_qposadr[joint]), int(model.jnt_dofadr[joint])
            start = float(built[along])
            found["xyz"[along]] = at, dof, (start - float(model.qpos0[at]), start)
    return found


def joint_readings(model: Any) -> list[Reading]:
    """Each joint's position and velocity, by its name."""
    readings: list[Reading] = []
    for joint in range(model.njnt):
        name = model.joint(joint).name or f"joint_{joint}"
        at, dof = int(model.jnt_qposadr[joint]), int(model.jnt_dofadr[joint])
        kind = int(model.jnt_type[joint])
        if kind in JOINT_UNITS:
            unit = JOINT_UNITS[kind]
            said = name.replace("_", " ")
            readings += [
                Reading(
                    f"{name}_position",
                    unit,
                    "qpos",
                    at,
                    Words(f"{said} {{not}} {{far}} negative", f"{said} {{not}} {{far}} positive"),
                ),
                Reading(
                    f"{name}_velocity",
                    f"{unit}/s",
                    "qvel",
                    dof,
                    Words(
                        f"{said} {{not}} turning negative {{fast}}",
                        f"{said} {{not}} turning positive {{fast}}",
                    ),
                ),
            ]
        elif kind == FREE:
            readings += [
                Reading(f"{name}_quaternion_{axis}", "", "qpos", at + 3 + place)
                for place, axis in enumerate("wxyz")
            ]
            readings += [
                Reading(f"{name}_angular_velocity_{axis}", "rad/s", "qvel", dof + 3 + place)
                for place, axis in enumerate("xyz")
            ]
    return readings


def actuator_readings(model: Any) -> list[Reading]:
    """What each motor was last told to do; an unnamed one is called after the joint it turns."""
    readings: list[Reading] = []
    for motor in range(model.nu):
        name = model.actuator(motor).name or model.joint(int(model.actuator_trnid[motor, 0])).name
        readings.append(Reading(f"{name or motor}_control", "", "ctrl", motor))
    return readings


@ending(*WALKERS, names=("fell", "survived"))
def walker_ending(observation: Shaped[np.ndarray, "..."], terminated: bool) -> str:
    """A walker that leaves its healthy range has fallen."""
    return "fell" if terminated else "survived"


@ending(*POLES, names=("pole_fell", "survived"))
def pole_ending(observation: Shaped[np.ndarray, "..."], terminated: bool) -> str:
    """The pole tips too far, or stands to the end."""
    return "pole_fell" if terminated else "survived"


@ending(*ENDLESS, names=("time_out",))
def endless_ending(observation: Shaped[np.ndarray, "..."], terminated: bool) -> str:
    """Nothing but the time ends it."""
    return "time_out"


@event("contacts", environments=WALKERS)
def off_the_ground(contacts: np.ndarray) -> Bool[np.ndarray, " step"]:
    """The robot touches nothing."""
    return contacts < 0.5


@event("forward_velocity", environments=(*WALKERS, *ENDLESS))
def moving_backwards(velocity: np.ndarray) -> Bool[np.ndarray, " step"]:
    """The torso moves backwards."""
    return velocity < 0


@event("vertical_velocity", environments=(*WALKERS, *ENDLESS))
def sinking(velocity: np.ndarray) -> Bool[np.ndarray, " step"]:
    """The torso goes down faster than 0.5 m/s."""
    return velocity < -0.5

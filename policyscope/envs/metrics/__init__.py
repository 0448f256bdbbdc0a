"""Built-in metrics, endings and events, one file per family of environments."""

from policyscope.envs.metrics import atari as atari
from policyscope.envs.metrics import box2d as box2d
from policyscope.envs.metrics import classic as classic
from policyscope.envs.metrics import classic_control as classic_control
from policyscope.envs.metrics import minigrid as minigrid
from policyscope.envs.metrics import mujoco as mujoco
from policyscope.envs.metrics import procgen as procgen

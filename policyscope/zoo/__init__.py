"""The agents of the studies that policyscope comes from: how each is trained, by name."""

from policyscope.zoo.system import ZOO as ZOO
from policyscope.zoo.system import open_agent as open_agent
from policyscope.zoo.system import train_agent as train_agent

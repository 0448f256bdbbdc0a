"""From an observation as the environment gives it to what a network of Stable-Baselines3 sees."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor

from policyscope.agents.spaces import Box, Discrete, MultiBinary, MultiDiscrete, Parts, Space
from policyscope.errors import InvalidInput

Observation = Tensor | Mapping[str, Tensor]


def preprocess(observation: Observation, space: Space, scale_images: bool) -> Observation:
    """The observation as floats: images channel-first and over 255, choices one-hot.

    Raises InvalidInput where the observation is not of the space.
    """
    if isinstance(space, Parts):
        if not isinstance(observation, Mapping):
            raise InvalidInput(
                f"The agent observes the parts {', '.join(space.spaces)}; got one array."
            )
        if missing := [name for name in space.spaces if name not in observation]:
            raise InvalidInput(
                f"The agent observes {', '.join(missing)} too; got {', '.join(observation)}."
            )
        return {
            name: to_floats(observation[name], part, scale_images)
            for name, part in space.spaces.items()
        }
    if not isinstance(observation, Tensor):
        raise InvalidInput(f"The agent observes one array; got {', '.join(observation)}.")
    return to_floats(observation, space, scale_images)


def to_floats(
    observation: Shaped[Tensor, "row ..."], space: Space, scale_images: bool
) -> Float[Tensor, "row ..."]:
    """One array of an observation as its network takes it."""
    match space:
        case Box():
            observation = oriented(observation, space)
            floats = observation.float()
            return floats / 255 if scale_images and space.is_image else floats
        case Discrete():
            return F.one_hot(observation.long().reshape(-1), space.n).float()
        case MultiDiscrete():
            columns = observation.long().reshape(len(observation), -1).unbind(1)
            parts = zip(columns, space.counts, strict=True)
            return torch.cat([F.one_hot(column, n).float() for column, n in parts], 1)
        case MultiBinary():
            return observation.float()
        case Parts():
            raise InvalidInput("The agent observes parts of parts; expected arrays in each part.")


def oriented(observation: Shaped[Tensor, "row ..."], space: Box) -> Shaped[Tensor, "row ..."]:
    """The observation in the shape of the space; images may come with their channels last."""
    shape = observation.shape[1:]
    if shape == space.shape:
        return observation
    if len(shape) == 3 and (shape[2], shape[0], shape[1]) == space.shape:
        return observation.permute(0, 3, 1, 2)
    raise InvalidInput(
        f"The agent observes {list(space.shape)} in every row; got {list(shape)}. "
        "Is this the environment it was trained in, with the same wrappers?"
    )

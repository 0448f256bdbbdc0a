"""Agents rebuilt from bare weights: the names and shapes in a state dict tell which network it was.

A state dict holds numbers under names, not the network. Each class here knows one kind of network:
`recognize` tells it by names and shapes and returns the arguments it is built with, so that the
class is its configuration; the module it builds has the file's own names. Other packages add
theirs by an entry point in the group `policyscope.rebuilt`.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int, Num, Shaped
from torch import Tensor

from policyscope.agents.agent import Agent
from policyscope.registry import Registry

Shapes = Mapping[str, tuple[int, ...]]
"""The shape of every tensor by name, in the order of the file."""

REBUILT: Registry[type["RebuiltAgent"]] = Registry("architecture", "policyscope.rebuilt")
"""Name of an architecture -> the agent that is rebuilt from weights of that kind."""


class RebuiltAgent(Agent):
    """An agent whose module is built from the shapes of its weights, and then filled with them."""

    is_generic: ClassVar[bool] = False
    """Whether it fits so much that every other architecture is asked first."""
    networks: ClassVar[Mapping[str, str]] = {}
    """First part of a module path -> `policy`, `value`, `shared`, `target` or `unused`."""

    @classmethod
    @abstractmethod
    def recognize(cls, shapes: Shapes) -> dict[str, Any] | None:
        """The arguments of the constructor that the shapes give, or None for another network.

        Arguments that shapes cannot tell are left out; a constructor without a default for one
        makes the caller ask for it.
        """

    @classmethod
    def choices(cls, argument: str) -> list[str]:
        """The words that a constructor argument can be, where there are few."""
        return []

    def network_of(self, path: str) -> str:
        """Which of its networks the module at `path` belongs to."""
        return self.networks.get(path.split(".")[0], "policy")

    def reset_state(self, state: Any, rows: Int[np.ndarray, " begun"]) -> Any:
        """`state` with these rows put back to the start of an episode; `state` itself is kept."""
        if state is None or not len(rows):
            return state
        where = torch.from_numpy(np.asarray(rows, np.int64)).to(self.device)
        return joined(lambda old, new: old.index_copy(0, where, new), state, self.fresh(len(rows)))

    def fresh(self, rows: int) -> Any:
        """`initial_state`, where the weights are."""
        return joined(lambda tensor, _: tensor.to(self.device), *2 * (self.initial_state(rows),))


def joined(function: Callable[[Tensor, Tensor], Tensor], one: Any, other: Any) -> Any:
    """`function` of every tensor of two equally nested dicts and tuples."""
    if isinstance(one, Tensor):
        return function(one, other)
    if isinstance(one, Mapping):
        return {key: joined(function, one[key], other[key]) for key in one}
    return tuple(joined(function, *pair) for pair in zip(one, other, strict=True))


def has_keys(shapes: Shapes, *names: str) -> bool:
    """Whether all these tensors are there."""
    return all(name in shapes for name in names)


def image(
    observation: Num[Tensor, "row ..."], channels: int, like: Tensor
) -> Float[Tensor, "row channel height width"]:
    """Pictures with channels first, bytes scaled to 0…1, of the dtype and device of `like`."""
    if observation.dim() == 3:
        observation = observation.unsqueeze(1)
    if observation.dim() == 5 and observation.shape[-1] == 1:
        observation = observation.squeeze(-1)
    if observation.dim() == 5:
        # Stacked colour frames: [row, frame, height, width, channel].
        observation = observation.permute(0, 1, 4, 2, 3).flatten(1, 2)
    if observation.shape[1] != channels and observation.shape[-1] == channels:
        observation = observation.permute(0, 3, 1, 2)
    scaled = observation.to(like)
    return scaled / 255 if observation.dtype == torch.uint8 else scaled


def shifted(
    window: Shaped[Tensor, "row step ..."], newest: Shaped[Tensor, "row ..."]
) -> Shaped[Tensor, "row step ..."]:
    """The window one step on: its oldest entry gone, `newest` at its end."""
    return torch.cat((window[:, 1:], newest.unsqueeze(1).to(window)), 1)


def flat(observation: Num[Tensor, "row ..."], like: Tensor) -> Float[Tensor, "row feature"]:
    """Observations as vectors, of the dtype and device of `like`."""
    return observation.to(like).flatten(1)

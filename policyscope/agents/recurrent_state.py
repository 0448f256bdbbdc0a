"""Recurrent state as rows: to take some of them out, and to put others together.

A state is whatever its agent makes of it: tensors in nested dicts, tuples and lists. Which axis of
a tensor is the rows shows when the agent is asked for the state of two rows and of three.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from policyscope.agents.agent import Agent
from policyscope.agents.hooks import leaves, with_leaf
from policyscope.errors import InvalidInput


@dataclass(frozen=True, eq=False)
class RecurrentState:
    """The state of some rows, as their agent gave it, and the row axis of each of its tensors."""

    state: Any
    axes: tuple[int, ...]

    def __post_init__(self) -> None:
        count = len(leaves(self.state))
        if count != len(self.axes):
            raise InvalidInput(
                f"The agent's state has {count} tensors now and had {len(self.axes)} at the start "
                "of its episode."
            )

    def __getitem__(self, rows: slice | Int[np.ndarray, " _"]) -> "RecurrentState":
        return self.filled(
            tensor[(slice(None),) * axis + (rows,)]
            for tensor, axis in zip(leaves(self.state), self.axes, strict=True)
        )

    def on(self, device: torch.device) -> "RecurrentState":
        """The same on another device."""
        return self.filled(tensor.to(device) for tensor in leaves(self.state))

    @property
    def nbytes(self) -> int:
        """How much memory its tensors take."""
        return sum(tensor.nbytes for tensor in leaves(self.state))

    def filled(self, tensors: Iterable[Tensor]) -> "RecurrentState":
        """The same nest around other tensors."""
        state = self.state
        for index, tensor in enumerate(tensors):
            state = with_leaf(state, index, tensor)
        return RecurrentState(state, self.axes)


def row_axes(agent: Agent) -> tuple[int, ...]:
    """Which axis of each tensor of the agent's state is the rows; InvalidInput where none is."""
    axes = []
    two, three = (leaves(agent.initial_state(rows)) for rows in (2, 3))
    for index, (one, other) in enumerate(zip(two, three, strict=True)):
        both = enumerate(zip(one.shape, other.shape, strict=True))
        found = [axis for axis, sizes in both if sizes == (2, 3)]
        if len(found) != 1:
            raise InvalidInput(
                f"Tensor {index} of the agent's state has shape {list(one.shape)} for two rows and "
                f"{list(other.shape)} for three, so no axis of it is the rows."
            )
        axes += found
    return tuple(axes)


def together(parts: Sequence[RecurrentState]) -> RecurrentState:
    """The rows of all parts, one part after the other; InvalidInput where their shapes differ."""
    first = parts[0]
    tensors = []
    for axis, *same in zip(first.axes, *(leaves(part.state) for part in parts), strict=True):
        try:
            tensors.append(torch.cat(same, axis))
        except RuntimeError as error:
            raise InvalidInput(
                "The agent's state changes its shape from step to step, so the states of several "
                f"steps are not of one kind: {error}"
            ) from error
    return first.filled(tensors)

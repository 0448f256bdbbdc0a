"""Preallocated room for one block of steps, used again and again.

Fresh memory costs more than the hooks do (page faults), so two sets of arrays take turns: one is
filled while the writer still reads the other.
"""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from policyscope.recordings.block import Block
from policyscope.recordings.episode import Episode


class Buffers:
    """Columns [step, row, …] for one block, filled step by step."""

    def __init__(
        self, steps: int, rows: int, shapes: Mapping[str, tuple[tuple[int, ...], np.dtype]]
    ) -> None:
        self.columns = {
            name: np.empty((steps, *shape), dtype) for name, (shape, dtype) in shapes.items()
        }
        self._tensors = {
            name: torch.from_numpy(array)
            for name, array in self.columns.items()
            if array.dtype != np.bool_
        }
        self._singles = {
            name: array for name, array in self.columns.items() if array.dtype == np.float32
        }
        self.episode = np.empty((steps, rows), np.int32)
        self.step = np.empty((steps, rows), np.int32)
        self.filled = 0

    def put(self, name: str, values: Shaped[np.ndarray, "row ..."]) -> None:
        """Keeps an array as this step's part of a column."""
        self.columns[name][self.filled] = values

    def put_tensor(self, name: str, values: Shaped[Tensor, "row ..."]) -> None:
        """Keeps a tensor as this step's part of a column, converting to the column's type."""
        column = self._singles.get(name)
        if column is not None and values.dtype is torch.float32:
            # For the few numbers of a step, numpy takes half as long as torch.
            column[self.filled] = values.numpy(force=True)
        else:
            self._tensors[name][self.filled].copy_(values)

    def block(self, ended: list[Episode]) -> Block:
        """What was filled so far."""
        return Block(
            columns={name: array[: self.filled] for name, array in self.columns.items()},
            episode=self.episode[: self.filled],
            step=self.step[: self.filled],
            ended=tuple(ended),
        )

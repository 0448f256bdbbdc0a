"""What a dictionary is fitted on: shuffled pairs of activations, pass after pass."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from policyscope.errors import InvalidInput, NotEnoughData, NotFinite

Pair = tuple[Float[Tensor, "step unit"], Float[Tensor, "step target"]]


@runtime_checkable
class Source(Protocol):
    """Where the samples of a fit come from; the same again whenever it is asked for the same."""

    @property
    def count(self) -> int:
        """How many samples one pass has."""
        ...

    def batches(self, epoch: int, batch_size: int) -> Iterator[Pair]:
        """The pairs (x, y) of pass number `epoch`, shuffled; the last batch may be shorter."""
        ...

    def sample(self, count: int) -> Pair:
        """At most so many pairs from all over, for scaling and calibration."""
        ...


@dataclass(frozen=True, eq=False)
class InMemory:
    """Pairs that are held in memory, in an order that `data_seed` decides, new in every pass."""

    x: Float[Tensor, "step unit"]
    y: Float[Tensor, "_ target"]
    data_seed: int = 0
    about: str = ""
    """What else a fit that goes on where it was must find the same."""

    def __post_init__(self) -> None:
        x, y = checked(self.x, self.y)
        object.__setattr__(self, "x", x)
        object.__setattr__(self, "y", y)

    @property
    def count(self) -> int:
        """How many samples one pass has."""
        return len(self.x)

    def batches(self, epoch: int, batch_size: int) -> Iterator[Pair]:
        """The pairs of one pass, shuffled."""
        order = next(islice(orders(len(self.x), self.data_seed), epoch, None)).to(self.x.device)
        for rows in order.split(batch_size):
            x = self.x.index_select(0, rows)
            yield x, x if self.y is self.x else self.y.index_select(0, rows)

    def sample(self, count: int) -> Pair:
        """At most so many pairs, evenly from first to last."""
        return few((self.x, self.y), count)


def orders(steps: int, seed: int) -> Iterator[Int[Tensor, " step"]]:
    """The order of the steps in each pass, without end; every fit with this seed sees the same."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield torch.randperm(steps, generator=generator)


def few(pair: Pair, most: int) -> tuple[Float[Tensor, "kept unit"], Float[Tensor, "kept target"]]:
    """At most so many of the steps, evenly from first to last."""
    x, y = pair
    if len(x) <= most:
        return pair
    rows = torch.arange(most, device=x.device) * len(x) // most
    kept = x[rows]
    return kept, kept if y is x else y[rows]


def checked(x: Tensor | np.ndarray, y: Tensor | np.ndarray) -> Pair:
    """`x` and `y` as float32 tensors; an error that says what is wrong if they cannot be fitted."""
    is_autoencoder = y is x
    x = torch.as_tensor(x).float()
    pair = x, x if is_autoencoder else torch.as_tensor(y).float()
    for side, values in zip("xy", pair, strict=True):
        if values.ndim != 2:
            raise InvalidInput(
                f"{side} has shape {tuple(values.shape)}; expected [step, unit]. Give one row per "
                "step, and for a convolutional site one row per position."
            )
    if len(pair[0]) != len(pair[1]):
        raise InvalidInput(
            f"x has {len(pair[0])} steps and y has {len(pair[1])}; they must be the same steps."
        )
    if pair[0].numel() == 0 or pair[1].numel() == 0:
        shapes = f"x {list(pair[0].shape)}, y {list(pair[1].shape)}"
        raise NotEnoughData(f"There is nothing to fit: {shapes} hold no values. Record some steps.")
    for side, values in zip("xy", pair, strict=True):
        # One sum finds any NaN or Inf; where it overflows, the exact check decides.
        if not torch.isfinite(values.sum()) and not torch.isfinite(values).all():
            step, unit = torch.nonzero(~torch.isfinite(values))[0].tolist()
            raise NotFinite(
                f"{side} is {values[step, unit].item()} at step {step}, unit {unit}; "
                "dictionaries are fitted to finite numbers only."
            )
    return pair

"""How a fit went: what it minimized and what came of it, pass by pass."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from policyscope.dictionaries.coordinates import Coordinates
from policyscope.dictionaries.dictionary import Dictionary
from policyscope.dictionaries.products import fast_products

PLAIN = Coordinates()
MEASURED_ROWS = 4096
"""Steps whose codes are in memory at once."""


@dataclass(frozen=True, eq=False)
class Curves:
    """How the fit went, one value per epoch.

    `loss` and its `parts` are means over the training batches of the epoch. `unexplained` (share
    of the variance of y, 0 best), `l0` (features active per step) and `dead` (share of features
    never active) are measured after the epoch, on the held-out data where there are any.
    """

    loss: Float[np.ndarray, " epoch"]
    parts: dict[str, Float[np.ndarray, " epoch"]]
    unexplained: Float[np.ndarray, " epoch"]
    l0: Float[np.ndarray, " epoch"]
    dead: Float[np.ndarray, " epoch"]

    @classmethod
    def of(cls, epochs: Sequence[Mapping[str, float]]) -> "Curves":
        """The curves from one mapping per epoch, names as in `columns`."""
        columns = {name: np.array([row[name] for row in epochs]) for name in epochs[0]}
        measured = {name: columns.pop(name) for name in ("loss", "unexplained", "l0", "dead")}
        return cls(parts=columns, **measured)

    def columns(self) -> dict[str, Float[np.ndarray, " epoch"]]:
        """Every curve by name, as it is written to `curves.csv`."""
        measured = {"unexplained": self.unexplained, "l0": self.l0, "dead": self.dead}
        return {"loss": self.loss, **self.parts, **measured}

    def __len__(self) -> int:
        return len(self.loss)

    def __repr__(self) -> str:
        return f"Curves({len(self)} epochs: {', '.join(self.columns())})"


@fast_products()
@torch.no_grad()
def measure(
    dictionary: Dictionary,
    x: Float[Tensor, "step unit"],
    y: Float[Tensor, "step target"],
    coordinates: Coordinates = PLAIN,
) -> dict[str, float]:
    """`unexplained`, `l0` and `dead` of a dictionary on steps that are in `coordinates`.

    `unexplained` is NaN where y does not vary, for then there is nothing to explain.
    """
    error, active, fired = 0.0, 0, torch.zeros(len(dictionary), dtype=torch.bool, device=x.device)
    for rows, targets in zip(x.split(MEASURED_ROWS), y.split(MEASURED_ROWS), strict=True):
        codes, reconstruction = dictionary.decompose(rows)
        error += float(coordinates.straight(reconstruction - targets).double().square().sum())
        is_active = codes != 0
        active += int(is_active.sum())
        fired |= is_active.any(0)
    return {
        "unexplained": error / variation(coordinates.straight(y)),
        "l0": active / len(x),
        "dead": float((~fired).double().mean()),
    }


def variation(y: Float[Tensor, "step target"]) -> float:
    """Summed squared distance of `y` from its mean; NaN where y is constant."""
    y = y.double()
    total = float((y - y.mean(0)).square().sum())
    return total if total > 0 else math.nan

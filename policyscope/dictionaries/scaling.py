"""Scaling: activations centred and brought to unit spread, as dictionaries like to be fitted."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Scaling:
    """What takes raw activations to scaled ones: (x − x_mean) / x_scale, and y likewise.

    One scalar per side: single units keep their share of the variance.
    """

    x_mean: Float[Tensor, " unit"]
    x_scale: float
    y_mean: Float[Tensor, " target"]
    y_scale: float

    @classmethod
    def of(cls, x: Float[Tensor, "step unit"], y: Float[Tensor, "step target"]) -> "Scaling":
        """Centred, and with a mean squared norm of as much as there are units."""
        return cls(x.mean(0), spread(x), y.mean(0), spread(y))

    @classmethod
    def none(cls, x: Float[Tensor, "step unit"], y: Float[Tensor, "step target"]) -> "Scaling":
        """Leaves everything as it is."""
        return cls(torch.zeros_like(x[0]), 1.0, torch.zeros_like(y[0]), 1.0)

    def apply(
        self, x: Float[Tensor, "step unit"], y: Float[Tensor, "step target"]
    ) -> tuple[Float[Tensor, "step unit"], Float[Tensor, "step target"]]:
        """The scaled pair."""
        return (x - self.x_mean) / self.x_scale, (y - self.y_mean) / self.y_scale


def spread(values: Float[Tensor, "step unit"]) -> float:
    """Root mean square distance from the mean over all units; 1 where nothing varies."""
    found = float(values.var(0, correction=0).mean().sqrt())
    return found if found > 0 else 1.0

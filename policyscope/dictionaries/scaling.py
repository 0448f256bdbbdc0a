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
        of_x = x.mean(0), spread(x)
        return cls(*of_x, *(of_x if y is x else (y.mean(0), spread(y))))

    @classmethod
    def none(cls, x: Float[Tensor, "step unit"], y: Float[Tensor, "step target"]) -> "Scaling":
        """Leaves everything as it is."""
        return cls(torch.zeros_like(x[0]), 1.0, torch.zeros_like(y[0]), 1.0)

    def apply(
        self, x: Float[Tensor, "step unit"], y: Float[Tensor, "step target"]
    ) -> tuple[Float[Tensor, "step unit"], Float[Tensor, "step target"]]:
        """The scaled pair; one tensor where it was one and is scaled as one."""
        scaled = (x - self.x_mean).div_(self.x_scale)
        if y is x and self.y_scale == self.x_scale and self.y_mean is self.x_mean:
            return scaled, scaled
        return scaled, (y - self.y_mean).div_(self.y_scale)


def spread(values: Float[Tensor, "step unit"]) -> float:
    """Root mean square distance from the mean over all units; 1 where nothing varies."""
    found = float((values - values.mean(0)).square_().mean().sqrt())
    return found if found > 0 else 1.0

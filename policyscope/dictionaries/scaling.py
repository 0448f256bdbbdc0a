"""Scaling: activations centred and brought to unit spread, as dictionaries like to be fitted."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Scaling:
    """What takes raw activations to scaled ones: (x − x_mean) / x_scale, and y likewise.

    One scalar per side: single units keep their share of the variance. Where y is several sites,
    each has a scalar of its own.
    """

    x_mean: Float[Tensor, " unit"]
    x_scale: float
    y_mean: Float[Tensor, " target"]
    y_scale: float
    y_relative: Float[Tensor, " target"] | None = None
    """The scale of the site of each unit of y, in units of `y_scale`, where there are several."""

    @classmethod
    def of(cls, x: Float[Tensor, "step unit"], y: Float[Tensor, "step target"]) -> "Scaling":
        """Centred, and with a mean squared norm of as much as there are units."""
        of_x = x.mean(0), spread(x)
        return cls(*of_x, *(of_x if y is x else (y.mean(0), spread(y))))

    @classmethod
    def of_sites(
        cls, x: Float[Tensor, "step unit"], y: Float[Tensor, "step target"], splits: Sequence[int]
    ) -> "Scaling":
        """As `of`, for a y of several sites, `splits` units each, one after another."""
        whole = cls.of(x, y)
        sites = [site.new_full((site.shape[1],), spread(site)) for site in y.split(splits, 1)]
        return replace(whole, y_relative=torch.cat(sites) / whole.y_scale)

    def apply(
        self, x: Float[Tensor, "step unit"], y: Float[Tensor, "step target"]
    ) -> tuple[Float[Tensor, "step unit"], Float[Tensor, "step target"]]:
        """The scaled pair; one tensor where it was one and is scaled as one."""
        scaled = (x - self.x_mean).div_(self.x_scale)
        is_one = self.y_scale == self.x_scale and self.y_mean is self.x_mean
        if y is x and is_one and self.y_relative is None:
            return scaled, scaled
        return scaled, (y - self.y_mean).div_(self.y_units)

    @property
    def y_units(self) -> float | Float[Tensor, " target"]:
        """What one unit of scaled y is in raw ones."""
        return self.y_scale if self.y_relative is None else self.y_scale * self.y_relative


def spread(values: Float[Tensor, "step unit"]) -> float:
    """Root mean square distance from the mean over all units; 1 where nothing varies."""
    found = float((values - values.mean(0)).square_().mean().sqrt())
    return found if found > 0 else 1.0

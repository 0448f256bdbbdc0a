"""A turn: the linear change of coordinates in which a metric of errors is the plain one."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Turn:
    """y becomes y @ writes, and x becomes x @ reads where that is the same site."""

    writes: Float[Tensor, "target target"]
    back: Float[Tensor, "target target"]
    """The inverse of `writes`."""
    turns_reading: bool
    """Whether x is y: an autoencoder reads what it is to write."""

    @classmethod
    def of(cls, metric: Float[Tensor, "target target"], *, turns_reading: bool) -> "Turn":
        """The symmetric turn with ‖e @ writes‖² = eᵀ metric e, of a positive definite metric."""
        values, axes = torch.linalg.eigh(metric.double())
        roots = values.clamp(min=0).sqrt()
        writes, back = (axes * roots) @ axes.T, (axes / roots) @ axes.T
        return cls(writes.to(metric), back.to(metric), turns_reading)

    def apply(
        self, x: Float[Tensor, "step unit"], y: Float[Tensor, "step target"]
    ) -> tuple[Float[Tensor, "step unit"], Float[Tensor, "step target"]]:
        """The turned pair; one tensor where it was one."""
        turned = y @ self.writes
        if not self.turns_reading:
            return x, turned
        return (turned if x is y else x @ self.writes), turned

    def reading(self, rows: Float[Tensor, "row unit"]) -> Float[Tensor, "row unit"]:
        """Readings of turned x as readings of x."""
        return rows @ self.writes if self.turns_reading else rows

    def writing(self, rows: Float[Tensor, "... target"]) -> Float[Tensor, "... target"]:
        """What is written in turned coordinates, as before the turn."""
        return rows @ self.back

"""Behaviour: how much of what the agent does an error of reconstruction changes.

An error e of the activation moves the agent's outputs by about A e; where what follows is linear,
by exactly that. Two errors of one size can differ in it by orders of magnitude, so a fit may ask
for the second to be small too. (Braun et al. 2024, arXiv 2405.12241, fit through the whole rest of
the network to that end; A is the rest of it to first order, found once.)

The sum of both errors is one quadratic form, so it is asked for as a change of coordinates and not
as a term of the loss: features then compete for what the agent hears from the first step on.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from policyscope.errors import InvalidInput


@dataclass(frozen=True, eq=False)
class Behaviour:
    """How an activation moves the agent's outputs, and what that counts for in a loss."""

    factor: Float[Tensor, "output unit"]
    weight: float
    """1 counts a percent of behaviour as much as a percent of the activation's variance."""
    normalizer: float
    """Mean ‖A (y − ȳ)‖²: what there is to explain."""

    @classmethod
    def of(
        cls, factor: Float[Tensor, "output unit"], y: Float[Tensor, "step unit"], weight: float
    ) -> "Behaviour":
        """The behaviour that the activations `y` carry; InvalidInput where they carry none."""
        factor = factor.to(y)
        normalizer = float(((y - y.mean(0)) @ factor.T).square().sum(-1).mean())
        if not normalizer > 0:
            raise InvalidInput(
                f"These {len(y):,} activations do not move the agent's outputs at all, so there is "
                "no behaviour to explain. Give more, or those of another site."
            )
        return cls(factor, weight, normalizer)

    def metric(
        self, y: Float[Tensor, "step unit"], units: float | Float[Tensor, " unit"]
    ) -> Float[Tensor, "unit unit"]:
        """M with eᵀ M e = ‖e‖² + weight · (variance of y) · (share of behaviour that e moves).

        `y` and e are in `units` of raw activations.
        """
        variance = float((y - y.mean(0)).square().sum(-1).mean())
        heard = (self.factor * units).double()
        weighed = (self.weight * variance / self.normalizer) * (heard.T @ heard)
        return (torch.eye(y.shape[1], device=y.device).double() + weighed).to(y)

    def unexplained(self, error: Float[Tensor, "step unit"]) -> Float[Tensor, ""]:
        """The share of the behaviour's variance that the error leaves unexplained."""
        moved = error @ self.factor.T
        return moved.square().sum(-1).mean() / self.normalizer

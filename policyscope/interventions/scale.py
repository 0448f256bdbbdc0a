"""Scaling: a feature or unit multiplied by a factor."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from policyscope.interventions.clamp import finite, set_or_multiply
from policyscope.interventions.intervention import Intervention
from policyscope.interventions.target import Target


def scale(target: Target, factor: float | Float[Tensor, " row"] | Sequence[float]) -> Intervention:
    """Multiplies a feature or unit by `factor`, one number or one per row; 1 changes nothing."""
    factors = finite("factor", factor)
    by = f"{float(factors):g}" if factors.dim() == 0 else f"{len(factors)} factors"
    return set_or_multiply(target, torch.tensor(torch.nan), factors, f"scale by {by}")

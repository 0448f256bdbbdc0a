"""Scaling: a feature or unit multiplied by a factor."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from policyscope.errors import InvalidInput
from policyscope.interventions.clamp import set_or_multiply
from policyscope.interventions.intervention import Intervention
from policyscope.interventions.target import Target


def scale(target: Target, factor: float | Float[Tensor, " row"] | Sequence[float]) -> Intervention:
    """Multiplies a feature or unit by `factor`, one number or one per row; 1 changes nothing."""
    factors = torch.as_tensor(factor, dtype=torch.float32)
    if not torch.isfinite(factors).all():
        raise InvalidInput(f"factor is {factor!r}; expected finite numbers.")
    verb = f"scale by {float(factors):g}" if factors.dim() == 0 else f"scale by {len(factors)} factors"
    return set_or_multiply(target, torch.tensor(torch.nan), factors, verb)

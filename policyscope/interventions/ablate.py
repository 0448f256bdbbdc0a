"""Ablating: a feature, unit or whole site replaced by zero or by its mean."""

import torch
from jaxtyping import Float
from torch import Tensor

from policyscope.address import Site
from policyscope.errors import InvalidInput
from policyscope.interventions.clamp import finite, set_or_multiply
from policyscope.interventions.intervention import Intervention
from policyscope.interventions.patch import patch
from policyscope.interventions.target import Target, resolve


def ablate(target: Target, mean: float | Float[Tensor, "..."] | None = None) -> Intervention:
    """Silences a feature, unit or site: sets it to zero, or to `mean` when one is given.

    The mean is one number for a feature or unit, and a whole activation for a site; take it from
    the statistics of a recording.
    """
    aim = resolve(target)
    if isinstance(aim, Site):
        if not isinstance(mean, Tensor):
            raise InvalidInput(
                f"To ablate the whole site '{aim}' give its mean activation (zeros to silence it)."
            )
        return patch(aim, mean, label=f"ablate {aim}")
    value = finite("mean", 0.0 if mean is None else mean)
    verb = "ablate" if mean is None else "mean-ablate"
    return set_or_multiply(aim, value, torch.tensor(1.0), verb)

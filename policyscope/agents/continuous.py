"""Continuous actions from a normal distribution, sampled with addressed noise."""

import torch
from jaxtyping import Float
from torch import Tensor

from policyscope.agents.noise import Noise


def sample_normal(
    mean: Float[Tensor, "row action"],
    log_std: Float[Tensor, "... action"],
    noise: Noise | None,
) -> Float[Tensor, "row action"]:
    """One sample per row, by the inverse of the distribution function; the mean without `noise`.

    Two policies that share their noise differ in their actions as their means and widths do.
    """
    if noise is None:
        return mean
    uniform = noise.uniform(mean.shape[-1]).to(mean)
    return mean + log_std.exp() * torch.special.ndtri(uniform)

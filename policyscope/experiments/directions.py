"""Random directions: what a push of equal size does when it means nothing."""

import torch
from jaxtyping import Float
from torch import Tensor


def random_directions(
    count: int, units: int, generator: torch.Generator
) -> Float[Tensor, "direction unit"]:
    """`count` directions of length 1, uniform on the sphere."""
    drawn = torch.randn(count, units, generator=generator)
    return drawn / drawn.norm(dim=1, keepdim=True)

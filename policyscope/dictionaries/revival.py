"""Bringing dead features back: they explain what the living leave over (AuxK).

Gao et al. 2024, arXiv 2406.04093, A.2. The dead features with the largest readings reconstruct the
residual, which carries no gradient itself; the decoder bias is no part of it.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from policyscope.dictionaries.codes import Codes

ROUND = 64
"""Columns that are read for dead features come in multiples of this."""


def auxiliary_loss(
    codes: Codes,
    dead: Bool[Tensor, " feature"] | None,
    y: Float[Tensor, "step target"],
    reconstruction: Float[Tensor, "step target"],
    decoder: Float[Tensor, "feature target"],
) -> Float[Tensor, ""]:
    """Mean squared error, summed over units, of the dead features' guess at what is left of `y`.

    At most half as many features as there are units guess for each step; with fewer dead features
    the loss counts for less in proportion. Zero, with no gradient, where none is dead.
    """
    most = max(1, decoder.shape[1] // 2)
    if dead is None or not dead.any():
        return y.new_zeros(())
    # Only the columns of the dead: the cost is in proportion to how many there are. A few of the
    # living, who guess nothing, make the number round: the libraries below keep what they prepared
    # for every shape of a product, and a shape per step would fill the memory.
    living = ~dead
    dead_count = len(dead) - int(living.sum())
    found = torch.argsort(living, stable=True)[: -(-dead_count // ROUND) * ROUND]
    count = min(most, dead_count)
    guesses = codes.readings(found).relu().masked_fill(living[found], 0)
    if count < len(found):
        values, places = guesses.topk(count, dim=-1, sorted=False)
        guesses = torch.zeros_like(guesses).scatter(-1, places, values)
    guess = guesses @ decoder.index_select(0, found)
    residual = y - reconstruction.detach()
    error = nn.functional.mse_loss(guess, residual, reduction="sum") / len(y)
    return error * (count / most)


@torch.no_grad()
def strongest(
    pre: Float[Tensor, "step feature"], dead: Bool[Tensor, " feature"] | None
) -> Float[Tensor, " feature"]:
    """The largest reading of each dead feature in a batch; infinity for the living.

    For kinds in which a feature is active above a bound of its own: what lies above all its
    readings gives it no gradient, so a dead feature stays dead until its bound is brought here.
    """
    if dead is None:
        return pre.new_full((pre.shape[1],), torch.inf)
    return torch.where(dead, pre.amax(0), torch.inf)

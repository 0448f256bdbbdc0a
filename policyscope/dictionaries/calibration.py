"""Thresholds in place of "the k largest", for libraries that have no transcoder of that rule."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from policyscope.dictionaries.plain import Plain
from policyscope.errors import InvalidInput, NotEnoughData, NotFinite

LEAST_STEPS, MOST_STEPS = 1000, 16_384
"""Steps that thresholds are found on: enough for a feature that fires in one of a hundred, and no
more than memory holds for a block of features."""
BLOCK = 512


@dataclass(frozen=True)
class Calibration:
    """What it costs to replace "the k largest" by one threshold per feature."""

    steps: int
    """Steps the thresholds were found on, such that each feature fires as often as before."""
    l0: float
    """Features active per step with the thresholds."""
    unexplained: float
    """Share of the variance of the original reconstruction that the thresholds miss; 0 best."""


def calibrate(plain: Plain, x: Float[Tensor, "step unit"]) -> tuple[Plain, Calibration]:
    """`plain` with thresholds at which each feature fires as often on `x` as among the k largest.

    One threshold for all features, as in BatchTopK, would keep the mean number of active features
    too, but lose more. Raises where `x` cannot be read or is too little.
    """
    assert plain.k is not None, "only the k largest need thresholds"
    x = sampled(plain, x)
    counts = torch.zeros(plain.width, dtype=torch.long)
    for part in x.split(BLOCK):
        counts += (plain.codes(part) > 0).sum(0)
    blocks = zip(
        plain.encoder.split(BLOCK),
        plain.encoder_bias.split(BLOCK),
        counts.split(BLOCK),
        strict=True,
    )
    found = [threshold_of(x @ rows.T + bias, count) for rows, bias, count in blocks]
    changed = replace(plain, k=None, threshold=torch.cat(found))
    return changed, cost(plain, changed, x)


def sampled(plain: Plain, x: Float[Tensor, "step unit"]) -> Float[Tensor, "step unit"]:
    """Up to `MOST_STEPS` of `x`, evenly over its length; raises where it is of no use."""
    d_in = plain.encoder.shape[1]
    if x.shape[1] != d_in:
        raise InvalidInput(f"calibrate_on has {x.shape[1]} units; the dictionary reads {d_in}.")
    if len(x) < LEAST_STEPS:
        raise NotEnoughData(
            f"calibrate_on has {len(x)} steps; thresholds need at least {LEAST_STEPS:,}."
        )
    count = min(len(x), MOST_STEPS)
    x = x[torch.arange(count, device=x.device) * len(x) // count].detach().cpu().float()
    if not torch.isfinite(x).all():
        raise NotFinite("calibrate_on holds NaN or Inf; thresholds are found on finite numbers.")
    return x


def threshold_of(
    readings: Float[Tensor, "step feature"], counts: Int[Tensor, " feature"]
) -> Float[Tensor, " feature"]:
    """Per feature a threshold, at least 0, that so many of its readings are above."""
    falling = readings.sort(0, descending=True).values
    highest_not = falling.gather(0, counts.clamp(max=len(readings) - 1)[None])[0]
    return torch.where(counts < len(readings), highest_not, 0.0).relu()


def cost(before: Plain, after: Plain, x: Float[Tensor, "step unit"]) -> Calibration:
    """What the thresholds of `after` change on `x`."""
    error, active = 0.0, 0
    total = torch.zeros(before.decoder.shape[1], dtype=torch.float64)
    squares = torch.zeros_like(total)
    for part in x.split(BLOCK):
        codes = after.codes(part)
        meant = (before.codes(part) @ before.decoder).double()
        error += float((codes @ before.decoder - meant).square().sum())
        active += int((codes > 0).sum())
        total += meant.sum(0)
        squares += meant.square().sum(0)
    variation = float((squares - total.square() / len(x)).sum())
    return Calibration(len(x), active / len(x), error / variation if variation > 0 else 0.0)

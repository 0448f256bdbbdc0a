"""Rare states as often as common ones: samples drawn so that the values of a metric come evenly.

An agent that plays well is seldom in trouble, so that a fit sees little of what it does there. The
range of a metric is cut into bins and samples are drawn, with replacement, equally often from each
that has any. Scores are measured on the states as they come.
"""

from collections.abc import Set

import numpy as np
from jaxtyping import Float, Int

from policyscope.errors import InvalidInput, UnknownName
from policyscope.recordings.batches import sample_ranges
from policyscope.recordings.recording import Recording

BINS = 20
TAIL = 0.01
"""Share of the samples below the first bin's and above the last bin's range, which they join."""


def metric_of(
    recording: Recording, metric: str, episodes: Set[int], places: int
) -> Float[np.ndarray, " sample"]:
    """The values of a recorded metric at the samples of some episodes, in their order on disk.

    UnknownName where it was not recorded, InvalidInput where it is not one number per step.
    """
    known = [spec.name for spec in recording.header.columns if spec.kind == "metric"]
    if metric not in known:
        raise UnknownName.among(f"recorded metric in {recording.name!r}", metric, known)
    values = np.asarray(recording.read(metric), np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise InvalidInput(f"Metric {metric!r} is not one finite number per step.")
    ranges = sample_ranges(recording, episodes)
    steps = np.concatenate([np.arange(begin, end) for begin, end in ranges])
    return values[steps].repeat(places)


def balanced(
    values: Float[np.ndarray, " sample"], generator: np.random.Generator
) -> Int[np.ndarray, " sample"]:
    """As many samples by number, drawn so that each bin of the values that has any comes evenly.

    Where there are no more different values than bins, each is a bin of its own.
    """
    different, bin_of = np.unique(values, return_inverse=True)
    if len(different) > BINS:
        low, high = np.quantile(values, [TAIL, 1 - TAIL])
        bin_of = np.digitize(values, np.linspace(low, high, BINS + 1)[1:-1])
    counts = np.bincount(bin_of)
    weight = 1 / counts[bin_of]
    return generator.choice(len(values), len(values), p=weight / weight.sum())

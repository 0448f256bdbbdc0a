"""An estimate: a number measured on some episodes, and how far other episodes might move it."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from policyscope.statistics.episodes import (
    FEWEST_EPISODES,
    GROUPS,
    percentile_interval,
    resample,
)

REPLICATES = 1000
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval, by resampling whole episodes.

    The bounds are NaN under four episodes, which say nothing of others.
    """

    value: float
    low: float
    high: float
    episodes: int

    @property
    def has_interval(self) -> bool:
        """Whether there were episodes enough."""
        return not math.isnan(self.low)

    def write(self, form: str) -> str:
        """The value and its interval as text, each number written as `form` says."""
        if math.isnan(self.value):
            return "not known"
        value = format(self.value, form)
        if not self.has_interval:
            return value
        return f"{value} [{format(self.low, form)}, {format(self.high, form)}]"

    def __str__(self) -> str:
        return self.write(".3g")


def estimate_of(
    value: float, replicates: Float[np.ndarray, " replicate"], episodes: int
) -> Estimate:
    """The estimate whose interval these bootstrap replicates give."""
    if episodes < FEWEST_EPISODES or np.isnan(replicates).all():
        return Estimate(value, math.nan, math.nan, episodes)
    low, high = percentile_interval(replicates[:, None], LEVEL)
    return Estimate(value, float(low[0]), float(high[0]), episodes)


def episode_mean(
    values: Float[np.ndarray, " step"], episode: Int[np.ndarray, " step"], *, seed: int = 0
) -> Estimate:
    """The mean over steps, its interval over episodes; NaN where a value is."""
    groups, place = np.unique(episode % GROUPS, return_inverse=True)
    sums, counts = np.bincount(place, values), np.bincount(place)
    drawn = resample(len(groups), REPLICATES, seed)
    mean = float(values.mean()) if len(values) else math.nan
    return estimate_of(mean, (drawn @ sums) / (drawn @ counts), len(np.unique(episode)))

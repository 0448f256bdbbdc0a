"""How large an effect is and how sure of it one can be: intervals, paired differences, corrections.

Which interval is used where follows from measured coverage on skewed episode returns (nominal 95 %;
10 / 20 / 50 / 100 episodes): Student t 0.96 / 0.97 / 0.96 / 0.95, percentile bootstrap
0.87 / 0.92 / 0.94 / 0.94. Differences of means therefore use t throughout, and means use the
bootstrap only from 50 episodes on. The interquartile mean follows Agarwal et al. 2021, "Deep
Reinforcement Learning at the Edge of the Statistical Precipice", arXiv 2108.13264, section 4.3.
The comparison with random directions is the max-T procedure of Westfall & Young 1993,
"Resampling-Based Multiple Testing", section 2.6.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from policyscope.errors import InvalidInput, NotEnoughData, NotFinite, UnknownName

LEVEL = 0.05
"""What a corrected p may be at most where something is said to hold."""
BOOTSTRAP_FROM = 50
REPLICATES = 2000
CELLS_AT_ONCE = 1 << 20
CORRECTIONS = ("benjamini-hochberg", "holm")


@dataclass(frozen=True)
class Interval:
    """An estimate with a confidence interval, and the method the interval came from."""

    value: float
    low: float
    high: float
    level: float
    episodes: int
    method: Literal["student t", "bootstrap"]

    def __str__(self) -> str:
        return f"{self.value:.1f} [{self.low:.1f}, {self.high:.1f}]"


@dataclass(frozen=True)
class Effect:
    """A paired difference of mean returns, with its interval and two-sided p, both by Student t.

    Where every episode differs by the same nonzero amount, t has no spread to work with: p is
    then that of the sign test, 2^(1−n), and the interval is the one point.
    """

    difference: float
    low: float
    high: float
    p: float
    episodes: int
    level: float = 0.95

    def __str__(self) -> str:
        return f"{self.difference:+.1f} [{self.low:+.1f}, {self.high:+.1f}]"


@dataclass(frozen=True)
class Band:
    """Where the effect of a further random direction falls with probability `level`."""

    low: float
    high: float
    level: float
    effects: tuple[float, ...]

    def contains(self, difference: float) -> bool:
        """Whether `difference` is no more than random directions do."""
        return bool(self.low <= difference <= self.high)

    def chance(self, difference: float) -> float:
        """The chance that one more random direction does at least as well as `difference`.

        Counts the new direction among the old ones, so it is never 0: (1 + as good) / (1 + all).
        """
        return (1 + self.as_good(difference)) / (1 + len(self.effects))

    def as_good(self, difference: float) -> int:
        """How many of the random directions do at least as well as `difference`."""
        return sum(effect >= difference for effect in self.effects)


def mean_interval(
    returns: Float[np.ndarray, " episode"],
    *,
    generator: np.random.Generator,
    level: float = 0.95,
    replicates: int = REPLICATES,
) -> Interval:
    """The mean return with its interval.

    Student t under 50 episodes, percentile bootstrap from there. `generator` draws the resamples;
    it is not touched where t is used.
    """
    values = checked_returns(returns, at_least=2)
    check_level(level)
    mean = float(values.mean())
    if len(values) < BOOTSTRAP_FROM:
        half = half_width(values, level)
        return Interval(mean, mean - half, mean + half, level, len(values), "student t")
    resampled = bootstrap(values, lambda draws: draws.mean(axis=1), replicates, generator)
    low, high = quantiles(resampled, level)
    return Interval(mean, low, high, level, len(values), "bootstrap")


def iqm(
    returns: Float[np.ndarray, " episode"],
    *,
    generator: np.random.Generator,
    level: float = 0.95,
    replicates: int = REPLICATES,
) -> Interval:
    """The interquartile mean with its percentile-bootstrap interval.

    The mean of the middle half: less moved by a few lucky episodes than the mean, less coarse than
    the median. Its interval is a little narrow with few episodes: on gamma, exponential and capped
    returns nominal 95 % covers 0.93 with 10 episodes, 0.94 with 20 and 0.94–0.95 from 50 on.
    """
    values = checked_returns(returns, at_least=4)
    check_level(level)
    resampled = bootstrap(values, middle_mean, replicates, generator)
    low, high = quantiles(resampled, level)
    middle = float(middle_mean(values[None])[0])
    return Interval(middle, low, high, level, len(values), "bootstrap")


def paired_difference(
    changed: Float[np.ndarray, " episode"],
    baseline: Float[np.ndarray, " episode"],
    *,
    level: float = 0.95,
) -> Effect:
    """By how much `changed` returns more than `baseline` on the same seeds."""
    check_level(level)
    if np.shape(changed) != np.shape(baseline):
        raise InvalidInput(
            f"A paired difference needs the same seeds on both sides, but one has "
            f"{np.size(changed)} episodes and the other {np.size(baseline)}. Play both conditions "
            "with the same seeds."
        )
    changed, baseline = checked_returns(changed, 2), checked_returns(baseline, 2)
    differences = changed - baseline
    episodes, mean = len(differences), float(differences.mean())
    # Equal differences of large returns are equal only up to rounding.
    rounding = 4 * np.finfo(np.float64).eps * max(np.abs(changed).max(), np.abs(baseline).max())
    if np.ptp(differences) <= rounding:
        same = abs(mean) <= rounding
        p = 1.0 if same else 2.0 ** (1 - episodes)
        mean = 0.0 if same else mean
        return Effect(mean, mean, mean, p, episodes, level)
    error = float(differences.std(ddof=1)) / np.sqrt(episodes)
    # Here, because it takes long to import and little needs it.
    from scipy import special

    p = 2 * float(special.stdtr(episodes - 1, -abs(mean) / error))
    half = half_width(differences, level)
    return Effect(mean, mean - half, mean + half, p, episodes, level)


def correct(
    p: Float[np.ndarray, " condition"], method: str = "benjamini-hochberg"
) -> Float[np.ndarray, " condition"]:
    """Every p corrected for having tested all of them, in the order given.

    "holm" bounds the chance of even one false find (any dependence); "benjamini-hochberg" bounds
    the expected share of false ones among the finds (independence or positive dependence).
    """
    p = np.asarray(p, dtype=np.float64)
    valid = (p >= 0) & (p <= 1)
    if not valid.all():
        raise InvalidInput(f"p values lie between 0 and 1, but got {p[~valid][0]}.")
    order, tests = np.argsort(p, kind="stable"), len(p)
    rank = np.arange(1, tests + 1)
    if method == "holm":
        climbing = np.maximum.accumulate(p[order] * (tests + 1 - rank))
    elif method == "benjamini-hochberg":
        climbing = np.minimum.accumulate((p[order] * tests / rank)[::-1])[::-1]
    else:
        raise UnknownName.among("correction", method, CORRECTIONS)
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(climbing, 1.0)
    return corrected


def band(random_effects: Float[np.ndarray, " condition"], *, level: float = 0.95) -> Band:
    """The band of effects of random directions, which a feature must leave to be special.

    Made of order statistics, so that a further random direction falls inside with probability
    `level` or more whatever the distribution. With fewer directions than that takes (39 for 95 %)
    it is their range, and `level` in the result is what the range attains, (n − 1) / (n + 1).
    """
    check_level(level)
    effects = np.sort(checked_returns(random_effects, at_least=2))
    directions = len(effects)
    # Rounded before the floor: (39 + 1) · 0.05 / 2 is 1 on paper and 0.9999… in floating point.
    cut = max(1, int(np.floor(round((directions + 1) * (1 - level) / 2, 9))))
    attained = 1 - 2 * cut / (directions + 1)
    return Band(float(effects[cut - 1]), float(effects[-cut]), attained, tuple(effects.tolist()))


def beyond_random(
    effects: Float[np.ndarray, " condition"], controls: Float[np.ndarray, "condition direction"]
) -> Float[np.ndarray, " condition"]:
    """The chance that random directions do so much more than usual anywhere in the table.

    `controls` are the effects of random directions under the same conditions; one column holds an
    independent direction for every feature. An effect counts by how far it lies from the median of
    its condition, in standard deviations of it, on its own side of zero: harm that is less than
    random is not beyond random. Each is held against the largest of every column (max-T), so the
    result is corrected over the table: were all features random directions, any p would be
    at or below a level with at most that probability. 1 / (1 + directions) is the least there is.
    """
    # The features are among the directions here, so that under the null all columns are alike.
    every = np.concatenate([effects[:, None], controls], axis=1)
    apart = every - np.median(every, axis=1, keepdims=True)
    spread = np.sqrt((apart**2).mean(axis=1, keepdims=True))
    distance = np.abs(np.divide(apart, spread, out=np.zeros_like(apart), where=spread > 0))
    largest = distance[:, 1:].max(axis=0)
    is_outward = apart[:, 0] * effects > 0
    as_large = (largest >= distance[:, :1]).sum(axis=1)
    return np.where(is_outward, (1 + as_large) / (1 + len(largest)), 1.0)


def fewest_directions(level: float = LEVEL) -> int:
    """How many random directions `beyond_random` needs to reach `level` at all."""
    check_level(level)
    # Rounded: 1 / 0.05 may lie above 20 in floating point.
    return int(np.ceil(round(1 / level, 9))) - 1


def bootstrap(
    values: Float[np.ndarray, " episode"],
    statistic: Callable[[Float[np.ndarray, "replicate episode"]], Float[np.ndarray, " replicate"]],
    replicates: int,
    generator: np.random.Generator,
) -> Float[np.ndarray, " replicate"]:
    """`statistic` of `replicates` resamples of whole episodes, in bounded memory."""
    if replicates < 1:
        raise InvalidInput(f"A bootstrap needs at least one resample, but replicates={replicates}.")
    at_once = max(1, CELLS_AT_ONCE // len(values))
    parts = []
    for first in range(0, replicates, at_once):
        shape = (min(at_once, replicates - first), len(values))
        parts.append(statistic(values[generator.integers(len(values), size=shape)]))
    return np.concatenate(parts)


def middle_mean(values: Float[np.ndarray, "replicate episode"]) -> Float[np.ndarray, " replicate"]:
    """The mean of each row without its lowest and highest quarter (rounded down)."""
    cut = values.shape[1] // 4
    return np.sort(values, axis=1)[:, cut : values.shape[1] - cut].mean(axis=1)


def half_width(values: Float[np.ndarray, " episode"], level: float) -> float:
    """Half the width of the Student t interval of the mean."""
    # Here, because it takes long to import and little needs it.
    from scipy import special

    error = values.std(ddof=1) / np.sqrt(len(values))
    return float(special.stdtrit(len(values) - 1, 0.5 + level / 2) * error)


def quantiles(values: Float[np.ndarray, " replicate"], level: float) -> tuple[float, float]:
    """The two quantiles that leave (1 − level) / 2 outside on either side."""
    low, high = np.quantile(values, [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)


def checked_returns(
    values: Float[np.ndarray, " episode"], at_least: int
) -> Float[np.ndarray, " episode"]:
    """The values in float64; NotEnoughData or NotFinite where they cannot carry a statistic."""
    values = np.asarray(values, dtype=np.float64)
    if len(values) < at_least:
        raise NotEnoughData(
            f"This statistic needs at least {at_least} values, but got {len(values)}. "
            "Run more episodes (or more random directions)."
        )
    finite = np.isfinite(values)
    if not finite.all():
        where = int(np.argmin(finite))
        raise NotFinite(f"Value {where} of {len(values)} is {values[where]}; all must be finite.")
    return values


def check_level(level: float) -> None:
    """Raises InvalidInput unless `level` is a probability strictly between 0 and 1."""
    if not 0 < level < 1:
        raise InvalidInput(f"A confidence level lies between 0 and 1 (say 0.95), but got {level}.")

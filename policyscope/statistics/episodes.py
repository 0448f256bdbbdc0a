"""Steps come in episodes: finding, splitting and resampling them whole.

Neighbouring steps are almost copies of each other, so a statistic that treats them as independent
is far too sure of itself. Everything that splits or resamples therefore does so by episode.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from policyscope.errors import NotEnoughData

# Fewer clusters than this and a percentile bootstrap says nothing.
FEWEST_EPISODES = 4
# Sums are kept per episode up to this many, then per group of whole episodes: memory stays bounded
# and the bootstrap stays valid, with coarser clusters. A prime keeps regular numberings spread out.
GROUPS = 509


def steps_by_episode(
    episode: Int[np.ndarray, " step"],
) -> list[tuple[int, "slice | np.ndarray"]]:
    """Each episode's number with what selects its steps, by ascending number.

    The selection is a slice (no copy) where every episode lies in one piece, as on disk.
    """
    if len(episode) == 0:
        return []
    starts = np.flatnonzero(np.append(True, episode[1:] != episode[:-1]))
    numbers = episode[starts]
    order = np.argsort(numbers, kind="stable")
    if len(np.unique(numbers)) == len(numbers):
        stops = np.append(starts[1:], len(episode))
        return [(int(numbers[i]), slice(int(starts[i]), int(stops[i]))) for i in order]
    steps = np.argsort(episode, kind="stable")
    known, firsts = np.unique(episode[steps], return_index=True)
    pieces = np.split(steps, firsts[1:])
    return [(int(number), piece) for number, piece in zip(known, pieces, strict=True)]


def hold_out(
    episode: Int[np.ndarray, " step"], share: float, seed: int
) -> Bool[np.ndarray, " step"]:
    """True on the steps of a random `share` of the episodes (at least one, never all)."""
    numbers = np.unique(episode)
    if len(numbers) < FEWEST_EPISODES:
        raise NotEnoughData(
            f"Got {len(numbers)} episodes; holding some out needs at least {FEWEST_EPISODES}. "
            "Record more episodes."
        )
    count = min(max(round(share * len(numbers)), 1), len(numbers) - 1)
    kept_back = np.random.default_rng(seed).permutation(numbers)[:count]
    return np.isin(episode, kept_back)


def resample(count: int, replicates: int, seed: int) -> Float[np.ndarray, "replicate episode"]:
    """How often each of `count` episodes is drawn in each bootstrap replicate."""
    generator = np.random.default_rng(seed)
    draws = generator.multinomial(count, np.full(count, 1 / count), size=replicates)
    return draws.astype(np.float64)


def percentile_interval(
    values: Float[np.ndarray, " replicate *rest"], level: float
) -> tuple[Float[np.ndarray, " *rest"], Float[np.ndarray, " *rest"]]:
    """The central `level` of the replicates; undefined (NaN) replicates do not count."""
    ordered = np.sort(values, axis=0)  # NaN sorts last
    last = np.maximum(np.sum(~np.isnan(ordered), axis=0) - 1, 0)
    low, high = (
        np.take_along_axis(ordered, np.rint(last * tail).astype(np.intp)[None], axis=0)[0]
        for tail in ((1 - level) / 2, (1 + level) / 2)
    )
    return low, high

"""Which episodes are played for what, so that no result is tested on the seeds that found it."""

from typing import Literal

Purpose = Literal["record", "evaluate", "score", "sweep", "search", "confirm", "fit"]

PURPOSES: tuple[Purpose, ...] = (
    "record",
    "evaluate",
    "score",
    "sweep",
    "search",
    "confirm",
    "fit",
)
EPISODES_PER_PURPOSE = 100_000_000
EPISODES_PER_SEED = EPISODES_PER_PURPOSE * 10


def episode_seeds(purpose: Purpose, count: int, seed: int = 0, skip: int = 0) -> range:
    """`count` episode seeds that no other purpose or run seed ever uses."""
    first = seed * EPISODES_PER_SEED + PURPOSES.index(purpose) * EPISODES_PER_PURPOSE + skip
    return range(first, first + count)

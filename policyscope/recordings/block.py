"""What a rollout hands over at once: some steps of all its rows, and their order on disk."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, Int32, Shaped

from policyscope.recordings.episode import Episode


@dataclass(frozen=True)
class Block:
    """Consecutive steps of all rows of a vector environment.

    Every column has the axes `[step, row, ...]`. `episode` is -1 where a row was idle; such a
    place is never a sample. The arrays belong to the producer and stay valid until the block
    after the next one is asked for.
    """

    columns: Mapping[str, Shaped[np.ndarray, "step row ..."]]
    episode: Int32[np.ndarray, "step row"]
    step: Int32[np.ndarray, "step row"]
    ended: tuple[Episode, ...]


def env_major(episode: Int32[np.ndarray, "step row"]) -> Int[np.ndarray, " sample"]:
    """Where the samples lie in the flattened block, one row's steps after the other's.

    Idle places are left out, so that an episode's steps lie together.
    """
    steps, rows = episode.shape
    row, step = np.divmod(np.flatnonzero(episode.T >= 0), max(steps, 1))
    return step * rows + row

"""Fitting on recordings that memory cannot hold: the samples are read anew in every epoch."""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from policyscope.address import Site
from policyscope.dictionaries.source import Pair
from policyscope.recordings.batches import batches, places_of
from policyscope.recordings.recording import Recording

LARGEST_IN_MEMORY = 2**30
"""Bytes of two columns above which they are streamed from the recording."""
CHOOSING_SHARE = 4
"""The samples that choose the best seed stay in memory, and may fill one part in four of that."""
FLOAT_BYTES = 4

Arrays = tuple[Shaped[np.ndarray, "sample unit"], Shaped[np.ndarray, "sample target"]]


@dataclass(frozen=True, eq=False)
class Streamed:
    """The activations of two sites, split by episode as `Samples` are, but left on disk.

    It is a source for fits. Only those that choose are held: of more than fit into a quarter of
    `LARGEST_IN_MEMORY`, a random part.
    """

    recording: Recording
    columns: tuple[str, ...]
    """The site that is read, then those that are written."""
    choose_x: Float[Tensor, "chosen unit"]
    choose_y: Float[Tensor, "chosen target"]
    fitted_on: tuple[int, ...]
    choose_on: tuple[int, ...]
    """Empty where there are too few episodes; then choose_x is drawn from those fitted on."""
    held_out: tuple[int, ...]
    count: int
    """How many samples are fitted on."""
    data_seed: int
    """Decides the order of the samples, with the number of the epoch."""

    def batches(self, epoch: int, batch_size: int) -> Iterator[Pair]:
        """The pairs of one pass, shuffled without reading the recording whole."""
        generator = np.random.default_rng((self.data_seed, epoch))
        episodes = frozenset(self.fitted_on)
        for x, y in pairs(
            self.recording, self.columns, batch_size, generator=generator, episodes=episodes
        ):
            read = torch.from_numpy(x).float()
            yield read, read if y is x else torch.from_numpy(y).float()

    def sample(self, count: int) -> Pair:
        """At most so many pairs, drawn at random in runs of neighbours."""
        return draw(self.recording, self.columns, frozenset(self.fitted_on), count, self.data_seed)


def is_too_large(recording: Recording, reads: Site, writes: Sequence[Site]) -> bool:
    """Whether all samples of some sites are more than is held in memory."""
    return recording.steps * step_bytes(recording, reads, writes) > LARGEST_IN_MEMORY


def step_bytes(recording: Recording, reads: Site, writes: Sequence[Site]) -> int:
    """What one step of some sites takes as float32."""
    return FLOAT_BYTES * sum(prod(recording.spec(str(site)).shape) for site in (reads, *writes))


def stream(
    recording: Recording,
    reads: Site,
    writes: Sequence[Site],
    fitted_on: Set[int],
    choose_on: Set[int],
    held_out: Set[int],
    seed: int,
) -> Streamed:
    """The samples of a read site and its written ones, to be read when they are needed."""
    columns = (str(reads), *map(str, writes))
    places = prod(places_of(recording.spec(str(reads))))
    sample_bytes = step_bytes(recording, reads, writes) // places
    most = max(1, LARGEST_IN_MEMORY // CHOOSING_SHARE // sample_bytes)
    x, y = draw(recording, columns, choose_on or fitted_on, most, seed)
    steps = np.isin(np.asarray(recording.read("episode")), list(fitted_on)).sum()
    parts = (tuple(sorted(part)) for part in (fitted_on, choose_on, held_out))
    return Streamed(recording, columns, x, y, *parts, count=int(steps) * places, data_seed=seed)


def draw(
    recording: Recording, columns: tuple[str, ...], episodes: Set[int], most: int, seed: int
) -> tuple[Tensor, Tensor]:
    """At most so many samples of these episodes, drawn at random in runs of neighbours."""
    found: list[Arrays] = []
    size, generator = min(most, 4096), np.random.default_rng(seed)
    for pair in pairs(recording, columns, size, generator=generator, episodes=episodes):
        found.append(pair)
        most -= len(pair[0])
        if most <= 0:
            break
    kept = len(found[-1][0]) + min(most, 0)
    is_one = found[-1][0] is found[-1][1]
    found[-1] = (found[-1][0][:kept], found[-1][1][:kept])
    x = in_one([x for x, _ in found])
    return x, x if is_one else in_one([y for _, y in found])


def pairs(
    recording: Recording,
    columns: Sequence[str],
    rows: int,
    *,
    generator: np.random.Generator,
    episodes: Set[int],
    **how: Any,
) -> Iterator[Arrays]:
    """Batches of the first column, and of the others' units one site after another.

    One array where an autoencoder reads what it writes: it is read and kept once.
    """
    read, *written = columns
    if written == [read]:
        for (x,) in batches(recording, [read], rows, generator=generator, episodes=episodes, **how):
            yield x, x
        return
    for x, *parts in batches(
        recording, columns, rows, generator=generator, episodes=episodes, **how
    ):
        yield x, parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def in_one(parts: Sequence[Shaped[np.ndarray, "_ unit"]]) -> Float[Tensor, "sample unit"]:
    """All samples as one tensor of float32."""
    return torch.from_numpy(np.concatenate(parts).astype(np.float32, copy=False))

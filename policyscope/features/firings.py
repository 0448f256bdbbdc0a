"""Firings: every activation of every feature, feature by feature, so that one is found at once.

    <recording>/derived/<dictionary>/firings.safetensors
        start   [feature + 1]   where each feature's firings begin
        sample  [firing]        which sample of the recording, ascending
        value   [firing]        how strongly
        near, nearness  [feature, 8]   the features that fire with it most, and their correlation

Built in one pass over the recording and memory-mapped afterwards, so that a dictionary of
thousands of features needs no memory to be looked at. Of a map each feature's strongest position
counts. Where there would be too many firings, a random part of the episodes is taken.
"""

import json
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from policyscope.dictionaries.dictionary import Dictionary
from policyscope.features.describe import encode
from policyscope.features.mapped import map_arrays, write_arrays
from policyscope.interventions.target import reads_of
from policyscope.progress import track
from policyscope.recordings.recording import Recording

FORMAT = "policyscope-firings/1"
MOST = 25_000_000
"""Firings that are kept: 200 MB on disk, and twice as much in memory while they are found."""
ENCODED = 2**22
"""Codes of so many samples and features at once: 16 MB."""
NEIGHBOURS = 8
CORRELATED = 20_000_000
"""Firings on which co-firing is measured; more change the third digit."""
TOGETHER = 256
"""Features whose correlations with all others are found at once."""


@dataclass(frozen=True, eq=False)
class Firings:
    """The firings of a dictionary's features in one recording."""

    start: Int[np.ndarray, " bound"]
    sample: Int[np.ndarray, " firing"]
    value: Float[np.ndarray, " firing"]
    near: Int[np.ndarray, "feature near"]
    nearness: Float[np.ndarray, "feature near"]
    samples: int
    """Samples that were looked at; all of the recording's but where that was too much."""

    def of(self, feature: int) -> tuple[Int[np.ndarray, " firing"], Float[np.ndarray, " firing"]]:
        """When one feature fired and how strongly."""
        part = slice(int(self.start[feature]), int(self.start[feature + 1]))
        return self.sample[part], self.value[part]


def firings(recording: Recording, dictionary: Dictionary) -> Firings:
    """The firings as they are kept beside the recording; found and kept if they are not."""
    path = recording.directory / "derived" / dictionary.name / "firings.safetensors"
    identity = identity_of(recording, dictionary)
    known = read(path, identity)
    if known is None:
        known = find(recording, dictionary)
        # Where there is no room, or nobody may write, they are found again another time.
        with suppress(OSError):
            write(path, known, identity)
            known = read(path, identity) or known
    return known


def identity_of(recording: Recording, dictionary: Dictionary) -> str:
    """What must be the same for kept firings to be those of this recording and dictionary."""
    weights = 0
    for value in dictionary.state_dict().values():
        weights = zlib.crc32(np.ascontiguousarray(value.detach().cpu().numpy()).tobytes(), weights)
    return json.dumps([FORMAT, recording.steps, weights])


def read(path: Path, identity: str) -> Firings | None:
    """What is kept at `path`, mapped; None where nothing is, or of something else."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        parts, about = map_arrays(path)
        if about["identity"] == identity:
            return Firings(**parts, samples=int(about["samples"]))
    return None


def write(path: Path, found: Firings, identity: str) -> None:
    """Keeps firings, whole or not at all."""
    parts = {name: part for name, part in vars(found).items() if isinstance(part, np.ndarray)}
    write_arrays(path, parts, {"identity": identity, "samples": str(found.samples)})


@dataclass(frozen=True)
class Part:
    """The firings of a stretch of samples, feature by feature."""

    count: Int[np.ndarray, " feature"]
    sample: Int[np.ndarray, " firing"]
    value: Float[np.ndarray, " firing"]

    def where(self, is_kept: Bool[np.ndarray, " firing"]) -> "Part":
        """Those of the firings that are kept."""
        owner = np.repeat(np.arange(len(self.count)), self.count)[is_kept]
        count = np.bincount(owner, minlength=len(self.count)).astype(np.int32)
        return Part(count, self.sample[is_kept], self.value[is_kept])


def find(recording: Recording, dictionary: Dictionary) -> Firings:
    """One pass over the recording; episodes are left out once there is too much."""
    episode = recording.read("episode")
    draw = np.random.default_rng(0).random(int(episode.max(initial=-1)) + 1)[episode]
    share, total = 1.0, 0
    parts: list[Part] = []
    with track(f"Finding firings of {dictionary.name}", recording.steps, "steps") as progress:
        for first, codes in codes_of(recording, dictionary):
            part = part_of(first, codes)
            parts.append(part if share == 1 else part.where(draw[part.sample] < share))
            total += len(parts[-1].sample)
            while total > MOST:
                share /= 2
                parts = [one.where(draw[one.sample] < share) for one in parts]
                total = sum(len(one.sample) for one in parts)
            progress.advance(len(codes))
    start, sample, value = joined(parts, len(dictionary))
    near, nearness = neighbours(start, sample, value, len(dictionary))
    return Firings(start, sample, value, near, nearness, int((draw < share).sum()))


def codes_of(
    recording: Recording, dictionary: Dictionary
) -> Iterator[tuple[int, Float[np.ndarray, "step feature"]]]:
    """The codes of the whole recording, a few samples at once, with the number of the first."""
    at_once = max(1, ENCODED // len(dictionary))
    first = 0
    for (activation,) in recording.iterate(str(reads_of(dictionary))):
        for begin in range(0, len(activation), at_once):
            yield first + begin, encode(dictionary, activation[begin : begin + at_once])
        first += len(activation)


def part_of(first: int, codes: Float[np.ndarray, "step feature"]) -> Part:
    """The firings of a stretch of samples that begins with number `first`."""
    step, feature = np.nonzero(codes > 0)
    order = np.argsort(feature, kind="stable")
    step, feature = step[order], feature[order]
    count = np.bincount(feature, minlength=codes.shape[1]).astype(np.int32)
    return Part(count, (step + first).astype(np.int32), codes[step, feature].astype(np.float32))


def joined(
    parts: list[Part], features: int
) -> tuple[Int[np.ndarray, " bound"], Int[np.ndarray, " firing"], Float[np.ndarray, " firing"]]:
    """All parts as one, feature by feature; takes the parts away one by one."""
    count = sum((part.count.astype(np.int64) for part in parts), np.zeros(features, np.int64))
    start = np.concatenate([[0], np.cumsum(count)])
    sample, value = np.empty(start[-1], np.int32), np.empty(start[-1], np.float32)
    free = start[:-1].copy()
    parts.reverse()
    while parts:
        part = parts.pop()
        begin = np.cumsum(part.count) - part.count
        place = np.repeat(free - begin, part.count) + np.arange(len(part.sample))
        sample[place], value[place] = part.sample, part.value
        free += part.count
    return start, sample, value


def neighbours(
    start: Int[np.ndarray, " bound"],
    sample: Int[np.ndarray, " firing"],
    value: Float[np.ndarray, " firing"],
    features: int,
) -> tuple[Int[np.ndarray, "feature near"], Float[np.ndarray, "feature near"]]:
    """For each feature those whose activations correlate with its own most, itself left out."""
    kept = min(NEIGHBOURS, max(0, features - 1))
    near = np.zeros((features, kept), np.int32)
    nearness = np.zeros((features, kept), np.float32)
    if not len(sample) or not kept:
        return near, nearness
    # Here, because it takes a while to import, and firings are mostly only read.
    import scipy.sparse

    samples = int(sample.max()) + 1
    matrix: Any = scipy.sparse.csc_matrix((value, sample, start), shape=(samples, features))
    if len(sample) > CORRELATED:
        samples = max(1, samples * CORRELATED // len(sample))
        matrix = matrix[:samples]
    mean = np.asarray(matrix.mean(0), np.float64).ravel()
    square = np.asarray(matrix.multiply(matrix).mean(0), np.float64).ravel()
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    for first in range(0, features, TOGETHER):
        block = slice(first, min(first + TOGETHER, features))
        product = (matrix[:, block].T @ matrix).toarray() / samples
        with np.errstate(divide="ignore", invalid="ignore"):
            r = (product - np.outer(mean[block], mean)) / np.outer(deviation[block], deviation)
        r = np.nan_to_num(r, posinf=0.0, neginf=0.0)
        own = np.arange(block.stop - block.start)
        r[own, own + first] = -np.inf
        best = np.argsort(-r, axis=1, kind="stable")[:, :kept]
        near[block] = best
        nearness[block] = np.take_along_axis(r, best, 1)
    return near, nearness

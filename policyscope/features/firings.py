"""Firings: every activation of every feature, feature by feature, so that one is found at once.

    <recording>/derived/<dictionary>/firings.safetensors
        start   [feature + 1]   where each feature's firings begin
        sample  [firing]        which sample of the recording, ascending
        value   [firing]        how strongly
        near, nearness  [feature, 8]   the features that fire with it most, and their correlation

Built in two passes over the recording and memory-mapped afterwards, so that a dictionary of
thousands of features needs no memory to be looked at. Of a map each feature's strongest position
counts. Where there would be too many firings, a random part of the episodes is taken.
"""

import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int
from safetensors import safe_open
from safetensors.numpy import save_file

from policyscope.dictionaries.dictionary import Dictionary
from policyscope.features.describe import stream_codes
from policyscope.progress import track
from policyscope.recordings.recording import Recording

FORMAT = "policyscope-firings/1"
MOST = 50_000_000
"""Firings that are kept: 400 MB."""
NEIGHBOURS = 8
CORRELATED = 20_000_000
"""Firings on which co-firing is measured; more change the third digit."""


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
        write(path, known, identity)
    return known


def identity_of(recording: Recording, dictionary: Dictionary) -> str:
    """What must be the same for kept firings to be those of this recording and dictionary."""
    weights = 0
    for value in dictionary.state_dict().values():
        weights = zlib.crc32(np.ascontiguousarray(value.detach().cpu().numpy()).tobytes(), weights)
    return json.dumps([FORMAT, recording.steps, weights])


def read(path: Path, identity: str) -> Firings | None:
    """What is kept at `path`, mapped; None where nothing is, or of something else."""
    if not path.exists():
        return None
    with safe_open(path, "np") as file:
        about = file.metadata() or {}
        if about.get("identity") != identity:
            return None
        parts = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return Firings(**parts, samples=int(about["samples"]))


def write(path: Path, found: Firings, identity: str) -> None:
    """Keeps firings, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    parts = {name: part for name, part in vars(found).items() if isinstance(part, np.ndarray)}
    save_file(parts, temporary, {"identity": identity, "samples": str(found.samples)})
    temporary.replace(path)


def find(recording: Recording, dictionary: Dictionary) -> Firings:
    """Two passes over the recording: how often each feature fires, then when."""
    count = np.zeros(len(dictionary), np.int64)
    with track(f"Finding firings of {dictionary.name}", 2 * recording.steps, "steps") as progress:
        for part in stream_codes(recording, dictionary, ()):
            count += (part.codes > 0).sum(0)
            progress.advance(len(part.codes))
        share = min(1.0, MOST / max(1, int(count.sum())))
        start = np.zeros(len(dictionary) + 1, np.int64)
        rows: list[np.ndarray] = []
        columns: list[np.ndarray] = []
        values: list[np.ndarray] = []
        samples = 0
        for offset, codes in kept_codes(recording, dictionary, share):
            step, feature = np.nonzero(codes > 0)
            rows.append((step + offset).astype(np.int32))
            columns.append(feature.astype(np.int32))
            values.append(codes[step, feature].astype(np.float32))
            samples += len(codes)
            progress.advance(len(codes))
    sample, owner, value = (
        np.concatenate(part) if part else np.empty(0, np.int32) for part in (rows, columns, values)
    )
    order = np.argsort(owner, kind="stable")
    np.cumsum(np.bincount(owner, minlength=len(dictionary)), out=start[1:])
    found = sample[order], value[order].astype(np.float32)
    near, nearness = neighbours(start, *found, len(dictionary))
    return Firings(start, *found, near, nearness, samples)


def kept_codes(
    recording: Recording, dictionary: Dictionary, share: float
) -> Iterator[tuple[int, Float[np.ndarray, "step feature"]]]:
    """The codes shard by shard with the number of their first sample; zero where left out."""
    offset = 0
    draw = np.random.default_rng(0)
    chosen: dict[int, bool] = {}
    for part in stream_codes(recording, dictionary, ()):
        codes = part.codes
        if share < 1:
            for episode in np.unique(part.episode).tolist():
                chosen.setdefault(episode, bool(draw.random() < share))
            codes = np.where(
                np.array([chosen[e] for e in part.episode.tolist()])[:, None], codes, 0
            )
        yield offset, codes
        offset += len(codes)


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
    samples = int(sample.max()) + 1
    matrix: Any = scipy.sparse.csc_matrix((value, sample, start), shape=(samples, features))
    if len(sample) > CORRELATED:
        samples = max(1, samples * CORRELATED // len(sample))
        matrix = matrix[:samples]
    sums = np.asarray(matrix.sum(0)).ravel() / samples
    together = (matrix.T @ matrix).toarray() / samples - np.outer(sums, sums)
    deviation = np.sqrt(np.maximum(together.diagonal(), 0))
    with np.errstate(divide="ignore", invalid="ignore"):
        r = np.nan_to_num(together / np.outer(deviation, deviation))
    np.fill_diagonal(r, -np.inf)
    best = np.argsort(-r, axis=1)[:, :kept]
    return best.astype(np.int32), np.take_along_axis(r, best, 1).astype(np.float32)

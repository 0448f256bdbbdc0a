"""What one pass over a recording collects for the scores of a dictionary."""

import math
from collections.abc import Sequence, Set

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from policyscope.dictionaries.dictionary import Dictionary
from policyscope.envs.event import Event, events_of
from policyscope.errors import NotEnoughData
from policyscope.interventions.code import by_position
from policyscope.interventions.target import reads_of, writes_of
from policyscope.progress import track
from policyscope.recordings.recording import Recording
from policyscope.scores.clinearity import Clinearity, clinearity
from policyscope.scores.monosemanticity import Monosemanticity, monosemanticity
from policyscope.scores.reconstruction import KeepTopFeatures, Reconstruction, TopFeatures
from policyscope.scores.redundancy import Duplicate, correlation_of, duplicates
from policyscope.scores.unexplained import UnexplainedByEpisode

GREEDY_WIDTH = 2048
"""Above this the top-K curve and the duplicates, which keep features² numbers, are left out."""
NARROW = 512
WIDE_STEPS = 100_000
"""Steps, evenly over the recording, for the above where there are more features than NARROW."""
SAMPLE_STEPS = 100_000
SAMPLE_CELLS = 50_000_000
"""Steps kept at once, and the numbers they may hold, for scores that need whole columns."""
CELLS_AT_ONCE = 1 << 24


class Gathered:
    """The folds and the sample of steps that the scores are made of; `steps` is how many come."""

    def __init__(
        self, dictionary: Dictionary, events: Sequence[Event], names: Sequence[str], steps: int
    ) -> None:
        self.dictionary = dictionary
        self.events = tuple(events)
        self.names = tuple(names)
        self.steps = steps
        self.reconstruction = Reconstruction()
        self.unexplained = UnexplainedByEpisode()
        self.top = top_features_of(dictionary) if len(dictionary) <= GREEDY_WIDTH else None
        self.episodes: set[int] = set()
        self._total = np.zeros(())
        self._count = 0
        width = len(dictionary) + dictionary.d_out
        self._every = math.ceil(steps / min(SAMPLE_STEPS, max(1, SAMPLE_CELLS // width)))
        self._codes: list[np.ndarray] = []
        self._units: list[np.ndarray] = []
        self._metrics: list[np.ndarray] = []
        self._episode: list[np.ndarray] = []

    def update(
        self,
        x: Float[np.ndarray, "step ..."],
        y: Float[np.ndarray, "step ..."],
        episode: Int[np.ndarray, " step"],
        metrics: Float[np.ndarray, "step metric"],
    ) -> None:
        """Takes steps in; a map has one sample at every position."""
        positions = y[0].size // self.dictionary.d_out
        size = max(1, CELLS_AT_ONCE // (positions * (len(self.dictionary) + y[0].size)))
        for first in range(0, len(y), size):
            rows = slice(first, first + size)
            self._take(x[rows], y[rows], episode[rows], metrics[rows], positions)

    def _take(
        self,
        x: Float[np.ndarray, "step ..."],
        y: Float[np.ndarray, "step ..."],
        episode: Int[np.ndarray, " step"],
        metrics: Float[np.ndarray, "step metric"],
        positions: int,
    ) -> None:
        codes, target, reconstruction = decomposed(self.dictionary, x, y)
        self.reconstruction.update(target, reconstruction, codes)
        self.unexplained.update(target, reconstruction, np.repeat(episode, positions))
        if self.top is not None:
            is_narrow = len(self.dictionary) <= NARROW
            every = 1 if is_narrow else math.ceil(self.steps * positions / WIDE_STEPS)
            first = -self._count * positions % every
            self.top.update(codes[first::every], target[first::every])
        chosen = slice(-self._count % self._every, None, self._every)
        self._codes.append(strongest(codes, positions)[chosen])
        self._units.append(strongest(target, positions)[chosen])
        self._metrics.append(metrics[chosen])
        self._episode.append(episode[chosen])
        self._total = self._total + y.astype(np.float64).sum(0)
        self._count += len(y)
        self.episodes.update(np.unique(episode).tolist())

    @property
    def target_mean(self) -> Float[Tensor, "..."]:
        """The mean activation that the dictionary writes."""
        return torch.from_numpy((self._total / self._count).astype(np.float32))

    def top_features(self) -> TopFeatures | None:
        """What the best features explain alone; None where there are too many, or not only they
        reach the output."""
        like = torch.zeros(1, self.dictionary.d_in)
        if self.top is None or self.dictionary.bypass(like) is not None:
            return None
        return self.top.result()

    def duplicates(self) -> tuple[Duplicate, ...] | None:
        """Pairs of features that say the same, strongest first; None where there are too many."""
        if self.top is None:
            return None
        with torch.no_grad():
            directions = self.dictionary.directions().cpu().numpy()
        return duplicates(correlation_of(self.top.codes), directions)

    def clinearities(self) -> dict[str, Clinearity]:
        """Clinearity for every event that occurs often enough to be scored; steps of a map as a
        whole, each feature at its strongest position."""
        columns = dict(zip(self.names, np.concatenate(self._metrics).T, strict=True))
        codes, episode = np.concatenate(self._codes), np.concatenate(self._episode)
        found: dict[str, Clinearity] = {}
        for event in self.events:
            try:
                found[event.name] = clinearity(codes, event.happens(columns), episode)
            except NotEnoughData:
                continue
        return found

    def monosemanticity(self) -> Monosemanticity:
        """Of the features, beside the units of the site that is written."""
        return monosemanticity(
            np.concatenate(self._codes),
            np.concatenate(self._units),
            np.concatenate(self._metrics),
            np.concatenate(self._episode),
            self.names,
        )


def gather(recording: Recording, dictionary: Dictionary, held_out: Set[int] | None) -> Gathered:
    """One pass over the `held_out` episodes (all, where None), shard by shard."""
    environment = str(recording.header.environment.get("id", ""))
    names = [spec.name for spec in recording.header.columns if spec.kind == "metric"]
    wanted = None if held_out is None else np.array(sorted(held_out))
    steps = sum(
        len(part) if wanted is None else int(np.isin(part, wanted).sum())
        for (part,) in recording.iterate("episode")
    )
    if steps == 0:
        raise NotEnoughData(
            f"None of the held-out episodes are in recording {recording.name!r}. "
            "Fit the dictionary again on this recording."
            if held_out
            else f"Recording {recording.name!r} is empty. Record some steps first."
        )
    found = Gathered(dictionary, events_of(environment, names), names, steps)
    columns = (str(reads_of(dictionary)), str(writes_of(dictionary)), "episode")
    with track(f"Scoring {dictionary.name}", recording.steps, "steps") as progress:
        for parts in recording.iterate(*columns, *names):
            progress.advance(len(parts[2]))
            if wanted is not None:
                here = np.isin(parts[2], wanted)
                parts = tuple(part[here] for part in parts)
            x, y, episode, *columns_of_metrics = parts
            if len(episode):
                metrics = np.zeros((len(episode), len(names)))
                for place, column in enumerate(columns_of_metrics):
                    metrics[:, place] = column
                found.update(x, y, episode, metrics)
    return found


def top_features_of(dictionary: Dictionary) -> KeepTopFeatures:
    """The fold of the top-K curve for this dictionary."""
    with torch.no_grad():
        bias = dictionary.decode(torch.zeros(len(dictionary))).numpy()
        return KeepTopFeatures(dictionary.directions().numpy(), bias)


def decomposed(
    dictionary: Dictionary, x: Float[np.ndarray, "step ..."], y: Float[np.ndarray, "step ..."]
) -> tuple[
    Float[np.ndarray, "sample feature"],
    Float[np.ndarray, "sample unit"],
    Float[np.ndarray, "sample unit"],
]:
    """Codes, target and reconstruction, one sample per step, or per position of a map."""
    with torch.no_grad():
        read, target = (by_position(torch.from_numpy(np.array(v, np.float32))) for v in (x, y))
        codes, reconstruction = dictionary.decompose(read)
    flat = [part.reshape(-1, part.shape[-1]).numpy() for part in (codes, target, reconstruction)]
    return flat[0], flat[1], flat[2]


def strongest(
    samples: Float[np.ndarray, "sample column"], positions: int
) -> Float[np.ndarray, "step column"]:
    """Each column where it is largest among the positions of a step."""
    if positions == 1:
        return samples
    return samples.reshape(-1, positions, samples.shape[1]).max(axis=1)

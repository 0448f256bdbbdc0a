"""What each feature does over a recording: its mean, spread, range, firing rate and histogram."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from policyscope.errors import InvalidInput, NotEnoughData
from policyscope.statistics.variance import CHUNK, Variance, check_columns


@dataclass(frozen=True)
class FeatureSummary:
    """Statistics of every feature over `steps` steps; `std` is that of the population."""

    steps: int
    mean: Float[np.ndarray, " feature"]
    std: Float[np.ndarray, " feature"]
    minimum: Float[np.ndarray, " feature"]
    maximum: Float[np.ndarray, " feature"]
    firing_rate: Float[np.ndarray, " feature"]
    threshold: float

    @property
    def is_dead(self) -> Bool[np.ndarray, " feature"]:
        """Whether a feature never exceeded the threshold."""
        return self.firing_rate == 0

    def __repr__(self) -> str:
        return (
            f"FeatureSummary({len(self.mean)} features, {self.steps:,} steps, "
            f"{int(self.is_dead.sum())} dead, L0 {self.firing_rate.sum():.2f})"
        )


class FeatureStatistics:
    """Fold: the FeatureSummary of codes; a feature fires where it exceeds `threshold`."""

    def __init__(self, threshold: float = 0.0) -> None:
        self.threshold = threshold
        self._variance = Variance()
        self._minimum = np.zeros(0)
        self._maximum = np.zeros(0)
        self._fired = np.zeros(0, np.int64)

    def update(self, codes: Float[np.ndarray, "step feature"]) -> None:
        """Takes steps in; NotFinite when a code is NaN or Inf."""
        if len(codes) == 0:
            return
        batch = FeatureStatistics(self.threshold)
        batch._variance.update(codes)
        batch._minimum = codes.min(axis=0).astype(np.float64)
        batch._maximum = codes.max(axis=0).astype(np.float64)
        batch._fired = np.count_nonzero(codes > self.threshold, axis=0)
        self.merge(batch)

    def merge(self, other: "FeatureStatistics") -> None:
        """Takes in everything `other` has seen."""
        if other._variance.count == 0:
            return
        if self._variance.count == 0:
            self._minimum, self._maximum = other._minimum, other._maximum
            self._fired = other._fired
        else:
            check_columns(len(self._minimum), len(other._minimum))
            self._minimum = np.minimum(self._minimum, other._minimum)
            self._maximum = np.maximum(self._maximum, other._maximum)
            self._fired = self._fired + other._fired
        self._variance.merge(other._variance)

    def result(self) -> FeatureSummary:
        """The statistics so far; NotEnoughData before the first step."""
        return FeatureSummary(
            steps=self._variance.count,
            std=np.sqrt(self._variance.result()),
            mean=self._variance.mean,
            minimum=self._minimum,
            maximum=self._maximum,
            firing_rate=self._fired / self._variance.count,
            threshold=self.threshold,
        )


@dataclass(frozen=True)
class HistogramCounts:
    """How many steps fell between consecutive edges, and outside of them, per feature."""

    edges: Float[np.ndarray, "feature edge"]
    counts: Int[np.ndarray, "feature bin"]
    below: Int[np.ndarray, " feature"]
    above: Int[np.ndarray, " feature"]


class Histogram:
    """Fold: counts of codes in evenly spaced bins; the last bin includes its right edge.

    One row of edges per feature, or a single row for all. See `even_edges`.
    """

    def __init__(self, edges: Float[np.ndarray, "feature edge"]) -> None:
        widths = np.diff(edges, axis=1)
        if widths.shape[1] == 0 or not np.isfinite(edges).all() or (widths <= 0).any():
            raise InvalidInput("Histogram edges must be finite and ascending, two or more per row.")
        if not np.allclose(widths, widths[:, :1], rtol=1e-3):
            raise InvalidInput("Histogram edges must be evenly spaced; use even_edges.")
        self.edges = edges.astype(np.float64)
        self._counts: Int[np.ndarray, "feature slot"] | None = None

    def update(self, codes: Float[np.ndarray, "step feature"]) -> None:
        """Takes steps in."""
        for start in range(0, max(len(codes), 1), CHUNK):
            self._add(self._count(codes[start : start + CHUNK]))

    def _count(self, codes: Float[np.ndarray, "step feature"]) -> Int[np.ndarray, "feature slot"]:
        bins, features = self.edges.shape[1] - 1, codes.shape[1]
        low, high = self.edges[:, 0], self.edges[:, -1]
        # Slot 0 counts what lies below, slots 1 … bins the bins, slot bins + 1 what lies above.
        place = np.floor((codes - low) * (bins / (high - low)) + 1)
        place = np.where(codes == high, bins, np.clip(place, 0, bins + 1))
        slot = place.astype(np.int32) + np.arange(features, dtype=np.int32) * (bins + 2)
        counts = np.bincount(slot.ravel(), minlength=features * (bins + 2))
        return counts.reshape(features, bins + 2)

    def merge(self, other: "Histogram") -> None:
        """Takes in everything `other` has counted; the edges must be the same."""
        if not np.array_equal(self.edges, other.edges):
            raise InvalidInput("Two histograms merge only when their edges are the same.")
        if other._counts is not None:
            self._add(other._counts)

    def _add(self, counts: Int[np.ndarray, "feature slot"]) -> None:
        if self._counts is not None:
            check_columns(len(self._counts), len(counts))
        self._counts = counts if self._counts is None else self._counts + counts

    def result(self) -> HistogramCounts:
        """The counts so far; NotEnoughData before the first step."""
        if self._counts is None:
            raise NotEnoughData("No steps were given; a histogram needs at least one.")
        shape = (len(self._counts), self.edges.shape[1])
        return HistogramCounts(
            edges=np.broadcast_to(self.edges, shape),
            counts=self._counts[:, 1:-1],
            below=self._counts[:, 0],
            above=self._counts[:, -1],
        )


def even_edges(
    low: Float[np.ndarray, " feature"], high: Float[np.ndarray, " feature"], bins: int = 50
) -> Float[np.ndarray, "feature edge"]:
    """Edges of `bins` even bins from `low` to `high`; where these are equal, one unit wide."""
    top = np.where(high > low, high, low + 1.0)
    return np.linspace(low, top, bins + 1, axis=1)

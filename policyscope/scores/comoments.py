"""Covariance of two sets of columns as a fold, from which scores between codes are made."""

import numpy as np
from jaxtyping import Float

from policyscope.errors import NotEnoughData
from policyscope.statistics.variance import Variance

# Rows per matrix product: products in float32 are fast, sums of many of them belong in float64.
ROWS_AT_ONCE = 1024
# Products of sparse matrices cost little, so that adding them up is what costs.
SPARSE_ROWS_AT_ONCE = 16_384
SPARSE = 0.1
"""The share of entries that are not zero below which only those are multiplied."""


class CoMoments:
    """Fold: covariance of every column of `left` with every column of `right`.

    Each product runs at the precision of the data, about its own mean; sums are in float64. Where
    `left` is sparse, as codes are, only what is not zero is multiplied, in float64.
    """

    def __init__(self) -> None:
        self.left = Variance()
        self.right = Variance()
        self._joint = np.zeros((0, 0))

    def update(
        self, left: Float[np.ndarray, "step column"], right: Float[np.ndarray, "step other"]
    ) -> None:
        """Takes steps in; NotFinite when a value is NaN or Inf."""
        size = SPARSE_ROWS_AT_ONCE if is_sparse(left) else ROWS_AT_ONCE
        for start in range(0, len(left), size):
            ours, theirs = left[start : start + size], right[start : start + size]
            part = CoMoments()
            part.left.update(ours)
            part.right.update(theirs)
            part._joint = part._products(ours, theirs)
            self.merge(part)

    def _products(
        self, left: Float[np.ndarray, "step column"], right: Float[np.ndarray, "step other"]
    ) -> Float[np.ndarray, "column other"]:
        """The summed products of what both are apart from their means."""
        if not is_sparse(left):
            ours = left - self.left.mean.astype(left.dtype)
            theirs = right - self.right.mean.astype(right.dtype)
            return (ours.T @ theirs).astype(np.float64)
        # Here, because it takes long to import and little needs it.
        from scipy.sparse import csr_array

        entries = csr_array(left).astype(np.float64)
        if is_sparse(right):
            raw = (entries.T @ csr_array(right).astype(np.float64)).toarray()
            return raw - len(left) * np.outer(self.left.mean, self.right.mean)
        # One side about its mean is enough: the mean of the other then adds up to nothing.
        return entries.T @ (right - self.right.mean)

    def merge(self, other: "CoMoments") -> None:
        """Takes in everything `other` has seen."""
        if other.left.count == 0:
            return
        if self.left.count == 0:
            self._joint = other._joint.copy()
        else:
            ours, theirs = self.left.count, other.left.count
            weight = ours * theirs / (ours + theirs)
            steps = other.left.mean - self.left.mean, other.right.mean - self.right.mean
            self._joint += other._joint
            self._joint += np.outer(steps[0] * weight, steps[1])
        self.left.merge(other.left)
        self.right.merge(other.right)

    def result(self) -> Float[np.ndarray, "column other"]:
        """The population covariance; NotEnoughData before the first step."""
        if self.left.count == 0:
            raise NotEnoughData("No steps were given; a covariance needs at least one.")
        return self._joint / self.left.count


def is_sparse(values: Float[np.ndarray, "step column"]) -> bool:
    """Whether nearly all entries are zero."""
    return bool(np.count_nonzero(values) <= SPARSE * values.size)

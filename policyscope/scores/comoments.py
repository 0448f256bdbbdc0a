"""Covariance of two sets of columns as a fold, from which scores between codes are made."""

import numpy as np
from jaxtyping import Float

from policyscope.errors import NotEnoughData
from policyscope.statistics.variance import Variance

# Rows per matrix product: products in float32 are fast, sums of many of them belong in float64.
ROWS_AT_ONCE = 1024


class CoMoments:
    """Fold: covariance of every column of `left` with every column of `right`.

    Each product runs at the precision of the data, about its own mean; sums are in float64.
    """

    def __init__(self) -> None:
        self.left = Variance()
        self.right = Variance()
        self._joint = np.zeros((0, 0))

    def update(
        self, left: Float[np.ndarray, "step column"], right: Float[np.ndarray, "step other"]
    ) -> None:
        """Takes steps in; NotFinite when a value is NaN or Inf."""
        for start in range(0, len(left), ROWS_AT_ONCE):
            ours, theirs = left[start : start + ROWS_AT_ONCE], right[start : start + ROWS_AT_ONCE]
            part = CoMoments()
            part.left.update(ours)
            part.right.update(theirs)
            ours = ours - part.left.mean.astype(ours.dtype)
            theirs = theirs - part.right.mean.astype(theirs.dtype)
            part._joint = (ours.T @ theirs).astype(np.float64)
            self.merge(part)

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

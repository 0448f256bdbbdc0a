"""Mean and variance of columns as a fold, by Welford's method in float64.

Parts are combined by the pairwise update of Chan, Golub and LeVeque (1979), which stays exact to
rounding where the sum of squares minus the square of the sum would cancel.
"""

import numpy as np
from jaxtyping import Float

from policyscope.errors import InvalidInput, NotEnoughData, NotFinite

# Steps turned into float64 at a time, so that the copy stays in cache.
CHUNK = 256


class Variance:
    """Fold: how often, around which mean and how widely each column varies."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: Float[np.ndarray, " column"] = np.zeros(0)
        self.deviation: Float[np.ndarray, " column"] = np.zeros(0)

    def update(self, values: Float[np.ndarray, "step column"]) -> None:
        """Takes steps in; NotFinite names the first column that holds NaN or Inf."""
        for start in range(0, len(values), CHUNK):
            chunk = values[start : start + CHUNK].astype(np.float64)
            mean = chunk.mean(axis=0)
            if not np.isfinite(mean).all():
                column = int(np.flatnonzero(~np.isfinite(mean))[0])
                raise NotFinite(
                    f"Column {column} holds NaN or Inf; statistics need finite numbers."
                )
            chunk -= mean
            self._combine(len(chunk), mean, np.einsum("sc,sc->c", chunk, chunk))

    def merge(self, other: "Variance") -> None:
        """Takes in everything `other` has seen."""
        if other.count:
            self._combine(other.count, other.mean, other.deviation)

    def _combine(
        self,
        count: int,
        mean: Float[np.ndarray, " column"],
        deviation: Float[np.ndarray, " column"],
    ) -> None:
        if self.count == 0:
            self.count, self.mean, self.deviation = count, mean.copy(), deviation.copy()
            return
        check_columns(len(self.mean), len(mean))
        total = self.count + count
        step = mean - self.mean
        self.mean = self.mean + step * (count / total)
        self.deviation = self.deviation + deviation + step**2 * (self.count * count / total)
        self.count = total

    def result(self) -> Float[np.ndarray, " column"]:
        """The population variance of every column."""
        if self.count == 0:
            raise NotEnoughData("No steps were given; a variance needs at least one.")
        return self.deviation / self.count


def check_columns(expected: int, given: int) -> None:
    """Refuses data that does not have the columns of what came before."""
    if expected != given:
        raise InvalidInput(
            f"Got {given} columns after {expected}; one fold takes one set of columns. "
            "Use a second fold for other data."
        )

"""Unexplained variance with an interval: what other episodes might have said.

Sums are kept per group of whole episodes, so that a bootstrap can weigh them anew: its replicates
have an error and a variance about a mean of their own.
"""

import numpy as np
from jaxtyping import Float, Int

from policyscope.errors import NotEnoughData
from policyscope.statistics.episodes import GROUPS, resample
from policyscope.statistics.estimate import REPLICATES, Estimate, estimate_of
from policyscope.statistics.variance import check_columns

# Rows turned into float64 at a time.
ROWS_AT_ONCE = 8192


class UnexplainedByEpisode:
    """Fold: the unexplained variance of a target, as an Estimate over episodes."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self._episodes: set[int] = set()
        self._count = np.zeros(GROUPS)
        self._mean = np.zeros((GROUPS, 0))
        self._deviation = np.zeros(GROUPS)
        self._error = np.zeros(GROUPS)

    def update(
        self,
        target: Float[np.ndarray, "step unit"],
        reconstruction: Float[np.ndarray, "step unit"],
        episode: Int[np.ndarray, " step"],
    ) -> None:
        """Takes steps in."""
        for first in range(0, len(target), ROWS_AT_ONCE):
            rows = slice(first, first + ROWS_AT_ONCE)
            part = UnexplainedByEpisode()
            part._take(target[rows].astype(np.float64), reconstruction[rows], episode[rows])
            self.merge(part)

    def _take(
        self,
        target: Float[np.ndarray, "step unit"],
        reconstruction: Float[np.ndarray, "step unit"],
        episode: Int[np.ndarray, " step"],
    ) -> None:
        # Here, because it takes long to import and little needs it.
        from scipy.sparse import csr_array

        group = episode % GROUPS
        self._episodes = set(np.unique(episode).tolist())
        self._count = np.bincount(group, minlength=GROUPS).astype(np.float64)
        steps = np.arange(len(target))
        member = csr_array((np.ones(len(target)), (group, steps)), (GROUPS, len(target)))
        self._mean = (member @ target) / np.maximum(self._count, 1)[:, None]
        apart, error = target - self._mean[group], target - reconstruction
        self._deviation = member @ np.einsum("su,su->s", apart, apart)
        self._error = member @ np.einsum("su,su->s", error, error)

    def merge(self, other: "UnexplainedByEpisode") -> None:
        """Takes in everything `other` has seen."""
        if not other._episodes:
            return
        if not self._episodes:
            self._mean = np.zeros_like(other._mean)
        check_columns(self._mean.shape[1], other._mean.shape[1])
        self._episodes |= other._episodes
        count = self._count + other._count
        step = other._mean - self._mean
        share = other._count / np.maximum(count, 1)
        # Chan, Golub and LeVeque's update (1979), for every group at once.
        self._deviation = self._deviation + other._deviation
        self._deviation += np.einsum("gu,gu->g", step, step) * self._count * share
        self._mean = self._mean + step * share[:, None]
        self._error = self._error + other._error
        self._count = count

    def result(self) -> Estimate:
        """The unexplained variance so far; NaN where the target is constant."""
        if not self._episodes:
            raise NotEnoughData("No steps were given, so there is nothing to explain.")
        known = self._count > 0
        count, mean = self._count[known], self._mean[known]
        apart = mean - (count @ mean) / count.sum()
        around = self._deviation[known] + count * np.einsum("gu,gu->g", apart, apart)
        drawn = np.concatenate(
            [np.ones((1, len(count))), resample(len(count), REPLICATES, self.seed)]
        )
        steps = drawn @ count
        shift = (drawn * count) @ apart / steps[:, None]
        variation = drawn @ around - steps * np.einsum("ru,ru->r", shift, shift)
        # A replicate may draw only episodes in which nothing varies; it then says nothing.
        variation[variation <= 1e-12 * (drawn @ around)] = np.nan
        unexplained = (drawn @ self._error[known]) / variation
        return estimate_of(float(unexplained[0]), unexplained[1:], len(self._episodes))

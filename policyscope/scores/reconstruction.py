"""How much of its target a dictionary explains, how sparsely, and with how few features.

`unexplained` is the squared error over the variance of the target, pooled over units: 0 is perfect,
1 is no better than the mean, more is worse than the mean.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from policyscope.errors import InvalidInput, NotEnoughData, NotFinite
from policyscope.scores.comoments import CoMoments
from policyscope.statistics.variance import Variance, check_columns

# A feature is dead when its largest |activation| is at most this share of any feature's largest.
DEAD = 1e-6
# A variance this small beside the squared mean is rounding: the unit is constant.
CONSTANT = 1e-12


@dataclass(frozen=True)
class ReconstructionScore:
    """What a dictionary reconstructs of its target, over `steps` steps."""

    steps: int
    unexplained: float
    unexplained_per_unit: Float[np.ndarray, " unit"]
    l0: float
    density: Float[np.ndarray, " feature"]
    is_dead: Bool[np.ndarray, " feature"]

    @property
    def dead(self) -> float:
        """The share of features that are dead."""
        return float(self.is_dead.mean())

    def __repr__(self) -> str:
        return (
            f"ReconstructionScore(unexplained {self.unexplained:.3f}, L0 {self.l0:.2f}, "
            f"dead {self.dead:.0%}, {self.steps:,} steps)"
        )


class Reconstruction:
    """Fold: the ReconstructionScore of targets, their reconstructions and the codes between."""

    def __init__(self) -> None:
        self._target = Variance()
        self._error = np.zeros(0)
        self._active = np.zeros(0, np.int64)
        self._largest = np.zeros(0)

    def update(
        self,
        target: Float[np.ndarray, "step unit"],
        reconstruction: Float[np.ndarray, "step unit"],
        codes: Float[np.ndarray, "step feature"],
    ) -> None:
        """Takes steps in; NotFinite when the reconstruction or the codes hold NaN or Inf."""
        if len(target) == 0:
            return
        batch = Reconstruction()
        batch._target.update(target)
        error = target.astype(np.float64) - reconstruction
        batch._error = np.einsum("su,su->u", error, error)
        batch._active = np.count_nonzero(codes, axis=0)
        batch._largest = np.maximum(codes.max(axis=0), -codes.min(axis=0)).astype(np.float64)
        if not (np.isfinite(batch._error).all() and np.isfinite(batch._largest).all()):
            raise NotFinite(
                "The reconstruction or the codes hold NaN or Inf; the fit has diverged."
            )
        self.merge(batch)

    def merge(self, other: "Reconstruction") -> None:
        """Takes in everything `other` has seen."""
        if other._target.count == 0:
            return
        if self._target.count == 0:
            self._error, self._active, self._largest = other._error, other._active, other._largest
        else:
            check_columns(len(self._largest), len(other._largest))
            check_columns(len(self._error), len(other._error))
            self._error = self._error + other._error
            self._active = self._active + other._active
            self._largest = np.maximum(self._largest, other._largest)
        self._target.merge(other._target)

    def result(self) -> ReconstructionScore:
        """The score so far; constant units have NaN, all constant is NotEnoughData."""
        variance = self._target.result()
        varies = variance > CONSTANT * self._target.mean**2
        if not varies.any():
            raise NotEnoughData(
                f"All {len(variance)} units are constant over {self._target.count:,} steps, so "
                "there is nothing to explain. Is the layer dead, or too little recorded?"
            )
        steps = self._target.count
        per_unit = np.full(len(variance), np.nan)
        per_unit[varies] = self._error[varies] / (steps * variance[varies])
        return ReconstructionScore(
            steps=steps,
            unexplained=float(self._error.sum() / (steps * variance[varies].sum())),
            unexplained_per_unit=per_unit,
            l0=float(self._active.sum() / steps),
            density=self._active / steps,
            is_dead=self._largest <= DEAD * self._largest.max(initial=0.0),
        )


@dataclass(frozen=True)
class TopFeatures:
    """What the best features explain alone: `unexplained[n]` with the first n of `order` kept."""

    order: Int[np.ndarray, " feature"]
    unexplained: Float[np.ndarray, " count"]

    def enough(self, unexplained: float) -> int | None:
        """How many features it takes to leave at most this unexplained; None when all do not."""
        reached = np.flatnonzero(self.unexplained <= unexplained)
        return int(reached[0]) if len(reached) else None

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{n}: {self.unexplained[n]:.3f}" for n in (1, 2, 4, 8) if n < len(self.unexplained)
        )
        return f"TopFeatures(unexplained by the best {shown}; all {self.unexplained[-1]:.3f})"


class KeepTopFeatures:
    """Fold: TopFeatures of a dictionary that decodes z to `bias + z @ directions`.

    All features but the kept ones stay at their mean. Features are taken greedily, the one that
    lowers the error most first. Because decoding is affine, one covariance of the codes gives the
    error of every subset exactly; it costs features² per step.
    """

    def __init__(
        self, directions: Float[np.ndarray, "feature unit"], bias: Float[np.ndarray, " unit"]
    ) -> None:
        if not (np.isfinite(directions).all() and np.isfinite(bias).all()):
            raise NotFinite("The directions or the bias hold NaN or Inf; the fit has diverged.")
        self.directions = directions.astype(np.float64)
        self.bias = bias.astype(np.float64)
        self._codes = CoMoments()
        self._target = CoMoments()

    def update(
        self, codes: Float[np.ndarray, "step feature"], target: Float[np.ndarray, "step unit"]
    ) -> None:
        """Takes steps in."""
        check_columns(len(self.directions), codes.shape[1])
        check_columns(len(self.bias), target.shape[1])
        self._codes.update(codes, codes)
        self._target.update(codes, target)

    @property
    def codes(self) -> CoMoments:
        """The covariance of the codes, which tells what features repeat each other as well."""
        return self._codes

    def merge(self, other: "KeepTopFeatures") -> None:
        """Takes in everything `other` has seen; both must be of the same dictionary."""
        if not (
            np.array_equal(self.directions, other.directions)
            and np.array_equal(self.bias, other.bias)
        ):
            raise InvalidInput(
                "Only scores of one dictionary merge; these have different directions."
            )
        self._codes.merge(other._codes)
        self._target.merge(other._target)

    def result(self) -> TopFeatures:
        """The order and the errors so far; NotEnoughData when the target is constant."""
        gain = np.einsum("fu,fu->f", self._target.result(), self.directions)
        cost = self._codes.result() * (self.directions @ self.directions.T)
        variance = float(self._target.right.result().sum())
        if variance <= CONSTANT * float((self._target.right.mean**2).sum()):
            raise NotEnoughData("The target is constant, so there is nothing to explain.")
        offset = self._target.right.mean - self.bias - self._codes.left.mean @ self.directions
        order, drops = greedy_order(gain, cost)
        error = variance + float(offset @ offset) - np.append(0.0, np.cumsum(drops))
        return TopFeatures(order=order, unexplained=np.maximum(error, 0.0) / variance)


def greedy_order(
    gain: Float[np.ndarray, " feature"], cost: Float[np.ndarray, "feature feature"]
) -> tuple[Int[np.ndarray, " feature"], Float[np.ndarray, " feature"]]:
    """The order in which features lower `ΣΣ cost − 2 Σ gain` most, and by how much each does."""
    drop = 2 * gain - np.diagonal(cost)
    is_free = np.ones(len(gain), bool)
    order = np.zeros(len(gain), np.int64)
    drops = np.zeros(len(gain))
    for place in range(len(gain)):
        best = int(np.argmax(np.where(is_free, drop, -np.inf)))
        order[place], drops[place] = best, drop[best]
        is_free[best] = False
        drop = drop - 2 * cost[best]
    return order, drops

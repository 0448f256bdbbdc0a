"""Whether a feature is found again when the dictionary is fitted from another seed.

The features of two dictionaries are matched one to one by the |cosine| of their decoder directions
(Hungarian method, as in arXiv:2505.20254). In few dimensions random directions match well too, so
the score comes with what chance gives.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from policyscope.errors import InvalidInput, NotEnoughData

FOUND_AGAIN = 0.9


@dataclass(frozen=True)
class Stability:
    """Matched |cosine| of each feature of one dictionary in every other seed; NaN for dead ones.

    `chance` is the mean matched |cosine| of as many random directions in as many dimensions.
    """

    cosine: Float[np.ndarray, "seed feature"]
    chance: float

    @property
    def mean_cosine(self) -> Float[np.ndarray, " feature"]:
        """The matched |cosine| of each feature, averaged over the other seeds."""
        return self.cosine.mean(axis=0)

    @property
    def found_again(self) -> Float[np.ndarray, " feature"]:
        """The share of the other seeds in which each feature is matched at 0.9 or more."""
        share = np.mean(self.cosine >= FOUND_AGAIN, axis=0)
        return np.where(np.isnan(self.cosine[0]), np.nan, share)

    @property
    def overall(self) -> float:
        """The matched |cosine| averaged over living features and seeds; NaN when all are dead."""
        known = self.cosine[~np.isnan(self.cosine)]
        return float(known.mean()) if len(known) else float("nan")

    def __repr__(self) -> str:
        seeds, features = self.cosine.shape
        return (
            f"Stability({features} features in {seeds} other seeds: matched |cosine| "
            f"{self.overall:.2f}, by chance {self.chance:.2f})"
        )


def stability(
    directions: Sequence[Float[np.ndarray, "_ unit"]],
    alive: Sequence[Bool[np.ndarray, " _"]] | None = None,
    *,
    reference: int = 0,
) -> Stability:
    """How well the features of dictionary `reference` are found again in the others.

    `alive` leaves dead features out of the matching; theirs are whatever initialization left.
    """
    if len(directions) < 2:
        raise NotEnoughData(
            f"Got {len(directions)} dictionaries; stability compares two or more seeds. "
            "Fit more seeds."
        )
    living = [np.ones(len(d), bool) for d in directions] if alive is None else list(alive)
    if [len(d) for d in directions] != [len(mask) for mask in living]:
        raise InvalidInput("Each dictionary needs one alive flag per feature.")
    units = directions[reference].shape[1]
    if any(d.shape[1] != units for d in directions):
        raise InvalidInput(
            "The dictionaries write to different numbers of units and cannot be compared."
        )
    mine = living[reference]
    others = [i for i in range(len(directions)) if i != reference]
    cosine = np.full((len(others), len(mine)), np.nan)
    for row, i in enumerate(others):
        theirs = directions[i][living[i]]
        cosine[row, mine] = match(directions[reference][mine], theirs)[1]
    return Stability(cosine, chance_cosine(int(mine.sum()), units))


def match(
    ours: Float[np.ndarray, "feature unit"], theirs: Float[np.ndarray, "other unit"]
) -> tuple[Int[np.ndarray, " feature"], Float[np.ndarray, " feature"]]:
    """The partner of each of our features and their |cosine|; -1 and 0 for one left over."""
    similarity = np.abs(cosines(ours, theirs))
    # Here, because it takes long to import and little needs it.
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(-similarity)
    partner = np.full(len(ours), -1)
    matched = np.zeros(len(ours))
    partner[rows], matched[rows] = columns, similarity[rows, columns]
    return partner, matched


def cosines(
    ours: Float[np.ndarray, "feature unit"], theirs: Float[np.ndarray, "other unit"]
) -> Float[np.ndarray, "feature other"]:
    """The cosine of every direction with every other; 0 for a direction of length zero."""
    return np.clip(normalize(ours) @ normalize(theirs).T, -1, 1)


def normalize(directions: Float[np.ndarray, "feature unit"]) -> Float[np.ndarray, "feature unit"]:
    """The directions at length one, in float64; zero stays zero."""
    rows = directions.astype(np.float64)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1.0)


def chance_cosine(features: int, units: int, draws: int = 5) -> float:
    """The mean matched |cosine| of `features` random directions with as many others."""
    if features == 0:
        return float("nan")
    generator = np.random.default_rng(0)
    # Wide dictionaries vary little from draw to draw, and matching them is slow.
    draws = 1 if features > 256 else draws
    pairs = generator.normal(size=(draws, 2, features, units))
    return float(np.mean([match(ours, theirs)[1].mean() for ours, theirs in pairs]))

"""How alike an agent acts in the same states under an edit: the same choice, or how far apart."""

import numpy as np
from jaxtyping import Float, Shaped


def is_chosen(action: Shaped[np.ndarray, "state ..."]) -> bool:
    """Whether actions are choices (whole numbers, yes or no) and not quantities."""
    return action.dtype.kind in "iub"


def same_action(
    plain: Shaped[np.ndarray, "state ..."], edited: Shaped[np.ndarray, "state ..."]
) -> Float[np.ndarray, " state"]:
    """1 where all parts of the action are equal and 0 elsewhere; NaN for continuous actions.

    Quantities are hardly ever equal to the last bit, so that a share of equal ones says nothing.
    """
    if not is_chosen(plain):
        return np.full(len(plain), np.nan)
    return (edited == plain).reshape(len(plain), -1).all(axis=1).astype(np.float64)


def action_distance(
    plain: Shaped[np.ndarray, "state ..."], edited: Shaped[np.ndarray, "state ..."]
) -> float:
    """The mean distance of continuous actions, in standard deviations of `plain` over the states.

    Averaged over the parts that vary at all; NaN where none does, and for choices, between which
    there is no distance.
    """
    if is_chosen(plain):
        return float("nan")
    before, after = (a.reshape(len(a), -1).astype(np.float64) for a in (plain, edited))
    spread = before.std(axis=0)
    moves = spread > 0
    if not moves.any():
        return float("nan")
    return float((np.abs(after - before)[:, moves] / spread[moves]).mean())

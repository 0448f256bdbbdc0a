"""Coordinates: in which form activations reach a dictionary that is being fitted.

They are centred and scaled (`Scaling`), and where the fit is to explain behaviour too, turned: a
linear change after which a plain squared error counts what it does to the agent's outputs. Both are
folded into the weights when the fit is done.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from policyscope.dictionaries.behaviour import Behaviour
from policyscope.dictionaries.dictionary import Dictionary
from policyscope.dictionaries.scaling import Scaling
from policyscope.dictionaries.turn import Turn


@dataclass(frozen=True, eq=False)
class Coordinates:
    """What is done to activations before a fit, and to the dictionary after it."""

    scaling: Scaling | None = None
    turn: Turn | None = None
    behaviour: Behaviour | None = None

    @classmethod
    def of(
        cls,
        x: Float[Tensor, "step unit"],
        y: Float[Tensor, "step target"],
        scaling: Scaling | None,
        behaviour: Behaviour | None,
    ) -> "Coordinates":
        """The coordinates for a fit of samples like `x` and `y`."""
        if behaviour is None:
            return cls(scaling)
        scaled, units = (y, 1.0) if scaling is None else (scaling.apply(x, y)[1], scaling.y_units)
        metric = behaviour.metric(scaled, units)
        is_one = x.shape == y.shape and (x is y or torch.equal(x, y))
        return cls(scaling, Turn.of(metric, turns_reading=is_one), behaviour)

    def apply(
        self, x: Float[Tensor, "step unit"], y: Float[Tensor, "step target"]
    ) -> tuple[Float[Tensor, "step unit"], Float[Tensor, "step target"]]:
        """Raw samples in these coordinates; one tensor where it was one and is treated as one."""
        if self.scaling is not None:
            x, y = self.scaling.apply(x, y)
        return (x, y) if self.turn is None else self.turn.apply(x, y)

    def straight(self, error: Float[Tensor, "step target"]) -> Float[Tensor, "step target"]:
        """An error as it was before the turn."""
        return error if self.turn is None else error @ self.turn.back

    @torch.no_grad()
    def parts(self, error: Float[Tensor, "step target"]) -> dict[str, Float[Tensor, ""]]:
        """What the curves show of an error in these coordinates: the behaviour it leaves out."""
        if self.behaviour is None:
            return {}
        units = 1.0 if self.scaling is None else self.scaling.y_units
        return {"behaviour": self.behaviour.unexplained(self.straight(error) * units)}

    def fold(self, dictionary: Dictionary) -> None:
        """Turns a dictionary fitted in these coordinates into the same one of raw activations."""
        if self.turn is not None:
            dictionary.turn(self.turn)
        if self.scaling is not None:
            dictionary.rescale(self.scaling)

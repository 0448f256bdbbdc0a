"""How a dictionary is fitted, apart from what it is: passes, steps, scaling, and who is dead.

Each kind has a schedule of its own, on its class; a fit can change any part of it.
"""

import math
from dataclasses import dataclass, fields, replace
from typing import Any

from policyscope.errors import InvalidInput, UnknownName


@dataclass(frozen=True)
class Schedule:
    """The parts of a fit that are no choice of the dictionary. The defaults are the plain loop's.

    `warm_up`, `decay` and `dead_after` are shares of the whole run, so that they mean the same on
    ten thousand steps as on ten million.
    """

    epochs: int = 50
    """Passes over the samples."""
    batch_size: int = 256
    """Samples per step of Adam."""
    learning_rate: float = 1e-3
    """Of Adam, between warm-up and decay."""
    warm_up: float = 0.0
    """Share of the steps over which the learning rate rises from zero."""
    decay: float = 0.0
    """Share of the steps at the end over which it falls to zero."""
    clip: float = math.inf
    """Norm to which a longer gradient is cut."""
    scale: bool = False
    """Whether x and y are centred and scaled to a mean squared norm of their number of units.

    The scaling is folded into the weights afterwards. Most dead features of agents' activations
    come from a mean that is large against the spread (dictionaries are born looking away from it).
    """
    dead_after: float = 0.05
    """Share of the run for which a feature is silent before it counts as dead and is revived."""
    bfloat16: bool = False
    """Whether products of matrices are taken in bfloat16, which GPUs do several times as fast.

    Weights and their gradients stay float32, codes and errors have three digits. A CPU that lists
    what is active gains nothing: it looks in bfloat16 anyway and decides in float32.
    """
    seeds: int = 8
    """Starts to try; the best is kept, and the others say how far to trust it."""

    def changed(self, **parts: Any) -> "Schedule":
        """The same schedule but for the parts that are given and not None."""
        known = [field.name for field in fields(self)]
        for name in parts:
            if name not in known:
                raise UnknownName.among("part of a fit's schedule", name, known)
        return replace(self, **{name: part for name, part in parts.items() if part is not None})

    @property
    def is_plain(self) -> bool:
        """Whether it is Adam at one learning rate on the data as they are."""
        changed = self.scale or self.warm_up or self.decay or self.bfloat16
        return not changed and self.clip == math.inf

    def check(self) -> None:
        """Raises InvalidInput where the schedule would do nothing or go nowhere."""
        for name in ("epochs", "batch_size", "seeds"):
            if getattr(self, name) < 1:
                raise InvalidInput(f"{name} is {getattr(self, name)}; expected at least 1.")
        if not 0 < self.learning_rate < math.inf:
            raise InvalidInput(
                f"learning_rate is {self.learning_rate}; give a positive number, as 1e-3."
            )
        for name in ("warm_up", "decay", "dead_after"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidInput(
                    f"{name} is {getattr(self, name)}; give a share of the run, from 0 to 1."
                )
        if not self.clip > 0:
            raise InvalidInput(f"clip is {self.clip}; give a positive norm.")

    def learning_rate_at(self, step: int, steps: int) -> float:
        """The learning rate of step number `step`, from 0, of so many."""
        rise = (step + 1) / max(1.0, self.warm_up * steps)
        fall = (steps - step) / max(1.0, self.decay * steps)
        return self.learning_rate * min(1.0, rise, fall)

    def __str__(self) -> str:
        given = ((field.name, getattr(self, field.name)) for field in fields(self))
        return ", ".join(f"{name} {value}" for name, value in given)

"""How often the features of a dictionary fire: how many never do, and how many nearly always.

A dense feature fires in more than half of the steps: it carries a baseline or a direction of large
variance rather than anything that is sometimes there.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

DENSE = 0.5
EDGES = np.append(10.0 ** np.arange(-6, 0, 0.5), 1.0)
"""Two bins to a factor of ten, from once in a million steps to always."""


@dataclass(frozen=True, eq=False)
class Density:
    """The firing rates of all features, and how they are spread."""

    rate: Float[np.ndarray, " feature"]

    @property
    def dense(self) -> float:
        """The share of features that fire in more than half of the steps."""
        return float((self.rate > DENSE).mean())

    @property
    def never(self) -> int:
        """How many features fire in no step; they are in no bin."""
        return int((self.rate == 0).sum())

    @property
    def counts(self) -> Int[np.ndarray, " bin"]:
        """How many features fire as often as each bin between `EDGES` says."""
        firing = self.rate[self.rate > 0]
        return np.histogram(np.clip(firing, EDGES[0], EDGES[-1]), EDGES)[0]

    def to_json(self) -> dict[str, Any]:
        """The histogram, in `score --json`."""
        return {"edges": EDGES.tolist(), "counts": self.counts.tolist(), "never": self.never}

    def __repr__(self) -> str:
        median = float(np.median(self.rate))
        return f"Density({len(self.rate)} features: median {median:.2%}, dense {self.dense:.0%})"

"""Description: how well a short rule over the metrics tells when a feature fires.

The rule is the feature's label, found on some episodes; its AUROC is of others. Where no rule could
be found or scored a feature counts as undescribed, at chance.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

CHANCE = 0.5
CLEAR = 0.9
"""The AUROC from which a feature counts as described."""


@dataclass(frozen=True, eq=False)
class Description:
    """The AUROC of the rule of every living feature; 0.5 for those without one."""

    auroc: Float[np.ndarray, " feature"]
    labelled: int
    """How many have a rule that could be scored."""

    @property
    def median(self) -> float:
        """Of the AUROC over living features; NaN where all are dead."""
        return float(np.median(self.auroc)) if len(self.auroc) else float("nan")

    @property
    def clear(self) -> float:
        """The share of living features whose rule reaches an AUROC of 0.9."""
        return float((self.auroc >= CLEAR).mean()) if len(self.auroc) else float("nan")

    def to_json(self) -> dict[str, Any]:
        """The entry of `score --json`."""
        quartiles = np.quantile(self.auroc, [0.25, 0.75]).tolist() if len(self.auroc) else None
        return {
            "auroc": self.median if len(self.auroc) else None,
            "quartiles": quartiles,
            "clear": self.clear if len(self.auroc) else None,
            "features": len(self.auroc),
            "labelled": self.labelled,
        }


def description(features: Mapping[str, Any]) -> Description | None:
    """What the document of `features` says of its labels; None where it has none at all."""
    living = [card for card in features["features"] if not card["dead"]]
    if living and all(card["label"] is None for card in living):
        return None
    scored = [(card["label"] or {}).get("auroc") for card in living]
    known = [value for value in scored if value is not None]
    auroc = np.array([CHANCE if value is None else value for value in scored], np.float64)
    return Description(auroc, len(known))

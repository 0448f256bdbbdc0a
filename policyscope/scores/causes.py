"""Causal share: how many features have an effect on the return that is confirmed.

A feature counts when a sweep confirmed it at any strength: the paired difference and the comparison
with random directions both hold, each corrected over the whole table of features and strengths.
That makes the count one of findings, not a share of some larger population, so it has no interval.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LEVEL = 0.05


@dataclass(frozen=True)
class CausalShare:
    """The features that were steered, and those whose effect on the return is confirmed."""

    tested: tuple[int, ...]
    confirmed: tuple[int, ...]
    episodes: int
    """Per condition."""
    directions: int
    """Random directions beside each feature."""

    @property
    def share(self) -> float:
        """The share of tested features with a confirmed effect; NaN where none can be."""
        return len(self.confirmed) / len(self.tested) if not self.reason else float("nan")

    @property
    def without(self) -> tuple[int, ...]:
        """The tested features with no confirmed effect."""
        return tuple(feature for feature in self.tested if feature not in self.confirmed)

    @property
    def reason(self) -> str:
        """Why there is no share; empty where there is one."""
        if not self.tested:
            return "no feature was steered"
        # With so few the p of their comparison never reaches the level.
        if self.directions == 0 or 1 / (1 + self.directions) > LEVEL:
            return f"{self.directions} random directions are too few to confirm anything"
        return ""

    def to_json(self) -> dict[str, Any]:
        """The entry of `score --json`."""
        return {
            "share": None if self.reason else self.share,
            "confirmed": list(self.confirmed),
            "without": list(self.without),
            "tested": len(self.tested),
            "episodes": self.episodes,
            "random_directions": self.directions,
            "reason": self.reason,
        }


def causal_share(sweep: Mapping[str, Any]) -> CausalShare:
    """What the document of `sweep` says of its features."""
    conditions = sweep["conditions"]
    tested = sorted({condition["feature"] for condition in conditions})
    confirmed = sorted({one["feature"] for one in conditions if one["confirmed"]})
    directions = int(sweep["random_band"]["directions"])
    return CausalShare(tuple(tested), tuple(confirmed), int(sweep["episodes"]), directions)

"""What is known of one episode once it has ended."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Episode:
    """The facts of one ended episode.

    `index` counts within the recording; `condition` is 0 when nothing is edited; `ending` names
    how it ended, such as `pole_left` or `survived`.
    """

    index: int
    seed: int
    condition: int
    length: int
    total_reward: float
    ending: str
    terminated: bool
    truncated: bool

    def to_json(self) -> dict[str, Any]:
        """The facts as they lie on disk, where the total reward is called `return`."""
        return {
            "index": int(self.index),
            "seed": int(self.seed),
            "condition": int(self.condition),
            "length": int(self.length),
            "return": float(self.total_reward),
            "ending": str(self.ending),
            "terminated": bool(self.terminated),
            "truncated": bool(self.truncated),
        }

    @classmethod
    def from_json(cls, facts: dict[str, Any]) -> "Episode":
        """The episode that `to_json` wrote."""
        return cls(
            index=facts["index"],
            seed=facts["seed"],
            condition=facts["condition"],
            length=facts["length"],
            total_reward=facts["return"],
            ending=facts["ending"],
            terminated=facts["terminated"],
            truncated=facts["truncated"],
        )

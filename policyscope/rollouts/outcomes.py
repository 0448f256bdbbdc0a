"""What came of the episodes of several conditions that share their seeds."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from policyscope.errors import InvalidInput, NotFinite, UnknownName


@dataclass(frozen=True, eq=False, repr=False)
class Outcomes:
    """Return, length and ending of every episode, one row per condition.

    Column e of every row was played with `seeds[e]`, so differences between rows are paired.
    """

    conditions: tuple[str, ...]
    seeds: tuple[int, ...]
    total_reward: Float[np.ndarray, "condition episode"]
    length: Int[np.ndarray, "condition episode"]
    ending: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        check_distinct("condition", self.conditions)
        # A seed played twice is one episode counted twice: intervals would be too narrow.
        check_distinct("seed", self.seeds)
        self._check_shapes()
        self._check_finite()

    def __repr__(self) -> str:
        return f"Outcomes({len(self.conditions)} conditions × {self.episodes} episodes)"

    @property
    def episodes(self) -> int:
        """The number of episodes of each condition."""
        return len(self.seeds)

    def row(self, condition: str) -> int:
        """Where `condition` stands among the rows; UnknownName where it is not there."""
        if condition not in self.conditions:
            raise UnknownName.among("condition", condition, self.conditions)
        return self.conditions.index(condition)

    def of(self, condition: str) -> Float[np.ndarray, " episode"]:
        """The returns of one condition, in the order of the seeds."""
        return self.total_reward[self.row(condition)]

    def endings(self, condition: str) -> dict[str, int]:
        """How often each ending occurred, most frequent first; adds up to the episodes."""
        return dict(Counter(self.ending[self.row(condition)]).most_common())

    def subset(self, conditions: Sequence[str]) -> "Outcomes":
        """Only these conditions, in this order, over the same seeds."""
        rows = [self.row(condition) for condition in conditions]
        return Outcomes(
            tuple(conditions),
            self.seeds,
            self.total_reward[rows],
            self.length[rows],
            tuple(self.ending[row] for row in rows),
        )

    def _check_shapes(self) -> None:
        expected = (len(self.conditions), len(self.seeds))
        given = {
            "total_reward": np.shape(self.total_reward),
            "length": np.shape(self.length),
            "ending": (len(self.ending), *sorted({len(row) for row in self.ending})),
        }
        for name, shape in given.items():
            if shape != expected:
                raise InvalidInput(
                    f"{name} has shape {shape}, but {expected[0]} conditions over {expected[1]} "
                    f"seeds need {expected}. Give every condition one value per seed."
                )

    def _check_finite(self) -> None:
        broken = np.argwhere(~np.isfinite(self.total_reward))
        if len(broken):
            condition, episode = broken[0]
            raise NotFinite(
                f"The return of condition {self.conditions[condition]!r} with seed "
                f"{self.seeds[episode]} is {self.total_reward[condition, episode]}. "
                "Returns must be finite; check the environment's reward and the edit's strength."
            )


def check_distinct(kind: str, values: Iterable[str | int]) -> None:
    """Raises InvalidInput where a value occurs twice."""
    repeated = [str(value) for value, count in Counter(values).items() if count > 1]
    if repeated:
        raise InvalidInput(
            f"Each {kind} may occur once, but these repeat: {', '.join(repeated[:5])}. "
            f"Give distinct {kind}s."
        )

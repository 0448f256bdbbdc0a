"""A statistic that can be split: fed in batches, merged across workers, read at the end."""

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Fold(Protocol):
    """What every statistic over a recording is.

    Law: however the data are split into batches and folds, the merged result is the same up to
    floating-point rounding. Memory, disk, processes and clusters are then one code path.
    """

    def update(self, *batch: Any) -> None:
        """Takes one batch in; arrays share their leading step axis."""

    def merge(self, other: Any) -> None:
        """Takes in everything `other` has seen; `other` must be of the same kind and shape."""

    def result(self) -> Any:
        """The statistic of all that was taken in so far."""

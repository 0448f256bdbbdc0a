"""One feature of a dictionary: its address and the direction it writes."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from policyscope.address import FeatureAddress, Site


@runtime_checkable
class Owner(Protocol):
    """What a feature asks of the dictionary it belongs to."""

    name: str
    reads: Site | None
    writes: Site | None

    def __len__(self) -> int:
        """How many features there are."""
        ...

    def encode(self, x: Float[Tensor, "... unit"]) -> Float[Tensor, "... feature"]:
        """The codes of `x`."""
        ...

    def decode(self, z: Float[Tensor, "... feature"]) -> Float[Tensor, "... unit"]:
        """What the codes `z` stand for at the site that is written."""
        ...

    def decompose(
        self, x: Float[Tensor, "... unit"]
    ) -> tuple[Float[Tensor, "... feature"], Float[Tensor, "... target"]]:
        """The codes of `x` and the reconstruction."""
        ...

    def direction(self, feature: int) -> Float[Tensor, " unit"]:
        """What one unit of `feature` adds where the dictionary writes."""
        ...

    @property
    def parts(self) -> "tuple[Owner, ...]":
        """One of these for each site that is written."""
        ...


@dataclass(frozen=True, eq=False)
class Feature:
    """One feature of `dictionary`; write `dictionary[3]` to get it."""

    dictionary: Owner
    index: int

    @property
    def address(self) -> FeatureAddress:
        """Where the feature is found again, such as `layer2/k4#3`."""
        return FeatureAddress(self.dictionary.name, self.index)

    @property
    def direction(self) -> Float[Tensor, " unit"]:
        """What one unit of this feature adds where its dictionary writes."""
        return self.dictionary.direction(self.index)

    @property
    def parts(self) -> tuple["Feature", ...]:
        """The feature at each site that its dictionary writes; itself alone where that is one."""
        return tuple(Feature(part, self.index) for part in self.dictionary.parts)

    def __repr__(self) -> str:
        return f"Feature({self.address})"

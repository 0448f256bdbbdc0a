"""The contract of every dictionary: activations of one site as sparse features, and back.

A class is its configuration. A dictionary is a dataclass whose fields are choices (`width`,
`penalty`); `build` receives the facts that data bring (`d_in`, `d_out`) and makes the parameters.
That one declaration gives the repr, the command-line flags and the saved header. A dictionary
that reads and writes the same site is an autoencoder, otherwise a transcoder.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from policyscope.address import Site
from policyscope.dictionaries.feature import Feature
from policyscope.errors import InvalidInput, UnknownName
from policyscope.registry import Registry


class Dictionary(nn.Module, ABC):
    """A decomposition of activations into features, fitted or still to be fitted.

    Subclasses are `@dataclass(eq=False)`, register under a name, and give each field a `help`
    in its metadata. They make parameters in `initialize`, and say how to encode, decode and
    what the loss is. Decoding must be affine in the codes, so that every feature has a direction.
    """

    width: int
    name: str = ""
    reads: Site | None = None
    writes: Site | None = None
    d_in: int = 0
    d_out: int = 0

    def __post_init__(self) -> None:
        # The dataclass has set the fields already; torch keeps what it finds.
        super().__init__()

    @abstractmethod
    def initialize(self, generator: torch.Generator) -> None:
        """Makes the parameters for `d_in` and `d_out`, drawing only from `generator`."""

    @abstractmethod
    def encode(self, x: Float[Tensor, "... unit"]) -> Float[Tensor, "... feature"]:
        """The codes of activations `x` of the site that is read."""

    @abstractmethod
    def decode(self, z: Float[Tensor, "... feature"]) -> Float[Tensor, "... unit"]:
        """The activations of the site that is written for which the codes `z` stand."""

    @abstractmethod
    def loss(
        self, x: Float[Tensor, "step unit"], y: Float[Tensor, "step target"]
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """The number to minimize, and the named parts that the curves show; `mse` is one.

        `mse` is the mean over steps of the squared error summed over units.
        """

    def build(self, d_in: int, d_out: int, generator: torch.Generator) -> None:
        """Makes fresh parameters for activations of `d_in` units in and `d_out` units out."""
        for what, given in (("width", self.width), ("d_in", d_in), ("d_out", d_out)):
            if given < 1:
                raise InvalidInput(
                    f"{type(self).__name__} cannot have {what} {given}; give at least 1."
                )
        self.d_in, self.d_out = d_in, d_out
        self.initialize(generator)

    def unbuilt(self) -> "Dictionary":
        """A dictionary of the same choices, name and sites, without parameters."""
        copy = cast(Dictionary, replace(cast(Any, self)))
        copy.name, copy.reads, copy.writes = self.name, self.reads, self.writes
        return copy

    def forward(self, x: Float[Tensor, "... unit"]) -> Float[Tensor, "... target"]:
        """The reconstruction: what the features of `x` stand for where the dictionary writes."""
        return self.decode(self.encode(x))

    def directions(self) -> Float[Tensor, "feature unit"]:
        """What one unit of each feature adds where the dictionary writes; carries no gradient."""
        with torch.no_grad():
            like = next(self.parameters())
            one_hot = torch.eye(len(self), dtype=like.dtype, device=like.device)
            return self.decode(one_hot) - self.decode(torch.zeros_like(one_hot[:1]))

    def direction(self, feature: int) -> Float[Tensor, " unit"]:
        """What one unit of `feature` adds where the dictionary writes: its decoder column."""
        return self.directions()[self[feature].index]

    @property
    def is_built(self) -> bool:
        """Whether it has parameters: it was fitted, loaded or built."""
        return self.d_out > 0

    def choices(self) -> dict[str, Any]:
        """The configuration by field name, as the constructor takes it."""
        return {field.name: getattr(self, field.name) for field in fields(cast(Any, self))}

    def __len__(self) -> int:
        return self.width

    def __getitem__(self, index: int) -> Feature:
        if not 0 <= index < len(self):
            raise UnknownName(
                f"No feature {index} in {self.name or repr(self)}. "
                f"It has {len(self)} features, 0 to {len(self) - 1}."
            )
        return Feature(self, index)

    def __iter__(self) -> Iterator[Feature]:
        return (self[index] for index in range(len(self)))

    def __str__(self) -> str:
        parts = [self.name, repr(self)]
        if self.is_built:
            reads, writes = self.reads or "x", self.writes or "y"
            parts.append(f"{reads} ({self.d_in}) → {writes} ({self.d_out})")
        return " · ".join(part for part in parts if part)


DICTIONARIES: Registry[type[Dictionary]] = Registry("dictionary kind", "policyscope.dictionaries")


def kind_of(dictionary: Dictionary) -> str:
    """The name under which the class of `dictionary` is registered."""
    for name in DICTIONARIES.names():
        if DICTIONARIES.get(name) is type(dictionary):
            return name
    raise InvalidInput(
        f"{type(dictionary).__name__} has no name to be saved under. "
        "Decorate the class with @DICTIONARIES.register('…')."
    )

"""The contract of every dictionary: activations of one site as sparse features, and back.

A class is its configuration. A dictionary is a dataclass whose fields are choices (`width`,
`penalty`); `build` receives the facts that data bring (`d_in`, `d_out`) and makes the parameters.
That one declaration gives the repr, the command-line flags and the saved header. A dictionary
that reads and writes the same site is an autoencoder, otherwise a transcoder.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from policyscope.address import Site
from policyscope.dictionaries.feature import Feature
from policyscope.dictionaries.scaling import Scaling
from policyscope.dictionaries.schedule import Schedule
from policyscope.dictionaries.turn import Turn
from policyscope.errors import InvalidInput, UnknownName
from policyscope.registry import Registry


@dataclass(frozen=True, eq=False)
class Stage:
    """How far a fit has come, for a loss that depends on it."""

    progress: float = 1.0
    """Share of the steps that are done."""
    dead: Bool[Tensor, " feature"] | None = None
    """Features that have long been silent, see `Schedule.dead_after`; None where nobody counts."""


LAST = Stage()


@dataclass(frozen=True, eq=False)
class Loss:
    """What a batch says of a dictionary."""

    total: Float[Tensor, ""]
    """The number to minimize."""
    parts: dict[str, Tensor]
    """Named parts that the curves show; `mse` is one.

    It is the mean over steps of the squared error summed over units.
    """
    reconstruction: Float[Tensor, "step target"]
    """With its gradient, so that the error can also be weighed by what it does to behaviour."""
    fired: Bool[Tensor, " feature"]
    """Which features were active for any step."""


class Dictionary(nn.Module, ABC):
    """A decomposition of activations into features, fitted or still to be fitted.

    Subclasses are `@dataclass(eq=False)`, register under a name, and give each field a `help`
    in its metadata. They make parameters in `initialize`, and say how to encode, decode and
    what the loss is. Decoding must be affine in the codes, so that every feature has a direction.
    """

    schedule: ClassVar[Schedule] = Schedule()
    """How this kind is fitted where nothing else is asked for."""

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
        self,
        x: Float[Tensor, "step unit"],
        y: Float[Tensor, "step target"],
        stage: Stage = LAST,
    ) -> Loss:
        """What a batch of the fit says, under the rules of training where those differ."""

    # --- what a kind may add to the fit -------------------------------------------------------

    def bypass(self, x: Float[Tensor, "... unit"]) -> Float[Tensor, "... target"] | None:
        """What reaches the output past the features; None but for kinds with a skip connection."""
        return None

    def scaling(self, x: Float[Tensor, "step unit"], y: Float[Tensor, "step target"]) -> Scaling:
        """How x and y are centred and scaled before the fit, where its schedule scales."""
        return Scaling.of(x, y)

    def solve(
        self,
        x: Float[Tensor, "step unit"],
        y: Float[Tensor, "step target"],
        generator: torch.Generator,
    ) -> bool:
        """Finds the parameters at once and returns True, in kinds that need no gradient."""
        return False

    def before_step(self) -> None:
        """Called between the gradient and the step of Adam."""
        return

    def after_step(self) -> None:
        """Called after each step of Adam."""
        return

    def finish(self, x: Float[Tensor, "step unit"], y: Float[Tensor, "step target"]) -> None:
        """Called after the last step with samples of the fit, to set what is no parameter."""
        return

    def rescale(self, scaling: Scaling) -> None:
        """Turns a dictionary of scaled activations into the same dictionary of raw ones.

        Kinds whose schedule scales must say how.
        """
        raise InvalidInput(f"{type(self).__name__} cannot be fitted with scale=True.")

    def turn(self, turn: Turn) -> None:
        """Turns a dictionary fitted in turned coordinates into the same one before the turn.

        Called before `rescale`. Kinds that can be fitted to behaviour must say how.
        """
        raise InvalidInput(
            f"{type(self).__name__} cannot be fitted to behaviour: it has nothing to fit to it."
        )

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

    def facts(self) -> dict[str, Any]:
        """What it was given besides its choices: name, sites and numbers of units, as JSON."""
        sites = {"reads": self.reads, "writes": self.writes}
        places = {name: None if site is None else str(site) for name, site in sites.items()}
        return {"name": self.name, **places, "d_in": self.d_in, "d_out": self.d_out}

    def place(self, facts: Mapping[str, Any]) -> None:
        """Takes the name and the sites from what `facts` gave."""
        self.name = facts["name"]
        self.reads, self.writes = (
            None if facts[name] is None else Site.parse(facts[name]) for name in ("reads", "writes")
        )

    @property
    def parts(self) -> tuple["Dictionary", ...]:
        """One dictionary for each site that is written; itself alone where that is one."""
        return (self,)

    def forward(self, x: Float[Tensor, "... unit"]) -> Float[Tensor, "... target"]:
        """The reconstruction: what the features of `x` stand for where the dictionary writes."""
        return self.decompose(x)[1]

    def decompose(
        self, x: Float[Tensor, "... unit"]
    ) -> tuple[Float[Tensor, "... feature"], Float[Tensor, "... target"]]:
        """The codes of `x`, and the reconstruction: what they stand for, with what goes past."""
        codes = self.encode(x)
        decoded, past = self.decode(codes), self.bypass(x)
        return codes, decoded if past is None else decoded + past

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

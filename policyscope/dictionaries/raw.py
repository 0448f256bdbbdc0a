"""The units themselves as features: what a dictionary must beat to be worth having.

    z = x, or the k largest |x − mean|        autoencoder: ŷ = z + b
                                              transcoder: ŷ = z @ decoder + b

Where only k are kept they are read about their mean, so that a unit left out counts at its mean
and not at zero: k units at their best. As a transcoder this is linear regression from the units,
and says how linear the layers between are.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from policyscope.dictionaries.dictionary import DICTIONARIES, Dictionary
from policyscope.dictionaries.scaling import Scaling
from policyscope.dictionaries.solved import K_HELP, Solved, check_kept, is_same
from policyscope.dictionaries.sparse import unit_rows
from policyscope.dictionaries.turn import Turn
from policyscope.errors import InvalidInput


@DICTIONARIES.register("raw")
@dataclass(eq=False)
class Raw(Solved):
    """One feature per unit: its activation."""

    width: int = field(
        default=0, metadata={"help": "number of units; 0 is as many as there are, and nothing else"}
    )
    k: int = field(default=0, metadata={"help": K_HELP})

    def build(self, d_in: int, d_out: int, generator: torch.Generator) -> None:
        self.width = self.width or d_in
        if self.width != d_in:
            raise InvalidInput(
                f"Raw of width {self.width} reads {d_in} units; it has one feature per unit. "
                "Leave the width out."
            )
        super().build(d_in, d_out, generator)

    def initialize(self, generator: torch.Generator) -> None:
        # No encoder: a unit is read by itself, however many there are.
        check_kept(self.k, self.width)
        decoder = unit_rows(torch.randn(self.width, self.d_out, generator=generator))
        self.encoder_bias: nn.Parameter = nn.Parameter(torch.zeros(self.width))
        self.decoder: nn.Parameter = nn.Parameter(decoder)
        self.decoder_bias: nn.Parameter = nn.Parameter(torch.zeros(self.d_out))

    def pre(self, x: Float[Tensor, "... unit"]) -> Float[Tensor, "... feature"]:
        return x + self.encoder_bias

    def solve(
        self,
        x: Float[Tensor, "step unit"],
        y: Float[Tensor, "step target"],
        generator: torch.Generator,
    ) -> bool:
        if self.k > 0:
            self.encoder_bias.copy_(-x.double().mean(0))
        if is_same(x, y):
            self.decoder.copy_(torch.eye(self.width))
            self.decoder_bias.copy_(-self.encoder_bias)
        else:
            self.write(x, y)
        return True

    def turn(self, turn: Turn) -> None:
        # A unit that is read through a turn is no raw unit.
        Dictionary.turn(self, turn)

    def rescale(self, scaling: Scaling) -> None:
        # A unit that is read through a scaling is no raw unit.
        Dictionary.rescale(self, scaling)
